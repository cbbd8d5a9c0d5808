package derive_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/derive"
	"imgbase/internal/mount"
	"imgbase/internal/rootfs"
	"imgbase/internal/run"
)

func TestMain(m *testing.M) {
	if os.Geteuid() == 0 {
		// A memory file system is mounted over a tree's directory.
		if err := mount.Isolate(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func sh(t *testing.T, script string, args ...string) string {
	t.Helper()
	out, err := run.OS{}.Run(t.Context(), run.Cmd{Name: "sh", Args: append([]string{"-ec", script, "sh"}, args...)})
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out.Stdout)
	}
	return strings.TrimSpace(string(out.Stdout))
}

// skip skips a test that cannot run, which is a failure in the lab.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("IMGBASE_REQUIRE_LAB") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "needs root: chroot, mounts")
	}
}

// files are what a tree holds, by path: content; "-> x" is a link to x, "/" a
// directory, "#!" begins an executable, "|" is a fifo.
type files map[string]string

func (f files) write(t testing.TB, root string) {
	t.Helper()
	for name, content := range f {
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		target, link := strings.CutPrefix(content, "-> ")
		switch {
		case err != nil:
		case content == "/":
			err = os.MkdirAll(path, 0o755)
		case content == "|":
			_, err = run.OS{}.Run(t.Context(), run.Cmd{Name: "mkfifo", Args: []string{path}})
		case link:
			err = os.Symlink(target, path)
		case strings.HasPrefix(content, "#!"):
			err = os.WriteFile(path, []byte(content), 0o755)
		default:
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// with are the files with changes made: "" removes one.
func (f files) with(changes files) files {
	out := files{}
	for _, m := range []files{f, changes} {
		for name, content := range m {
			if out[name] = content; content == "" {
				delete(out, name)
			}
		}
	}
	return out
}

func tree(root string) derive.Tree {
	return derive.Tree{Root: root, Runner: run.OS{}, Resolve: rootfs.Resolve}
}

// place writes the files to a new directory.
func (f files) place(t testing.TB) derive.Tree {
	t.Helper()
	root := t.TempDir()
	f.write(t, root)
	return tree(root)
}

// runs adds to a tree what programs need to run in a room, and some of them.
func runs(t *testing.T, tr derive.Tree, programs ...string) derive.Tree {
	t.Helper()
	needRoot(t)
	sh(t, `root=$1; shift
mkdir -p "$root/proc" "$root/sys" "$root/run" "$root/tmp" "$root/dev"
for p in sh "$@"; do
	for f in "$(command -v "$p")" $(ldd "$(command -v "$p")" | grep -o '/[^ ]*'); do
		mkdir -p "$root${f%/*}"
		[ -e "$root$f" ] || cp -L "$f" "$root$f"
	done
done
[ -e "$root/bin" ] || ln -s usr/bin "$root/bin"`, append([]string{tr.Root}, programs...)...)
	return tr
}

func read(t *testing.T, elem ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// inRoom is what a program of a tree prints.
func inRoom(t *testing.T, room mount.Room, argv ...string) string {
	t.Helper()
	p, err := room.Program(argv...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := run.OS{}.Run(t.Context(), run.Cmd{Name: p.Name, Args: p.Args, Stdin: p.Stdin})
	if err != nil {
		t.Fatalf("%v: %v\n%.2000s", argv, err, out.Stdout)
	}
	return string(out.Stdout)
}
