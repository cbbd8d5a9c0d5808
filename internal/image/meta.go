package image

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"imgbase/internal/nvr"
)

// nvrFile says, in the tree of an image, which image it is.
const nvrFile = "usr/share/imgbase/build/meta/nvr"

// maxNVR bounds what is read of nvrFile; a volume's name is shorter.
const maxNVR = 4 << 10

// readNVR reads the NVR of the tree at dir without leaving it. One newline at
// its end is tolerated.
func readNVR(dir string) (nvr.NVR, error) {
	text, err := readFile(dir, nvrFile)
	if err != nil {
		return nvr.NVR{}, fmt.Errorf("%w: %s: %w", ErrNoNVR, nvrFile, err)
	}
	n, err := nvr.Parse(strings.TrimSuffix(text, "\n"))
	if err != nil {
		return nvr.NVR{}, fmt.Errorf("%w: %w", ErrNoNVR, err)
	}
	return n, nil
}

func readFile(dir, name string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", cause(err)
	}
	defer root.Close()
	// Not blocking: a FIFO of that name must not stop us.
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", cause(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxNVR+1))
	if err != nil {
		return "", cause(err)
	}
	if len(b) > maxNVR {
		return "", fmt.Errorf("longer than %d bytes", maxNVR)
	}
	return string(b), nil
}
