package boot

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links a path may lead through, as in
// path_resolution(7).
const maxLinks = 40

// resolve returns the path that name has in the tree at root, its symbolic
// links followed as if root were "/". What it leads to need not exist.
// openat2 with RESOLVE_IN_ROOT does the same, but not on the kernel of EL 8.
func resolve(root, name string) (string, error) {
	done, todo, links := "/", name, 0
	for todo != "" {
		var part string
		part, todo, _ = strings.Cut(strings.TrimLeft(todo, "/"), "/")
		next := filepath.Join(done, part) // ".." stops at "/"
		target, err := os.Readlink(filepath.Join(root, next))
		if err != nil {
			// No link, or nothing there.
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%s: %w", filepath.Join(root, name), unix.ELOOP)
		}
		if filepath.IsAbs(target) {
			done = "/"
		}
		todo = target + "/" + todo
	}
	return filepath.Join(root, done), nil
}

// readFile reads a regular file of at most max bytes. A named pipe under
// /boot must not make a run wait forever.
func readFile(path string, max int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: no regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > max {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, max)
	}
	return data, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
