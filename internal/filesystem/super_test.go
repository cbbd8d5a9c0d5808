package filesystem_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/filesystem"
	"imgbase/internal/run"
)

func sh(t testing.TB, script string, args ...string) string {
	t.Helper()
	out, err := run.OS{}.Run(t.Context(), run.Cmd{Name: "sh", Args: append([]string{"-ec", script, "sh"}, args...)})
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return strings.TrimSpace(string(out.Stdout))
}

const testUUID = "01234567-89ab-4cde-8f01-23456789abcd"

func identify(t testing.TB, path string) (filesystem.Super, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return filesystem.Identify(f)
}

func TestIdentify(t *testing.T) {
	for _, tc := range []struct {
		make string
		want filesystem.Super // UsedBytes is compared with the tools' own word
		used string           // prints the blocks used
	}{
		{"mkfs.ext4 -q -U $2 -d /etc/apt $1", filesystem.Super{Type: "ext4", UUID: testUUID, Size: 64 << 20, BlockSize: 1024, Clean: true, Checked: true}, ext4Used},
		{"mkfs.ext4 -q -b 4096 -U $2 -O ^metadata_csum,^64bit $1", filesystem.Super{Type: "ext4", UUID: testUUID, Size: 64 << 20, BlockSize: 4096, Clean: true, Checked: true}, ext4Used},
		{"mkfs.ext4 -q -b 1024 -U $2 $1 10M", filesystem.Super{Type: "ext4", UUID: testUUID, Size: 10 << 20, BlockSize: 1024, Clean: true, Checked: true}, ext4Used},
		{"mkfs.ext3 -q -b 4096 -U $2 $1", filesystem.Super{Type: "ext3", UUID: testUUID, Size: 64 << 20, BlockSize: 4096, Clean: true, Checked: true}, ext4Used},
		{"mkfs.ext2 -q -b 4096 -U $2 $1", filesystem.Super{Type: "ext2", UUID: testUUID, Size: 64 << 20, BlockSize: 4096, Clean: true, Checked: true}, ext4Used},
		{"truncate -s 320M $1; mkfs.xfs -q -m uuid=$2 $1", filesystem.Super{Type: "xfs", UUID: testUUID, Size: 320 << 20, BlockSize: 4096, Clean: true}, xfsUsed},
		{"truncate -s 320M $1; mkfs.xfs -q -s size=4096 -b size=16384 -m crc=1,uuid=$2 $1", filesystem.Super{Type: "xfs", UUID: testUUID, Size: 320 << 20, BlockSize: 16384, Clean: true}, xfsUsed},
		{"truncate -s 320M $1; mkfs.xfs -q -m crc=0,uuid=$2 $1", filesystem.Super{Type: "xfs", UUID: testUUID, Size: 320 << 20, BlockSize: 4096, Clean: true}, xfsUsed},
	} {
		path := filepath.Join(t.TempDir(), "fs")
		sh(t, "truncate -s 64M $1; "+tc.make+" >/dev/null 2>&1", path, testUUID)
		got, err := identify(t, path)
		if err != nil {
			t.Errorf("Identify(%s) = %v", tc.make, err)
			continue
		}
		var blocks int64
		if _, err := fmt.Sscan(sh(t, tc.used, path), &blocks); err != nil {
			t.Fatal(err)
		}
		tc.want.UsedBytes = blocks * tc.want.BlockSize
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("Identify(%s) (-want +got):\n%s", tc.make, diff)
		}
	}
}

const (
	ext4Used = `dumpe2fs -h $1 2>/dev/null | awk -F: '$1=="Block count"{b=$2} $1=="Free blocks"{f=$2} END{print b-f}'`
	xfsUsed  = `xfs_db -r -c 'sb 0' -c 'print dblocks fdblocks' $1 | awk '{v[NR]=$3} END{print v[1]-v[2]}'`
)

