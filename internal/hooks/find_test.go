package hooks_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/hooks"
	"imgbase/internal/rootfs"
	"imgbase/internal/run"

	"github.com/google/go-cmp/cmp"
)

const (
	lib   = "usr/lib/imgbased/hooks.d/"
	share = "usr/share/imgbased/hooks.d/"
	etc   = "etc/imgbased/hooks.d/"
)

// system is a root directory with hooks in it.
type system struct {
	*testing.T
	hooks.Dispatcher
}

func newSystem(t *testing.T) system {
	return system{t, hooks.Dispatcher{Root: t.TempDir(), Runner: run.OS{}, Resolve: rootfs.Resolve}}
}

// withoutTestsOwn takes the one variable of our prefix out that is for tests.
func withoutTestsOwn(t *testing.T) {
	t.Helper()
	const name = "IMGBASE_REQUIRE_LAB"
	t.Setenv(name, "") // puts it back afterwards
	if err := os.Unsetenv(name); err != nil {
		t.Fatal(err)
	}
}

func (s system) path(name string) string { return filepath.Join(s.Root, name) }

func (s system) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// file makes a file with directories; mode is set whatever the umask.
func (s system) file(name, text string, mode os.FileMode) {
	s.Helper()
	s.must(os.MkdirAll(filepath.Dir(s.path(name)), 0o755))
	s.must(os.WriteFile(s.path(name), []byte(text), 0o600))
	s.must(os.Chmod(s.path(name), mode))
}

// hook makes a script.
func (s system) hook(name, script string) {
	s.Helper()
	s.file(name, "#!/bin/sh\n"+script+"\n", 0o755)
}

func (s system) link(name, target string) {
	s.Helper()
	s.must(os.MkdirAll(filepath.Dir(s.path(name)), 0o755))
	s.must(os.Symlink(target, s.path(name)))
}

// found are the hooks that run, in order, then what is refused.
func (s system) found() (run, refused []string) {
	s.Helper()
	set, err := s.Find()
	s.must(err)
	for _, h := range set.Hooks {
		run = append(run, h.Path)
	}
	for _, skipped := range set.Skipped {
		if skipped.Refused {
			refused = append(refused, skipped.Path)
		}
	}
	return run, refused
}

