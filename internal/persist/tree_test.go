package persist_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imgbase/internal/persist"

	"golang.org/x/sys/unix"
)

// tb is what rapid.T and testing.T share.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

// file is one path of a tree in a test.
type file struct {
	Kind  byte   // 'f' file, 'd' directory, 'l' link, 'p' fifo, 'c' character device, 's' socket
	Data  string // content, link target
	Mode  uint32
	UID   int
	GID   int
	Attrs map[string]string // extended attributes
}

func text(data string) file            { return file{Kind: 'f', Data: data, Mode: 0o644} }
func link(to string) file              { return file{Kind: 'l', Data: to, Mode: 0o777} }
func dir() file                        { return file{Kind: 'd', Mode: 0o755} }
func (f file) mode(m uint32) file      { f.Mode = m; return f }
func (f file) owner(uid, gid int) file { f.UID, f.GID = uid, gid; return f }
func (f file) xattr(key, value string) file {
	f.Attrs = maps.Clone(f.Attrs)
	if f.Attrs == nil {
		f.Attrs = make(map[string]string)
	}
	f.Attrs[key] = value
	return f
}

// files is a whole tree by path; missing parents are made with mode 0755.
type files map[string]file

func (t files) with(path string, f file) files {
	out := maps.Clone(t)
	if out == nil {
		out = files{}
	}
	out[path] = f
	return out
}

// write makes the tree in a new directory.
func (t files) write(tb tb, root string) string {
	tb.Helper()
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatalf("build tree: %v", err)
		}
	}
	must(os.MkdirAll(root, 0o755))
	must(os.Chmod(root, 0o755))
	for _, name := range slices.Sorted(maps.Keys(t)) {
		f, path := t[name], filepath.Join(root, name)
		must(os.MkdirAll(filepath.Dir(path), 0o755))
		switch f.Kind {
		case 'd':
			must(os.MkdirAll(path, 0o755))
		case 'l':
			must(os.Symlink(f.Data, path))
		case 'p':
			must(unix.Mkfifo(path, 0o600))
		case 'c':
			must(unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		case 's':
			must(unix.Mknod(path, unix.S_IFSOCK|0o600, 0))
		default:
			must(os.WriteFile(path, []byte(f.Data), 0o600))
		}
		must(os.Lchown(path, f.UID, f.GID))
		if f.Kind != 'l' {
			must(unix.Chmod(path, f.Mode))
		}
		for key, value := range f.Attrs {
			must(unix.Lsetxattr(path, key, []byte(value), 0))
		}
	}
	return root
}

// read is the inverse of write, the root left out.
func read(tb tb, root string) files {
	tb.Helper()
	out := files{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		out[rel], err = readFile(path)
		return err
	})
	if err != nil {
		tb.Fatalf("read tree: %v", err)
	}
	return out
}

func readFile(path string) (file, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return file{}, err
	}
	f := file{Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		f.Kind = 'd'
	case unix.S_IFLNK:
		f.Kind = 'l'
		f.Data, _ = os.Readlink(path)
	case unix.S_IFIFO:
		f.Kind = 'p'
	case unix.S_IFCHR:
		f.Kind = 'c'
	case unix.S_IFSOCK:
		f.Kind = 's'
	default:
		f.Kind = 'f'
		data, err := os.ReadFile(path)
		if err != nil {
			return f, err
		}
		f.Data = string(data)
	}
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(path, buf)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return f, err
	}
	for _, key := range strings.FieldsFunc(string(buf[:max(n, 0)]), func(r rune) bool { return r == 0 }) {
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(path, key, value)
		if err != nil {
			return f, err
		}
		f = f.xattr(key, string(value[:n]))
	}
	return f, nil
}

// merged is a merge that was applied.
type merged struct {
	plan                       persist.Plan
	base, mine, theirs, target string
	result                     files
}

// merge writes three trees, compares and applies, and checks what holds for
// every merge: its inputs stay as they are and a second Apply does nothing.
func merge(tb tb, root string, b, m, t files, rules persist.Rules) merged {
	tb.Helper()
	out := merged{
		base: b.write(tb, root+"/base"), mine: m.write(tb, root+"/mine"),
		theirs: t.write(tb, root+"/theirs"), target: t.write(tb, root+"/target"),
	}
	before := []string{fmt.Sprint(read(tb, out.base)), fmt.Sprint(read(tb, out.mine)), fmt.Sprint(read(tb, out.theirs))}
	plan, err := persist.Compare(out.base, out.mine, out.theirs, rules)
	if err != nil {
		tb.Fatalf("Compare() = %v; want no error", err)
	}
	if got := fmt.Sprint(read(tb, out.target)); got != before[2] {
		tb.Fatalf("target after Compare = %v; want it untouched", got)
	}
	for range 2 {
		if err := plan.Apply(context.Background(), out.target); err != nil {
			tb.Fatalf("Apply(%v) = %v; want no error", plan.Changes, err)
		}
		result := read(tb, out.target)
		if out.result != nil && fmt.Sprint(result) != fmt.Sprint(out.result) {
			tb.Fatalf("second Apply made %v; want %v as the first", result, out.result)
		}
		out.result = result
	}
	after := []string{fmt.Sprint(read(tb, out.base)), fmt.Sprint(read(tb, out.mine)), fmt.Sprint(read(tb, out.theirs))}
	if !slices.Equal(before, after) {
		tb.Fatalf("trees after the merge = %q; want %q untouched", after, before)
	}
	out.plan = plan
	return out
}

// asRoot skips a test that sets owners or makes devices.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners, devices, trusted attributes")
	}
}