func TestIdentifySquashfs(t *testing.T) {
	for _, compression := range []string{"gzip", "lzo", "xz", "lz4", "zstd"} {
		path := filepath.Join(t.TempDir(), "fs")
		sh(t, "mksquashfs /etc/apt $1 -quiet -no-progress -b 256K -nopad -comp $2", path, compression)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		want := filesystem.Super{
			Type: "squashfs", Size: info.Size(), UsedBytes: info.Size(), BlockSize: 256 << 10, Clean: true, Compression: compression,
		}
		got, err := identify(t, path)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Identify(%s), %v (-want +got):\n%s", compression, err, diff)
		}
	}
}

// heads are the first 2 KiB of what mkfs.ext4 (with and without checksums),
// mkfs.xfs (versions 5 and 4) and mksquashfs made.
func heads(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, name := range []string{"ext4", "ext4old", "xfs", "xfs4", "squashfs"} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".head"))
		if err != nil {
			t.Fatal(err)
		}
		all[name] = b
	}
	return all
}

func TestIdentifyRefuses(t *testing.T) {
	le, be := binary.LittleEndian, binary.BigEndian
	good := heads(t)
	for name, b := range good {
		if _, err := filesystem.Identify(bytes.NewReader(b)); err != nil {
			t.Errorf("Identify(%s) = %v", name, err)
		}
	}
	for _, tc := range []struct {
		name, of string
		change   func(b []byte) []byte
		want     error
		why      string
	}{
		{"empty", "ext4", func(b []byte) []byte { return nil }, filesystem.ErrUnknown, "empty"},
		{"zeros", "ext4", func(b []byte) []byte { return make([]byte, 1<<20) }, filesystem.ErrUnknown, ""},
		{"one byte", "xfs", func(b []byte) []byte { return b[:1] }, filesystem.ErrUnknown, ""},
		{"cut ext4", "ext4", func(b []byte) []byte { return b[:2047] }, filesystem.ErrDamaged, "cut short"},
		{"cut xfs", "xfs", func(b []byte) []byte { return b[:263] }, filesystem.ErrDamaged, "cut short"},
		{"cut xfs sector", "xfs", func(b []byte) []byte { return b[:300] }, filesystem.ErrDamaged, "cut short"},
		{"cut squashfs", "squashfs", func(b []byte) []byte { return b[:95] }, filesystem.ErrDamaged, "cut short"},
		{"bit in ext4", "ext4", func(b []byte) []byte { b[1024+0x79] ^= 1; return b }, filesystem.ErrDamaged, "checksum"},
		{"bit in xfs", "xfs", func(b []byte) []byte { b[110] ^= 1; return b }, filesystem.ErrDamaged, "checksum"},
		{"end of xfs sector", "xfs", func(b []byte) []byte { b[511] ^= 1; return b }, filesystem.ErrDamaged, "checksum"},
		{"ext4 block size", "ext4old", func(b []byte) []byte { le.PutUint32(b[1024+0x18:], 54); return b }, filesystem.ErrDamaged, "1024 << 54"},
		{"ext4 no blocks", "ext4old", func(b []byte) []byte { le.PutUint32(b[1024+0x4:], 0); return b }, filesystem.ErrDamaged, "0 blocks"},
		{"ext4 free", "ext4old", func(b []byte) []byte { le.PutUint32(b[1024+0xc:], 1<<31); return b }, filesystem.ErrDamaged, "free"},
		{"ext4 huge", "ext4old", func(b []byte) []byte { le.PutUint32(b[1024+0x150:], 1<<31); return b }, filesystem.ErrDamaged, "blocks of"},
		{"ext4 groups", "ext4old", func(b []byte) []byte { le.PutUint32(b[1024+0x20:], 0); return b }, filesystem.ErrDamaged, "groups"},
		{"ext4 journal", "ext4old", func(b []byte) []byte { b[1024+0x60] |= 8; return b }, filesystem.ErrDamaged, "journal"},
		{"xfs block size", "xfs4", func(b []byte) []byte { be.PutUint32(b[4:], 4095); return b }, filesystem.ErrDamaged, "4095"},
		{"xfs version", "xfs4", func(b []byte) []byte { b[101] = b[101]&0xf0 | 3; return b }, filesystem.ErrDamaged, "version 3"},
		{"xfs huge", "xfs4", func(b []byte) []byte { be.PutUint64(b[8:], 1<<63); return b }, filesystem.ErrDamaged, "blocks"},
		{"xfs groups", "xfs4", func(b []byte) []byte { be.PutUint32(b[88:], 1<<30); return b }, filesystem.ErrDamaged, "groups"},
		{"xfs free", "xfs4", func(b []byte) []byte { be.PutUint64(b[144:], 1<<50); return b }, filesystem.ErrDamaged, "free"},
		{"squashfs version", "squashfs", func(b []byte) []byte { b[28] = 3; return b }, filesystem.ErrDamaged, "version 3.0"},
		{"squashfs compression", "squashfs", func(b []byte) []byte { b[20] = 77; return b }, filesystem.ErrDamaged, "compression 77"},
		{"squashfs blocks", "squashfs", func(b []byte) []byte { b[22] = 99; return b }, filesystem.ErrDamaged, "blocks of"},
		{"squashfs length", "squashfs", func(b []byte) []byte { le.PutUint64(b[40:], 1<<63); return b }, filesystem.ErrDamaged, "bytes"},
		{"squashfs table", "squashfs", func(b []byte) []byte { le.PutUint64(b[64:], 1<<40); return b }, filesystem.ErrDamaged, "table"},
	} {
		_, err := filesystem.Identify(bytes.NewReader(tc.change(bytes.Clone(good[tc.of]))))
		if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.why) {
			t.Errorf("Identify(%s) = %v; want %v with %q", tc.name, err, tc.want, tc.why)
		}
	}
}

