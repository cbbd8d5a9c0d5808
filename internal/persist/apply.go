package persist

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// staged is the name under which a file is made before it takes its place.
// A killed merge leaves it behind as a leftover, which no merge carries on.
const staged = ".staged" + Suffix

// applier writes a plan into target.
type applier struct {
	mine, theirs, target *tree
	labels               bool
	buf                  []byte
	links                map[inode]Change // carried files that have more names
}

// Apply carries the plan out on the /etc directory target, which holds what
// theirs held, or what an earlier Apply of this plan made of it; it may be
// theirs itself if it is applied once. A canceled context ends it between
// two files; each file is replaced whole or not at all. What the running
// system removed since the comparison is left out. Time of modification goes
// with a carried file. Nothing is synced.
func (p Plan) Apply(ctx context.Context, target string) error {
	a := applier{labels: p.labels, buf: make([]byte, chunk), links: make(map[inode]Change)}
	for _, open := range []struct {
		tree **tree
		dir  string
	}{{&a.mine, p.mine}, {&a.theirs, p.theirs}, {&a.target, target}} {
		t, err := openTree(open.dir)
		if err != nil {
			return err
		}
		defer t.close()
		*open.tree = t
	}
	for _, c := range p.Changes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := a.apply(c); err != nil {
			return fmt.Errorf("%s %s: %w", c.Op, escape(c.Path), err)
		}
	}
	return nil
}

func (a *applier) apply(c Change) error {
	if c.Op == Vendor {
		return nil
	}
	dst, name, err := a.target.parent(c.Path)
	if err != nil {
		return err
	}
	defer dst.Close()
	if c.Beside != "" {
		if err := a.layBeside(c, dst); err != nil {
			return err
		}
	}
	switch c.Op {
	case Carry:
		return a.carry(c, dst, name)
	case Rebase:
		return a.write(c, dst, name)
	case Attributes:
		return a.reattribute(c, dst, name)
	}
	return removeAll(dst, name)
}

// layBeside copies the vendor's version, with all beneath it, before what is
// in its place goes.
func (a *applier) layBeside(c Change, dst *os.File) error {
	src, name, err := a.theirs.parent(c.Path)
	if err != nil {
		return err
	}
	defer src.Close()
	vendor := beside(name)
	if err := removeAll(dst, vendor); err != nil {
		return err
	}
	return a.copyInert(src, name, dst, vendor)
}

// copyInert copies a file, or a directory with all beneath it, so that nothing
// of the copy can be run.
func (a *applier) copyInert(src *os.File, name string, dst *os.File, dstName string) error {
	n, err := lstat(src, name, a.labels)
	if err != nil || n == nil {
		return err
	}
	if err := a.put(source{src, name, n}, dst, dstName, n.attrs.inert(n.kind)); err != nil || !n.isDir() {
		return err
	}
	from, err := openDir(src, name)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := openDir(dst, dstName)
	if err != nil {
		return err
	}
	defer to.Close()
	names, err := from.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, child := range names {
		if err := a.copyInert(from, child, to, child); err != nil {
			return err
		}
	}
	return nil
}

// carry puts mine's file in its place; further names of one file are linked.
func (a *applier) carry(c Change, dst *os.File, name string) error {
	if c.node.kind == unix.S_IFREG && c.node.nlink > 1 {
		first, ok := a.links[c.node.file]
		if ok && first.attrs.equal(c.attrs) {
			return a.link(first.Path, dst, name)
		}
		a.links[c.node.file] = c
	}
	if c.node.isDir() {
		return a.putDir(dst, name, c.attrs)
	}
	src, _, err := a.mine.parent(c.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed since, with its directory
	}
	if err != nil {
		return err
	}
	defer src.Close()
	return a.put(source{src, name, c.node}, dst, name, c.attrs)
}

func (a *applier) link(first string, dst *os.File, name string) error {
	dir, firstName, err := a.target.parent(first)
	if err != nil {
		return err
	}
	defer dir.Close()
	return place(dst, name, func() error {
		return unix.Linkat(int(dir.Fd()), firstName, int(dst.Fd()), staged, 0)
	})
}

// reattribute gives the vendor's file other attributes. One with more names
// is replaced: the others keep what the vendor gave them.
func (a *applier) reattribute(c Change, dst *os.File, name string) error {
	n, err := lstat(dst, name, a.labels)
	if err != nil {
		return err
	}
	if n == nil {
		return fs.ErrNotExist
	}
	if n.kind == unix.S_IFREG && n.nlink > 1 {
		return a.put(source{dst, name, n}, dst, name, c.attrs)
	}
	return a.setAttributes(dst, name, n.kind, c.attrs)
}

