package persist

import (
	"errors"
	"maps"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"imgbase/internal/owners"
)

// node is what one name in a directory is, as lstat sees it.
type node struct {
	kind   uint32 // S_IFMT bits of st_mode
	size   int64
	room   int64  // bytes that its content takes on the disk
	rdev   uint64 // devices only
	target string // links only
	file   inode
	nlink  uint64
	mtime  unix.Timespec
	attrs  attributes
}

// inode identifies a file on this host.
type inode struct{ dev, ino uint64 }

func (n *node) isDir() bool { return n != nil && n.kind == unix.S_IFDIR }

// attributes are all that a file has besides its content.
type attributes struct {
	mode     uint32 // permissions with set-id and sticky bits; always 0777 for a link
	uid, gid uint32
	xattrs   map[string]string
}

func (a attributes) equal(b attributes) bool {
	return a.mode == b.mode && a.uid == b.uid && a.gid == b.gid && maps.Equal(a.xattrs, b.xattrs)
}

// in is the attributes with their ids mapped.
func (a attributes) in(m owners.Map) attributes {
	if !m.Empty() {
		a.uid, a.gid, a.xattrs = m.UID(a.uid), m.GID(a.gid), m.Attributes(a.xattrs)
	}
	return a
}

// Extended attributes with a role of their own.
const (
	accessList = owners.AccessList // acl(5); its mask is the mode's group bits
	label      = "security.selinux"
)

// ignored reports attributes that are never compared or carried. EVM's is an
// HMAC over the inode with a key of this boot's kernel, written by it alone.
func ignored(name string, labels bool) bool {
	return name == "security.evm" || name == label && !labels
}

// lstat describes name in dir. A missing name, a nil dir and a socket are
// nil: a socket is a running program's, not the administrator's.
func lstat(dir *os.File, name string, labels bool) (*node, error) {
	if dir == nil {
		return nil, nil
	}
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "lstat", Path: name, Err: err}
	}
	n := &node{
		kind: st.Mode & unix.S_IFMT, size: st.Size, room: st.Blocks * 512, nlink: uint64(st.Nlink), mtime: st.Mtim,
		file:  inode{uint64(st.Dev), st.Ino},
		attrs: attributes{mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid},
	}
	switch n.kind {
	case unix.S_IFSOCK:
		return nil, nil
	case unix.S_IFCHR, unix.S_IFBLK:
		n.rdev = uint64(st.Rdev)
	case unix.S_IFLNK:
		n.attrs.mode = 0o777
		if n.target, err = readlink(dir, name); err != nil {
			return nil, err
		}
	}
	n.attrs.xattrs, err = xattrs(dir, name, labels)
	return n, err
}

func readlink(dir *os.File, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(dir.Fd()), name, buf)
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: name, Err: err}
	}
	return string(buf[:n]), nil
}

// procPath names an entry of an open directory for the calls that have no
// form with a directory descriptor. Only its last component is name, and the
// l-calls do not follow that.
func procPath(dir *os.File, name string) string {
	return "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + name
}

// xattrs reads the extended attributes of name. A file system without them
// has none.
func xattrs(dir *os.File, name string, labels bool) (map[string]string, error) {
	path := procPath(dir, name)
	var buf [512]byte
	list, err := listAttributes(path, buf[:])
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOENT) || len(list) == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "listxattr", Path: name, Err: err}
	}
	out := make(map[string]string)
	for key := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if ignored(key, labels) {
			continue
		}
		value, err := readAttribute(path, key, buf[:])
		if errors.Is(err, unix.ENODATA) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, &os.PathError{Op: "getxattr " + key, Path: name, Err: err}
		}
		out[key] = string(value)
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// maxAttribute is the kernel's limit for a value, and for the list, in bytes
// (XATTR_SIZE_MAX, XATTR_LIST_MAX).
const maxAttribute = 64 << 10

// listAttributes returns the names, each with a zero behind it, in buf if they
// fit. It and readAttribute are two, and not one that is told what to call,
// so that buf need not lie on the heap: there is a list for every file.
func listAttributes(path string, buf []byte) ([]byte, error) {
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, maxAttribute)
		n, err = unix.Llistxattr(path, buf)
	}
	return buf[:max(n, 0)], err
}

func readAttribute(path, key string, buf []byte) ([]byte, error) {
	n, err := unix.Lgetxattr(path, key, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, maxAttribute)
		n, err = unix.Lgetxattr(path, key, buf)
	}
	return buf[:max(n, 0)], err
}

func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
