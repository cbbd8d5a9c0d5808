package boot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoRoom says that /boot has not enough free bytes.
var ErrNoRoom = errors.New("not enough room")

// roomMargin is what stays free in /boot besides what is asked for, in bytes:
// directories, the journal's needs, and an initrd that grows a little.
const roomMargin = 16 << 20

// Kernel is a kernel to install: for each file's name in /boot/<layer>, such
// as "vmlinuz-6.1" or "initrd.img-6.1", the path it is copied from.
type Kernel struct {
	Version string
	Files   map[string]string
}

// InstallKernel puts the kernel's files into /boot/<layer>. A file that
// another layer has under the same name with the same mode and content becomes
// a hard link to that one, where the file system has such links. On error the
// files that this call put there are removed again.
func (b *Boot) InstallKernel(ctx context.Context, layer string, k Kernel) error {
	if err := checkKernel(layer, k); err != nil {
		return err
	}
	var made []string
	for _, name := range slices.Sorted(maps.Keys(k.Files)) {
		path := filepath.Join(b.dir, layer, name)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			made = append(made, path)
		}
		err := ctx.Err()
		if err == nil {
			err = b.installFile(layer, name, k.Files[name])
		}
		if err != nil {
			err = fmt.Errorf("kernel %s of %s: %w", k.Version, layer, err)
			return errors.Join(err, b.takeBack(layer, made))
		}
	}
	return b.files.Settle(b.dir)
}

func checkKernel(layer string, k Kernel) error {
	if err := errors.Join(checkLayer(layer), checkName("kernel version", k.Version)); err != nil {
		return err
	}
	for name := range k.Files {
		if err := checkFileName(name); err != nil {
			return err
		}
	}
	return nil
}

// checkFileName refuses what is no name of a file directly in a layer's
// directory, or cannot be written in an entry.
func checkFileName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 255 ||
		strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '/' || r == 0x7f || r == '$' }) {
		return fmt.Errorf("%q: no name of a file in /boot", name)
	}
	return nil
}

// takeBack removes the files, and the layer's directory if nothing else is in
// it.
func (b *Boot) takeBack(layer string, paths []string) error {
	var errs []error
	for _, p := range paths {
		errs = append(errs, b.removeFile(p))
	}
	dir := filepath.Join(b.dir, layer)
	if left, err := os.ReadDir(dir); err == nil && len(left) == 0 {
		errs = append(errs, b.files.Remove(dir))
	}
	return errors.Join(errs...)
}

func (b *Boot) installFile(layer, name, source string) error {
	path := filepath.Join(b.dir, layer, name)
	if same, err := sameFile(source, path); err != nil || same {
		return err
	}
	twin, err := b.twin(layer, name, source)
	if err != nil {
		return err
	}
	if twin != "" && b.files.Link(twin, path) == nil {
		return nil
	}
	// No twin, or no link to be had: FAT has none, and a file's number of
	// names is limited.
	f, err := openRegular(source)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return b.files.Replace(path, info.Mode().Perm(), f)
}

// twin finds a file equal to source in the directory of another layer. Files
// in /boot itself and in foreign directories are not shared: their owners may
// change them in place.
func (b *Boot) twin(layer, name, source string) (string, error) {
	dirs, err := os.ReadDir(b.dir)
	if err != nil {
		return "", err
	}
	for _, d := range dirs {
		if !d.IsDir() || d.Name() == layer || checkLayer(d.Name()) != nil {
			continue
		}
		path := filepath.Join(b.dir, d.Name(), name)
		same, err := sameFile(source, path)
		if err != nil {
			return "", err
		}
		if same {
			return path, nil
		}
	}
	return "", nil
}

// sameFile tells whether path holds a regular file of the same mode, size and
// content as source. A missing path is not the same.
func sameFile(source, path string) (bool, error) {
	a, err := openRegular(source)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotRegular) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer b.Close()
	ai, err := a.Stat()
	if err != nil {
		return false, err
	}
	bi, err := b.Stat()
	if err != nil {
		return false, err
	}
	if ai.Size() != bi.Size() || ai.Mode().Perm() != bi.Mode().Perm() {
		return false, nil
	}
	return os.SameFile(ai, bi) || sameContent(a, b), nil
}

// sameContent compares two files of equal size. A read error is a difference:
// the copy that follows meets and reports it.
func sameContent(a, b io.Reader) bool {
	const chunk = 256 << 10
	x, y := bufio.NewReaderSize(a, chunk), bufio.NewReaderSize(b, chunk)
	for {
		p, perr := x.Peek(chunk)
		q, qerr := y.Peek(chunk)
		if string(p) != string(q) || perr != nil && perr != io.EOF || qerr != nil && qerr != io.EOF {
			return false
		}
		if perr == io.EOF {
			return true
		}
		if _, err := x.Discard(len(p)); err != nil {
			return false
		}
		if _, err := y.Discard(len(q)); err != nil {
			return false
		}
	}
}

var errNotRegular = errors.New("no regular file")

// openRegular opens a regular file; a link is none, since its target may lie
// anywhere.
func openRegular(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", path, errNotRegular)
	}
	return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

// RemoveKernels removes /boot/<layer>. It refuses with [ErrInUse] while an
// entry, foreign ones included, starts a file in it. A missing directory is no
// error.
func (b *Boot) RemoveKernels(layer string) error {
	if err := checkLayer(layer); err != nil {
		return err
	}
	m, err := b.Entries()
	if err != nil {
		return err
	}
	for _, e := range m.Entries {
		if e.starts(layer) {
			return fmt.Errorf("kernels of %s: %w: %s", layer, ErrInUse, e.ID)
		}
	}
	return b.removeFile(filepath.Join(b.dir, layer))
}
