package durable_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"imgbase/internal/durable"
)

func TestReplaceMakesNewFile(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	path := filepath.Join(t.TempDir(), "loader", "entries", "a.conf")
	if err := (durable.OS{}).Replace(path, 0o644, strings.NewReader("new")); err != nil {
		t.Fatal(err)
	}
	want(t, path, "new")
	if got := stat(t, path).Mode & 0o7777; got != 0o644 {
		t.Errorf("mode of a new file under umask 077 = %o; want 644", got)
	}
}

func TestReplaceKeepsWhatTheFileHas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "old")
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 1234, 2345); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Chmod(path, 0o4751); err != nil {
		t.Fatal(err)
	}
	attr := "present"
	if err := unix.Setxattr(path, "user.note", []byte("a\x00b"), 0); err != nil {
		attr = ""
	}
	before := stat(t, path)
	if err := (durable.OS{}).Replace(path, 0o600, strings.NewReader("new")); err != nil {
		t.Fatal(err)
	}
	after := stat(t, path)
	want(t, path, "new")
	if after.Mode != before.Mode || after.Uid != before.Uid || after.Gid != before.Gid {
		t.Errorf("mode, uid, gid = %o, %d, %d; want %o, %d, %d",
			after.Mode, after.Uid, after.Gid, before.Mode, before.Uid, before.Gid)
	}
	if after.Ino == before.Ino {
		t.Error("the file was rewritten in place; want a new one under its name")
	}
	if attr == "" {
		return
	}
	buf := make([]byte, 8)
	n, err := unix.Getxattr(path, "user.note", buf)
	if err != nil || string(buf[:n]) != "a\x00b" {
		t.Errorf("user.note = %q, %v; want %q", buf[:max(n, 0)], err, "a\x00b")
	}
}

func TestReplaceReplacesLink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	write(t, target, "target")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := (durable.OS{}).Replace(link, 0o644, strings.NewReader("new")); err != nil {
		t.Fatal(err)
	}
	want(t, target, "target")
	want(t, link, "new")
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func TestReplaceLeavesNothingBehind(t *testing.T) {
	cause := errors.New("disk on fire")
	tests := []struct {
		name string
		r    io.Reader
		path string
	}{
		{"reader fails", io.MultiReader(strings.NewReader("half"), broken{cause}), "file"},
		{"directory in the way", strings.NewReader("new"), "dir"},
		{"file as parent", strings.NewReader("new"), "file/below"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "file"), "old")
			if err := os.Mkdir(filepath.Join(dir, "dir"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := (durable.OS{}).Replace(filepath.Join(dir, test.path), 0o644, test.r); err == nil {
				t.Error("Replace = nil; want an error")
			}
			want(t, filepath.Join(dir, "file"), "old")
			if diff := cmp.Diff([]string{"dir", "file"}, names(t, dir)); diff != "" {
				t.Errorf("names after the failure (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOverwrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "env")
	write(t, path, "0123456789")
	before := stat(t, path)
	if err := (durable.OS{}).Overwrite(path, []byte("01234x6789")); err != nil {
		t.Fatal(err)
	}
	want(t, path, "01234x6789")
	if after := stat(t, path); after.Ino != before.Ino || after.Size != before.Size {
		t.Errorf("inode, size = %d, %d; want %d, %d", after.Ino, after.Size, before.Ino, before.Size)
	}
	for _, data := range []string{"", "short", "longer than it was"} {
		if err := (durable.OS{}).Overwrite(path, []byte(data)); err == nil {
			t.Errorf("Overwrite(%q) = nil; want an error, the size differs", data)
		}
	}
	want(t, path, "01234x6789")
	err := (durable.OS{}).Overwrite(path+".missing", nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Overwrite of a missing file = %v; want %v", err, fs.ErrNotExist)
	}
}

func TestLink(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "old")
	write(t, old, "kernel")
	taken := filepath.Join(dir, "taken")
	write(t, taken, "other")
	for _, path := range []string{filepath.Join(dir, "a", "new"), taken, taken} {
		if err := (durable.OS{}).Link(old, path); err != nil {
			t.Fatal(err)
		}
		if got := stat(t, path).Ino; got != stat(t, old).Ino {
			t.Errorf("Link to %s: another inode than the old name's", path)
		}
	}
	if diff := cmp.Diff([]string{"a", "old", "taken"}, names(t, dir)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if err := (durable.OS{}).Link(filepath.Join(dir, "missing"), taken); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Link of a missing file = %v; want %v", err, fs.ErrNotExist)
	}
	want(t, taken, "kernel")
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "outside"), "kept")
	tree := filepath.Join(dir, "tree")
	if err := os.MkdirAll(filepath.Join(tree, "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../outside", filepath.Join(tree, "link")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := (durable.OS{}).Remove(tree); err != nil {
			t.Fatalf("Remove = %v; want nil, also when it is gone", err)
		}
	}
	if diff := cmp.Diff([]string{"outside"}, names(t, dir)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestRemoveTemporary(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "tmp.imgbased.123"), "")
	write(t, filepath.Join(dir, "tmp.other"), "")
	write(t, filepath.Join(dir, "vmlinuz"), "")
	if err := os.Mkdir(filepath.Join(dir, "tmp.imgbased.dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Join(dir, "missing")} {
		if err := durable.RemoveTemporary(d); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"tmp.imgbased.dir", "tmp.other", "vmlinuz"}, names(t, dir)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, path, content string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil || string(b) != content {
		t.Errorf("content of %s = %q, %v; want %q", path, b, err, content)
	}
}

func stat(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
