package hooks

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// directories hold hooks, the one that decides last.
var directories = [...]string{"usr/lib/imgbased/hooks.d", "usr/share/imgbased/hooks.d", "etc/imgbased/hooks.d"}

// maxNames bounds what is read of one directory. Nobody has so many hooks.
const maxNames = 1000

// Hook is a program to be told of events.
type Hook struct {
	Name string // base name; any bytes
	Path string // in its hooks.d, from the system's root: "/etc/imgbased/hooks.d/NAME"

	program string // what is started: the file that Path leads to
}

// Skipped is something in a hooks.d directory that does not run.
type Skipped struct {
	Path    string // as [Hook.Path]
	Why     string
	Refused bool // it would run if it could be trusted: the administrator must know
}

// Set is what the directories hold.
type Set struct {
	Hooks   []Hook    `json:"hooks"` // in the order in which they run
	Skipped []Skipped `json:"skipped,omitempty"`
}

// Find reads the directories, and changes nothing. A missing directory holds
// nothing.
func (d Dispatcher) Find() (Set, error) {
	var set Set
	decides := make(map[string]string) // name: its path in the directory that decides
	for _, dir := range directories {
		names, err := d.names(dir)
		if why := (*untrusted)(nil); errors.As(err, &why) {
			set.Skipped = append(set.Skipped, Skipped{Path: "/" + dir, Why: why.Error(), Refused: true})
			continue
		}
		if err != nil {
			return Set{}, fmt.Errorf("hooks in /%s: %w", dir, err)
		}
		for _, name := range names {
			if before, ok := decides[name]; ok {
				set.Skipped = append(set.Skipped, Skipped{Path: before, Why: "/" + dir + " has the name as well"})
			}
			decides[name] = "/" + dir + "/" + name
		}
	}
	for name, path := range decides {
		program, err := d.program(path)
		if err != nil {
			why := (*untrusted)(nil)
			set.Skipped = append(set.Skipped, Skipped{Path: path, Why: err.Error(), Refused: errors.As(err, &why)})
			continue
		}
		set.Hooks = append(set.Hooks, Hook{Name: name, Path: path, program: program})
	}
	slices.SortFunc(set.Hooks, func(a, b Hook) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(set.Skipped, func(a, b Skipped) int { return strings.Compare(a.Path, b.Path) })
	return set, nil
}

// names are the names that count in a directory of hooks.
func (d Dispatcher) names(dir string) ([]string, error) {
	path, err := d.Resolve(d.Root, dir)
	if err != nil {
		return nil, missing(err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, missing(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// No sticky bit helps here: a link to another's program is a hook too.
	if info.Mode()&0o022 != 0 {
		return nil, &untrusted{path, "may be written by others"}
	}
	if err := d.trust(path); err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(maxNames + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(names) > maxNames {
		return nil, fmt.Errorf("more than %d names", maxNames)
	}
	return slices.DeleteFunc(names, copied), nil
}

// missing turns the error of looking for something into nil when it is just
// not there.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// program returns the file that a hook's path leads to, or why it is no hook.
func (d Dispatcher) program(path string) (string, error) {
	target, err := d.Resolve(d.Root, path)
	if err != nil {
		return "", errors.New("leads nowhere")
	}
	info, err := os.Lstat(target)
	switch {
	case err != nil:
		return "", errors.New("leads nowhere")
	case !info.Mode().IsRegular():
		return "", errors.New("is no file")
	case info.Mode()&0o111 == 0:
		return "", errors.New("is not executable")
	case info.Size() == 0:
		return "", errors.New("is empty")
	}
	return target, d.trust(target)
}

// untrusted is a path that others can make into what they like.
type untrusted struct{ path, why string }

func (u *untrusted) Error() string { return printable(u.path) + " " + u.why }

// trust checks a path without links, and every directory from the system's
// root to it, as sshd does with StrictModes.
func (d Dispatcher) trust(path string) error {
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return &untrusted{at, "has no owner"}
		}
		if uid := int(st.Uid); uid != 0 && uid != os.Geteuid() {
			return &untrusted{at, fmt.Sprintf("belongs to user %d", uid)}
		}
		// In a sticky directory only the owner can replace what is his.
		if info.Mode()&0o022 != 0 && (!info.IsDir() || info.Mode()&fs.ModeSticky == 0) {
			return &untrusted{at, "may be written by others"}
		}
		if at == filepath.Clean(d.Root) || at == filepath.Dir(at) {
			return nil
		}
	}
}

// copies are endings of names that editors, package managers and merges give
// to copies, after systemd's list of what is no configuration.
var copies = [...]string{
	"~", ".bak", ".old", ".new", ".orig", ".swp",
	".rpmnew", ".rpmsave", ".rpmorig", ".ucf-new", ".ucf-old", ".ucf-dist",
	".dpkg-old", ".dpkg-new", ".dpkg-tmp", ".dpkg-dist", ".dpkg-bak", ".dpkg-backup", ".dpkg-remove",
	".imgnew", ".imgbak", ".imglnk",
}

func copied(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "tmp.imgbased.") {
		return true
	}
	return slices.ContainsFunc(copies[:], func(end string) bool { return strings.HasSuffix(name, end) })
}
