package filesystem

import (
	"encoding/binary"
	"hash/crc32"
)

// Where the superblock is, and the bits of it that we read (the kernel's
// Documentation/filesystems/ext4/super.rst).
const (
	ext4Offset = 1024
	ext4Length = 1024

	ext4StateValid  = 0x1
	ext4StateErrors = 0x2
	ext4StateOrphan = 0x4

	ext4CompatJournal  = 0x4
	ext4IncompatReplay = 0x4
	ext4IncompatJDev   = 0x8
	ext4Incompat64Bit  = 0x80
	ext4ROCompatCsum   = 0x400
	ext4ROCompatOrphan = 0x10000

	// What ext3 knows; anything else makes it ext4 (blkid's rule).
	ext3Incompat = 0x2 | 0x4 | 0x10
	ext3ROCompat = 0x1 | 0x2 | 0x4
)

func ext4Super(head []byte) (Super, error) {
	if len(head) < ext4Offset+ext4Length {
		return Super{}, damaged(Ext4, "cut short")
	}
	b, le := head[ext4Offset:ext4Offset+ext4Length], binary.LittleEndian
	compat, incompat, roCompat := le.Uint32(b[0x5c:]), le.Uint32(b[0x60:]), le.Uint32(b[0x64:])
	if incompat&ext4IncompatJDev != 0 {
		return Super{}, damaged(Ext4, "the journal of another file system")
	}
	if roCompat&ext4ROCompatCsum != 0 && ^crc32.Checksum(b[:0x3fc], castagnoli()) != le.Uint32(b[0x3fc:]) {
		return Super{}, damaged(Ext4, "checksum does not match")
	}
	logSize := le.Uint32(b[0x18:])
	if logSize > 6 {
		return Super{}, damaged(Ext4, "block size 1024 << %d", logSize)
	}
	blockSize := uint64(1024) << logSize
	blocks, free := uint64(le.Uint32(b[0x04:])), uint64(le.Uint32(b[0x0c:]))
	if incompat&ext4Incompat64Bit != 0 {
		blocks |= uint64(le.Uint32(b[0x150:])) << 32
		free |= uint64(le.Uint32(b[0x158:])) << 32
	}
	size, ok := inBytes(blocks, blockSize)
	if !ok || blocks <= uint64(le.Uint32(b[0x14:])) || free > blocks {
		return Super{}, damaged(Ext4, "%d blocks of %d bytes, %d free", blocks, blockSize, free)
	}
	if le.Uint32(b[0x20:]) == 0 || le.Uint32(b[0x28:]) == 0 {
		return Super{}, damaged(Ext4, "groups of no blocks or inodes")
	}
	state := le.Uint16(b[0x3a:])
	mounted := uint64(le.Uint32(b[0x2c:])) | uint64(b[0x275])<<32
	checked := uint64(le.Uint32(b[0x40:])) | uint64(b[0x277])<<32
	return Super{
		Type: extType(compat, incompat, roCompat), UUID: formatUUID(b[0x68:0x78]),
		Size: size, BlockSize: int64(blockSize), UsedBytes: int64((blocks - free) * blockSize),
		Clean: state&(ext4StateValid|ext4StateErrors|ext4StateOrphan) == ext4StateValid &&
			incompat&ext4IncompatReplay == 0 && roCompat&ext4ROCompatOrphan == 0,
		Checked: checked >= mounted,
	}, nil
}

func extType(compat, incompat, roCompat uint32) string {
	switch {
	case incompat&^ext3Incompat != 0 || roCompat&^ext3ROCompat != 0:
		return Ext4
	case compat&ext4CompatJournal != 0:
		return "ext3"
	default:
		return "ext2"
	}
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }
