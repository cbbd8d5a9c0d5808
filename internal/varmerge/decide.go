package varmerge

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// add brings what the host does not have.
func (c *comparer) add(p *place, rel string, i *node) error {
	change := Change{Path: rel, Op: Add, Why: "missing"}
	if err := c.arrives(&change, p, i); err != nil {
		return err
	}
	if change.Files > 1 {
		change.Why = fmt.Sprintf("missing, with %d more in it", change.Files-1)
	}
	return c.effect(p, change)
}

// arrives notes what the image's i brings.
func (c *comparer) arrives(change *Change, p *place, i *node) (err error) {
	change.dir = i.isDir()
	change.Files, change.Bytes, err = c.measure(p.image, change.Path, i, p.depth)
	return err
}

// effect takes a change into the plan, as a report if its directory forbids
// it.
func (c *comparer) effect(p *place, change Change) error {
	why, err := p.immovable()
	if err != nil {
		return err
	}
	if why != "" {
		change = Change{Path: change.Path, Op: Keep, Why: change.Why + ", but " + why, Conflict: true}
	}
	c.changes = append(c.changes, change)
	return nil
}

// directory decides an image's directory where the host has none.
func (c *comparer) directory(p *place, rel string, i, h *node) error {
	keep := Change{Path: rel, Op: Keep, Conflict: true}
	switch {
	case h.kind == unix.S_IFLNK:
		keep.Why = "a link where the vendor has a directory, through which nothing is merged"
	case !c.options.class(rel).owned():
		keep.Why = "no directory, as the vendor's is; nothing is merged in it"
	default:
		return c.replace(p, rel, i, h)
	}
	c.changes = append(c.changes, keep)
	return nil
}

// file decides an image's path that is no directory and that the host has.
func (c *comparer) file(p *place, rel string, i, h *node) error {
	class, linked := c.options.class(rel), i.kind == unix.S_IFREG && i.nlink > 1
	if !class.owned() && !linked {
		return nil
	}
	name := path.Base(rel)
	same, err := c.sameContent(side{p.image, name, i}, side{p.host, name, h})
	switch {
	case err != nil:
		return err
	case same && linked:
		if err := c.anchor(p, rel, i, h); err != nil {
			return err
		}
		return c.attributes(p, rel, i, h)
	case same:
		return c.attributes(p, rel, i, h)
	case !class.owned():
		return nil
	case class == NoReplace || class == Config && !c.options.untouched(rel):
		return c.beside(p, rel, i)
	}
	return c.replace(p, rel, i, h)
}

// anchor notes a name of the host to which other names of the same file can
// be linked.
func (c *comparer) anchor(p *place, rel string, i, h *node) error {
	key := anchorKey{i.file, p.dev}
	if _, ok := c.anchors[key]; ok {
		return nil
	}
	why, err := c.differs(p, path.Base(rel), i, h)
	if err == nil && why == "" {
		c.anchors[key] = anchor{rel, h.file}
	}
	return err
}

// replace puts the vendor's in the place of the host's, which is kept.
func (c *comparer) replace(p *place, rel string, i, h *node) error {
	name, suffix := path.Base(rel), BackupSuffix
	change := Change{Path: rel, Op: Replace, Why: "not as the vendor's package has it", had: *h}
	if i.kind == unix.S_IFLNK && h.kind == unix.S_IFLNK {
		suffix = LinkSuffix
		change.Why = "a link elsewhere than the vendor's"
	}
	why, err := fixed(p, name, h)
	if err != nil {
		return err
	}
	if why == "" {
		var old string
		old, change.saved, err = c.backup(p, name, suffix, h)
		if errors.Is(err, errFull) {
			why, err = errFull.Error(), nil
		}
		if err != nil {
			return err
		}
		change.Beside = join(p.rel, old)
	}
	if why != "" {
		c.changes = append(c.changes, Change{Path: rel, Op: Keep, Why: change.Why + ", but " + why, Conflict: true})
		return nil
	}
	if err := c.arrives(&change, p, i); err != nil {
		return err
	}
	return c.effect(p, change)
}

var errFull = fmt.Errorf("there are %d backups of it", maxBackups)

// backup is the first name beside the host's h that is free or that holds
// the same file already.
func (c *comparer) backup(p *place, name, suffix string, h *node) (old string, saved bool, err error) {
	for n := 1; n <= maxBackups; n++ {
		old = beside(name, suffix, n)
		b, err := lstat(p.host, old)
		if err != nil || b == nil {
			return old, false, err
		}
		if saved, err = c.sameFile(p.host, side{nil, old, b}, side{nil, name, h}); err != nil || saved {
			return old, saved, err
		}
	}
	return "", false, errFull
}

