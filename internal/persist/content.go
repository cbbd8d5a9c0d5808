package persist

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// chunk is how much of a file is in memory at once.
const chunk = 64 << 10

// content is a regular file that is read. It is a bare descriptor: of each
// os.File the poller is told (epoll_ctl(2)), which took as long as opening it.
type content struct {
	fd    int
	name  string
	size  int64 // in bytes
	holes bool  // it may have some
}

// openRegular opens the regular file name for reading; what is no longer
// what n says is an error, for the tree may be live.
func openRegular(dir *os.File, name string, n *node) (*content, error) {
	fd, err := openFD(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: escape(name), Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != n.kind {
		unix.Close(fd)
		return nil, fmt.Errorf("%s: is no regular file any more", escape(name))
	}
	return &content{fd: fd, name: name, size: st.Size, holes: st.Blocks*512 < st.Size}, nil
}

// Close lets go of the file, which was only read: nothing can be lost.
func (c *content) Close() { unix.Close(c.fd) }

// ReadAt is that of [io.ReaderAt].
func (c *content) ReadAt(buf []byte, off int64) (int, error) {
	for done := 0; ; {
		n := 0
		err := retry(func() (err error) { n, err = unix.Pread(c.fd, buf[done:], off+int64(done)); return err })
		if err != nil {
			return done, &os.PathError{Op: "read", Path: escape(c.name), Err: err}
		}
		if done += n; done == len(buf) {
			return done, nil
		}
		if n == 0 {
			return done, io.EOF
		}
	}
}

// sameFile reports whether two regular files of one size hold the same
// bytes. Holes are not read: a sparse file costs what it holds.
func sameFile(a, b *content, size int64, buf *[2][chunk]byte) (bool, error) {
	for off := int64(0); off < size; {
		next, err := a.nextData(off, size)
		if err != nil {
			return false, err
		}
		other, err := b.nextData(off, size)
		if err != nil {
			return false, err
		}
		if off = min(next, other); off >= size {
			return true, nil
		}
		n := min(chunk, size-off)
		x, y := buf[0][:n], buf[1][:n]
		for _, side := range [...]struct {
			file *content
			buf  []byte
		}{{a, x}, {b, y}} {
			if _, err := side.file.ReadAt(side.buf, off); errors.Is(err, io.EOF) {
				return false, nil // it shrank while it was read
			} else if err != nil {
				return false, err
			}
		}
		if !bytes.Equal(x, y) {
			return false, nil
		}
		off += n
	}
	return true, nil
}

// nextData is the offset of the first byte at or after off that is not in a
// hole, size when only a hole follows.
func (c *content) nextData(off, size int64) (int64, error) {
	if !c.holes {
		return off, nil
	}
	next, err := unix.Seek(c.fd, off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, nil
	case errors.Is(err, unix.EINVAL): // a file system that does not know holes
		return off, nil
	case err != nil:
		return 0, &os.PathError{Op: "seek", Path: escape(c.name), Err: err}
	}
	return next, nil
}

// copyFile copies what src holds into the empty file dst, holes as holes.
func copyFile(dst *os.File, src *content, buf []byte) error {
	size := src.size
	for off := int64(0); off < size; {
		var err error
		if off, err = src.nextData(off, size); err != nil {
			return err
		}
		if off >= size {
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
	return dst.Truncate(size)
}
