package mount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// OS mounts file systems on this machine. The zero value is ready; it needs
// root and [Isolate].
type OS struct{}

// Mount implements [Mounter]. A file system on a loop device that was not
// unmounted properly is refused with EROFS, because replaying its journal
// would need to write; on a block device it is mounted as it is.
func (OS) Mount(ctx context.Context, s Spec) (Mount, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m, err := mountSpec(s)
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", s.Source, err)
	}
	return m, nil
}

func mountSpec(s Spec) (*mounted, error) {
	if !isolated() {
		return nil, ErrNotIsolated
	}
	source, release, err := device(s)
	if err != nil {
		return nil, err
	}
	defer release()
	flags, data := flagsAndData(s)
	dir, err := os.MkdirTemp(point, s.FSType+"-")
	if err != nil {
		return nil, fmt.Errorf("mount point: %w", err)
	}
	if err := unix.Mount(source, dir, s.FSType, flags, data); err != nil {
		return nil, errors.Join(fmt.Errorf("as %s: %w", s.FSType, err), os.Remove(dir))
	}
	return &mounted{dir: dir, source: s.Source}, nil
}

// device is the block device to mount for s. A loop device among them goes
// away with its last user; release ends our use of it.
func device(s Spec) (path string, release func(), err error) {
	info, err := os.Stat(s.Source)
	if err != nil {
		return "", nil, cause(err)
	}
	switch mode := info.Mode(); {
	case mode.IsRegular() && !s.ReadOnly:
		return "", nil, errors.New("a regular file is mounted read-only")
	case mode.IsRegular():
		loop, err := attach(s.Source)
		if err != nil {
			return "", nil, err
		}
		return loop.Name(), func() { loop.Close() }, nil
	case mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0:
		return s.Source, func() {}, nil
	default:
		return "", nil, errors.New("neither a block device nor a regular file")
	}
}

// flagsAndData divides the options into those of the mount, which are bits,
// and those of the file system.
func flagsAndData(s Spec) (flags uintptr, data string) {
	bits := map[string]uintptr{
		"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
		"noatime": unix.MS_NOATIME, "relatime": unix.MS_RELATIME, "sync": unix.MS_SYNCHRONOUS,
	}
	var rest []string
	for _, o := range append(safeOptions(s), s.Options...) {
		if bit, ok := bits[o]; ok {
			flags |= bit
		} else {
			rest = append(rest, o)
		}
	}
	return flags, strings.Join(rest, ",")
}

// safeOptions are those that keep a read-only mount from writing. "ro" alone
// replays the journal (ext4(5), xfs(5)); only a read-only device stops that,
// and there the kernel's refusal is wanted. nouuid: a base and its copies
// have one UUID.
func safeOptions(s Spec) []string {
	if !s.ReadOnly {
		return nil
	}
	options := []string{"ro"}
	info, err := os.Stat(s.Source)
	loop := err == nil && info.Mode().IsRegular()
	switch {
	case s.FSType == "xfs" && loop:
		options = append(options, "nouuid")
	case s.FSType == "xfs":
		options = append(options, "nouuid", "norecovery")
	case s.FSType == "ext4" && !loop:
		options = append(options, "noload")
	}
	return options
}

// mounted implements [Mount].
type mounted struct {
	dir    string
	source string
	once   sync.Once
	err    error
}

func (m *mounted) Dir() string { return m.dir }

func (m *mounted) Close() error {
	m.once.Do(func() {
		if err := unmount(m.dir); err != nil {
			m.err = fmt.Errorf("unmount %s: %w", m.source, err)
		}
	})
	return m.err
}

// busyFor is how long an unmount is tried. What keeps a mount busy for a
// moment is a program that just ended, or udev looking at the device.
const busyFor = 2 * time.Second

// unmount gives up the mount at dir in any case: one that stays busy is
// detached, and its error returned, because its device stays in use.
func unmount(dir string) error {
	var err error
	for start, wait := time.Now(), time.Millisecond; time.Since(start) < busyFor; wait *= 2 {
		if err = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(wait)
	}
	if err != nil {
		return errors.Join(err, detach(dir))
	}
	return cause(os.Remove(dir))
}

func detach(dir string) error {
	if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	return cause(os.Remove(dir))
}

// cause leaves out the operation and path that a caller names already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
