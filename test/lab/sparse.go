package lab

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copySparse copies the chunks of a file that are not all zero to dst at an
// offset, and returns how many there are. With mapped nil each chunk keeps
// its place; otherwise they are written one after another, and mapped gets
// each run of them: its first chunk in the file, in the copy, and its length.
func copySparse(dst io.WriterAt, at int64, path string, mapped func(origin, data, length int64)) (int64, error) {
	src, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	var n, runAt, run int64 // chunks written; first chunk of the run, its length
	flush := func() {
		if mapped != nil && run > 0 {
			mapped(runAt, n-run, run)
		}
		run = 0
	}
	buf := make([]byte, chunk)
	for i := int64(0); ; i++ {
		next, err := nextData(src, i*chunk)
		if errors.Is(err, unix.ENXIO) {
			break // only a hole is left
		}
		if err != nil {
			return n, err
		}
		i = next / chunk
		got, err := src.ReadAt(buf, i*chunk)
		if err != nil && err != io.EOF {
			return n, err
		}
		if isZero(buf[:got]) {
			continue
		}
		if run == 0 || i != runAt+run {
			flush()
			runAt = i
		}
		to := at + i*chunk
		if mapped != nil {
			to = at + n*chunk
		}
		if _, err := dst.WriteAt(buf[:got], to); err != nil {
			return n, err
		}
		n, run = n+1, run+1
	}
	flush()
	return n, nil
}

// nextData returns where data begin at or after off.
func nextData(f *os.File, off int64) (int64, error) {
	return unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
}

func isZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}
