package varmerge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"
	"unicode/utf8"

	"imgbase/internal/varmerge"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// every is the database in which all paths are of one class.
func every(c varmerge.Class) varmerge.Options {
	return varmerge.Options{Class: func(string) varmerge.Class { return c }}
}

func TestOddNames(t *testing.T) {
	image, host := files{"d": dir(), "new": dir()}, files{"d": dir()}
	for _, name := range []string{
		"new\nline", "-rf", "--", "q'\"`$(x)", `back\slash`, "per%cent", "\xff\xfe", " ", "*", ".hidden",
		strings.Repeat("n", 255), strings.Repeat("ü", 127), strings.Repeat("n", 254) + "1", ".imgbak", "a~2",
	} {
		image[name], host[name] = text("vendor"), text("mine")
		image["d/"+name] = text("vendor")
		image["new/"+name] = text("vendor")
	}
	got := merge(t, t.TempDir(), image, host, every(varmerge.Packaged))
	lost(t, got.before, got.result)
	for name, want := range image {
		if diff := cmp.Diff(want, got.result[name]); diff != "" {
			t.Errorf("%q (-want +got):\n%s", name, diff)
		}
	}
	for _, c := range got.plan.Changes {
		if s := c.String(); strings.Contains(s, "\n") || !utf8.ValidString(s) || len(c.Beside) > 255 {
			t.Errorf("String() = %q; want one printable line", s)
		}
		if c.Op == varmerge.Replace && !strings.HasSuffix(c.Beside, varmerge.BackupSuffix) {
			t.Errorf("%q lies at %q; want it to end in %s", c.Path, c.Beside, varmerge.BackupSuffix)
		}
	}
}

func TestJSON(t *testing.T) {
	got := merge(t, t.TempDir(), files{"\xff\n\\": text("v"), "d": dir()}, files{"\xff\n\\": text("m")}, every(varmerge.Packaged))
	for i := range got.plan.Changes {
		got.plan.Changes[i].Bytes = 4096 // what an empty directory takes differs
	}
	data, err := json.Marshal(got.plan)
	want := `{"changes":[{"path":"d","op":"add","why":"missing","files":1,"bytes":4096},` +
		`{"path":"\\377\\012\\134","op":"replace","why":"not as the vendor's package has it",` +
		`"beside":"\\377\\012\\134.imgbak","files":1,"bytes":4096}]}`
	if err != nil || string(data) != want {
		t.Errorf("Marshal() = %s, %v; want %s", data, err, want)
	}
	if data, err := json.Marshal(compare(t, got.image, got.host, varmerge.Options{})); err != nil || string(data) != `{"changes":[]}` {
		t.Errorf("Marshal() of nothing to do = %s, %v; want no changes", data, err)
	}
}

