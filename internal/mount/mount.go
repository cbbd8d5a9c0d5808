// Package mount mounts file systems, and is the only package that does.
//
// Every mount is a [Mount] value with a Close, and all of them are made in a
// mount namespace of this process alone ([Isolate]): nobody else sees them,
// and the kernel drops them when the process ends, however it ends. That is
// why a killed update leaves no mount behind. [OS] refuses to mount anywhere
// else.
//
// A source that is a regular file gets a read-only loop device that the
// kernel frees with its last user (loop(4), LO_FLAGS_AUTOCLEAR).
//
// A [Room] is the place in which programs of another root tree run: its
// mounts are made and dropped with the program, in namespaces of its own.
//
// What is mounted already, on the host, is read from a mountinfo file
// (proc_pid_mountinfo(5)) as a [Table].
package mount

import "context"

// Spec says what to mount.
type Spec struct {
	Source   string   // block device, or a regular file: then a read-only loop device is set up for it
	FSType   string   // "ext4", "xfs", "squashfs"
	ReadOnly bool     // a read-only mount never writes to the device, no journal replay either
	Options  []string // file system options, as in mount(8) -o
}

// Mount is a mounted file system. Dir is its root directory.
type Mount interface {
	Dir() string
	Close() error // unmounts; a second call does nothing
}

// Mounter mounts file systems.
type Mounter interface {
	Mount(ctx context.Context, s Spec) (Mount, error)
}
