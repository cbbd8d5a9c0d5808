package varmerge

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"imgbase/internal/owners"
)

// node is what one name in a directory is, as lstat sees it.
type node struct {
	kind   uint32 // S_IFMT bits of st_mode
	size   int64
	room   int64  // on the disk, in bytes
	rdev   uint64 // devices only
	target string // links only
	file   inode
	nlink  uint64
	mtime  unix.Timespec
	mode   uint32 // permissions with set-id and sticky bits; always 0777 for a link
	uid    uint32
	gid    uint32
}

// isDir is also false for what is missing.
func (n *node) isDir() bool { return n != nil && n.kind == unix.S_IFDIR }

// inode identifies a file on this host.
type inode struct{ dev, ino uint64 }

// lstat describes name in dir. A missing name is nil.
func lstat(dir *os.File, name string) (*node, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "lstat", Path: escape(name), Err: err}
	}
	n := &node{
		kind: st.Mode & unix.S_IFMT, size: st.Size, room: st.Blocks * 512, nlink: uint64(st.Nlink), mtime: st.Mtim,
		file: inode{uint64(st.Dev), st.Ino},
		mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid,
	}
	switch n.kind {
	case unix.S_IFCHR, unix.S_IFBLK:
		n.rdev = uint64(st.Rdev)
	case unix.S_IFLNK:
		n.mode = 0o777
		n.target, err = readlink(dir, name)
	}
	return n, err
}

func readlink(dir *os.File, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(dir.Fd()), name, buf)
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: escape(name), Err: err}
	}
	return string(buf[:n]), nil
}

// attributes are all that a file has besides its content.
type attributes struct {
	mode     uint32
	uid, gid uint32
	xattrs   map[string]string
}

// Extended attributes with a role of their own.
const (
	accessList  = "system.posix_acl_access" // acl(5)
	defaultList = "system.posix_acl_default"
	label       = "security.selinux"
)

// attributes reads what n, called name in dir, has.
func (n *node) attributes(dir *os.File, name string, labels bool) (attributes, error) {
	x, err := xattrs(dir, name, labels)
	return attributes{n.mode, n.uid, n.gid, x}, err
}

// translated gives the ids of an image's file their numbers on the host.
func (a attributes) translated(m owners.Map) attributes {
	a.uid, a.gid, a.xattrs = m.UID(a.uid), m.GID(a.gid), m.Attributes(a.xattrs)
	return a
}

// differs names what a has otherwise than the vendor's v, "" when nothing.
func (a attributes) differs(v attributes) string {
	var words []string
	if a.mode != v.mode {
		words = append(words, fmt.Sprintf("mode %04o, the vendor's %04o", a.mode, v.mode))
	}
	if a.uid != v.uid || a.gid != v.gid {
		words = append(words, fmt.Sprintf("owner %d:%d, the vendor's %d:%d", a.uid, a.gid, v.uid, v.gid))
	}
	if !maps.Equal(a.xattrs, v.xattrs) {
		words = append(words, "other extended attributes than the vendor's")
	}
	return strings.Join(words, "; ")
}

// ignored reports attributes that are never compared or carried. EVM's is an
// HMAC over the inode with a key of this machine's kernel, written by it alone.
func ignored(name string, labels bool) bool {
	return name == "security.evm" || name == label && !labels
}

// procPath names an entry of an open directory for the calls that have no
// form with a directory descriptor. Only its last component is name, and the
// l-calls do not follow that.
func procPath(dir *os.File, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
}

// xattrs reads the extended attributes of name. A file system without them
// has none.
func xattrs(dir *os.File, name string, labels bool) (map[string]string, error) {
	path := procPath(dir, name)
	list, err := grow(func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) })
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOENT) || len(list) == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "listxattr", Path: escape(name), Err: err}
	}
	var out map[string]string
	for key := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if ignored(key, labels) {
			continue
		}
		value, err := grow(func(buf []byte) (int, error) { return unix.Lgetxattr(path, key, buf) })
		if errors.Is(err, unix.ENODATA) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, &os.PathError{Op: "getxattr " + key, Path: escape(name), Err: err}
		}
		if out == nil {
			out = make(map[string]string)
		}
		out[key] = string(value)
	}
	return out, nil
}

// grow calls read with a larger buffer when the answer does not fit. The
// kernel's limit is 64 KiB (XATTR_SIZE_MAX, XATTR_LIST_MAX).
func grow(read func([]byte) (int, error)) ([]byte, error) {
	var small [512]byte
	n, err := read(small[:])
	if err == nil {
		return small[:n:n], nil
	}
	if !errors.Is(err, unix.ERANGE) {
		return nil, err
	}
	large := make([]byte, 64<<10)
	n, err = read(large)
	return large[:max(n, 0)], err
}
