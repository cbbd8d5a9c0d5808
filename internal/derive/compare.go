package derive

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

func keys(found map[string]string) iter.Seq[string] { return maps.Keys(found) }

// compare lists where an input differs between the tree base and this one:
// paths with what happened to them, ordered.
func (t Tree) compare(base string, in input) ([]string, error) {
	before, err := t.survey(base, in)
	if err != nil {
		return nil, err
	}
	after, err := t.survey(t.Root, in)
	if err != nil {
		return nil, err
	}
	var found []string
	for name, state := range after {
		switch was, ok := before[name]; {
		case !ok:
			found = append(found, printable(name)+" added")
		case was != state:
			found = append(found, printable(name)+" changed")
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			found = append(found, printable(name)+" removed")
		}
	}
	slices.Sort(found)
	return found, nil
}

// maxFiles bounds the files of one input. Debian's linux-firmware has 3,500.
const maxFiles = 100_000

// surveyor collects what an input looks like in one tree, by path.
type surveyor struct {
	tree  Tree
	root  string
	as    reading
	found map[string]string
}

func (t Tree) survey(root string, in input) (map[string]string, error) {
	s := surveyor{t, root, in.as, map[string]string{}}
	dir, pattern := in.path, "*"
	if strings.ContainsRune(in.path, '*') {
		dir, pattern = path.Split(in.path)
	}
	full, info, err := t.find(root, dir)
	switch {
	case err != nil:
		return nil, err
	case info == nil:
		return s.found, nil
	case info.IsDir():
		err = s.dir(path.Clean(dir), full, pattern)
	case dir == in.path:
		err = s.file(dir, full, info)
	}
	return s.found, err
}

// dir looks at what matches in the directory name, which is at full. Links to
// directories are not followed, so it ends.
func (s *surveyor) dir(name, full, pattern string) error {
	entries, err := os.ReadDir(full)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ok, err := path.Match(pattern, e.Name()); err != nil || !ok {
			continue
		}
		if err := s.entry(path.Join(name, e.Name()), path.Join(full, e.Name()), pattern); err != nil {
			return err
		}
	}
	return nil
}

func (s *surveyor) entry(name, full, pattern string) error {
	if slices.Contains(s.tree.Ours, name) || cached(name) {
		return nil
	}
	info, err := os.Lstat(full)
	if err != nil {
		return err
	}
	if info.IsDir() && pattern == "*" {
		return s.dir(name, full, pattern)
	}
	if len(s.found) >= maxFiles {
		return fmt.Errorf("%s: more than %d files", full, maxFiles)
	}
	if info.Mode().Type() != fs.ModeSymlink {
		return s.file(name, full, info)
	}
	// A link is its target, and what is read through it.
	target, err := os.Readlink(full)
	if err != nil {
		return err
	}
	full, info, err = s.tree.find(s.root, name)
	if err != nil {
		return err
	}
	if info != nil {
		if err := s.file(name, full, info); err != nil {
			return err
		}
	}
	s.found[name] += " through " + target
	return nil
}

// cached says whether a file is what console-setup made at a boot out of its
// configuration, which is looked at itself.
func cached(name string) bool {
	ok, err := path.Match("etc/console-setup/cached*", name)
	return ok && err == nil
}

// file notes what the file name, which is at full, looks like.
func (s *surveyor) file(name, full string, info fs.FileInfo) error {
	state := info.Mode().Type().String()
	if info.Mode().IsRegular() {
		var err error
		if state, err = s.regular(name, full, info); err != nil {
			return err
		}
	}
	s.found[name] = state
	return nil
}

func (s *surveyor) regular(name, full string, info fs.FileInfo) (string, error) {
	if s.as == names {
		return fmt.Sprint(info.Size()), nil
	}
	if s.as != program && info.Size() <= maxText {
		data, err := os.ReadFile(full)
		if err == nil && s.as == usrType {
			return strings.Join(fstabTypes(data, "/usr"), " "), nil
		}
		return fmt.Sprintf("%x", sha256.Sum256(significant(data))), err
	}
	f, err := os.Open(full)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return fmt.Sprintf("%x %t", sum.Sum(nil), info.Mode()&0o111 != 0), nil
}

// significant is a text without blank lines and those that begin with '#',
// and without blanks around the others.
func significant(data []byte) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			out.Write(line)
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}

// fstabTypes are the types that fstab gives the mount points, as far as they
// can be a type.
func fstabTypes(fstab []byte, points ...string) []string {
	var types []string
	for line := range bytes.Lines(fstab) {
		f := strings.Fields(string(line))
		if len(f) < 3 || f[0][0] == '#' || !slices.Contains(points, f[1]) {
			continue
		}
		plain := strings.IndexFunc(f[2], func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) < 0
		if plain && f[2] != "auto" && !slices.Contains(types, f[2]) {
			types = append(types, f[2])
		}
	}
	return types
}
