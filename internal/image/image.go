// Package image opens the sources that a base can be made from.
//
// A [Source] is an image that has been looked at: every reason to refuse it
// has been found by the time it is open, so that an update can refuse before
// it changes anything. What only reading all of it can show, a corrupt block,
// is an error of [Source.Write].
//
// A liveimg is a squashfs that holds one file */*.img, usually
// LiveOS/rootfs.img, which is an ext4 or XFS file system. It is copied as
// blocks: chunks of the thin pool that hold only zeros are left out, because
// a fresh thin volume reads as zeros, and the base is then identical to the
// image and takes as much of the pool as the image holds.
package image

import (
	"context"
	"errors"

	"imgbase/internal/nvr"
)

// Decisions a caller can act on. Each comes with what was found instead.
var (
	// ErrNotImage is a source of no kind we know.
	ErrNotImage = errors.New("not an image")
	// ErrTruncated is an image shorter than it says it is.
	ErrTruncated = errors.New("truncated image")
	// ErrNotClean is an image whose file system was not unmounted.
	ErrNotClean = errors.New("file system not cleanly unmounted")
	// ErrNoNVR is an image that does not say its name, or not properly.
	ErrNoNVR = errors.New("no valid NVR in the image")
	// ErrTooSmall is a device smaller than the image's file system.
	ErrTooSmall = errors.New("device too small")
)

// Info describes an image. Sizes are in bytes.
type Info struct {
	NVR    nvr.NVR
	Size   int64  // of the file system: the least size of a base
	Used   int64  // what the file system holds: what a base takes of the pool, about
	FSType string // "ext4" or "xfs"
}

// WriteOptions tune [Source.Write].
type WriteOptions struct {
	ChunkSize int64                   // of the thin pool, in bytes: a multiple of 4 KiB; 0 is 64 KiB
	Progress  func(done, total int64) // bytes of the image looked at, called from one goroutine at a time; nil is none
}

// Source is an open image.
type Source interface {
	Info() Info
	// Root is the directory where the image's tree is mounted, read-only,
	// until Close.
	Root() string
	// Write makes device, a fresh thin volume or other device that reads as
	// zeros, identical to the image and durable. It stops when ctx ends; the
	// device's content is then undefined.
	Write(ctx context.Context, device string, o WriteOptions) error
	Close() error
}
