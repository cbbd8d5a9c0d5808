package mount_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"imgbase/internal/mount"
	"imgbase/internal/run"
)

// tree makes a root tree that has the programs of this machine, with their
// libraries.
func tree(t *testing.T, programs ...string) string {
	t.Helper()
	needRoot(t)
	root := t.TempDir()
	for _, dir := range []string{"proc", "sys", "run", "tmp", "dev", "etc"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sh(t, `root=$1; shift
for p in "$@"; do
	for f in "$(command -v "$p")" $(ldd "$(command -v "$p")" | grep -o '/[^ ]*'); do
		mkdir -p "$root${f%/*}"
		cp -L "$f" "$root$f"
	done
done`, append([]string{root}, programs...)...)
	return root
}

func confined(t *testing.T, ctx context.Context, r mount.Room, argv ...string) (string, error) {
	t.Helper()
	p, err := r.Program(argv...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := run.OS{}.Run(ctx, cmd(p))
	return strings.TrimSpace(string(out.Stdout)), err
}

func cmd(p mount.Program) run.Cmd { return run.Cmd{Name: p.Name, Args: p.Args, Stdin: p.Stdin} }

func TestRoom(t *testing.T) {
	root := tree(t, "sh", "cat", "ls", "readlink", "hostname", "env", "touch", "sort")
	share := t.TempDir()
	if err := os.WriteFile(filepath.Join(share, "a file"), []byte("shared"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := mount.Room{Root: root, Shares: []mount.Share{{Name: "kept", Dir: share}}, Env: []string{"container=imgbase", "ODD=a b'c"}}
	for _, c := range []struct {
		name, script, want string
	}{
		{"is the first process", `echo $$`, "1"},
		{"sees no other process", `set -- /proc/[0-9]*; echo $#`, "1"},
		{"sets no kernel parameter", `echo x 2>&1 >/proc/sys/kernel/hostname || echo refused`, "sh: 1: cannot create /proc/sys/kernel/hostname: Read-only file system\nrefused"},
		{"has devices that are none", `echo gone >/dev/null; ls /dev`, "fd\nfull\nnull\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero"},
		{"has no network", `cat /proc/net/dev | while read name rest; do case $name in *:) echo $name;; esac; done`, "lo:"},
		{"has an empty run", `ls /run /tmp`, "/run:\nimgbase\nlock\n\n/tmp:"},
		{"sees the share", `cat "/run/imgbase/kept/a file"`, "shared"},
		{"writes no share", `touch /run/imgbase/kept/new 2>/dev/null || echo refused`, "refused"},
		{"names itself alone", `hostname elsewhere; hostname`, "elsewhere"},
		{"has no input", `read line || echo end`, "end"},
		{"has a clean environment", `env | while read v; do case $v in PWD=*|_=*) ;; *) echo "$v";; esac; done | sort`, "HOME=/root\nLC_ALL=C\nODD=a b'c\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\ncontainer=imgbase"},
		{"writes the tree", `echo mine >/etc/new; cat /etc/new`, "mine"},
	} {
		before := sh(t, "hostname")
		got, err := confined(t, t.Context(), r, "sh", "-c", c.script)
		if err != nil || got != c.want {
			t.Errorf("%s: %s = %q, %v; want %q", c.name, c.script, got, err, c.want)
		}
		if after := sh(t, "hostname"); after != before {
			t.Fatalf("host name after %s = %q; want %q", c.name, after, before)
		}
	}
	for dir, want := range map[string]int{"proc": 0, "sys": 0, "run": 0, "tmp": 0, "dev": 0, "etc": 1} {
		if left, err := os.ReadDir(filepath.Join(root, dir)); err != nil || len(left) != want {
			t.Errorf("%s afterwards holds %v, %v; want %d entries", dir, left, err, want)
		}
	}
	if strings.Contains(sh(t, "cat /proc/self/mountinfo"), root) {
		t.Error("the room's mounts are seen outside")
	}
}

func TestRoomFails(t *testing.T) {
	root := tree(t, "sh")
	_, err := confined(t, t.Context(), mount.Room{Root: root}, "sh", "-c", "echo why >&2; exit 7")
	var e *run.Error
	if !errors.As(err, &e) || e.Code != 7 || e.Stderr != "why" {
		t.Errorf("Run(exit 7) = %v; want code 7 and its standard error", err)
	}
	if _, err = confined(t, t.Context(), mount.Room{Root: root}, "absent"); !errors.As(err, &e) || e.Code != 127 {
		t.Errorf("Run(absent) = %v; want code 127", err)
	}
}

// TestRoomEnds starts a program that ignores every request to stop, and a
// daemon beside it that holds the output open.
func TestRoomEnds(t *testing.T) {
	root := tree(t, "sh", "sleep")
	for _, script := range []string{
		`sleep 4321 & exit 0`,
		`trap "" TERM INT HUP; sleep 4321 & while :; do sleep 1; done`,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		start := time.Now()
		_, err := confined(t, ctx, mount.Room{Root: root}, "sh", "-c", script)
		cancel()
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("%s ended after %v, %v; want at once", script, took, err)
		}
		if left := sh(t, `for p in /proc/[0-9]*; do if [ "$(readlink "$p/root")" = "$1" ]; then echo "$p"; fi; done`, root); left != "" {
			t.Errorf("%s left processes %s", script, left)
		}
	}
}

func TestRoomRefuses(t *testing.T) {
	root := tree(t)
	dir := filepath.Join(root, "run")
	for name, place := range map[string]func() error{
		"missing": func() error { return nil },
		"link":    func() error { return os.Symlink("/etc", dir) },
		"file":    func() error { return os.WriteFile(dir, nil, 0o644) },
	} {
		if err := errors.Join(os.RemoveAll(dir), place()); err != nil {
			t.Fatal(err)
		}
		if p, err := (mount.Room{Root: root}).Program("true"); err == nil || !strings.HasPrefix(err.Error(), "confine to "+root+": run: ") {
			t.Errorf("Program() with run as %s = %v, %v; want refused", name, p, err)
		}
	}
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, r := range []mount.Room{
		{Root: "/"},
		{Root: "/proc/self/root"},
		{Root: filepath.Join(root, "absent")},
		{Root: root, Shares: []mount.Share{{Name: "../up", Dir: "/"}}},
		{Root: root, Shares: []mount.Share{{Name: "--", Dir: "/"}}},
		{Root: root, Shares: []mount.Share{{Dir: "/"}}},
	} {
		if p, err := r.Program("true"); err == nil {
			t.Errorf("Program() of %+v = %v; want refused", r, p)
		}
	}
	// The last word on arguments that look like ours.
	p, err := (mount.Room{Root: root}).Program("--", strconv.Itoa(1))
	if err != nil || strings.Join(p.Args[len(p.Args)-3:], " ") != "-- -- 1" {
		t.Errorf("Program(--, 1) = %v, %v; want it after our own --", p.Args, err)
	}
}
