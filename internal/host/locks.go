package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"imgbase/internal/carry"
	"imgbase/internal/packages"
	"imgbase/internal/rootfs"
)

// lockLists are the lists of packages whose version stays: that of dnf's plug-in
// (Enterprise Linux 8 and later) and that of yum's (7).
var lockLists = [...]string{"etc/dnf/plugins/versionlock.list", "etc/yum/pluginconf.d/versionlock.list"}

// isLockList says it of a path below /etc.
func isLockList(rel string) bool { return slices.Contains(lockLists[:], "etc/"+rel) }

// lockVersions locks the packages of the image in the layer mounted at dir, so
// that nobody replaces by accident what the next image brings. Those that were
// added to it stay their owner's to update. A list that nobody can divide into
// his lines and ours is left as it is.
func (b *build) lockVersions(ctx context.Context, dir string) error {
	lists, err := findLockLists(dir)
	if err != nil || len(lists) == 0 {
		return err
	}
	locked, err := b.imagePackages(ctx, dir)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		b.c.note("version locks are as they were: %v", err)
		return nil
	}
	for _, name := range lists {
		if err := lockIn(dir, name, locked); errors.Is(err, errLocks) {
			b.c.note("/%s stays as it is: %v", name, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// findLockLists are the lists of a tree, each once: yum's directories may be
// links to dnf's. One whose plug-in is there counts although it is not.
func findLockLists(dir string) (lists []string, err error) {
	for _, name := range lockLists {
		list, err := within(dir, name)
		if err != nil {
			return nil, err
		}
		plugin, err := within(dir, strings.TrimSuffix(name, ".list")+".conf")
		if err != nil {
			return nil, err
		}
		if !list && !plugin {
			continue
		}
		path, err := rootfs.Resolve(dir, name)
		if err != nil {
			return nil, err
		}
		if name, err = filepath.Rel(dir, path); err != nil {
			return nil, err
		}
		if !slices.Contains(lists, name) {
			lists = append(lists, name)
		}
	}
	return lists, nil
}

var errLocks = errors.New("version locks")

// lockIn renews our block of a list, which nobody uses yet.
func lockIn(dir, name string, locked []packages.Package) error {
	list, err := rootfs.ReadFile(dir, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errLocks, err)
	}
	now, err := packages.LockVersions(list, locked)
	if err != nil {
		return fmt.Errorf("%w: %w", errLocks, err)
	}
	if bytes.Equal(now, list) {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, name), now, 0o644)
}

// imagePackages are the packages in a layer that its image brought.
func (b *build) imagePackages(ctx context.Context, dir string) ([]packages.Package, error) {
	installed, _, err := b.h.packagesOf(ctx, dir)
	if err != nil || b.c.Packages == nil {
		return installed, err
	}
	added := b.c.Packages.Of(packages.Install)
	return slices.DeleteFunc(installed, func(p packages.Package) bool {
		return slices.ContainsFunc(added, func(k packages.Kept) bool { return filepath.Base(k.File) == p.FileName() })
	}), nil
}

// lockedByUs are the lists, relative to /etc, that nobody but us changed since
// base: what differs is our block.
func (h *Host) lockedByUs(base string) (names []string) {
	for _, name := range lockLists {
		now, mine, err := plainFile(h.Root, name)
		if err != nil {
			continue // none, or the administrator moved it
		}
		was, theirs, err := plainFile(base, name)
		if errors.Is(err, fs.ErrNotExist) {
			was, err = now, nil // it is ours, if nothing else is in it
		}
		if err != nil || now.Mode != was.Mode || now.Uid != was.Uid || now.Gid != was.Gid {
			continue
		}
		mine, err = packages.LockVersions(mine, nil)
		if err != nil {
			continue
		}
		if theirs, err = packages.LockVersions(theirs, nil); err == nil && bytes.Equal(mine, theirs) {
			names = append(names, strings.TrimPrefix(name, "etc/"))
		}
	}
	return names
}

// mergeLines merges a file by lines. Our block of version locks is the layer's,
// whoever changed it.
func mergeLines(base, mine, theirs []byte) ([]byte, bool) {
	return packages.MergeLocks(base, mine, theirs, carry.Merge3)
}
