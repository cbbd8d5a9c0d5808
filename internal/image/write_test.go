package image_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imgbase/internal/image"
)

// target makes a sparse file to write to.
func target(t testing.TB, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// inner unpacks the file system of a liveimg, so that what is compared did
// not come through our own reader.
func inner(t *testing.T, path string) string {
	t.Helper()
	sh(t, `unsquashfs -q -n -d $1.d $1 >/dev/null`, path)
	return path + ".d/LiveOS/rootfs.img"
}

func TestWrite(t *testing.T) {
	for _, tc := range []struct {
		script string
		chunks []int64
	}{
		{makeTree + makeExt4, []int64{4096, 64 << 10, 192 << 10, 1 << 20, 3 << 20}},
		{makeTree + makeXFS, []int64{0, 1 << 30}},
	} {
		path := build(t, tc.script+makeSquashfs)
		want := inner(t, path)
		s := open(t, path)
		for _, chunk := range tc.chunks {
			device := target(t, s.Info().Size+(10<<20))
			if err := s.Write(t.Context(), device, image.WriteOptions{ChunkSize: chunk}); err != nil {
				t.Errorf("Write(chunks of %d) = %v", chunk, err)
				continue
			}
			sh(t, `cmp -n "$3" "$1" "$2"; tail -c 10M "$1" | cmp -n 10485760 - /dev/zero`, device, want, sh(t, `stat -c %s "$1"`, want))
			if chunk == 0 || chunk > 4<<20 {
				continue
			}
			// Beside its data, the file takes a few blocks for its own map.
			used := chunksUsed(t, want, chunk) * chunk
			if got := chunksHeld(t, device); got < used || got > used+(16<<10) {
				t.Errorf("Write(chunks of %d) takes %d bytes; want %d", chunk, got, used)
			}
		}
	}
}

// chunksHeld is how many bytes of the file are on the disk.
func chunksHeld(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// chunksUsed counts the chunks of a file that are not all zeros.
func chunksUsed(t *testing.T, path string, chunk int64) (n int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for ; len(b) > 0; b = b[min(chunk, int64(len(b))):] {
		if bytes.Trim(b[:min(chunk, int64(len(b)))], "\x00") != nil {
			n++
		}
	}
	return n
}

func TestWriteProgress(t *testing.T) {
	s := open(t, build(t, makeLiveimg))
	last, calls := int64(-1), 0
	err := s.Write(t.Context(), target(t, s.Info().Size), image.WriteOptions{Progress: func(done, total int64) {
		if done < last || total != s.Info().Size {
			t.Errorf("progress = %d of %d after %d; want it to rise to %d", done, total, last, s.Info().Size)
		}
		last, calls = done, calls+1
	}})
	if err != nil || last != s.Info().Size || calls < 2 {
		t.Errorf("progress ended at %d after %d calls, %v; want %d", last, calls, err, s.Info().Size)
	}
}

func TestWriteRefuses(t *testing.T) {
	s := open(t, build(t, makeLiveimg))
	size := s.Info().Size
	dir := t.TempDir()
	for _, tc := range []struct {
		device string
		chunk  int64
		want   error
		why    string
	}{
		{target(t, size-1), 0, image.ErrTooSmall, "104857599 bytes for 104857600"},
		{target(t, 0), 0, image.ErrTooSmall, "0 bytes for"},
		{filepath.Join(dir, "none"), 0, fs.ErrNotExist, "none: no such file"},
		{dir, 0, unix.EISDIR, "is a directory"},
		{"/dev/null", 0, image.ErrTooSmall, "/dev/null: "},
		{target(t, size), -1, nil, "chunk size -1"},
		{target(t, size), 65535, nil, "chunk size 65535"},
	} {
		err := s.Write(t.Context(), tc.device, image.WriteOptions{ChunkSize: tc.chunk})
		if err == nil || !strings.Contains(err.Error(), tc.why) || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("Write(%s) = %v; want %v with %q", tc.device, err, tc.want, tc.why)
		}
		if held, err := os.Stat(tc.device); err == nil && held.Mode().IsRegular() && chunksHeld(t, tc.device) != 0 {
			t.Errorf("Write(%s) wrote something; want it refused before", tc.device)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the missing device: %v; want it still missing", err)
	}
}

func TestWriteMountedDevice(t *testing.T) {
	path := build(t, makeLiveimg)
	s := open(t, path)
	busy := target(t, 400<<20)
	sh(t, `mkfs.ext4 -q "$1"`, busy)
	dev := sh(t, `losetup -f --show "$1"`, busy)
	sh(t, `mkdir "$2"; mount "$1" "$2"`, dev, busy+".m")
	if err := s.Write(t.Context(), dev, image.WriteOptions{}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("Write to a mounted device = %v; want EBUSY", err)
	}
	sh(t, `umount "$2"`, dev, busy+".m")
	if err := s.Write(t.Context(), dev, image.WriteOptions{}); err != nil {
		t.Errorf("Write to a device = %v", err)
	}
	sh(t, `losetup -d "$1"`, dev)
}

// A device that takes no more data: a loop device on a full tmpfs.
func TestWriteNoSpace(t *testing.T) {
	s := open(t, build(t, makeLiveimg))
	dir := t.TempDir()
	sh(t, `mount -t tmpfs -o size=4m x "$1"; truncate -s 300M "$1/full"`, dir)
	defer sh(t, `umount "$1"`, dir)
	full := filepath.Join(dir, "full")
	if err := s.Write(t.Context(), full, image.WriteOptions{}); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), full+": write at byte ") {
		t.Errorf("Write to a full file = %v; want ENOSPC at a byte", err)
	}
	sh(t, `rm "$1"; truncate -s 300M "$1"`, full)
	dev := sh(t, `losetup -f --show "$1"`, full)
	defer sh(t, `losetup -d "$1"`, dev)
	if err := s.Write(t.Context(), dev, image.WriteOptions{}); !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EIO) {
		t.Errorf("Write to a full device = %v; want ENOSPC or EIO", err)
	}
}

