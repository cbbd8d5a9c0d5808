package mount

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ErrNotIsolated is a mount asked for before [Isolate]: it would be seen by
// the host and outlive us.
var ErrNotIsolated = errors.New("not in a mount namespace of its own")

const (
	// marker names the namespace that Isolate made. It is compared with the
	// real one, so that a value from elsewhere means nothing.
	marker    = "IMGBASE_MNT_NS"
	namespace = "/proc/self/ns/mnt"

	// point is where our mount points are. Whatever directory we made for
	// them would stay behind when we are killed, so it is one that the kernel
	// always provides, that is empty or holds a driver's statistics nobody
	// needs here, and that cannot hide an image, as /mnt could.
	point = "/proc/driver"
)

// Isolate puts this process into a mount namespace of its own, in which
// mounts of the host still arrive and from which none leave. It starts the
// program anew, with the same arguments, because only a fresh process has
// all its threads in the namespace: call it first in main or TestMain. It
// returns in the new process; there, and in the programs that one starts, it
// does nothing. It needs root.
func Isolate() error {
	if isolated() {
		return nil
	}
	if err := isolate(); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	return nil
}

func isolated() bool {
	ns, err := os.Readlink(namespace)
	return err == nil && os.Getenv(marker) == ns
}

// isolate does not return unless it fails. The thread stays locked: it is the
// only one in the new namespace, and must not run anything else.
func isolate() error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("stop propagation: %w", err)
	}
	if err := unix.Mount("imgbase", point, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700,size=1m"); err != nil {
		return fmt.Errorf("mount points in %s: %w", point, err)
	}
	ns, err := os.Readlink(fmt.Sprintf("/proc/self/task/%d/ns/mnt", unix.Gettid()))
	if err != nil {
		return err
	}
	if err := os.Setenv(marker, ns); err != nil {
		return err
	}
	return fmt.Errorf("start anew: %w", unix.Exec(program(), os.Args, os.Environ()))
}

// program is this program's file, by its name if that leads to it: what ps
// shows is the last component, and "exe" tells nobody anything.
func program() string {
	const self = "/proc/self/exe"
	name, err := os.Executable()
	if err != nil {
		return self
	}
	named, err := os.Stat(name)
	if err != nil {
		return self // deleted, or outside of where we are chrooted
	}
	running, err := os.Stat(self)
	if err != nil || !os.SameFile(named, running) {
		return self
	}
	return name
}
