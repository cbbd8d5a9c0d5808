package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// temporary is how names of files begin that are on their way to their final
// name. It is upstream's prefix: whoever cleans up after one cleans up after
// the other.
const temporary = "tmp.imgbased."

// OS changes the files of this machine.
type OS struct{}

var _ Files = OS{}

// Replace implements [Files]. A symbolic link at path is replaced, not
// followed; a directory there is an error.
func (OS) Replace(path string, mode fs.FileMode, r io.Reader) error {
	dir := filepath.Dir(path)
	if err := makeDirs(dir); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, temporary+"*")
	if err != nil {
		return err
	}
	// After the rename nothing has this name any more.
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := dress(f, path, mode); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	// Some file systems report a failed write only here.
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// Overwrite implements [Files]. A symbolic link at path is followed.
func (OS) Overwrite(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != int64(len(data)) {
		return fmt.Errorf("%s: holds %d bytes, %d would change its size", path, info.Size(), len(data))
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// Link implements [Files]. It creates missing parent directories and replaces
// a file that was at path.
func (OS) Link(old, path string) error {
	dir := filepath.Dir(path)
	if err := makeDirs(dir); err != nil {
		return err
	}
	// CreateTemp finds a free name; link(2) wants the name free again.
	f, err := os.CreateTemp(dir, temporary+"*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		return err
	}
	if err := os.Link(old, f.Name()); err != nil {
		return err
	}
	// When path is the same file already, rename(2) does nothing, and the
	// deferred removal takes the temporary name away.
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// Remove implements [Files].
func (OS) Remove(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// RemoveTemporary removes from dir, not from below it, the files that a
// process killed in the middle of a change left there. A missing dir is no
// error.
func RemoveTemporary(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), temporary) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// makeDirs creates dir and its missing parents, each made durable in the
// directory that holds it.
func makeDirs(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: unix.ENOTDIR}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDirs(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// dress gives f what the file at path has besides its content; mode when
// there is no file there.
func dress(f *os.File, path string, mode fs.FileMode) error {
	var old unix.Stat_t
	err := unix.Lstat(path, &old)
	if err == unix.ENOENT || err == nil && old.Mode&unix.S_IFMT == unix.S_IFLNK {
		return chmod(f, uint32(mode.Perm()))
	}
	if err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	var now unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &now); err != nil {
		return &fs.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	// Owner before mode and attributes: chown(2) clears set-id bits and
	// capabilities. FAT refuses to change what it cannot store, so nothing is
	// asked of it that is so already.
	if old.Uid != now.Uid || old.Gid != now.Gid {
		if err := f.Chown(int(old.Uid), int(old.Gid)); err != nil {
			return err
		}
	}
	if old.Mode != now.Mode {
		if err := chmod(f, old.Mode&0o7777); err != nil {
			return err
		}
	}
	return copyXattrs(path, f)
}

func chmod(f *os.File, mode uint32) error {
	err := unix.Fchmod(int(f.Fd()), mode)
	if err == unix.EPERM && onFAT(f) {
		// Modes there come from the mount options (fmask, umask).
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "chmod", Path: f.Name(), Err: err}
	}
	return nil
}

func onFAT(f *os.File) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &st) == nil && st.Type == unix.MSDOS_SUPER_MAGIC
}

func copyXattrs(path string, f *os.File) error {
	names, err := xattr(func(b []byte) (int, error) { return unix.Llistxattr(path, b) })
	if err == unix.ENOTSUP {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "listxattr", Path: path, Err: err}
	}
	for name := range bytes.SplitSeq(names, []byte{0}) {
		if len(name) == 0 {
			continue
		}
		attr := string(name)
		value, err := xattr(func(b []byte) (int, error) { return unix.Lgetxattr(path, attr, b) })
		if err == nil {
			err = unix.Fsetxattr(int(f.Fd()), attr, value, 0)
		}
		if err != nil {
			return &fs.PathError{Op: "copy " + attr, Path: path, Err: err}
		}
	}
	return nil
}

// xattr calls get with a buffer large enough for its answer; listxattr(2)
// bounds names and values at 64 KiB.
func xattr(get func([]byte) (int, error)) ([]byte, error) {
	buf := make([]byte, 64<<10)
	n, err := get(buf)
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}
