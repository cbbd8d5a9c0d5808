package durable

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ioctls of linux/fs.h; the same number on every architecture.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// How often and how long Settle waits for somebody else's freeze to end.
const (
	frozenTries = 20
	frozenWait  = 50 * time.Millisecond
)

// Settle implements [Files]. It needs CAP_SYS_ADMIN where the file system can
// be frozen. Where it cannot (FAT, tmpfs, overlayfs) there is no journal to
// empty either, and syncfs is all.
//
// A file system that somebody else keeps frozen, a backup for instance, is
// settled by that freeze: it came after the caller's writes, which would have
// waited for its end otherwise. It is not thawed here, since that would break
// the backup.
//
// A process killed between freeze and thaw leaves the file system frozen:
// [Thaw] is for whoever recovers from that.
func (OS) Settle(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return &fs.PathError{Op: "syncfs", Path: dir, Err: err}
	}
	// EBUSY also means that a freeze is on its way; wait until it is there.
	for range frozenTries {
		err = unix.IoctlSetInt(int(d.Fd()), fiFreeze, 0)
		if err != unix.EBUSY {
			break
		}
		time.Sleep(frozenWait)
	}
	switch {
	case err == unix.EBUSY, unfreezable(err):
		return nil
	case err != nil:
		return &fs.PathError{Op: "freeze", Path: dir, Err: err}
	}
	return thaw(d)
}

// Thaw thaws the file system that holds dir, whoever froze it. One that is
// not frozen is no error.
func Thaw(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return thaw(d)
}

func thaw(d *os.File) error {
	err := unix.IoctlSetInt(int(d.Fd()), fiThaw, 0)
	if err == nil || unfreezable(err) {
		return nil
	}
	return &fs.PathError{Op: "thaw", Path: d.Name(), Err: err}
}

// unfreezable tells the answers of a file system that has no freeze
// (EOPNOTSUPP; ENOTTY from FUSE and older kernels) or is not frozen (EINVAL,
// from thaw only).
func unfreezable(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL)
}
