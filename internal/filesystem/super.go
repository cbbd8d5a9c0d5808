package filesystem

import "io"

// Super is what a superblock says. Sizes are in bytes.
type Super struct {
	Type        string // Ext4, XFS, Squashfs; "ext2" and "ext3" are told apart from ext4
	UUID        string // lower case with dashes; empty for squashfs
	Size        int64  // of the file system, the least size of what holds it
	BlockSize   int64
	UsedBytes   int64
	Clean       bool   // unmounted properly; the log of XFS is not looked at
	Compression string // of squashfs: "zstd", "xz", ...
}

// Identify reads the superblock of the file system that r holds. The error is
// [ErrUnknown] when there is none, [ErrDamaged] when it is one that cannot be
// true.
func Identify(r io.ReaderAt) (Super, error) { return Super{}, ErrUnknown }
