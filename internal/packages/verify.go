package packages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"imgbase/internal/run"
)

// Mismatch is a file that has another mode, owner or group than rpm's
// database says.
type Mismatch struct {
	Path    string      `json:"path"`    // absolute in the tree; any bytes
	Package string      `json:"package"` // name of the package that owns it
	Mode    fs.FileMode `json:"-"`       // what it should have: permission, set-id and sticky bits; whether it is a directory, or ModeIrregular for neither
	User    string      `json:"user"`
	Group   string      `json:"group"`
	Wrong   string      `json:"wrong"` // what differs: of "M", "U" and "G", in this order
}

// String is the mismatch on one line.
func (m Mismatch) String() string {
	var what []string
	for _, w := range []struct{ letter, text string }{
		{"M", fmt.Sprintf("mode is not %04o", unixMode(m.Mode))},
		{"U", "owner is not " + m.User},
		{"G", "group is not " + m.Group},
	} {
		if strings.Contains(m.Wrong, w.letter) {
			what = append(what, w.text)
		}
	}
	return fmt.Sprintf("%q of %s: %s", m.Path, m.Package, strings.Join(what, ", "))
}

// Bits are those of Mode as chmod(2) has them.
func (m Mismatch) Bits() uint32 { return unixMode(m.Mode) }

// WithBits is the mismatch with other bits of Mode, as chmod(2) has them.
func (m Mismatch) WithBits(bits uint32) Mismatch {
	m.Mode = m.Mode.Type() | fileBits(bits)
	return m
}

// Verify asks rpm which files of the tree have another mode, owner or group
// than it installed, in the order of its answer. It reads no content. A tree
// without an rpm database has none.
func (s System) Verify(ctx context.Context) ([]Mismatch, error) {
	d, err := s.databases()
	if err != nil || d.rpm == "" {
		return nil, err
	}
	found, err := s.verify(ctx, d.rpm)
	if err != nil {
		return nil, fmt.Errorf("verify rpm packages of %s: %w", s.Root, err)
	}
	return found, nil
}

func (s System) verify(ctx context.Context, dir string) ([]Mismatch, error) {
	out, err := s.rpm(ctx, dir, "-Va", "--nodeps", "--noscripts", "--nodigest", "--nosignature",
		"--nofiledigest", "--nosize", "--nomtime", "--nolinkto", "--nordev", "--nocaps")
	// It ends with 1 when it finds something, and when it could not look.
	if e, ok := errors.AsType[*run.Error](err); err != nil && (!ok || e.Code <= 0 || len(out.Stdout) == 0 || complains(out.Stderr)) {
		return nil, err
	}
	wrong, err := ParseVerify(out.Stdout)
	if err != nil || len(wrong) == 0 {
		return nil, err
	}
	out, err = s.rpm(ctx, dir, "-qa", "--nosignature", "--qf", attributes)
	if err != nil {
		return nil, err
	}
	return matchAttributes(out.Stdout, wrong)
}

func complains(stderr []byte) bool {
	return bytes.HasPrefix(stderr, []byte("error:")) || bytes.Contains(stderr, []byte("\nerror:"))
}

// ParseVerify reads the lines of rpm -V: for each path what of mode, owner
// and group differs, as in [Mismatch.Wrong]. Missing files, those of which
// something else differs, and ghosts are left out: what makes a ghost decides
// about its mode, and the database has what happened to be there at the build.
func ParseVerify(text []byte) (map[string]string, error) {
	wrong := make(map[string]string)
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "missing ") {
			continue
		}
		// "SM5DLUGTP  c /path": a letter where something differs, "." where
		// not, "?" where rpm could not look; the file's kind or a blank.
		const results, path = 9, 13
		if len(line) <= path || strings.Trim(line[:results], "SM5DLUGTP.?") != "" ||
			line[results:results+2] != "  " || line[path-1] != ' ' || line[path] != '/' {
			return nil, fmt.Errorf("rpm -V, line %d: %.100q", n, line)
		}
		if line[results+2] == 'g' {
			continue
		}
		what := strings.Map(func(r rune) rune {
			if strings.ContainsRune("MUG", r) {
				return r
			}
			return -1
		}, line[:results])
		if what != "" {
			wrong[line[path:]] = what
		}
	}
	return wrong, nil
}

