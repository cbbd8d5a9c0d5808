package filesystem

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
)

// Super is what a superblock says. Sizes are in bytes.
type Super struct {
	Type        string // Ext4, XFS, Squashfs; also "ext2" and "ext3"
	UUID        string // lower case with dashes; empty for squashfs
	Size        int64  // of the file system: the least size of what holds it
	BlockSize   int64
	UsedBytes   int64
	Clean       bool   // unmounted properly; the log of XFS, which also counts, is not looked at
	Checked     bool   // ext4 only: not mounted since it was made or last checked
	Compression string // squashfs only: "gzip", "lzma", "lzo", "xz", "lz4" or "zstd"
}

// headSize covers the superblocks of all types; that of ext4 ends last, at
// 2 KiB.
const headSize = 2048

// Identify reads the superblock of the file system that r holds. The error is
// [ErrUnknown] when there is none, [ErrDamaged] when it is one that cannot be
// true.
func Identify(r io.ReaderAt) (Super, error) {
	head := make([]byte, headSize)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Super{}, fmt.Errorf("superblock: %w", err)
	}
	head = head[:n]
	switch {
	case n == 0:
		return Super{}, fmt.Errorf("%w: empty", ErrUnknown)
	case hasMagic(head, 0, "hsqs"):
		return squashfsSuper(head)
	case hasMagic(head, 0, "XFSB"):
		return xfsSuper(head, r)
	case hasMagic(head, ext4Offset+0x38, "\x53\xef"):
		return ext4Super(head)
	}
	return Super{}, ErrUnknown
}

func hasMagic(b []byte, at int, magic string) bool {
	return len(b) >= at+len(magic) && string(b[at:at+len(magic)]) == magic
}

func damaged(typ, format string, args ...any) error {
	return fmt.Errorf("%s superblock: %w: %s", typ, ErrDamaged, fmt.Sprintf(format, args...))
}

// inBytes is n blocks, or false when that is more than any file can be.
func inBytes(n, blockSize uint64) (int64, bool) {
	hi, lo := bits.Mul64(n, blockSize)
	return int64(lo), hi == 0 && lo <= math.MaxInt64
}

func formatUUID(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