// Links to a place outside, as a leaf, on the way, as a name that the merge
// itself uses, in each tree: what they point at is neither read nor written.
func TestNothingOutside(t *testing.T) {
	root := t.TempDir()
	outside := root + "/outside"
	files{"passwd": text("secret").mode(0o600), "d": dir(), "d/in": text("secret")}.write(t, outside)
	before := read(t, outside)
	up := "../outside"
	for name, c := range map[string]struct{ image, host, changed files }{
		"image's link is a leaf": {
			files{"f": link(outside + "/passwd"), "e": link(up + "/d")},
			nil,
			files{"f": link(outside + "/passwd"), "e": link(up + "/d")},
		},
		"host's link is replaced": {
			files{"f": text("new").mode(0o666).owner(0, 0)},
			files{"f": link(outside + "/passwd")},
			files{"f": text("new").mode(0o666), "f.imgbak": link(outside + "/passwd")},
		},
		"host's directory is a link": {
			files{"d/in": text("new"), "d/more": text("new")}, files{"d": link(outside + "/d")}, nil,
		},
		"staging is a link": {
			files{"f": text("new")},
			files{varmerge.Staging: link(up + "/d")},
			files{"f": text("new"), varmerge.Staging: {}},
		},
		"within staging is a link": {
			files{"f": text("new")},
			files{varmerge.Staging: dir(), varmerge.Staging + "/f": link(outside + "/passwd"), varmerge.Staging + "/e": link(outside + "/d")},
			files{"f": text("new"), varmerge.Staging: {}, varmerge.Staging + "/f": {}, varmerge.Staging + "/e": {}},
		},
		"backup is a link": {
			files{"f": text("new")},
			files{"f": text("old"), "f.imgbak": link(outside + "/passwd")},
			files{"f": text("new"), "f~2.imgbak": text("old")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := merge(t, root+"/"+t.Name(), c.image, c.host, every(varmerge.Packaged))
			if diff := cmp.Diff(got.before.with(c.changed), got.result); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, read(t, outside)); diff != "" {
				t.Errorf("outside (-before +after):\n%s", diff)
			}
		})
	}
	t.Run("vendor's beside is a link", func(t *testing.T) {
		got := merge(t, root+"/beside", files{"f": text("new")}, files{"f": text("mine"), "f.imgnew": link(outside + "/passwd")}, every(varmerge.NoReplace))
		if diff := cmp.Diff(got.before.with(files{"f.imgnew": text("new")}), got.result); diff != "" {
			t.Errorf("result (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(before, read(t, outside)); diff != "" {
			t.Errorf("outside (-before +after):\n%s", diff)
		}
	})
}

// A tree deeper than any real one is refused by name, whether the host has it
// or not; one that is just deep is merged.
func TestDeepTree(t *testing.T) {
	deep := func(n int) string { return strings.TrimPrefix(strings.Repeat("/d", n), "/") }
	merge(t, inMemory(t), files{deep(200) + "/f": text("1")}, files{deep(100): dir()}, varmerge.Options{})
	for _, host := range []files{nil, {deep(300): dir()}, {deep(249): dir()}} {
		root := inMemory(t)
		files{deep(300) + "/f": text("1")}.write(t, root+"/image")
		host.write(t, root+"/host")
		before := read(t, root+"/host")
		_, err := varmerge.Compare(context.Background(), root+"/image", root+"/host", varmerge.Options{})
		if err == nil || !strings.HasSuffix(err.Error(), "/d/d: nested more than 250 directories deep") {
			t.Errorf("Compare() = %v; want a refusal", err)
		}
		if diff := cmp.Diff(before, read(t, root+"/host")); diff != "" {
			t.Errorf("host changed:\n%s", diff)
		}
	}
}

func TestCompareRefuses(t *testing.T) {
	root := t.TempDir()
	files{"f": text("1")}.write(t, root+"/image")
	files{}.write(t, root+"/host")
	for _, test := range []struct {
		image, host string
		rules       varmerge.Rules
		want        error
	}{
		{"none", "host", varmerge.Rules{}, fs.ErrNotExist},
		{"image", "none", varmerge.Rules{}, fs.ErrNotExist},
		{"image/f", "host", varmerge.Rules{}, unix.ENOTDIR},
		{"image", "host", varmerge.Rules{Skip: []string{"a", "[b"}}, path.ErrBadPattern},
		{"image", "host", varmerge.Rules{DirsOnly: []string{"[b"}}, path.ErrBadPattern},
	} {
		_, err := varmerge.Compare(context.Background(), root+"/"+test.image, root+"/"+test.host, varmerge.Options{Rules: test.rules})
		if !errors.Is(err, test.want) {
			t.Errorf("Compare(%s, %s, %v) = %v; want %v", test.image, test.host, test.rules, err, test.want)
		}
	}
}

