package accounts

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// directory holds the files, relative to a system's root.
const directory = "etc"

// maxFile bounds one account file, in bytes. It is room for half a million
// accounts.
const maxFile = 32 << 20

// label is copied from the file replaced: it is by name, not by content.
const label = "security.selinux"

// Read reads the account files and the limits of the system whose root
// directory is root. A missing file is none. A file that is no regular one,
// a link included, or has more than 32 MiB is an error.
func Read(root *os.Root) (Tree, error) {
	t := Tree{Files: make(map[string]File)}
	for _, name := range names() {
		f, err := readFile(root, directory+"/"+name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Tree{}, err
		}
		t.Files[name] = f
	}
	defs, err := readFile(root, directory+"/login.defs")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Tree{}, err
	}
	t.Limits = ParseLimits(defs.Text)
	return t, nil
}

// IDs are the numbers that the tree's passwd and group have for names.
func (t Tree) IDs() (users, groups map[string]uint32) {
	return t.idsOf(passwd), t.idsOf(group)
}

func (t Tree) idsOf(file string) map[string]uint32 {
	ids := make(map[string]uint32)
	for _, e := range parse(file, t.Files[file].Text).all() {
		ids[e[0]] = idOf(e, idField)
	}
	return ids
}

func readFile(root *os.Root, name string) (File, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return File{}, err
	}
	if !info.Mode().IsRegular() {
		return File{}, fmt.Errorf("%s: not a regular file", name)
	}
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	// The host's tree is live: what was opened is what counts.
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return File{}, fmt.Errorf("%s: is no regular file any more", name)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return File{}, fmt.Errorf("%s: %w", name, err)
	}
	if len(text) > maxFile {
		return File{}, fmt.Errorf("%s: larger than %d bytes", name, maxFile)
	}
	return File{Text: text, Mode: fs.FileMode(st.Mode & 0o777), UID: st.Uid, GID: st.Gid}, nil
}

// Apply writes the merged files into the system whose root directory is
// root, which nobody runs. Each is replaced whole, with the host's mode and
// owner and the label of the file replaced. Nothing is synced. The tree has
// to be re-owned before: these files have the host's ids already.
func (p Plan) Apply(root *os.Root) error {
	for _, name := range names() {
		f, ok := p.Files[name]
		if !ok {
			continue
		}
		if err := put(root, directory+"/"+name, f); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

func put(root *os.Root, name string, f File) (err error) {
	// The suffix is that of the vendor's versions, so that what a killed
	// merge leaves is not carried into the layer after this one.
	staged := name + ".staged.imgnew"
	old, err := oldLabel(root, name)
	if err != nil {
		return err
	}
	if err := root.RemoveAll(staged); err != nil {
		return err
	}
	out, err := root.OpenFile(staged, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Remove(staged))
		}
	}()
	if err := errors.Join(fill(out, f, old), out.Close()); err != nil {
		return err
	}
	return root.Rename(staged, name)
}

func fill(out *os.File, f File, old []byte) error {
	if _, err := out.Write(f.Text); err != nil {
		return err
	}
	if err := out.Chown(int(f.UID), int(f.GID)); err != nil {
		return err
	}
	if err := out.Chmod(f.Mode); err != nil {
		return err
	}
	if old == nil {
		return nil
	}
	return unix.Fsetxattr(int(out.Fd()), label, old, 0)
}

// oldLabel makes room for a file at name and returns the label that was
// there, nil for none. A directory or a link there is the image's mistake and
// goes.
func oldLabel(root *os.Root, name string) ([]byte, error) {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, root.RemoveAll(name)
	}
	dir, err := root.Open(directory)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	value, err := xattr(procPath(dir, name[len(directory)+1:]), label, make([]byte, 64<<10))
	return append([]byte(nil), value...), err
}
