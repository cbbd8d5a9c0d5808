package accounts

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"imgbase/internal/owners"
)

const (
	capability  = "security.capability" // capabilities(7)
	accessList  = owners.AccessList
	defaultList = owners.DefaultList
)

// change is what one file needs.
type change struct {
	name     string
	uid, gid int // -1 stays
	mode     uint16
	lists    map[string][]byte // access lists, rewritten
}

// file re-owns one name of the worker's directory, if it has to be.
func (w *worker) file(name string, st *unix.Statx_t) error {
	w.counts.Files++
	c := change{name: name, uid: -1, gid: -1, mode: st.Mode}
	if to := w.owners.UID(st.Uid); to != st.Uid {
		c.uid = int(to)
	}
	if to := w.owners.GID(st.Gid); to != st.Gid {
		c.gid = int(to)
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFLNK {
		if err := w.lists(&c); err != nil {
			return err
		}
	}
	if c.uid < 0 && c.gid < 0 && len(c.lists) == 0 {
		return nil
	}
	if kind != unix.S_IFDIR && st.Nlink > 1 && !w.first(st) {
		return nil
	}
	err := w.change(c)
	if errors.Is(err, unix.EPERM) && (kind == unix.S_IFREG || kind == unix.S_IFDIR) {
		err = w.thawed(name, func() error { return w.change(c) })
	}
	if err != nil {
		return err
	}
	if c.uid >= 0 || c.gid >= 0 {
		w.counts.Reowned++
	}
	w.counts.Lists += len(c.lists)
	return nil
}

// lists reads the access lists that name an id of the map.
func (w *worker) lists(c *change) error {
	keys := []string{accessList, defaultList}
	if c.mode&unix.S_IFMT != unix.S_IFDIR {
		keys = keys[:1]
	}
	path := procPath(w.dir, c.name)
	for _, key := range keys {
		value, err := xattr(path, key, w.buf)
		if err != nil {
			return w.failed("read "+key, c.name, err)
		}
		if value == nil {
			continue
		}
		list, changed, err := w.owners.List(value)
		if err != nil {
			return w.failed(key, c.name, err)
		}
		if !changed {
			continue
		}
		if c.lists == nil {
			c.lists = make(map[string][]byte)
		}
		c.lists[key] = list
	}
	return nil
}

// change gives a file its new owner. chown(2) clears set-id bits and
// capabilities, for root as well; both are put back. The mode comes last, as
// an access list writes into it.
func (w *worker) change(c change) error {
	path := procPath(w.dir, c.name)
	if c.uid >= 0 || c.gid >= 0 {
		var capabilities []byte
		var err error
		if c.mode&unix.S_IFMT == unix.S_IFREG {
			if capabilities, err = xattr(path, capability, w.buf); err != nil {
				return w.failed("read "+capability, c.name, err)
			}
		}
		if err := unix.Fchownat(int(w.dir.Fd()), c.name, c.uid, c.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return w.failed("chown", c.name, err)
		}
		if capabilities != nil {
			if err := unix.Lsetxattr(path, capability, capabilities, 0); err != nil {
				return w.failed("set "+capability, c.name, err)
			}
		}
	}
	for key, list := range c.lists {
		if err := unix.Lsetxattr(path, key, list, 0); err != nil {
			return w.failed("set "+key, c.name, err)
		}
	}
	if c.mode&(unix.S_ISUID|unix.S_ISGID) != 0 && c.mode&unix.S_IFMT != unix.S_IFLNK {
		if err := chmod(w.dir, c.name, uint32(c.mode&0o7777)); err != nil {
			return w.failed("chmod", c.name, err)
		}
	}
	return nil
}

// The flags of chattr(1) that refuse root, linux/fs.h.
const (
	immutable  = 0x10
	appendOnly = 0x20
)

// thawed does what an immutable or append-only file does not let be done.
func (w *worker) thawed(name string, do func() error) (err error) {
	fd, err := unix.Openat(int(w.dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return w.failed("open", name, err)
	}
	defer unix.Close(fd)
	flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil || flags&(immutable|appendOnly) == 0 {
		return w.failed("chown", name, unix.EPERM)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags&^(immutable|appendOnly))); err != nil {
		return w.failed("clear flags", name, err)
	}
	defer func() {
		if e := unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags)); e != nil {
			err = errors.Join(err, w.failed("set flags", name, e))
		}
	}()
	return do()
}

func (w *worker) failed(op, name string, err error) error {
	return &os.PathError{Op: op, Path: escape(w.path + "/" + name), Err: err}
}

// chmod changes the mode of name without following it: fchmodat(2) always
// follows, the descriptor's own path does not.
func chmod(dir *os.File, name string, mode uint32) error {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode)
}

// procPath names an entry of an open directory for the calls that have no
// form with a directory descriptor. Only its last component is name, and the
// l-calls do not follow that.
func procPath(dir *os.File, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
}

// xattr reads an extended attribute into buf, nil when there is none.
func xattr(path, key string, buf []byte) ([]byte, error) {
	n, err := unix.Lgetxattr(path, key, buf)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return buf[:n:n], nil
}

func openByStep(top int, path string) (int, error) {
	fd := top
	for name := range strings.SplitSeq(path, "/") {
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if fd != top {
			unix.Close(fd)
		}
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
