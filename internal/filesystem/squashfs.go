package filesystem

import (
	"encoding/binary"
	"math"
)

// squashfsLength is that of the superblock of version 4
// (Documentation/filesystems/squashfs.rst); no other version is mounted.
const squashfsLength = 96

func squashfsSuper(b []byte) (Super, error) {
	if len(b) < squashfsLength {
		return Super{}, damaged(Squashfs, "cut short")
	}
	le := binary.LittleEndian
	if major, minor := le.Uint16(b[28:]), le.Uint16(b[30:]); major != 4 || minor != 0 {
		return Super{}, damaged(Squashfs, "version %d.%d", major, minor)
	}
	blockSize, log := le.Uint32(b[12:]), le.Uint16(b[22:])
	if log > 20 || !powerOf(blockSize, uint8(log), 4<<10, 1<<20) {
		return Super{}, damaged(Squashfs, "blocks of %d bytes", blockSize)
	}
	names := []string{"gzip", "lzma", "lzo", "xz", "lz4", "zstd"} // numbered from 1
	compression := int(le.Uint16(b[20:]))
	if compression < 1 || compression > len(names) {
		return Super{}, damaged(Squashfs, "compression %d", compression)
	}
	used := le.Uint64(b[40:])
	if used < squashfsLength || used > math.MaxInt64 {
		return Super{}, damaged(Squashfs, "%d bytes", used)
	}
	for at := 48; at < squashfsLength; at += 8 {
		table := le.Uint64(b[at:])
		optional := at == 56 || at >= 80 // attributes, fragments, export: all ones when there are none
		if table >= used && !(optional && table == math.MaxUint64) {
			return Super{}, damaged(Squashfs, "a table at %d of %d bytes", table, used)
		}
	}
	return Super{
		Type: Squashfs, Size: int64(used), BlockSize: int64(blockSize), UsedBytes: int64(used),
		Clean: true, Compression: names[compression-1],
	}, nil
}