// source is a file to copy.
type source struct {
	dir  *os.File
	name string
	node *node
}

// put makes name in dst a copy of s with the given attributes.
func (a *applier) put(s source, dst *os.File, name string, attrs attributes) error {
	if s.node.isDir() {
		return a.putDir(dst, name, attrs)
	}
	err := place(dst, name, func() error { return a.stage(s, dst, attrs) })
	if errors.Is(err, errVanished) {
		return nil
	}
	return err
}

func (a *applier) putDir(dst *os.File, name string, attrs attributes) error {
	old, err := lstat(dst, name, a.labels)
	if err != nil {
		return err
	}
	if !old.isDir() {
		if err := removeAll(dst, name); err != nil {
			return err
		}
		if err := unix.Mkdirat(int(dst.Fd()), name, 0o700); err != nil {
			return &os.PathError{Op: "mkdir", Path: escape(name), Err: err}
		}
	}
	return a.setAttributes(dst, name, unix.S_IFDIR, attrs)
}

// place makes a file under the staged name and moves it to name.
func place(dst *os.File, name string, stage func() error) error {
	fd := int(dst.Fd())
	if err := removeAll(dst, staged); err != nil {
		return err
	}
	err := stage()
	if err == nil {
		err = unix.Renameat(fd, staged, fd, name)
		if errors.Is(err, unix.EISDIR) { // rename(2) puts no file in the place of a directory
			if err = removeAll(dst, name); err == nil {
				err = unix.Renameat(fd, staged, fd, name)
			}
		}
	}
	// rename(2) does nothing when both names are links to one file.
	return errors.Join(err, removeAll(dst, staged))
}

// errVanished says that the running system removed a file meanwhile.
var errVanished = errors.New("removed meanwhile")

// stage makes a copy of s under the staged name.
func (a *applier) stage(s source, dst *os.File, attrs attributes) error {
	fd := int(dst.Fd())
	var err error
	switch s.node.kind {
	case unix.S_IFREG:
		err = a.stageRegular(s, dst)
	case unix.S_IFLNK:
		err = unix.Symlinkat(s.node.target, fd, staged)
	default:
		err = unix.Mknodat(fd, staged, s.node.kind|0o600, int(s.node.rdev))
	}
	if err != nil {
		return err
	}
	if err := a.setAttributes(dst, staged, s.node.kind, attrs); err != nil {
		return err
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, s.node.mtime}
	return unix.UtimesNanoAt(fd, staged, times, unix.AT_SYMLINK_NOFOLLOW)
}

func (a *applier) stageRegular(s source, dst *os.File) error {
	in, err := openRegular(s.dir, s.name, s.node)
	if errors.Is(err, fs.ErrNotExist) {
		return errVanished
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := openat(dst, staged, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(copyFile(out, in, a.buf), out.Close())
}

// setAttributes makes name's attributes exactly these. The order matters:
// chown(2) clears set-id bits and capabilities, and an access list holds the
// group's bits of the mode.
func (a *applier) setAttributes(dir *os.File, name string, kind uint32, attrs attributes) error {
	if err := unix.Fchownat(int(dir.Fd()), name, int(attrs.uid), int(attrs.gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "chown", Path: escape(name), Err: err}
	}
	old, err := xattrs(dir, name, a.labels)
	if err != nil {
		return err
	}
	path := procPath(dir, name)
	for key := range old { // of the file before, or inherited from the directory's default list
		if _, ok := attrs.xattrs[key]; ok {
			continue
		}
		if err := unix.Lremovexattr(path, key); err != nil && !errors.Is(err, unix.ENODATA) {
			return &os.PathError{Op: "removexattr " + key, Path: escape(name), Err: err}
		}
	}
	if kind != unix.S_IFLNK {
		if err := chmod(dir, name, attrs.mode); err != nil {
			return &os.PathError{Op: "chmod", Path: escape(name), Err: err}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(attrs.xattrs)) {
		if err := unix.Lsetxattr(path, key, []byte(attrs.xattrs[key]), 0); err != nil {
			return &os.PathError{Op: "setxattr " + key, Path: escape(name), Err: err}
		}
	}
	return nil
}

// chmod changes the mode of name without following it: fchmodat(2) always
// follows, the descriptor's own path does not.
func chmod(dir *os.File, name string, mode uint32) error {
	f, err := openat(dir, name, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), mode)
}
