package varmerge

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// stage makes what a change brings, complete, in the staging directory beside
// the place where it is to appear.
func (a *applier) stage(c Change) error {
	if c.Op == Sweep {
		return a.sweep(c.Path)
	}
	rel, name := path.Split(c.Path)
	rel = path.Clean(rel)
	dst, err := a.parent(rel)
	if err != nil {
		return err
	}
	defer dst.Close()
	in, err := a.stagingIn(dst, rel)
	if err != nil {
		return err
	}
	defer in.Close()
	src, err := a.image.dir(rel)
	if err != nil {
		return err
	}
	defer src.Close()
	return a.copy(item{
		src: src, dst: in, name: name, rel: c.Path, at: join(join(rel, Staging), name),
		dev: a.staging[rel].dev, alone: c.Op == Beside,
	})
}

func (a *applier) sweep(rel string) error {
	dir, err := a.parent(path.Dir(rel))
	if err != nil {
		return err
	}
	defer dir.Close()
	return a.removeAll(dir, Staging, rel)
}

// stagingIn opens the staging directory in dst, which is at rel, and makes it
// first. Nobody but root looks into it: what is in it has not its owner and
// mode yet.
func (a *applier) stagingIn(dst *os.File, rel string) (*os.File, error) {
	_, made := a.staging[rel]
	if !made {
		err := a.do("mkdir", join(rel, Staging), func() error { return unix.Mkdirat(int(dst.Fd()), Staging, 0o700) })
		if err != nil {
			return nil, err
		}
	}
	dir, err := openDir(dst, Staging)
	if err != nil {
		return nil, err
	}
	n, err := lstat(dir, ".")
	if err == nil && made && n.file != a.staging[rel] {
		err = fmt.Errorf("%s: not the directory that was made", escape(join(rel, Staging)))
	}
	if err == nil && a.disks[n.file.dev] == nil {
		a.disks[n.file.dev], err = openDir(dst, ".")
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	a.staging[rel] = n.file
	return dir, nil
}

// item is one name of the image on its way into a staging directory.
type item struct {
	src, dst *os.File
	name     string // in both
	rel      string // of the image
	at       string // of the host, where it is made
	dev      uint64 // the host's file system
	alone    bool   // it never becomes a further name of another file
}

// copy makes it.name, with all beneath it, complete in content and
// attributes.
func (a *applier) copy(it item) error {
	n, err := lstat(it.src, it.name)
	if err != nil {
		return err
	}
	if n == nil {
		return &os.PathError{Op: "lstat", Path: escape(it.rel), Err: unix.ENOENT}
	}
	key := anchorKey{n.file, it.dev}
	shared := n.kind == unix.S_IFREG && n.nlink > 1 && !it.alone
	if shared {
		if linked, err := a.link(a.anchors[key], it); err != nil || linked {
			return err
		}
	}
	if err := a.make(it, n); err != nil {
		return err
	}
	if shared {
		made, err := lstat(it.dst, it.name)
		if err != nil || made == nil {
			return errors.Join(err, errLeft)
		}
		a.anchors[key] = anchor{it.at, made.file}
	}
	attrs, err := n.attributes(it.src, it.name, a.plan.options.Rules.Labels)
	if err != nil {
		return err
	}
	return a.dress(it, n, attrs.translated(a.plan.options.Owners))
}

// make makes it.name with its content.
func (a *applier) make(it item, n *node) error {
	fd := int(it.dst.Fd())
	switch n.kind {
	case unix.S_IFDIR:
		if err := a.do("mkdir", it.at, func() error { return unix.Mkdirat(fd, it.name, 0o700) }); err != nil {
			return err
		}
		return a.fill(it)
	case unix.S_IFREG:
		return a.regular(it, n)
	case unix.S_IFLNK:
		return a.do("symlink", it.at, func() error { return unix.Symlinkat(n.target, fd, it.name) })
	}
	return a.do("mknod", it.at, func() error { return unix.Mknodat(fd, it.name, n.kind|0o600, int(n.rdev)) })
}

// fill makes what is in a directory.
func (a *applier) fill(it item) error {
	src, err := openDir(it.src, it.name)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := openDir(it.dst, it.name)
	if err != nil {
		return err
	}
	defer dst.Close()
	names, err := src.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		below := item{src, dst, name, join(it.rel, name), join(it.at, name), it.dev, it.alone}
		n, err := lstat(src, name)
		if err != nil {
			return err
		}
		if n == nil || a.plan.options.Rules.skips(below.rel, n) {
			continue
		}
		if err := a.copy(below); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) regular(it item, n *node) error {
	in, err := openRegular(it.src, it.name, n)
	if err != nil {
		return err
	}
	defer in.Close()
	var out *os.File
	err = a.do("create", it.at, func() (err error) {
		out, err = openat(it.dst, it.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	err = a.do("write", it.at, func() error { return copyFile(out, in, a.buf) })
	return errors.Join(err, out.Close())
}

// link makes it.name a further name of the file at to, if that can be.
func (a *applier) link(to anchor, it item) (bool, error) {
	if to.rel == "" {
		return false, nil
	}
	dir, err := a.host.dir(path.Dir(to.rel))
	if err != nil {
		return false, nil // moved away: a copy is as good
	}
	defer dir.Close()
	name := path.Base(to.rel)
	if n, err := lstat(dir, name); err != nil || n == nil || n.file != to.file {
		return false, err
	}
	err = a.do("link", it.at, func() error {
		return unix.Linkat(int(dir.Fd()), name, int(it.dst.Fd()), it.name, 0)
	})
	if errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// dress gives it.name its attributes and time of modification. The order
// matters: chown(2) clears set-id bits and capabilities, and an access list
// holds the group's bits of the mode.
func (a *applier) dress(it item, n *node, attrs attributes) error {
	inherited, err := xattrs(it.dst, it.name, a.plan.options.Rules.Labels)
	if err != nil {
		return err
	}
	fd, path := int(it.dst.Fd()), procPath(it.dst, it.name)
	return a.do("attributes", it.at, func() error {
		if err := unix.Fchownat(fd, it.name, int(attrs.uid), int(attrs.gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("owner: %w", err)
		}
		for key := range inherited { // from the directory's default list
			if _, ok := attrs.xattrs[key]; ok {
				continue
			}
			if err := unix.Lremovexattr(path, key); err != nil && !errors.Is(err, unix.ENODATA) {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		if n.kind != unix.S_IFLNK {
			if err := chmod(it.dst, it.name, attrs.mode); err != nil {
				return fmt.Errorf("mode: %w", err)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(attrs.xattrs)) {
			if err := unix.Lsetxattr(path, key, []byte(attrs.xattrs[key]), 0); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, n.mtime}
		return unix.UtimesNanoAt(fd, it.name, times, unix.AT_SYMLINK_NOFOLLOW)
	})
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
