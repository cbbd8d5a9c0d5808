package packages

import (
	"bytes"
	"context"
	"fmt"
)

// Class is what a package database says of a path.
type Class int

// The classes. Where packages disagree about a path the later one here
// counts, the more careful with what the administrator wrote there.
const (
	Unowned   Class = iota // no package's
	Ghost                  // a package's, made while the system runs and not shipped
	Packaged               // shipped
	Config                 // shipped, meant to be edited: the vendor's goes first, the old one is saved
	NoReplace              // shipped, meant to be edited: the administrator's goes first; also dpkg's conffiles
)

// String is the class as text.
func (c Class) String() string {
	switch c {
	case Unowned:
		return "unowned"
	case Ghost:
		return "ghost"
	case Packaged:
		return "packaged"
	case Config:
		return "config"
	case NoReplace:
		return "noreplace"
	}
	return fmt.Sprintf("class %d", int(c))
}

// Classes are the classes of all packages' paths that are one of under or
// below one, "/var" for instance. A path begins with a slash; one that is not
// in the map is [Unowned]. It asks rpm once, and holds no more than rpm's
// answer.
func (s System) Classes(ctx context.Context, under ...string) (map[string]Class, error) {
	d, err := s.databases()
	if err != nil {
		return nil, fmt.Errorf("packages' files: %w", err)
	}
	classes := make(map[string]Class)
	add := func(path []byte, c Class) {
		if below(path, under) && c > classes[string(path)] {
			classes[string(path)] = c
		}
	}
	if d.rpm != "" {
		if err := s.rpmClasses(ctx, d.rpm, add); err != nil {
			return nil, fmt.Errorf("rpm packages' files of %s: %w", s.Root, err)
		}
	}
	if d.dpkg != "" {
		if err := s.dpkgClasses(d.dpkg, add); err != nil {
			return nil, fmt.Errorf("dpkg packages' files of %s: %w", s.Root, err)
		}
	}
	return classes, nil
}

func below(path []byte, dirs []string) bool {
	for _, dir := range dirs {
		if rest, ok := bytes.CutPrefix(path, []byte(dir)); ok && (len(rest) == 0 || rest[0] == '/') {
			return true
		}
	}
	return false
}