func TestIdentifyUnclean(t *testing.T) {
	good := heads(t)["ext4old"]
	for name, change := range map[string]func(b []byte){
		"not valid": func(b []byte) { b[1024+0x3a] &^= 1 },
		"errors":    func(b []byte) { b[1024+0x3a] |= 2 },
		"replay":    func(b []byte) { b[1024+0x60] |= 4 },
		"orphans":   func(b []byte) { b[1024+0x66] |= 1 },
	} {
		b := bytes.Clone(good)
		change(b)
		if got, err := filesystem.Identify(bytes.NewReader(b)); err != nil || got.Clean {
			t.Errorf("Identify(%s).Clean = %v, %v; want false", name, got.Clean, err)
		}
	}
	b := bytes.Clone(good)
	binary.LittleEndian.PutUint32(b[1024+0x2c:], 0xffffffff)
	if got, err := filesystem.Identify(bytes.NewReader(b)); err != nil || got.Checked {
		t.Errorf("Identify(mounted since).Checked = %v, %v; want false", got.Checked, err)
	}
	xfs := heads(t)["xfs"]
	xfs[126] = 1
	copy(xfs[224:], make([]byte, 4))
	binary.LittleEndian.PutUint32(xfs[224:], crc32.Checksum(xfs[:512], crc32.MakeTable(crc32.Castagnoli)))
	if got, err := filesystem.Identify(bytes.NewReader(xfs)); err != nil || got.Clean {
		t.Errorf("Identify(xfs being made).Clean = %v, %v; want false", got.Clean, err)
	}
}

func TestIdentifyReadError(t *testing.T) {
	_, err := filesystem.Identify(failing{})
	if !errors.Is(err, os.ErrPermission) || errors.Is(err, filesystem.ErrUnknown) {
		t.Errorf("Identify(failing) = %v; want the reader's error", err)
	}
}

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, os.ErrPermission }

func FuzzIdentify(f *testing.F) {
	for _, b := range heads(f) {
		f.Add(b)
	}
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := filesystem.Identify(bytes.NewReader(b))
		if err != nil {
			if !errors.Is(err, filesystem.ErrUnknown) && !errors.Is(err, filesystem.ErrDamaged) {
				t.Errorf("Identify(%q) = %v; want ErrUnknown or ErrDamaged", b, err)
			}
			return
		}
		if s.Size <= 0 || s.UsedBytes < 0 || s.UsedBytes > s.Size || s.BlockSize < 512 || s.BlockSize&(s.BlockSize-1) != 0 {
			t.Errorf("Identify(%q) = %+v; want sizes that can be", b, s)
		}
	})
}
