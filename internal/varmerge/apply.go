package varmerge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// applier carries a plan out: first everything new is staged, then it is
// synced, then every path is changed.
type applier struct {
	plan        Plan
	image, host *tree
	anchors     map[anchorKey]anchor
	staging     map[string]inode    // staging directories, by the directory they are in
	disks       map[uint64]*os.File // a directory of each file system that was written
	buf         []byte

	// before is called ahead of every effect on the host's tree; its error
	// takes the effect's place. Nil outside tests.
	before func(effect, rel string) error
}

// Apply carries the plan out on the host's /var, and has it on the disk when
// it returns. The changes it gives back were left out because their place was
// no longer as it was when the plan was made; comparing again decides them
// anew. A canceled context ends it as long as nothing has changed but the
// staging directories, which it removes, as every error does.
func (p Plan) Apply(ctx context.Context) ([]Change, error) {
	return p.applier().apply(ctx)
}

func (p Plan) applier() *applier {
	return &applier{
		plan: p, anchors: maps.Clone(p.anchors), buf: make([]byte, chunk),
		staging: make(map[string]inode), disks: make(map[uint64]*os.File),
	}
}

func (a *applier) apply(ctx context.Context) (left []Change, err error) {
	var staged []Change
	for _, c := range a.plan.Changes {
		if c.Op != Keep {
			staged = append(staged, c)
		}
	}
	if len(staged) == 0 {
		return nil, nil
	}
	if a.image, err = openTree(a.plan.imageDir); err != nil {
		return nil, err
	}
	defer a.image.close()
	if a.host, err = openTree(a.plan.hostDir); err != nil {
		return nil, err
	}
	defer a.host.close()
	defer func() {
		for _, f := range a.disks {
			f.Close()
		}
	}()
	staged, left, err = a.each(staged, func(c Change) error {
		return errors.Join(ctx.Err(), a.stage(c))
	})
	if err == nil {
		err = a.sync()
	}
	if err == nil {
		var more []Change
		_, more, err = a.each(staged, a.publish)
		left = append(left, more...)
	}
	// What was renamed is made durable although something failed after it.
	return left, errors.Join(err, a.clear(), a.sync())
}

// errLeft says that a place is not as the plan found it.
var errLeft = errors.New("not as planned any more")

// each does step for every change, and tells those apart that were left.
func (a *applier) each(changes []Change, step func(Change) error) (done, left []Change, err error) {
	for _, c := range changes {
		err := step(c)
		if errors.Is(err, errLeft) {
			left = append(left, c)
			continue
		}
		if err != nil {
			return done, left, fmt.Errorf("%s %s: %w", c.Op, escape(c.Path), err)
		}
		done = append(done, c)
	}
	return done, left, nil
}

// do makes one effect on the host's tree.
func (a *applier) do(effect, rel string, f func() error) error {
	if a.before != nil {
		if err := a.before(effect, rel); err != nil {
			return err
		}
	}
	if err := retry(f); err != nil {
		return &os.PathError{Op: effect, Path: escape(rel), Err: err}
	}
	return nil
}

// sync brings what was written so far to the disk.
func (a *applier) sync() error {
	for _, dev := range slices.Sorted(maps.Keys(a.disks)) {
		f := a.disks[dev]
		if err := a.do("sync", f.Name(), func() error { return unix.Syncfs(int(f.Fd())) }); err != nil {
			return err
		}
	}
	return nil
}

// publish lets a staged file appear.
func (a *applier) publish(c Change) error {
	if c.Op == Sweep {
		return nil
	}
	rel, name := path.Split(c.Path)
	rel = path.Clean(rel)
	dst, err := a.parent(rel)
	if err != nil {
		return err
	}
	defer dst.Close()
	src, err := openDir(dst, Staging)
	if err != nil {
		return left(err)
	}
	defer src.Close()
	// Whoever owns the directory could have put another in its place.
	if n, err := lstat(src, "."); err != nil || n.file != a.staging[rel] {
		return errors.Join(err, errLeft)
	}
	switch c.Op {
	case Add:
		return a.appear(move{src, name, dst, name, c.Path}, unix.RENAME_NOREPLACE)
	case Beside:
		return a.appear(move{src, name, dst, path.Base(c.Beside), c.Beside}, 0)
	}
	return a.replace(c, src, dst)
}

// replace keeps what the host has and puts the staged file in its place. What
// is no directory gets its second name first, so that its path always leads
// to the one or the other.
func (a *applier) replace(c Change, src, dst *os.File) error {
	name, old := path.Base(c.Path), path.Base(c.Beside)
	now, err := lstat(dst, name)
	if err != nil {
		return err
	}
	if now == nil || now.file != c.had.file || now.kind != c.had.kind || now.size != c.had.size || now.mtime != c.had.mtime {
		return errLeft
	}
	staged := move{src, name, dst, name, c.Path}
	if now.isDir() {
		if err := a.appear(move{dst, name, dst, old, c.Beside}, unix.RENAME_NOREPLACE); err != nil {
			return err
		}
		return a.appear(staged, unix.RENAME_NOREPLACE)
	}
	if !c.saved {
		err := a.do("link", c.Beside, func() error {
			return unix.Linkat(int(dst.Fd()), name, int(dst.Fd()), old, 0)
		})
		if err != nil {
			return left(err)
		}
	}
	if c.dir { // rename(2) puts no directory in the place of a file
		return a.appear(staged, unix.RENAME_EXCHANGE)
	}
	return a.appear(staged, 0)
}

// move is a rename below two open directories. Rel is the path it leads to.
type move struct {
	src  *os.File
	name string
	dst  *os.File
	to   string
	rel  string
}

func (a *applier) appear(m move, flags uint) error {
	err := a.do("rename", m.rel, func() error {
		return unix.Renameat2(int(m.src.Fd()), m.name, int(m.dst.Fd()), m.to, flags)
	})
	return left(err)
}

// left tells an error that comes from a place that changed since.
func left(err error) error {
	for _, gone := range []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EEXIST, unix.EISDIR, unix.ENOTEMPTY} {
		if errors.Is(err, gone) {
			return fmt.Errorf("%w: %w", errLeft, err)
		}
	}
	return err
}

// parent opens a directory of the host that the plan found there.
func (a *applier) parent(rel string) (*os.File, error) {
	dir, err := a.host.dir(rel)
	return dir, left(err)
}

// clear removes the staging directories with what is left in them.
func (a *applier) clear() (err error) {
	for _, rel := range slices.Sorted(maps.Keys(a.staging)) {
		dir, opening := a.host.dir(rel)
		if opening != nil {
			continue // moved away: the next merge finds it, if one ever comes there
		}
		err = errors.Join(err, a.removeAll(dir, Staging, join(rel, Staging)))
		dir.Close()
	}
	return err
}

// removeAll removes name, at rel, from dir with all beneath it. A missing
// name is no error.
func (a *applier) removeAll(dir *os.File, name, rel string) error {
	n, err := lstat(dir, name)
	if err != nil || n == nil {
		return err
	}
	if !n.isDir() {
		return a.do("remove", rel, func() error { return unix.Unlinkat(int(dir.Fd()), name, 0) })
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
	for _, name := range names {
		if err := a.removeAll(sub, name, join(rel, name)); err != nil {
			return err
		}
	}
	return a.do("remove", rel, func() error { return unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR) })
}
