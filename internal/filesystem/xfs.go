package filesystem

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// xfsLength is the part of the superblock that we read (struct xfs_dsb in the
// kernel's xfs_format.h); xfsCRC is where its checksum is since version 5.
const (
	xfsLength = 264
	xfsCRC    = 224
)

func xfsSuper(head []byte, r io.ReaderAt) (Super, error) {
	if len(head) < xfsLength {
		return Super{}, damaged(XFS, "cut short")
	}
	b, be := head, binary.BigEndian
	blockSize, sector := be.Uint32(b[4:]), be.Uint16(b[102:])
	blocks, free := be.Uint64(b[8:]), be.Uint64(b[144:])
	if !powerOf(blockSize, b[120], 512, 64<<10) || !powerOf(uint32(sector), b[121], 512, 32<<10) {
		return Super{}, damaged(XFS, "blocks of %d bytes, sectors of %d", blockSize, sector)
	}
	if err := xfsVersion(b, int(sector), r); err != nil {
		return Super{}, err
	}
	size, ok := inBytes(blocks, uint64(blockSize))
	if !ok || free > blocks {
		return Super{}, damaged(XFS, "%d blocks of %d bytes, %d free", blocks, blockSize, free)
	}
	// The last allocation group may be shorter than the others.
	groups, group := uint64(be.Uint32(b[88:])), uint64(be.Uint32(b[84:]))
	if groups == 0 || blocks > groups*group || blocks <= (groups-1)*group {
		return Super{}, damaged(XFS, "%d blocks in %d groups of %d", blocks, groups, group)
	}
	return Super{
		Type: XFS, UUID: formatUUID(b[32:48]),
		Size: size, BlockSize: int64(blockSize), UsedBytes: int64((blocks - free) * uint64(blockSize)),
		Clean: b[126] == 0, // mkfs and xfs_copy did not end
	}, nil
}

// xfsVersion refuses a version that Linux never had, and a wrong checksum,
// which is over the whole sector with the checksum itself taken as zero.
func xfsVersion(b []byte, sector int, r io.ReaderAt) error {
	version := binary.BigEndian.Uint16(b[100:]) & 0xf
	switch version {
	case 4:
		return nil
	case 5:
	default:
		return damaged(XFS, "version %d", version)
	}
	whole := make([]byte, sector)
	if n, _ := r.ReadAt(whole, 0); n < sector {
		return damaged(XFS, "cut short")
	}
	want := binary.LittleEndian.Uint32(whole[xfsCRC:])
	copy(whole[xfsCRC:], bytes.Repeat([]byte{0}, 4))
	if crc32.Checksum(whole, castagnoli()) != want {
		return damaged(XFS, "checksum does not match")
	}
	return nil
}

// powerOf says whether n is 1 << log and within bounds.
func powerOf(n uint32, log uint8, least, most uint32) bool {
	return least <= n && n <= most && log < 32 && n == 1<<log
}
