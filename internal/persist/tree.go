package persist

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is an /etc directory. Everything in it is reached from its descriptor
// component by component, so a link in it is never followed.
type tree struct{ root *os.File }

func openTree(dir string) (*tree, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &tree{f}, nil
}

func (t *tree) close() {
	if t != nil {
		t.root.Close()
	}
}

// dir opens the directory rel, "." being the tree itself.
func (t *tree) dir(rel string) (*os.File, error) {
	above, last := path.Split(rel)
	fd := int(t.root.Fd())
	for name := range strings.SplitSeq(strings.TrimSuffix(above, "/"), "/") {
		if name == "" {
			continue
		}
		next, err := openFD(fd, name, unix.O_PATH|unix.O_DIRECTORY, 0)
		if fd != int(t.root.Fd()) {
			unix.Close(fd)
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: escape(rel), Err: err}
		}
		fd = next
	}
	if fd != int(t.root.Fd()) {
		defer unix.Close(fd)
	}
	end, err := openFD(fd, last, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: escape(rel), Err: err}
	}
	return os.NewFile(uintptr(end), last), nil
}

// parent opens the directory that rel is in and returns rel's name there.
func (t *tree) parent(rel string) (*os.File, string, error) {
	dir, err := t.dir(path.Dir(rel))
	return dir, path.Base(rel), err
}

func openDir(dir *os.File, name string) (*os.File, error) {
	return openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// openat opens name in dir, never following it. It is for what cannot be a
// fifo, at which it would block.
func openat(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	fd, err := openFD(int(dir.Fd()), name, flags, mode)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: escape(name), Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func openFD(dir int, name string, flags int, mode uint32) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		return err
	})
	return fd, err
}

// removeAll removes name from dir with all beneath it. A missing name is no
// error.
func removeAll(dir *os.File, name string) error {
	err := unix.Unlinkat(int(dir.Fd()), name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) {
		return &os.PathError{Op: "remove", Path: escape(name), Err: err}
	}
	sub, err := openDir(dir, name)
	if err != nil {
		return err
	}
	defer sub.Close()
	names, err := sub.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := removeAll(sub, n); err != nil {
			return err
		}
	}
	if err := unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR); err != nil {
		return &os.PathError{Op: "remove", Path: escape(name), Err: err}
	}
	return nil
}

// beside is the name under which the vendor's version of rel lies. A name
// too long for the suffix is cut and told apart by a checksum.
func beside(rel string) string {
	dir, name := path.Split(rel)
	if len(name)+len(Suffix) > unix.NAME_MAX {
		sum := fmt.Sprintf("~%08x", crc32.ChecksumIEEE([]byte(name)))
		name = name[:unix.NAME_MAX-len(Suffix)-len(sum)] + sum
	}
	return dir + name + Suffix
}

// leftover reports a name that an earlier merge wrote.
func leftover(name string) bool {
	return len(name) > len(Suffix) && strings.HasSuffix(name, Suffix)
}
