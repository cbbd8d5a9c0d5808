package accounts_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"imgbase/internal/accounts"

	"golang.org/x/sys/unix"
)

func open(t testing.TB, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestReadAndApply(t *testing.T) {
	needRoot(t)
	host, image := t.TempDir(), t.TempDir()
	writeFile(t, host+"/etc/passwd", "root:x:0:0::/:/\nh:x:5:0::/:/\n")
	writeFile(t, host+"/etc/group", "root:x:0:\nshadow:x:42:\n")
	writeFile(t, host+"/etc/shadow", "root:*:1\n")
	writeFile(t, host+"/etc/login.defs", "SYS_UID_MAX 300\nUID_MIN 400\n")
	must(t, os.Chmod(host+"/etc/shadow", 0o640), os.Chown(host+"/etc/shadow", 0, 42))
	writeFile(t, image+"/etc/passwd", "root:x:0:0::/:/\nn:x:5:0::/:/\n")
	writeFile(t, image+"/etc/group", "root:x:0:\nshadow:x:43:\n")
	writeFile(t, image+"/etc/gshadow", "root:*::\nshadow:*::\n")
	must(t, os.Chmod(image+"/etc/gshadow", 0), os.Chown(image+"/etc/gshadow", 0, 43))

	mine, err := accounts.Read(open(t, host))
	if err != nil {
		t.Fatalf("Read(host) = %v; want no error", err)
	}
	theirs, err := accounts.Read(open(t, image))
	if err != nil {
		t.Fatalf("Read(image) = %v; want no error", err)
	}
	plan := merge(t, accounts.Tree{}, mine, theirs)
	for range 2 {
		if err := plan.Apply(open(t, image)); err != nil {
			t.Fatalf("Apply() = %v; want no error", err)
		}
	}
	got := make(map[string]string)
	entries, err := os.ReadDir(image + "/etc")
	must(t, err)
	for _, e := range entries {
		data, err := os.ReadFile(image + "/etc/" + e.Name())
		must(t, err)
		info, err := e.Info()
		must(t, err)
		got[e.Name()] = string(data) + info.Mode().String() + " " + formatGID(info)
	}
	for name, want := range map[string]string{
		"passwd":  "root:x:0:0::/:/\nh:x:5:0::/:/\nn:x:300:0::/:/\n-rw-r--r-- 0",
		"group":   "root:x:0:\nshadow:x:42:\n-rw-r--r-- 0",
		"shadow":  "root:*:1\nn:!*:::::::\n-rw-r----- 42",
		"gshadow": "---------- 42", // the host has none: nothing but new groups belongs there
	} {
		if got[name] != want {
			t.Errorf("%s = %q; want %q", name, got[name], want)
		}
	}
	if len(got) != 4 {
		t.Errorf("files %v; want four", got)
	}
}

func formatGID(info os.FileInfo) string {
	return strconv.FormatUint(uint64(info.Sys().(*syscall.Stat_t).Gid), 10)
}

func TestReadRefuses(t *testing.T) {
	secret := t.TempDir()
	writeFile(t, secret+"/passwd", "root:secret:0:0::/:/\n")
	for _, c := range []struct {
		name, want string
		make       func(path string) error
	}{
		{"link out of the tree", "etc/passwd: not a regular file", func(p string) error { return os.Symlink(secret+"/passwd", p) }},
		{"fifo", "etc/passwd: not a regular file", func(p string) error { return unix.Mkfifo(p, 0o644) }},
		{"directory", "etc/passwd: not a regular file", func(p string) error { return os.Mkdir(p, 0o755) }},
		{"enormous", "etc/passwd: larger than 33554432 bytes", func(p string) error {
			return errors.Join(os.WriteFile(p, nil, 0o644), os.Truncate(p, 1<<40))
		}},
	} {
		dir := t.TempDir()
		must(t, os.Mkdir(dir+"/etc", 0o755), c.make(dir+"/etc/passwd"))
		if _, err := accounts.Read(open(t, dir)); err == nil || err.Error() != c.want {
			t.Errorf("%s: Read() = %v; want %s", c.name, err, c.want)
		}
	}
	dir := t.TempDir()
	must(t, os.Symlink(secret, dir+"/etc"))
	if got, err := accounts.Read(open(t, dir)); err == nil {
		t.Errorf("Read() of a link out of the tree = %v; want an error", got)
	}
	if got, err := accounts.Read(open(t, t.TempDir())); err != nil || len(got.Files) != 0 {
		t.Errorf("Read() of an empty tree = %v, %v; want none", got, err)
	}
}

// What lies in the way of a file is replaced and never followed.
func TestApplyOnHostileTree(t *testing.T) {
	outside := t.TempDir()
	writeFile(t, outside+"/passwd", "outside")
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+"/etc/group/x", 0o755), os.Symlink(outside+"/passwd", dir+"/etc/passwd"), os.Symlink(outside+"/passwd", dir+"/etc/passwd.staged.imgnew"))
	host := system("", "")
	plan := merge(t, accounts.Tree{}, host, host)
	if os.Geteuid() != 0 {
		t.Skip("chown needs root")
	}
	if err := plan.Apply(open(t, dir)); err != nil {
		t.Fatalf("Apply() = %v; want no error", err)
	}
	if got, err := os.ReadFile(outside + "/passwd"); err != nil || string(got) != "outside" {
		t.Errorf("file outside = %q, %v; want it untouched", got, err)
	}
	for _, name := range []string{"passwd", "group"} {
		info, err := os.Lstat(dir + "/etc/" + name)
		if err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s = %v, %v; want a regular file", name, info, err)
		}
	}
	must(t, os.RemoveAll(dir+"/etc"), os.Symlink(outside, dir+"/etc"))
	if err := plan.Apply(open(t, dir)); err == nil {
		t.Error("Apply() through a link out of the tree: no error; want one")
	}
}

func TestIDs(t *testing.T) {
	tree := accounts.Tree{Files: map[string]accounts.File{
		"passwd": {Text: []byte("root:x:0:0::/:/\n# no:x:1:1::/:/\nuser:x:007:8::/:/\nuser:x:9:9::/:/\nbad:x:y:1::/:/\n+nis\ntoor:x:0:0::/:/\n")},
		"group":  {Text: []byte("wheel:x:10:a,b\n")},
	}}
	users, groups := tree.IDs()
	if want := map[string]uint32{"root": 0, "user": 7, "toor": 0}; !maps.Equal(users, want) {
		t.Errorf("IDs() of users = %v; want %v", users, want)
	}
	if want := map[string]uint32{"wheel": 10}; !maps.Equal(groups, want) {
		t.Errorf("IDs() of groups = %v; want %v", groups, want)
	}
	if users, groups = (accounts.Tree{}).IDs(); len(users)+len(groups) > 0 {
		t.Errorf("IDs() of no tree = %v, %v; want none", users, groups)
	}
}
