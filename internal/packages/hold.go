package packages

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// held is a file of a tree as it was.
type held struct {
	name string
	data []byte
	mode fs.FileMode
	has  bool
}

// maxHeld bounds a file that is held, in bytes.
const maxHeld = 1 << 20

// denied is a policy-rc.d that forbids every start of a service; 101 is
// "action forbidden by policy" (invoke-rc.d(8)).
const denied = "#!/bin/sh\nexit 101\n"

// hold keeps the identity of the tree, which scripts of packages may make
// anew (BZ 1693710), and denies starts of services until release.
func (s System) hold() (release func() error, err error) {
	tree, err := os.OpenRoot(s.Root)
	if err != nil {
		return nil, err
	}
	var files []held
	for _, name := range []string{"etc/machine-id", "etc/hostname", "usr/sbin/policy-rc.d"} {
		h, err := holdFile(tree, name)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", filepath.Join(s.Root, name), err), tree.Close())
		}
		files = append(files, h)
	}
	release = func() error {
		var problems []error
		for _, h := range files {
			if err := h.restore(tree); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", filepath.Join(s.Root, h.name), err))
			}
		}
		return errors.Join(append(problems, tree.Close())...)
	}
	policy := held{name: "usr/sbin/policy-rc.d", data: []byte(denied), mode: 0o755, has: true}
	if info, err := tree.Stat(filepath.Dir(policy.name)); err == nil && info.IsDir() {
		if err := policy.restore(tree); err != nil {
			return nil, errors.Join(err, release())
		}
	}
	return release, nil
}

// holdFile reads a regular file. Anything else there counts as missing, and
// is not touched by restore unless it was made meanwhile.
func holdFile(tree *os.Root, name string) (held, error) {
	h := held{name: name}
	info, err := tree.Lstat(name)
	if missing(err) || err == nil && !info.Mode().IsRegular() {
		return h, nil
	}
	if err != nil {
		return h, err
	}
	f, err := tree.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return h, err
	}
	defer f.Close()
	h.data, err = io.ReadAll(io.LimitReader(f, maxHeld+1))
	if err == nil && len(h.data) > maxHeld {
		err = fmt.Errorf("larger than %d bytes", maxHeld)
	}
	h.mode, h.has = info.Mode().Perm(), true
	return h, err
}

// restore makes the file what it was.
func (h held) restore(tree *os.Root) error {
	info, err := tree.Lstat(h.name)
	switch {
	case err != nil && !missing(err):
		return err
	case err == nil && !info.Mode().IsRegular():
		return nil // a link or device: no content of its own
	case !h.has && err != nil:
		return nil
	case !h.has:
		return tree.Remove(h.name)
	case err == nil:
		now, err := holdFile(tree, h.name)
		if err == nil && bytes.Equal(now.data, h.data) && now.mode == h.mode {
			return nil
		}
	}
	return h.write(tree)
}

func (h held) write(tree *os.Root) error {
	f, err := tree.OpenFile(h.name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, h.mode)
	if err != nil {
		return err
	}
	_, err = f.Write(h.data)
	return errors.Join(err, f.Chmod(h.mode), f.Close())
}
