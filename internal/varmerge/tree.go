package varmerge

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is one of the two /var directories. Everything in it is reached from
// its descriptor component by component, so a link in it is never followed.
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

func openDir(dir *os.File, name string) (*os.File, error) {
	return openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// openat opens name in dir, never following it. A fifo does not block.
func openat(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	fd, err := openFD(int(dir.Fd()), name, flags, mode)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: escape(name), Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func openFD(dir int, name string, flags int, mode uint32) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, mode)
		return err
	})
	return fd, err
}

// openRegular opens the regular file name for reading; what is no longer
// what n says is an error, for the tree may be live.
func openRegular(dir *os.File, name string, n *node) (*os.File, error) {
	f, err := openat(dir, name, unix.O_RDONLY, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) { // a link now, a socket
		err = &os.PathError{Op: "open", Path: escape(name), Err: errMoved}
	}
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != n.kind {
		f.Close()
		return nil, &os.PathError{Op: "open", Path: escape(name), Err: errMoved}
	}
	return f, nil
}

func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// beside is the nth name beside name with a suffix, counted from 1. A name
// too long for it is cut and told apart by a checksum.
func beside(name, suffix string, n int) string {
	if n > 1 {
		suffix = fmt.Sprintf("~%d%s", n, suffix)
	}
	if len(name)+len(suffix) > unix.NAME_MAX {
		sum := fmt.Sprintf("~%08x", crc32.ChecksumIEEE([]byte(name)))
		name = name[:unix.NAME_MAX-len(suffix)-len(sum)] + sum
	}
	return name + suffix
}

// ours reports a name that only merges give.
func ours(name string) bool {
	if name == Staging {
		return true
	}
	for _, suffix := range []string{BackupSuffix, LinkSuffix, VendorSuffix} {
		if len(name) > len(suffix) && strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
