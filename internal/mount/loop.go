package mount

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// attempts bounds how often a free loop device is looked for: another process
// may take each of them first.
const attempts = 64

// attach makes path the content of a free loop device, read-only. The device
// is freed when it is neither open nor mounted any more (loop(4),
// LO_FLAGS_AUTOCLEAR), so the file returned must stay open until it is
// mounted.
func attach(path string) (*os.File, error) {
	backing, err := os.Open(path)
	if err != nil {
		return nil, cause(err)
	}
	defer backing.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("loop device: %w", err)
	}
	defer control.Close()
	for range attempts {
		loop, err := attachNext(control, backing)
		if err == nil {
			return loop, nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("loop device: %w", err)
		}
	}
	return nil, fmt.Errorf("loop device: %w", unix.EBUSY)
}

func attachNext(control, backing *os.File) (*os.File, error) {
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, err
	}
	loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	if err := configure(int(loop.Fd()), int(backing.Fd())); err != nil {
		loop.Close()
		return nil, err
	}
	return loop, nil
}

// configure is one step since Linux 5.8. Before, it was two, and a process
// killed between them left the device attached for good; nothing can be done
// about that.
func configure(loop, backing int) error {
	info := unix.LoopInfo64{Flags: unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR}
	err := unix.IoctlLoopConfigure(loop, &unix.LoopConfig{Fd: uint32(backing), Info: info})
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTTY) {
		return err
	}
	if err := unix.IoctlSetInt(loop, unix.LOOP_SET_FD, backing); err != nil {
		return err
	}
	if err := unix.IoctlLoopSetStatus64(loop, &info); err != nil {
		return errors.Join(err, unix.IoctlSetInt(loop, unix.LOOP_CLR_FD, 0))
	}
	return nil
}
