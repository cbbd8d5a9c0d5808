package derive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// compression is what the kernel takes a compressed initramfs for
// (lib/decompress.c).
type compression struct {
	magic string
	name  string
}

var compressions = [...]compression{
	{"\x1f\x8b", "gzip"},
	{"\x28\xb5\x2f\xfd", "zstd"},
	{"\xfd7zXZ\x00", "xz"},
	{"\x02\x21\x4c\x18", "lz4"},
	{"\x5d\x00\x00", "lzma"},
	{"BZh", "bzip2"},
	{"\x89LZO", "lzo"},
}

// minArchive is how many bytes of an initramfs have to come after microcode
// and the like. One with a shell, libc and LVM has some millions.
const minArchive = 512 << 10

// An entry of a cpio archive in the "newc" form: a header of this size, in
// hexadecimal digits, then name and content, each padded to four bytes.
const (
	headerSize = 110
	sizeField  = 6 + 6*8
	nameField  = 6 + 11*8
	maxName    = 4096
	maxEntries = 1 << 20
	lastEntry  = "TRAILER!!!"
)

// ProbeInitramfs reads the structure of an initramfs of size bytes: any
// number of cpio archives one after the other, the last of which may be
// compressed. It returns how that one is compressed, "cpio" when it is not.
// A file that the kernel could not unpack, or that holds no system to boot,
// is an error.
func ProbeInitramfs(r io.ReaderAt, size int64) (string, error) {
	p := archive{r: r, size: size}
	for {
		if err := p.skipZeros(); err != nil {
			return "", err
		}
		start := p.at
		var magic [6]byte
		n, err := r.ReadAt(magic[:max(0, min(6, size-start))], start)
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		switch {
		case n == 0 && p.init:
			return p.whole("cpio", p.from)
		case n == 0:
			return "", fmt.Errorf("no system in %d bytes", size)
		case string(magic[:]) == "070701" || string(magic[:]) == "070702":
			if err := p.cpio(); err != nil {
				return "", fmt.Errorf("cpio archive at byte %d: %w", start, err)
			}
		default:
			for _, c := range compressions {
				if bytes.HasPrefix(magic[:n], []byte(c.magic)) {
					return p.whole(c.name, start)
				}
			}
			return "", fmt.Errorf("unknown archive at byte %d: %q", start, magic[:n])
		}
	}
}

// archive is a place in an initramfs.
type archive struct {
	r        io.ReaderAt
	size, at int64
	entries  int
	init     bool  // a program for the kernel to start was seen
	from     int64 // where the archive with it starts
}

func (p *archive) whole(kind string, start int64) (string, error) {
	if n := p.size - start; n < minArchive {
		return "", fmt.Errorf("only %d bytes of %s archive", n, kind)
	}
	return kind, nil
}

// skipZeros goes to the next byte that is not zero: archives are padded.
func (p *archive) skipZeros() error {
	buf := make([]byte, 32<<10)
	for p.at < p.size {
		n, err := p.r.ReadAt(buf[:min(int64(len(buf)), p.size-p.at)], p.at)
		if i := bytes.IndexFunc(buf[:n], func(r rune) bool { return r != 0 }); i >= 0 {
			p.at += int64(i)
			return nil
		}
		if p.at += int64(n); n == 0 || err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

// cpio goes to the end of the archive that starts here.
func (p *archive) cpio() error {
	start := p.at
	for {
		name, size, err := p.entry()
		if err != nil {
			return err
		}
		if name == lastEntry {
			return nil
		}
		if name == "init" || name == "./init" {
			p.init, p.from = true, start
		}
		if p.at += (size + 3) &^ 3; p.at > p.size {
			return fmt.Errorf("%.100q: %w", name, io.ErrUnexpectedEOF)
		}
		if p.entries++; p.entries > maxEntries {
			return fmt.Errorf("more than %d entries", maxEntries)
		}
	}
}

// entry reads a header and the name after it, and goes to the content.
func (p *archive) entry() (name string, size int64, err error) {
	var header [headerSize]byte
	if err := p.read(header[:]); err != nil {
		return "", 0, err
	}
	if m := string(header[:6]); m != "070701" && m != "070702" {
		return "", 0, fmt.Errorf("no header at byte %d", p.at)
	}
	size, err = hexadecimal(header[sizeField:])
	if err != nil {
		return "", 0, err
	}
	length, err := hexadecimal(header[nameField:])
	if err != nil {
		return "", 0, err
	}
	if length < 1 || length > maxName {
		return "", 0, fmt.Errorf("name of %d bytes", length)
	}
	p.at += headerSize
	buf := make([]byte, length)
	if err := p.read(buf); err != nil {
		return "", 0, err
	}
	// Header and name are padded together, counted from the archive's start,
	// which is itself a multiple of four.
	p.at += (headerSize+length+3)&^3 - headerSize
	return string(buf[:length-1]), size, nil
}

func (p *archive) read(buf []byte) error {
	if p.at+int64(len(buf)) > p.size {
		return io.ErrUnexpectedEOF
	}
	_, err := p.r.ReadAt(buf, p.at)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}

func hexadecimal(digits []byte) (int64, error) {
	n, err := strconv.ParseUint(string(digits[:8]), 16, 32)
	if err != nil {
		return 0, fmt.Errorf("number %q", digits[:8])
	}
	return int64(n), nil
}
