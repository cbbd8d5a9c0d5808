// Package filesystem knows the file systems a base or layer can hold: which
// they are, how large, how to give a copy its own identity and how to grow
// it to its volume.
//
// Two copies of a file system with one UUID cannot be told apart by the boot
// loader, and XFS refuses to mount the second; a layer therefore gets a new
// UUID before anything mounts it. [Identify] reads superblocks by itself and
// believes none that contradicts itself or its checksum; everything that
// writes is left to the file system's own tools (e2fsck(8), tune2fs(8),
// resize2fs(8), xfs_admin(8), xfs_growfs(8)).
//
// ext4 is worked on while it is not mounted; XFS grows and replays its log
// only while it is, so those steps mount it for a moment.
package filesystem

import (
	"errors"
	"fmt"
	"slices"
)

// Types of file systems, as blkid(8) and mount(8) call them.
const (
	Ext4     = "ext4"
	XFS      = "xfs"
	Squashfs = "squashfs"
)

// Decisions a caller can act on.
var (
	// ErrUnsupported is a file system that cannot hold a base or a layer.
	ErrUnsupported = errors.New("file system not supported")
	// ErrUnknown is content that is no known file system.
	ErrUnknown = errors.New("no known file system")
	// ErrDamaged is a file system that contradicts itself.
	ErrDamaged = errors.New("damaged file system")
)

// Types are the file systems that can hold a base or a layer, the preferred
// one first.
func Types() []string { return []string{Ext4, XFS} }

// Supported is nil for one of [Types], else [ErrUnsupported].
func Supported(typ string) error {
	if slices.Contains(Types(), typ) {
		return nil
	}
	return fmt.Errorf("%q: %w", typ, ErrUnsupported)
}
