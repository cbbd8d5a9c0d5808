package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"imgbase/internal/filesystem"
	"imgbase/internal/mount"
)

// liveimg implements [Source]: inner is a file in the squashfs mounted as
// outer, and the file system in it is mounted as root.
type liveimg struct {
	mounter mount.Mounter
	path    string
	inner   string // below the directory of outer
	outer   mount.Mount
	root    mount.Mount
	info    Info
}

// OpenLiveimg opens the liveimg at path. Close the source after use.
//
// The error is one of this package's, or [filesystem.ErrUnsupported] or
// [filesystem.ErrDamaged] for what the squashfs holds.
func OpenLiveimg(ctx context.Context, m mount.Mounter, path string) (Source, error) {
	l := &liveimg{mounter: m, path: path}
	if err := l.open(ctx); err != nil {
		return nil, fmt.Errorf("image %s: %w", path, errors.Join(err, l.Close()))
	}
	return l, nil
}

func (l *liveimg) open(ctx context.Context) error {
	if err := checkSquashfs(l.path); err != nil {
		return err
	}
	var err error
	if l.outer, err = l.mountOuter(ctx); err != nil {
		return err
	}
	if l.inner, err = findInner(l.outer.Dir()); err != nil {
		return err
	}
	super, err := checkInner(l.innerIn(l.outer))
	if err != nil {
		return fmt.Errorf("%s: %w", l.inner, err)
	}
	l.info = Info{Size: super.Size, Used: super.UsedBytes, FSType: super.Type}
	l.root, err = l.mounter.Mount(ctx, mount.Spec{Source: l.innerIn(l.outer), FSType: super.Type, ReadOnly: true})
	if errors.Is(err, unix.EROFS) {
		// A journal that waits to be replayed, which needs to write.
		return fmt.Errorf("%s: %w", l.inner, ErrNotClean)
	}
	if err != nil {
		return err
	}
	l.info.NVR, err = readNVR(l.root.Dir())
	return err
}

func (l *liveimg) Info() Info   { return l.info }
func (l *liveimg) Root() string { return l.root.Dir() }

// Close unmounts the inner file system before the outer.
func (l *liveimg) Close() error {
	var errs []error
	for _, m := range []mount.Mount{l.root, l.outer} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}

func (l *liveimg) mountOuter(ctx context.Context) (mount.Mount, error) {
	return l.mounter.Mount(ctx, mount.Spec{Source: l.path, FSType: filesystem.Squashfs, ReadOnly: true})
}

func (l *liveimg) innerIn(outer mount.Mount) string { return filepath.Join(outer.Dir(), l.inner) }

func checkSquashfs(path string) error {
	super, size, err := identify(path)
	switch {
	case err != nil:
		return err
	case super.Type != filesystem.Squashfs:
		return fmt.Errorf("%w: holds %s, not squashfs", ErrNotImage, super.Type)
	case size < super.Size:
		return truncated(size, super.Size)
	}
	return nil
}

func checkInner(path string) (filesystem.Super, error) {
	super, size, err := identify(path)
	if err == nil {
		err = filesystem.Supported(super.Type)
	}
	switch {
	case err != nil:
		return super, err
	case size < super.Size:
		return super, truncated(size, super.Size)
	case !super.Clean:
		return super, ErrNotClean
	}
	return super, nil
}

// identify looks at the regular file at path; size is its length in bytes.
func identify(path string) (super filesystem.Super, size int64, err error) {
	// Not blocking: a FIFO is refused, not waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return super, 0, cause(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return super, 0, cause(err)
	}
	if !info.Mode().IsRegular() {
		return super, 0, fmt.Errorf("%w: not a regular file (%s)", ErrNotImage, info.Mode())
	}
	super, err = filesystem.Identify(f)
	if errors.Is(err, filesystem.ErrUnknown) {
		err = fmt.Errorf("%w: %w", ErrNotImage, err)
	}
	return super, info.Size(), err
}

func truncated(have, want int64) error {
	return fmt.Errorf("%w: %d of %d bytes", ErrTruncated, have, want)
}

// findInner is the one regular file */*.img below dir. More than one is
// refused, because which of them is meant is anybody's guess.
func findInner(dir string) (string, error) {
	// The root keeps a link in the squashfs from leading out of it.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", cause(err)
	}
	defer root.Close()
	// Not fs.Glob: it takes a directory that cannot be read for an empty one.
	tops, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return "", err
	}
	var found []string
	for _, top := range tops {
		if !top.IsDir() || hidden(top) {
			continue
		}
		files, err := fs.ReadDir(root.FS(), top.Name())
		if err != nil {
			return "", err
		}
		for _, f := range files {
			if f.Type().IsRegular() && !hidden(f) && strings.HasSuffix(f.Name(), ".img") {
				found = append(found, filepath.Join(top.Name(), f.Name()))
			}
		}
	}
	return only(found)
}

// maxNamed bounds how many files an error names.
const maxNamed = 5

func only(found []string) (string, error) {
	slices.Sort(found)
	switch n := len(found); {
	case n == 0:
		return "", fmt.Errorf("%w: no file */*.img in it", ErrNotImage)
	case n > maxNamed:
		return "", fmt.Errorf("%w: %d files */*.img in it, the first %q", ErrNotImage, n, found[:maxNamed])
	case n > 1:
		return "", fmt.Errorf("%w: %d files */*.img in it: %q", ErrNotImage, n, found)
	}
	return found[0], nil
}

func hidden(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") }

// cause leaves out the path that the caller names already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
