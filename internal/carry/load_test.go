package carry_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/carry"

	"golang.org/x/sys/unix"
)

// volume makes a Config volume: name, text, name, text, …
func volume(t *testing.T, files ...string) string {
	t.Helper()
	root := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		at := filepath.Join(root, files[i])
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestLoad(t *testing.T) {
	dir := volume(t,
		"files", "/opt\n!/opt/x\n",
		"files.d/20", "/opt/x/y\n",
		"files.d/10", "/opt/x\n!/opt/x/y\n/srv",
		"files.d/.10.swp", "nonsense",
		"files.d/10~", "nonsense",
		"files.d/10.imgnew", "nonsense",
		"files.d/10.rpmsave", "nonsense",
		"rebase.d/ssh", "/etc/ssh/sshd_config\n/usr/local/etc/*.conf\n",
		"rebase.d/a\xff\nb", "/etc/odd\n",
		"rebase", "nonsense",
		"lost+found/x", "nonsense",
	)
	lists, err := carry.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"opt": true, "opt/x": true, "opt/x/y": true, "opt/x/z": true, "srv": true, "etc/odd": false} {
		if got := lists.Files.Selects(name); got != want {
			t.Errorf("Files.Selects(%s) = %v; want %v", name, got, want)
		}
	}
	for name, want := range map[string]bool{"etc/ssh/sshd_config": true, "usr/local/etc/x.conf": true, "etc/odd": true, "opt": false} {
		if got := lists.Rebase.Selects(name); got != want {
			t.Errorf("Rebase.Selects(%s) = %v; want %v", name, got, want)
		}
	}
}

func TestLoadNothing(t *testing.T) {
	for _, dir := range []string{filepath.Join(t.TempDir(), "config"), t.TempDir(), volume(t, "files", "", "files.d/.hidden", "x")} {
		lists, err := carry.Load(dir)
		if err != nil || lists.Files.Reaches(".") || lists.Rebase.Reaches(".") {
			t.Errorf("Load(%s) = %v, %v; want nothing", dir, lists, err)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("/opt\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := func(name, target string) func(dir string) error {
		return func(dir string) error { return os.Symlink(target, filepath.Join(dir, name)) }
	}
	for name, c := range map[string]struct {
		dir  string
		more func(dir string) error
		want string
	}{
		"a line":                {volume(t, "files", "/a\nopt"), nil, "files:2: opt: is no path from the root"},
		"a line in files.d":     {volume(t, "files.d/a b", "opt"), nil, "files.d/a b:1: opt: is no path from the root"},
		"a line in rebase.d":    {volume(t, "rebase.d/\xff", "/["), nil, `rebase.d/\377:1: /[: syntax error in pattern`},
		"too large":             {volume(t, "files", strings.Repeat("#", 2<<20)), nil, "files: larger than 1048576 bytes"},
		"too many lines of all": {volume(t, "files.d/1", strings.Repeat("/a\n", 6000), "files.d/2", strings.Repeat("/a\n", 6000)), nil, "files.d: more than 10000 lines"},
		"files is a directory":  {volume(t, "files/x", ""), nil, "files: is no plain file"},
		"files.d is a file":     {volume(t, "files.d", "/opt"), nil, "files.d: is no directory"},
		"rebase.d is a link":    {volume(t, "files.d/x", ""), link("rebase.d", "files.d"), "rebase.d: is no directory"},
		"a directory of lists":  {volume(t, "files.d/x/y", ""), nil, "files.d/x: is no plain file"},
		"a link out of it":      {volume(t), link("files", outside), "files: is no plain file"},
		"a link within it":      {volume(t, "other", "/opt", "files.d/x", ""), link("files.d/y", "../other"), "files.d/y: is no plain file"},
		"a fifo":                {volume(t), func(dir string) error { return unix.Mkfifo(filepath.Join(dir, "files"), 0o600) }, "files: is no plain file"},
		"enormously many lists": {volume(t, many(1001)...), nil, "files.d: more than 1000 lists"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.more != nil {
				if err := c.more(c.dir); err != nil {
					t.Fatal(err)
				}
			}
			lists, err := carry.Load(c.dir)
			if err == nil || err.Error() != c.dir+": "+c.want {
				t.Errorf("Load() = %v; want %s", err, c.want)
			}
			if lists.Files.Reaches(".") {
				t.Error("Load() chooses something beside the error")
			}
		})
	}
}

func many(n int) (files []string) {
	for i := range n {
		files = append(files, fmt.Sprintf("files.d/%d", i), "")
	}
	return files
}
