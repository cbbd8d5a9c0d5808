package packages_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/durable"
)

func listed(t *testing.T, dir string) string {
	t.Helper()
	return sh(t, `cd "$1" && find . -type f | sort | tr '\n' ' '`, dir)
}

func TestKeep(t *testing.T) {
	s := store(t)
	epoch := rpm(t, "odd", "1", odd)
	debian := deb(t, "pk-a", "1:2-1", "", "")
	oddName := filepath.Join(t.TempDir(), "http:*[a\n].rpm")
	sh(t, `cp "$1" "$2"`, epoch, oddName)
	for _, file := range []string{epoch, debian, epoch, oddName} {
		k, ok, err := s.Keep(t.Context(), file)
		if err != nil || !ok {
			t.Fatalf("Keep(%q) = %t, %v; want it kept", file, ok, err)
		}
		sh(t, `cmp "$1" "$2"`, file, k.File)
	}
	const want = "./persisted-debs/pk-a_1%3a2-1_all.deb ./persisted-rpms/odd-1-1.noarch.rpm"
	if got := listed(t, s.Dir); got != want {
		t.Errorf("the store holds %s; want %s", got, want)
	}
	if k, ok, err := s.Keep(t.Context(), rpm(t, "rhvm-appliance", "1", "")); ok || err != nil {
		t.Errorf("Keep(rhvm-appliance) = %v, %t, %v; want it excluded", k, ok, err)
	}
	const number = `stat -c %i "$1"/persisted-*/*`
	before := sh(t, number, s.Dir)
	if _, _, err := s.Keep(t.Context(), epoch); err != nil || sh(t, number, s.Dir) != before {
		t.Errorf("Keep() of what is there = %v; want nothing written", err)
	}
	// Built anew it has other bytes: the newer file is the one installed.
	again := rpm(t, "odd", "1", odd+"%changelog\n* Mon Nov 23 2026 T <t@example.org>\n- again\n")
	if k, _, err := s.Keep(t.Context(), again); err != nil || sh(t, `cmp "$1" "$2" && echo same`, again, k.File) != "same" {
		t.Errorf("Keep(%s) = %v, %v; want the new content", again, k, err)
	}
	if got := listed(t, s.Dir); got != want {
		t.Errorf("the store holds %s; want %s", got, want)
	}
}

func TestKeepRefuses(t *testing.T) {
	s := store(t)
	anRPM, aDeb := rpm(t, "odd", "1", odd), deb(t, "pk-a", "1", "", "")
	dir := t.TempDir()
	cut := func(from, name string, keep string) string {
		to := filepath.Join(dir, name)
		sh(t, `head -c "$3" "$1" >"$2"`, from, to, keep)
		return to
	}
	sh(t, `mkfifo "$1/fifo"; echo text >"$1/text"; printf '!<arch>\n' >"$1/empty.deb"
{ printf '!<arch>\n%-48s%-10s\140\n' x 9999999999; } >"$1/huge.deb"
mkdir -p "$1/c/DEBIAN"; printf 'Package: ../../up\nVersion: 1\nArchitecture: all\nMaintainer: t\nDescription: t\n' >"$1/c/DEBIAN/control"
mkdir "$1/x"; tar -C "$1/c/DEBIAN" -czf "$1/x/control.tar.gz" control; tar -czf "$1/x/data.tar.gz" -T /dev/null; echo 2.0 >"$1/x/debian-binary"
cd "$1/x" && ar rc ../up.deb debian-binary control.tar.gz data.tar.gz`, dir)
	for _, file := range []string{
		dir, filepath.Join(dir, "absent.rpm"), filepath.Join(dir, "fifo"), filepath.Join(dir, "text"), "/dev/zero", "/dev/null",
		cut(anRPM, "head.rpm", "200"), cut(anRPM, "most.rpm", "-1"), cut(aDeb, "head.deb", "100"), cut(aDeb, "most.deb", "-1"), cut(aDeb, "member.deb", "-30"),
		filepath.Join(dir, "empty.deb"), filepath.Join(dir, "huge.deb"), filepath.Join(dir, "up.deb"),
	} {
		if k, ok, err := s.Keep(t.Context(), file); err == nil || !strings.HasPrefix(err.Error(), "keep "+file+": ") {
			t.Errorf("Keep(%s) = %v, %t, %v; want refused", file, k, ok, err)
		}
	}
	if _, err := os.Lstat(s.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the store exists, %v; want nothing written", err)
	}
}

