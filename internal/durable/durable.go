// Package durable changes files so that a power cut leaves the old content
// or the new, never a mix, and so that what was reported as written is on
// the disk.
//
// Replacing a file takes five steps: a temporary file beside it, mode and
// owner, fsync, rename, fsync of the directory (rename(2), fsync(2)). The
// boot loader reads file systems without replaying their journal; what it
// reads must therefore also have left the journal, which [Files.Settle] sees
// to.
package durable

import (
	"io"
	"io/fs"
)

// Files are the durable changes of files. Every method is atomic with
// respect to a power cut unless it says otherwise, and durable when it
// returns.
type Files interface {
	// Replace makes path hold what r yields, creating missing parent
	// directories. An existing file's owner, mode, label and extended
	// attributes are kept; mode is for a new one.
	Replace(path string, mode fs.FileMode, r io.Reader) error
	// Overwrite rewrites the existing file at path in place, never changing
	// its size or its blocks. It is atomic only for changes within one
	// sector of 512 bytes.
	Overwrite(path string, data []byte) error
	// Link makes path another name of the file old.
	Link(old, path string) error
	// Remove removes the file or the tree at path. A missing one is no error.
	// A tree is not removed atomically.
	Remove(path string) error
	// Settle brings everything written to the file system that holds dir to
	// its final place on the disk, out of the journal: syncfs, then freeze
	// and thaw.
	Settle(dir string) error
}
