package varmerge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// comparer walks the image's tree, and of the host's what lies at the same
// paths.
type comparer struct {
	options Options
	changes []Change
	anchors map[anchorKey]anchor
	buf     *[2][chunk]byte
}

// place is a directory that both trees have.
type place struct {
	rel         string
	image, host *os.File
	dev         uint64 // the host's file system
	depth       int
	looked      bool
	frozen      string // why nothing can be made in it, "" when it can
}

func (p *place) close() {
	p.image.Close()
	p.host.Close()
}

// attempts is how often a path of the live tree is looked at that changes
// meanwhile.
const attempts = 3

// errMoved says that a live file is no longer what it was a moment ago.
var errMoved = errors.New("changed meanwhile")

// Compare computes the merge of imageDir, an image's /var, into hostDir, the
// host's. It only reads. A pattern of the rules that cannot be read is
// [path.ErrBadPattern].
func Compare(ctx context.Context, imageDir, hostDir string, o Options) (Plan, error) {
	if err := o.Rules.check(); err != nil {
		return Plan{}, err
	}
	top := &place{rel: "."}
	for _, open := range []struct {
		f   **os.File
		dir string
	}{{&top.image, imageDir}, {&top.host, hostDir}} {
		t, err := openTree(open.dir)
		if err != nil {
			return Plan{}, err
		}
		defer t.close()
		*open.f = t.root
	}
	c := comparer{options: o, changes: []Change{}, anchors: make(map[anchorKey]anchor), buf: new([2][chunk]byte)}
	if err := c.top(ctx, top); err != nil {
		return Plan{}, fmt.Errorf("compare %s: %w", hostDir, err)
	}
	return Plan{c.changes, imageDir, hostDir, o, c.anchors}, nil
}

func (c *comparer) top(ctx context.Context, p *place) error {
	i, err := lstat(p.image, ".")
	if err != nil {
		return err
	}
	h, err := lstat(p.host, ".")
	if err != nil {
		return err
	}
	p.dev = h.file.dev
	if err := c.attributes(p, ".", i, h); err != nil {
		return err
	}
	return c.list(ctx, p)
}

// list merges what is in a directory.
func (c *comparer) list(ctx context.Context, p *place) error {
	if err := c.leftover(p); err != nil {
		return fmt.Errorf("%s: %w", escape(p.rel), err)
	}
	names, err := p.image.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("%s: %w", escape(p.rel), err)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		below, err := c.settled(p, name)
		if err != nil {
			return fmt.Errorf("%s: %w", escape(join(p.rel, name)), err)
		}
		if below == nil {
			continue
		}
		err = c.list(ctx, below)
		below.close()
		if err != nil {
			return err
		}
	}
	return nil
}

// leftover finds what a merge that was cut off had staged here.
func (c *comparer) leftover(p *place) error {
	n, err := lstat(p.host, Staging)
	if err != nil || n == nil {
		return err
	}
	return c.effect(p, Change{Path: join(p.rel, Staging), Op: Sweep, Why: "staged by a merge that was cut off"})
}

// settled is entry, again when the host's file changes while it is looked at.
func (c *comparer) settled(p *place, name string) (*place, error) {
	for n := 1; ; n++ {
		below, err := c.entry(p, name)
		moved := errors.Is(err, unix.ENOENT) || errors.Is(err, errMoved)
		if !moved || n == attempts {
			return below, err
		}
	}
}

// entry decides one name of the image. A directory that both have is
// returned, open.
func (c *comparer) entry(p *place, name string) (*place, error) {
	rel := join(p.rel, name)
	i, err := lstat(p.image, name)
	if err != nil || i == nil || c.options.Rules.skips(rel, i) {
		return nil, err
	}
	h, err := lstat(p.host, name)
	switch {
	case err != nil:
		return nil, err
	case h == nil:
		return nil, c.add(p, rel, i)
	case !i.isDir():
		return nil, c.file(p, rel, i, h)
	case !h.isDir():
		return nil, c.directory(p, rel, i, h)
	}
	if p.depth == maxDepth {
		return nil, errDepth
	}
	if err := c.attributes(p, rel, i, h); err != nil {
		return nil, err
	}
	return p.below(name, h)
}

var errDepth = fmt.Errorf("nested more than %d directories deep", maxDepth)

// below opens the directory name of both trees.
func (p *place) below(name string, h *node) (*place, error) {
	image, err := openDir(p.image, name)
	if err != nil {
		return nil, err
	}
	host, err := openDir(p.host, name)
	if err != nil {
		image.Close()
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			err = errMoved
		}
		return nil, err
	}
	return &place{rel: join(p.rel, name), image: image, host: host, dev: h.file.dev, depth: p.depth + 1}, nil
}

// attributes reports a packaged path whose attributes are not the vendor's.
// They stay: whether the administrator changed them, or the vendor did since,
// cannot be known.
func (c *comparer) attributes(p *place, rel string, i, h *node) error {
	if !c.options.class(rel).owned() {
		return nil
	}
	why, err := c.differs(p, path.Base(rel), i, h)
	if err == nil && why != "" {
		c.changes = append(c.changes, Change{Path: rel, Op: Keep, Why: why})
	}
	return err
}

func (c *comparer) differs(p *place, name string, i, h *node) (string, error) {
	vendor, err := i.attributes(p.image, name, c.options.Rules.Labels)
	if err != nil {
		return "", err
	}
	has, err := h.attributes(p.host, name, c.options.Rules.Labels)
	return has.differs(vendor.translated(c.options.Owners)), err
}

// measure counts what the image's i brings, and the room that it takes.
func (c *comparer) measure(dir *os.File, rel string, i *node, depth int) (files int, room int64, err error) {
	if !i.isDir() {
		return 1, i.room, nil
	}
	if depth >= maxDepth {
		return 0, 0, fmt.Errorf("%s: %w", escape(rel), errDepth)
	}
	in, err := openDir(dir, path.Base(rel))
	if err != nil {
		return 0, 0, err
	}
	defer in.Close()
	names, err := in.Readdirnames(-1)
	if err != nil {
		return 0, 0, err
	}
	files = 1
	for _, name := range names {
		n, err := lstat(in, name)
		if err != nil {
			return 0, 0, err
		}
		if n == nil || c.options.Rules.skips(join(rel, name), n) {
			continue
		}
		f, r, err := c.measure(in, join(rel, name), n, depth+1)
		if err != nil {
			return 0, 0, err
		}
		files, room = files+f, room+r
	}
	return files, room, nil
}