// cutFiles fails in the middle of a file.
type cutFiles struct{ durable.OS }

func (c cutFiles) Replace(path string, mode fs.FileMode, r io.Reader) error {
	return c.OS.Replace(path, mode, io.MultiReader(io.LimitReader(r, 100), broken{}))
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("no space") }

func TestKeepCut(t *testing.T) {
	s := store(t)
	s.Files = cutFiles{}
	if _, _, err := s.Keep(t.Context(), rpm(t, "odd", "1", odd)); err == nil {
		t.Fatal("Keep() = nil; want the error of the disk")
	}
	if got := listed(t, s.Dir); got != "" {
		t.Errorf("the store holds %s; want nothing", got)
	}
}

func TestListAndForget(t *testing.T) {
	s := store(t)
	if got, err := s.List(); err != nil || len(got) != 0 {
		t.Errorf("List() without a store = %v, %v; want nothing", got, err)
	}
	files := []string{
		"persisted-rpms/foo-1-1.noarch.rpm", "persisted-rpms/foo-10-1.x86_64.rpm", "persisted-rpms/foo-2-1.noarch.rpm", "persisted-rpms/foo-libs-1-1.noarch.rpm",
		"persisted-debs/foo_1%3a1_all.deb", "persisted-rpms/tmp.imgbased.12345", "persisted-rpms/bad.rpm", "persisted-debs/odd.rpm",
	}
	sh(t, `mkdir -p "$1/persisted-rpms/dir-1-1.noarch.rpm" "$1/persisted-debs"; dir=$1; shift; for f; do echo x >"$dir/$f"; done; ln -s foo-1-1.noarch.rpm "$dir/persisted-rpms/link-1-1.noarch.rpm"`, append([]string{s.Dir}, files...)...)
	list := func() (string, error) {
		all, err := s.List()
		var out []string
		for _, k := range all {
			if k.Size != 2 || filepath.Base(k.File) != k.FileName() {
				t.Errorf("List() has %+v; want 2 bytes and its own name", k)
			}
			out = append(out, k.String())
		}
		return strings.Join(out, " "), err
	}
	got, err := list()
	if want := "foo_1:1_all foo-1-1.noarch foo-2-1.noarch foo-10-1.x86_64 foo-libs-1-1.noarch"; got != want {
		t.Errorf("List() = %s; want %s", got, want)
	}
	for _, name := range []string{"bad.rpm", "dir-1-1.noarch.rpm", "link-1-1.noarch.rpm"} {
		if err == nil || !strings.Contains(err.Error(), `package file "`+name+`"`) {
			t.Errorf("List() = %v; want %s named", err, name)
		}
	}
	for _, c := range []struct{ forget, want string }{
		{"fo", "foo_1:1_all foo-1-1.noarch foo-2-1.noarch foo-10-1.x86_64 foo-libs-1-1.noarch"},
		{"foo-7:2-1.noarch", "foo_1:1_all foo-1-1.noarch foo-10-1.x86_64 foo-libs-1-1.noarch"}, // as dnf says it
		{"foo-10-1.x86_64.rpm", "foo_1:1_all foo-1-1.noarch foo-libs-1-1.noarch"},
		{"foo", "foo-libs-1-1.noarch"},
		{"/var/cache/foo-libs-1-1.noarch.rpm", ""},
		{"foo", ""},
	} {
		if _, err := s.Forget(c.forget); err != nil {
			t.Errorf("Forget(%s) = %v", c.forget, err)
		}
		if got, _ := list(); got != c.want {
			t.Errorf("after Forget(%s) there is %q; want %q", c.forget, got, c.want)
		}
	}
}

func TestKeepStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := store(t).Keep(ctx, deb(t, "pk-a", "1", "", "")); !errors.Is(err, context.Canceled) {
		t.Errorf("Keep() = %v; want canceled", err)
	}
}