// What cannot be changed is left and told of; all else is merged.
func TestImmovable(t *testing.T) {
	asRoot(t)
	root := t.TempDir()
	image := files{"d/new": text("1"), "f": text("1"), "last": text("1"), "m": text("1"), "ro/new": text("1"), "conf": text("1")}
	image.write(t, root+"/image")
	files{"d": dir(), "f": text("old"), "m": dir(), "ro": dir(), "conf": text("mine")}.write(t, root+"/host")
	for _, name := range []string{"d", "f"} {
		immutable(t, root+"/host/"+name)
	}
	mountAt(t, root+"/host/m", 0)
	mountAt(t, root+"/host/ro", 0)
	if err := os.Mkdir(root+"/host/ro/"+varmerge.Staging, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", root+"/host/ro", "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	plan := compare(t, root+"/image", root+"/host", every(varmerge.Packaged))
	apply(t, plan)
	var lines []string
	for _, c := range plan.Changes {
		if c.Conflict {
			lines = append(lines, c.String())
		}
	}
	want := []string{
		"keep    d/new: missing, but its directory is immutable (conflict)",
		"keep    f: not as the vendor's package has it, but it is immutable (conflict)",
		"keep    m: not as the vendor's package has it, but it is a mount point (conflict)",
		"keep    ro/tmp.imgbased.var: staged by a merge that was cut off, but its file system is read-only (conflict)",
		"keep    ro/new: missing, but its file system is read-only (conflict)",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("conflicts (-want +got):\n%s", diff)
	}
	got := read(t, root+"/host")
	if got["last"].Data != "1" || got["conf"].Data != "1" || got["f"].Data != "old" {
		t.Errorf("host = %v; want last and conf new, f old", got)
	}
}

func immutable(t *testing.T, name string) {
	t.Helper()
	set := func(flags int) error {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
	}
	if err := set(unix.STATX_ATTR_IMMUTABLE); err != nil { // FS_IMMUTABLE_FL is the same bit
		t.Skipf("no immutable files here: %v", err)
	}
	t.Cleanup(func() {
		if err := set(0); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
}

func mountAt(t *testing.T, dir string, flags uintptr) {
	t.Helper()
	if err := unix.Mount("none", dir, "tmpfs", flags, "size=1m"); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("umount %s: %v", dir, err)
		}
	})
}

// /var is often several file systems: each is written and synced, and a link
// that cannot reach from one to another becomes a copy.
func TestSeveralFileSystems(t *testing.T) {
	asRoot(t)
	root := t.TempDir()
	files{"a": text("1"), "log/b": text("1").same("a"), "log/c": text("1").same("a"), "z": text("1").same("a")}.write(t, root+"/image")
	files{"log": dir()}.write(t, root+"/host")
	mountAt(t, root+"/host/log", 0)
	syncs := 0
	_, err := compare(t, root+"/image", root+"/host", varmerge.Options{}).ApplyHooked(context.Background(), func(effect, _ string) error {
		if effect == "sync" {
			syncs++
		}
		return nil
	})
	if err != nil || syncs != 4 {
		t.Fatalf("Apply() = %v with %d syncs; want two of each file system", err, syncs)
	}
	var ino [4]uint64
	for i, name := range []string{"a", "z", "log/b", "log/c"} {
		f, n, err := readFile(root + "/host/" + name)
		if err != nil || f.Data != "1" {
			t.Errorf("%s = %v, %v; want the vendor's", name, f, err)
		}
		ino[i] = n
	}
	if ino[0] != ino[1] || ino[2] != ino[3] {
		t.Errorf("inodes of a, z, log/b, log/c = %v; want one file on each file system", ino)
	}
}

// A full disk is an error that names the path and leaves nothing.
func TestFullDisk(t *testing.T) {
	asRoot(t)
	root := t.TempDir()
	image := files{"a": text("1")}
	for i := range 20 {
		image[fmt.Sprintf("big%02d", i)] = text(strings.Repeat("x", 100<<10))
	}
	image.write(t, root+"/image")
	files{}.write(t, root+"/host")
	mountAt(t, root+"/host", 0)
	_, err := compare(t, root+"/image", root+"/host", varmerge.Options{}).Apply(context.Background())
	if !errors.Is(err, unix.ENOSPC) || !strings.HasPrefix(err.Error(), "add big") {
		t.Errorf("Apply() on 1 MiB = %v; want no space for a path", err)
	}
	if got := read(t, root+"/host"); len(got) != 0 {
		t.Errorf("host = %v; want it empty as before", got)
	}
}