// Noise in compressed data: opening does not see it, decompression does. (In
// blocks that squashfs stores as they are, nothing would.)
func TestWriteCorrupt(t *testing.T) {
	path := build(t, makeTree+`rm $1/t/etc/random; seq 1 3000000 >$1/t/etc/text;`+makeExt4+makeSquashfs+`
		half=$(($(stat -c %s $1/live.img) / 2))
		head -c 20000 /dev/urandom | dd of=$1/live.img bs=64k oflag=seek_bytes seek=$half conv=notrunc status=none`)
	before := runtime.NumGoroutine()
	s := open(t, path)
	err := s.Write(t.Context(), target(t, s.Info().Size), image.WriteOptions{})
	if !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), "read at byte ") || !strings.Contains(err.Error(), path) {
		t.Errorf("Write(corrupt) = %v; want EIO at a byte", err)
	}
	noGoroutines(t, before)
}

func TestWriteEnds(t *testing.T) {
	path := build(t, makeLiveimg)
	before := runtime.NumGoroutine()
	s := open(t, path)
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	calls := 0
	err := s.Write(ctx, target(t, s.Info().Size), image.WriteOptions{Progress: func(int64, int64) {
		if calls++; calls == 3 {
			cancel(interrupted)
		}
	}})
	if !errors.Is(err, interrupted) {
		t.Errorf("Write(ended) = %v; want its cause", err)
	}
	if calls > 20 {
		t.Errorf("blocks after the end = %d; want a few at most", calls)
	}
	noGoroutines(t, before)
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	nothingLeft(t, path)
}

func noGoroutines(t *testing.T, before int) {
	t.Helper()
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("goroutines = %d; want %d as before", runtime.NumGoroutine(), before)
}