func TestFind(t *testing.T) {
	for name, c := range map[string]struct {
		make          func(s system)
		want, refused []string
	}{
		"no directory": {func(system) {}, nil, nil},
		"empty directories": {func(s system) {
			s.must(os.MkdirAll(s.path(lib), 0o755))
			s.must(os.MkdirAll(s.path(etc), 0o755))
		}, nil, nil},
		"sorted over all directories, by bytes": {func(s system) {
			s.hook(etc+"20-b", "")
			s.hook(lib+"30-c", "")
			s.hook(share+"10-a", "")
			s.hook(lib+"Z", "")
			s.hook(lib+"a", "")
			s.hook(etc+"9", "")
		}, []string{"/" + share + "10-a", "/" + etc + "20-b", "/" + lib + "30-c", "/" + etc + "9", "/" + lib + "Z", "/" + lib + "a"}, nil},
		"the last directory decides": {func(s system) {
			s.hook(lib+"a", "")
			s.hook(share+"a", "")
			s.hook(etc+"a", "")
			s.hook(lib+"b", "")
			s.hook(share+"b", "")
		}, []string{"/" + etc + "a", "/" + share + "b"}, nil},
		"masks": {func(s system) {
			for _, name := range []string{"null", "empty", "plain", "emptyrun", "dangling", "directory", "lib"} {
				s.hook(lib+name, "")
			}
			s.link(etc+"null", "/dev/null")
			s.file(etc+"empty", "", 0o644)
			s.file(etc+"plain", "#!/bin/sh\n", 0o644)
			s.file(etc+"emptyrun", "", 0o755)
			s.link(etc+"dangling", "no/where")
			s.must(os.MkdirAll(s.path(etc+"directory"), 0o755))
		}, []string{"/" + lib + "lib"}, nil},
		"copies do not count, and mask nothing": {func(s system) {
			s.hook(lib+"a", "")
			for _, name := range []string{".a", "a~", "a.imgnew", "a.imgbak", "a.rpmsave", "a.dpkg-old", "a.swp", "tmp.imgbased.1"} {
				s.hook(etc+name, "")
			}
			s.hook(etc+"a.sh", "")
		}, []string{"/" + lib + "a", "/" + etc + "a.sh"}, nil},
		"a link to a program": {func(s system) {
			s.hook("opt/p", "")
			s.link(etc+"absolute", "/opt/p")
			s.link(etc+"relative", "../../../opt/p")
			s.link(etc+"up", "../../../../../../../opt/p")
		}, []string{"/" + etc + "absolute", "/" + etc + "relative", "/" + etc + "up"}, nil},
		"a link out of the tree leads nowhere": {func(s system) {
			s.link(etc+"true", "/bin/true")
			s.link(etc+"sh", "../../../../../../../../../bin/sh")
		}, nil, nil},
		"loop and depth": {func(s system) {
			s.link(etc+"a", "b")
			s.link(etc+"b", "a")
		}, nil, nil},
		"a directory that is a link": {func(s system) {
			s.hook("usr/share/imgbased/hooks.d/a", "")
			s.link("usr/lib/imgbased", "/usr/share/imgbased")
		}, []string{"/" + share + "a"}, nil},
		"written by others": {func(s system) {
			for name, mode := range map[string]os.FileMode{"group": 0o775, "all": 0o757, "mine": 0o700, "setuid": 0o4755 | os.ModeSetuid} {
				s.hook(lib+name, "")
				s.must(os.Chmod(s.path(lib+name), mode))
			}
		}, []string{"/" + lib + "mine", "/" + lib + "setuid"}, []string{"/" + lib + "all", "/" + lib + "group"}},
		"a refused one masks": {func(s system) {
			s.hook(lib+"a", "")
			s.hook(etc+"a", "")
			s.must(os.Chmod(s.path(etc+"a"), 0o777))
		}, nil, []string{"/" + etc + "a"}},
		"a directory written by others": {func(s system) {
			s.hook(lib+"a", "")
			s.hook(etc+"a", "")
			s.hook(etc+"b", "")
			s.must(os.Chmod(s.path(etc), 0o777|os.ModeSticky))
		}, []string{"/" + lib + "a"}, []string{"/" + strings.TrimSuffix(etc, "/")}},
		"a parent written by others": {func(s system) {
			s.hook(etc+"a", "")
			s.must(os.Chmod(s.path("etc/imgbased"), 0o777))
		}, nil, []string{"/" + strings.TrimSuffix(etc, "/")}},
		"a link's target in a directory written by others": {func(s system) {
			s.hook("opt/p", "")
			s.hook("tmp/p", "")
			s.must(os.Chmod(s.path("opt"), 0o777))
			s.must(os.Chmod(s.path("tmp"), 0o777|os.ModeSticky))
			s.link(etc+"opt", "/opt/p")
			s.link(etc+"tmp", "/tmp/p")
		}, []string{"/" + etc + "tmp"}, []string{"/" + etc + "opt"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t)
			c.make(s)
			run, refused := s.found()
			if diff := cmp.Diff(c.want, run); diff != "" {
				t.Errorf("Find() hooks (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.refused, refused); diff != "" {
				t.Errorf("Find() refused (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFindOtherOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to give files away")
	}
	s := newSystem(t)
	for _, name := range []string{"user", "group", "linked"} {
		s.hook(etc+name, "")
	}
	s.hook("opt/bob/p", "")
	s.must(os.Remove(s.path(etc + "linked")))
	s.link(etc+"linked", "/opt/bob/p")
	s.must(os.Chown(s.path(etc+"user"), 77, 0))
	s.must(os.Chown(s.path(etc+"group"), 0, 77))
	s.must(os.Chown(s.path("opt/bob"), 77, 77))
	run, refused := s.found()
	if diff := cmp.Diff([]string{"/" + etc + "group"}, run); diff != "" {
		t.Errorf("Find() hooks (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/" + etc + "linked", "/" + etc + "user"}, refused); diff != "" {
		t.Errorf("Find() refused (-want +got):\n%s", diff)
	}
	set, err := s.Find()
	s.must(err)
	want := []string{
		fmt.Sprintf("hook /etc/imgbased/hooks.d/linked refused: %s/opt/bob belongs to user 77", s.Root),
		fmt.Sprintf("hook /etc/imgbased/hooks.d/user refused: %s/etc/imgbased/hooks.d/user belongs to user 77", s.Root),
	}
	if diff := cmp.Diff(want, set.Warnings()); diff != "" {
		t.Errorf("Warnings() (-want +got):\n%s", diff)
	}
}

func TestFindErrors(t *testing.T) {
	for name, c := range map[string]struct {
		make func(s system)
		want string
	}{
		"a file": {func(s system) { s.file("etc/imgbased/hooks.d", "x", 0o755) }, "hooks in /etc/imgbased/hooks.d: open ROOT/etc/imgbased/hooks.d: not a directory"},
		"a loop": {func(s system) {
			s.link("etc/imgbased/hooks.d", "hooks.d")
		}, "hooks in /etc/imgbased/hooks.d: resolve ROOT/etc/imgbased/hooks.d: too many levels of symbolic links"},
		"enormous": {func(s system) {
			for i := range 1001 {
				s.file(fmt.Sprintf("%s%d", etc, i), "", 0o644)
			}
		}, "hooks in /etc/imgbased/hooks.d: more than 1000 names"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t)
			c.make(s)
			_, err := s.Find()
			if err == nil || strings.ReplaceAll(err.Error(), s.Root, "ROOT") != c.want {
				t.Errorf("Find() = %v; want %s", err, c.want)
			}
		})
	}
}

func TestSetPrinted(t *testing.T) {
	s := newSystem(t)
	s.hook(etc+"a\xff\n", "")
	s.link(etc+"b", "/dev/null")
	s.hook(lib+"b", "")
	set, err := s.Find()
	s.must(err)
	got, err := json.Marshal(set)
	s.must(err)
	want := `{"hooks":[{"path":"/etc/imgbased/hooks.d/a\\377\\012"}],` +
		`"skipped":[{"path":"/etc/imgbased/hooks.d/b","why":"leads nowhere"},` +
		`{"path":"/usr/lib/imgbased/hooks.d/b","why":"/etc/imgbased/hooks.d has the name as well"}]}`
	if string(got) != want {
		t.Errorf("Marshal(set) = %s; want %s", got, want)
	}
	if got, want := set.Skipped[0].String(), "hook /etc/imgbased/hooks.d/b skipped: leads nowhere"; got != want {
		t.Errorf("String() = %s; want %s", got, want)
	}
}
