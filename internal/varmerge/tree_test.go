package varmerge_test

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

	"imgbase/internal/varmerge"

	"github.com/google/go-cmp/cmp"
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
	Same  string            // the first path that is the same file, "" for that path itself
	Attrs map[string]string // extended attributes
}

func text(data string) file            { return file{Kind: 'f', Data: data, Mode: 0o644} }
func link(to string) file              { return file{Kind: 'l', Data: to, Mode: 0o777} }
func dir() file                        { return file{Kind: 'd', Mode: 0o755} }
func (f file) mode(m uint32) file      { f.Mode = m; return f }
func (f file) owner(uid, gid int) file { f.UID, f.GID = uid, gid; return f }
func (f file) same(as string) file     { f.Same = as; return f }
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
		if f.Same != "" {
			must(os.Link(filepath.Join(root, f.Same), path))
			continue
		}
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
	out, first := files{}, map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		f, ino, err := readFile(path)
		if other, ok := first[ino]; ok {
			f.Same = other
		} else if f.Kind != 'd' {
			first[ino] = rel
		}
		out[rel] = f
		return err
	})
	if err != nil {
		tb.Fatalf("read tree: %v", err)
	}
	return out
}

func readFile(path string) (file, uint64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return file{}, 0, err
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
			return f, 0, err
		}
		f.Data = string(data)
	}
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(path, buf)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return f, 0, err
	}
	for _, key := range strings.FieldsFunc(string(buf[:max(n, 0)]), func(r rune) bool { return r == 0 }) {
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(path, key, value)
		if err != nil {
			return f, 0, err
		}
		f = f.xattr(key, string(value[:n]))
	}
	return f, st.Ino, nil
}

// classes is a package database.
type classes map[string]varmerge.Class

func (c classes) of(path string) varmerge.Class { return c[path] }

func compare(tb tb, image, host string, o varmerge.Options) varmerge.Plan {
	tb.Helper()
	plan, err := varmerge.Compare(context.Background(), image, host, o)
	if err != nil {
		tb.Fatalf("Compare() = %v; want no error", err)
	}
	return plan
}

func apply(tb tb, p varmerge.Plan) {
	tb.Helper()
	if left, err := p.Apply(context.Background()); err != nil || len(left) != 0 {
		tb.Fatalf("Apply(%v) = %v, %v; want nothing left", p.Changes, left, err)
	}
}

// effects are a plan's changes that are no mere reports.
func effects(p varmerge.Plan) (out []varmerge.Change) {
	for _, c := range p.Changes {
		if c.Op != varmerge.Keep {
			out = append(out, c)
		}
	}
	return out
}

// merged is a merge that was applied.
type merged struct {
	plan        varmerge.Plan
	image, host string
	before      files
	result      files
}

// merge writes both trees, compares and applies, and checks what holds for
// every merge: the image stays as it is, the plan tells what was done, and
// there is nothing to do afterwards.
func merge(tb tb, root string, image, host files, o varmerge.Options) merged {
	tb.Helper()
	m := merged{image: image.write(tb, root+"/image"), host: host.write(tb, root+"/host")}
	vendor := read(tb, m.image)
	m.before = read(tb, m.host)
	m.plan = compare(tb, m.image, m.host, o)
	if diff := cmp.Diff(m.before, read(tb, m.host)); diff != "" {
		tb.Fatalf("Compare changed the host:\n%s", diff)
	}
	apply(tb, m.plan)
	m.result = read(tb, m.host)
	if diff := cmp.Diff(vendor, read(tb, m.image)); diff != "" {
		tb.Fatalf("the merge changed the image:\n%s", diff)
	}
	m.planTells(tb)
	again := compare(tb, m.image, m.host, o)
	if left := effects(again); len(left) != 0 {
		tb.Fatalf("after the merge Compare() = %v; want nothing to do", left)
	}
	apply(tb, again)
	if diff := cmp.Diff(m.result, read(tb, m.host)); diff != "" {
		tb.Fatalf("the second Apply changed the host:\n%s", diff)
	}
	return m
}

// planTells checks that every path which changed is of a change, and that
// every change changed its path.
func (m merged) planTells(tb tb) {
	tb.Helper()
	told := make(map[string]bool)
	for _, c := range effects(m.plan) {
		changed := m.changed(c.Path)
		if changed == (c.Op == varmerge.Beside) {
			tb.Fatalf("after %v: %q changed is %t", c, c.Path, changed)
		}
		told[c.Path] = true
		if c.Beside != "" {
			told[c.Beside] = true
		}
		n := 0
		for name := range m.result {
			at := c.Path
			if c.Op == varmerge.Beside {
				at = c.Beside
			}
			if name == at || strings.HasPrefix(name, at+"/") {
				n++
			}
		}
		if c.Op != varmerge.Sweep && n != c.Files {
			tb.Fatalf("%v: %d files arrived; want the %d that it says", c, n, c.Files)
		}
	}
	all := maps.Clone(m.before)
	maps.Copy(all, m.result)
	for name := range all {
		known := false
		for at := name; at != "."; at = filepath.Dir(at) {
			known = known || told[at]
		}
		if m.changed(name) && !known {
			tb.Fatalf("%q = %v, was %v; want a change that tells of it in %v", name, m.result[name], m.before[name], m.plan.Changes)
		}
	}
}

// changed compares all but which names a file has besides.
func (m merged) changed(name string) bool {
	was, is := m.before[name], m.result[name]
	was.Same, is.Same = "", ""
	return fmt.Sprint(was) != fmt.Sprint(is)
}

// asRoot skips a test that sets owners or makes devices.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners, devices, trusted attributes")
	}
}