// attributes is the query format of what [matchAttributes] reads.
const attributes = `[%{=NAME} %{FILEMODES:octal} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES:shescape}\n]`

func matchAttributes(text []byte, wrong map[string]string) ([]Mismatch, error) {
	var all []Mismatch
	for n := 1; len(text) > 0; n++ {
		words, name, rest, err := attributeLine(text)
		if err != nil {
			return nil, fmt.Errorf("rpm's file %d: %w", n, err)
		}
		text = rest
		what, ok := wrong[string(name)]
		if !ok {
			continue
		}
		mode, err := strconv.ParseUint(words[1], 8, 32)
		if err != nil {
			return nil, fmt.Errorf("rpm's file %d: mode %q", n, words[1])
		}
		delete(wrong, string(name)) // several packages may own it; the first one tells
		all = append(all, Mismatch{
			Path: string(name), Package: words[0], Mode: fileMode(uint32(mode)), User: words[2], Group: words[3], Wrong: what,
		})
	}
	return all, nil
}

// attributeLine reads four words and a quoted name.
func attributeLine(text []byte) (words [4]string, name, rest []byte, err error) {
	for i := range words {
		word, after, ok := bytes.Cut(text, []byte{' '})
		if !ok || len(word) > maxName || bytes.IndexByte(word, '\n') >= 0 {
			return words, nil, nil, fmt.Errorf("%d words before the name in %.100q", i, text)
		}
		words[i], text = string(word), after
	}
	name, rest, err = unquote(text)
	return words, name, rest, err
}

// Restore gives files the mode, owner and group that rpm's database has for
// them. The caller leaves out what the administrator decided. The ids of a
// user and a group of the tree come from ids. Files that are neither regular
// nor directories are left alone; set-id bits and capabilities, which a
// change of owner takes away, are there again afterwards.
func (s System) Restore(found []Mismatch, ids func(user, group string) (uid, gid int, err error)) error {
	var problems []error
	for _, m := range found {
		if err := s.restore(m, ids); err != nil {
			problems = append(problems, fmt.Errorf("restore %q: %w", m.Path, err))
		}
	}
	return errors.Join(problems...)
}

func (s System) restore(m Mismatch, ids func(user, group string) (uid, gid int, err error)) error {
	uid, gid, err := ids(m.User, m.Group)
	if err != nil {
		return err
	}
	dir, err := s.Open(s.Root, filepath.Dir(m.Path))
	if err != nil {
		return err
	}
	defer dir.Close()
	base := filepath.Base(m.Path)
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return nil
	}
	fd, err := unix.Openat(int(dir.Fd()), base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return setAttributes(fd, m, uid, gid)
}

const capabilities = "security.capability"

func setAttributes(fd int, m Mismatch, uid, gid int) error {
	var saved [64]byte // a capability has 24 bytes at most (linux/capability.h)
	n, capErr := unix.Fgetxattr(fd, capabilities, saved[:])
	if strings.ContainsAny(m.Wrong, "UG") {
		if err := unix.Fchown(fd, uid, gid); err != nil {
			return fmt.Errorf("owner: %w", err)
		}
	}
	if err := unix.Fchmod(fd, unixMode(m.Mode)); err != nil {
		return fmt.Errorf("mode: %w", err)
	}
	if capErr != nil {
		return nil
	}
	if err := unix.Fsetxattr(fd, capabilities, saved[:n], 0); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	return nil
}

// modeBits are the bits beside the permissions, of the kernel and of package
// fs.
var modeBits = [...]struct {
	unix uint32
	fs   fs.FileMode
}{{unix.S_ISUID, fs.ModeSetuid}, {unix.S_ISGID, fs.ModeSetgid}, {unix.S_ISVTX, fs.ModeSticky}}

func fileMode(mode uint32) fs.FileMode {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return fileBits(mode)
	case unix.S_IFDIR:
		return fs.ModeDir | fileBits(mode)
	}
	return fs.ModeIrregular | fileBits(mode)
}

func fileBits(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for _, b := range modeBits {
		if mode&b.unix != 0 {
			m |= b.fs
		}
	}
	return m
}

func unixMode(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	for _, b := range modeBits {
		if m&b.fs != 0 {
			mode |= b.unix
		}
	}
	return mode
}
