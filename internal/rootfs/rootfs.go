// Package rootfs reads and edits the root tree of a system that is not the
// running one: a base or a layer that is mounted somewhere.
//
// Paths in such a tree are resolved as chroot(2) would resolve them: an
// absolute link starts again at the tree's root, and no ".." leads out of it.
// Nothing here follows a link out of the tree, whatever the tree holds.
//
// The editors ([Fstab], [ShellVars]) keep every byte that they were not asked
// to change: comments, odd spacing and lines they do not understand stay.
// Formats followed: fstab(5), os-release(5), POSIX shell assignments, ELF,
// the kernel-install(8) and Debian names of kernels, deb-conffiles(5).
package rootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoSystem says that a tree holds no operating system we can recognise.
var ErrNoSystem = errors.New("no operating system in this tree")

// maxFile bounds what ReadFile reads. The largest it is meant for, dpkg's
// status file, has 5 MB on a full desktop.
const maxFile = 16 << 20

// maxLinks is the kernel's own limit of links in one path (path_resolution(7)).
const maxLinks = 40

// Open opens the regular file or directory name of the tree root for
// reading. Links are resolved inside root. A device, fifo or socket is an
// error, and is not opened.
func Open(root, name string) (*os.File, error) {
	w, err := walk(root, name)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if w.missing != "" {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(root, name), Err: fs.ErrNotExist}
	}
	if kind := w.kind; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(root, name), Err: errors.New("neither a file nor a directory")}
	}
	// Through the descriptor, so that it is the very file that was looked at.
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", w.top()))
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(root, name), Err: errors.Unwrap(err)}
	}
	return f, nil
}

// ReadFile reads the regular file name of the tree root, of at most 16 MiB.
func ReadFile(root, name string) ([]byte, error) {
	f, err := Open(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(root, name), err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", filepath.Join(root, name), maxFile)
	}
	return data, nil
}

// Resolve returns the path of name with every link resolved inside root, as
// a path that starts with root. The last component need not exist.
func Resolve(root, name string) (string, error) {
	w, err := walk(root, name)
	if err != nil {
		return "", err
	}
	defer w.close()
	return filepath.Join(root, filepath.Join(w.names...), w.missing), nil
}

// walker is a path on its way through a tree: a descriptor per directory
// passed, so that ".." is where the walk came from and not what the file
// system says.
type walker struct {
	fds     []int    // O_PATH; the root first
	names   []string // one less than fds
	kind    uint32   // S_IFMT of the top
	missing string   // the last component, when it does not exist
}

func (w *walker) top() int { return w.fds[len(w.fds)-1] }

func (w *walker) close() {
	for _, fd := range w.fds {
		unix.Close(fd)
	}
}

func (w *walker) pop() {
	if last := len(w.fds) - 1; last > 0 {
		unix.Close(w.fds[last])
		w.fds, w.names = w.fds[:last], w.names[:last-1]
	}
	w.kind = unix.S_IFDIR
}

// walk goes to name in root, links resolved inside. The caller closes it.
func walk(root, name string) (*walker, error) {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	w := &walker{fds: []int{fd}, kind: unix.S_IFDIR}
	if err := w.follow(name); err != nil {
		w.close()
		return nil, &os.PathError{Op: "resolve", Path: filepath.Join(root, name), Err: err}
	}
	return w, nil
}

func (w *walker) follow(name string) error {
	rest, links := strings.Split(name, "/"), 0
	for len(rest) > 0 {
		step := rest[0]
		rest = rest[1:]
		target, err := w.step(step, len(rest) == 0)
		if err != nil {
			return err
		}
		if target == "" {
			continue
		}
		if links++; links > maxLinks {
			return unix.ELOOP
		}
		if target[0] == '/' {
			for len(w.fds) > 1 {
				w.pop()
			}
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return nil
}

// step goes one component on, or returns the target of the link it is.
func (w *walker) step(name string, last bool) (target string, err error) {
	switch {
	case w.kind != unix.S_IFDIR:
		return "", unix.ENOTDIR
	case name == "" || name == ".":
		return "", nil
	case name == "..":
		w.pop()
		return "", nil
	}
	fd, err := unix.Openat(w.top(), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) && last {
		w.missing = name
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		w.fds, w.names, w.kind = append(w.fds, fd), append(w.names, name), st.Mode&unix.S_IFMT
		return "", nil
	}
	defer unix.Close(fd)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	return string(buf[:max(n, 0)]), err
}
