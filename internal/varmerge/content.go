package varmerge

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// chunk is how much of a file is in memory at once.
const chunk = 64 << 10

// sameBytes reports whether two regular files of one size hold the same
// bytes. Holes are not read: a sparse file costs what it holds.
func sameBytes(a, b *os.File, size int64, buf *[2][chunk]byte) (bool, error) {
	for off := int64(0); off < size; {
		next, err := nextData(a, off, size)
		if err != nil {
			return false, err
		}
		other, err := nextData(b, off, size)
		if err != nil {
			return false, err
		}
		if off = min(next, other); off >= size {
			return true, nil
		}
		n := min(chunk, size-off)
		x, y := buf[0][:n], buf[1][:n]
		if full, err := readBoth(map[*os.File][]byte{a: x, b: y}, off); err != nil || !full {
			return false, err
		}
		if !bytes.Equal(x, y) {
			return false, nil
		}
		off += n
	}
	return true, nil
}

// readBoth fills each file's buffer; false when one ends early, having shrunk
// while it was read.
func readBoth(buffers map[*os.File][]byte, off int64) (bool, error) {
	for f, buf := range buffers {
		if _, err := f.ReadAt(buf, off); errors.Is(err, io.EOF) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	return true, nil
}

// nextData is the offset of the first byte at or after off that is not in a
// hole, size when only a hole follows.
func nextData(f *os.File, off, size int64) (int64, error) {
	next, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, nil
	case errors.Is(err, unix.EINVAL): // a file system that does not know holes
		return off, nil
	case err != nil:
		return 0, &os.PathError{Op: "seek", Path: f.Name(), Err: err}
	}
	return next, nil
}

// copyFile copies what src holds into the empty file dst, holes as holes.
func copyFile(dst, src *os.File, buf []byte) error {
	st, err := src.Stat()
	if err != nil {
		return err
	}
	size := st.Size()
	for off := int64(0); off < size; {
		if off, err = nextData(src, off, size); err != nil || off >= size {
			break
		}
		n, err := src.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n == 0 {
			size = off // it shrank while it was read
			break
		}
		if _, err := dst.WriteAt(buf[:n], off); err != nil {
			return err
		}
		off += int64(n)
	}
	if err != nil {
		return err
	}
	return dst.Truncate(size)
}