// sameFile reports whether two files of one directory are equal in content
// and attributes. Directories never are.
func (c *comparer) sameFile(dir *os.File, a, b side) (bool, error) {
	if a.node.file == b.node.file || a.node.isDir() || b.node.isDir() {
		return a.node.file == b.node.file, nil
	}
	a.dir, b.dir = dir, dir
	if same, err := c.sameContent(a, b); err != nil || !same {
		return false, err
	}
	x, err := a.node.attributes(dir, a.name, true)
	if err != nil {
		return false, err
	}
	y, err := b.node.attributes(dir, b.name, true)
	return x.mode == y.mode && x.uid == y.uid && x.gid == y.gid && maps.Equal(x.xattrs, y.xattrs), err
}

// beside lays the vendor's beside the host's. What lies there already is an
// earlier version of the vendor's.
func (c *comparer) beside(p *place, rel string, i *node) error {
	name := path.Base(rel)
	change := Change{Path: rel, Op: Beside, Why: "configuration of the host differs from the vendor's", Conflict: true}
	for n := 1; ; n++ {
		vendor := beside(name, VendorSuffix, n)
		change.Beside = join(p.rel, vendor)
		old, err := lstat(p.host, vendor)
		if err != nil {
			return err
		}
		if old.isDir() && n < maxBackups {
			continue
		}
		if old == nil {
			break
		}
		same, err := c.sameContent(side{p.image, name, i}, side{p.host, vendor, old})
		if err != nil {
			return err
		}
		if same || old.isDir() {
			change.Op = Keep
			c.changes = append(c.changes, change)
			return nil
		}
		break
	}
	if err := c.arrives(&change, p, i); err != nil {
		return err
	}
	return c.effect(p, change)
}

// side is a file to compare.
type side struct {
	dir  *os.File
	name string
	node *node
}

func (c *comparer) sameContent(a, b side) (bool, error) {
	switch {
	case a.node.kind != b.node.kind:
		return false, nil
	case a.node.kind == unix.S_IFLNK:
		return a.node.target == b.node.target, nil
	case a.node.kind != unix.S_IFREG:
		return a.node.rdev == b.node.rdev, nil
	case a.node.size != b.node.size:
		return false, nil
	case a.node.file == b.node.file:
		return true, nil
	}
	f, err := openRegular(a.dir, a.name, a.node)
	if err != nil {
		return false, err
	}
	defer f.Close()
	g, err := openRegular(b.dir, b.name, b.node)
	if err != nil {
		return false, err
	}
	defer g.Close()
	return sameBytes(f, g, a.node.size, c.buf)
}

// immovable says why nothing can be made in the host's directory.
func (p *place) immovable() (string, error) {
	if p.looked {
		return p.frozen, nil
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(p.host.Fd()), &fs); err != nil {
		return "", &os.PathError{Op: "statfs", Path: escape(p.rel), Err: err}
	}
	attrs, err := statx(p.host, "")
	switch {
	case err != nil:
		return "", err
	case fs.Flags&unix.ST_RDONLY != 0:
		p.frozen = "its file system is read-only"
	case attrs&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0:
		p.frozen = "its directory is immutable"
	}
	p.looked = true
	return p.frozen, nil
}

// fixed says why the host's h, called name, cannot be renamed.
func fixed(p *place, name string, h *node) (string, error) {
	attrs, err := statx(p.host, name)
	switch {
	case err != nil:
		return "", err
	case attrs&unix.STATX_ATTR_MOUNT_ROOT != 0 || h.file.dev != p.dev:
		return "it is a mount point", nil
	case attrs&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0:
		return "it is immutable", nil
	}
	return "", nil
}

// statx reads the attributes of chattr(1), and whether something is mounted
// there, of name in dir, or of dir itself when name is empty. A kernel before
// 5.8 does not tell of mounts.
func statx(dir *os.File, name string) (uint64, error) {
	var st unix.Statx_t
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	err := retry(func() error { return unix.Statx(int(dir.Fd()), name, flags, 0, &st) })
	if err != nil {
		return 0, &os.PathError{Op: "statx", Path: escape(name), Err: err}
	}
	return st.Attributes & st.Attributes_mask, nil
}
