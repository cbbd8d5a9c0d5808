package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"imgbase/internal/mount"
	"imgbase/internal/run"
)

// Tools works on file systems through their own programs. Runner starts
// them; Mounter is used for XFS only.
type Tools struct {
	Runner  run.Runner
	Mounter mount.Mounter
}

// Check looks for damage and changes nothing. The device must not be mounted.
// The error is [ErrDamaged] when there is any.
func (t Tools) Check(ctx context.Context, dev, typ string) error {
	if err := Supported(typ); err != nil {
		return fmt.Errorf("check %s: %w", dev, err)
	}
	if typ == XFS {
		// 1 is damage, 2 a log that was not replayed (xfs_repair(8)).
		return t.check(ctx, dev, []int{1, 2}, run.Cmd{Name: "xfs_repair", Args: []string{"-n", dev}})
	}
	// 4 is damage left as it is, 12 the same with something that could not
	// be looked at (e2fsck(8)).
	return t.check(ctx, dev, []int{4, 12}, run.Cmd{Name: "e2fsck", Args: []string{"-f", "-n", dev}})
}

func (t Tools) check(ctx context.Context, dev string, damaged []int, c run.Cmd) error {
	_, err := t.Runner.Run(ctx, c)
	if err == nil {
		return nil
	}
	if slices.Contains(damaged, exitCode(err)) {
		return fmt.Errorf("check %s: %w: %w", dev, ErrDamaged, err)
	}
	return fmt.Errorf("check %s: %w", dev, err)
}

// NewUUID gives the file system on dev, which must not be mounted, a random
// UUID. Damage that e2fsck can repair by itself is repaired on the way.
func (t Tools) NewUUID(ctx context.Context, dev, typ string) error {
	if err := t.newUUID(ctx, dev, typ); err != nil {
		return fmt.Errorf("new UUID for %s: %w", dev, err)
	}
	return nil
}

func (t Tools) newUUID(ctx context.Context, dev, typ string) error {
	if err := Supported(typ); err != nil {
		return err
	}
	if typ == XFS {
		// xfs_admin refuses a log that was not replayed, and only the
		// kernel replays it.
		if err := t.mounted(ctx, dev, func(string) error { return nil }); err != nil {
			return err
		}
		return t.run(ctx, "xfs_admin", "-U", "generate", dev)
	}
	// Where the UUID is part of every checksum, tune2fs wants a file system
	// that was just checked.
	if err := t.repair(ctx, dev); err != nil {
		return err
	}
	return t.run(ctx, "tune2fs", "-U", "random", dev)
}

// Grow makes the file system on dev, which must not be mounted, as large as
// dev. It starts nothing when it is already.
func (t Tools) Grow(ctx context.Context, dev, typ string) error {
	if err := t.grow(ctx, dev, typ); err != nil {
		return fmt.Errorf("grow %s: %w", dev, err)
	}
	return nil
}

func (t Tools) grow(ctx context.Context, dev, typ string) error {
	if err := Supported(typ); err != nil {
		return err
	}
	super, size, err := onDevice(dev)
	switch {
	case err != nil:
		return err
	case super.Type != typ:
		return fmt.Errorf("holds %s, not %s: %w", super.Type, typ, ErrUnsupported)
	case super.Size > size:
		return fmt.Errorf("%w: %d bytes on a device of %d", ErrDamaged, super.Size, size)
	case size-super.Size < super.BlockSize:
		return nil
	}
	if typ == XFS {
		return t.mounted(ctx, dev, func(dir string) error { return t.run(ctx, "xfs_growfs", "-d", dir) })
	}
	// resize2fs refuses what was mounted since its last check.
	if !super.Clean || !super.Checked {
		if err := t.repair(ctx, dev); err != nil {
			return err
		}
	}
	return t.run(ctx, "resize2fs", dev)
}

// onDevice identifies the file system on dev; size is that of dev in bytes.
func onDevice(dev string) (s Super, size int64, err error) {
	f, err := os.Open(dev)
	if err != nil {
		return Super{}, 0, err
	}
	defer f.Close()
	if size, err = f.Seek(0, io.SeekEnd); err != nil {
		return Super{}, 0, err
	}
	s, err = Identify(f)
	return s, size, err
}

// repair runs e2fsck; its code 1 says that all damage was repaired.
func (t Tools) repair(ctx context.Context, dev string) error {
	err := t.run(ctx, "e2fsck", "-f", "-y", dev)
	switch code := exitCode(err); {
	case err == nil || code == 1:
		return nil
	case code > 0 && code&4 != 0:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// mounted calls do with the directory where the XFS on dev is mounted.
func (t Tools) mounted(ctx context.Context, dev string, do func(dir string) error) error {
	// nouuid: what it is a copy of may be mounted.
	m, err := t.Mounter.Mount(ctx, mount.Spec{Source: dev, FSType: XFS, Options: []string{"nouuid"}})
	if err != nil {
		return err
	}
	return errors.Join(do(m.Dir()), m.Close())
}

func (t Tools) run(ctx context.Context, name string, args ...string) error {
	_, err := t.Runner.Run(ctx, run.Cmd{Name: name, Args: args})
	return err
}

// exitCode is that of a program that ended by itself, else -1.
func exitCode(err error) int {
	if e, ok := errors.AsType[*run.Error](err); ok {
		return e.Code
	}
	return -1
}
