package carry_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/carry"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// tree makes a directory of files; a name that ends in "/" is a directory,
// "name -> target" a link.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range names {
		name, target, isLink := strings.Cut(name, " -> ")
		at := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		switch {
		case err != nil:
		case isLink:
			err = os.Symlink(target, at)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(at, 0o755)
		default:
			err = os.WriteFile(at, nil, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestExpand(t *testing.T) {
	type names = []string
	for name, c := range map[string]struct {
		list        string
		base, mine  names
		want, notes names
	}{
		"a file and a directory": {
			"/opt\n/srv/x", names{}, names{"opt/a", "srv/x", "srv/y"}, names{"opt", "srv/x"}, nil,
		},
		"what the administrator removed": {
			"/opt/a\n/usr/*/conf", names{"opt/a", "usr/x/conf"}, names{"usr/y/conf"}, names{"opt/a", "usr/x/conf", "usr/y/conf"}, nil,
		},
		"globs, hidden names too, no links on the way": {
			"/opt/*/conf", nil,
			names{"opt/a/conf", "opt/.b/conf/x", "opt/c/other", "opt/conf", "opt/d -> a", "opt/e/conf -> /etc", "opt/f/conf -> nowhere"},
			names{"opt/.b/conf", "opt/a/conf", "opt/e/conf", "opt/f/conf"},
			nil,
		},
		"one below the other": {
			"/opt/*\n/opt\n/opt/a/b", nil, names{"opt/a/b", "opt/c"}, names{"opt"}, nil,
		},
		"taken out": {
			"/opt/*\n!/opt/c*\n/opt/cc/keep", nil, names{"opt/a", "opt/c", "opt/cc/keep", "opt/cc/x"}, names{"opt/a", "opt/cc/keep"}, nil,
		},
		"notes": {
			"/none\n/no*/x\n/lib/y\n/f/x\n/opt/x\n!/opt/x\n/opt/y/z\n/here",
			names{"opt/y -> x"},
			names{"lib -> usr/lib", "usr/lib/y", "f", "opt/x", "here"},
			names{"here"},
			names{
				"files:1: /none: nothing is there", "files:2: /no*/x: nothing is there",
				"files:3: /lib/y: /lib is a link: list where it leads", "files:4: /f/x: /f is no directory",
				"files:5: /opt/x: taken out by files:6", "files:7: /opt/y/z: /opt/y is a link: list where it leads",
			},
		},
		"no link leads out": {
			"/out/passwd\n/up/*\n", nil,
			names{"out -> /etc", "up -> ../../../../../../etc"},
			nil,
			names{"files:1: /out/passwd: /out is a link: list where it leads", "files:2: /up/*: /up is a link: list where it leads"},
		},
		"a name too long for any system": {
			"/" + strings.Repeat("n", 300) + "\n/a/" + strings.Repeat("x/", 2000) + "y", nil,
			names{"a/x/"},
			nil,
			names{
				"files:1: /" + strings.Repeat("n", 300) + ": nothing is there",
				"files:2: /a/" + strings.Repeat("x/", 2000) + "y: nothing is there",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse(t, c.list).Expand(tree(t, c.base...), tree(t, c.mine...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.Paths); diff != "" {
				t.Errorf("Paths (-want +got):\n%s", diff)
			}
			var notes []string
			for _, n := range got.Notes {
				notes = append(notes, n.String())
			}
			if diff := cmp.Diff(c.notes, notes); diff != "" {
				t.Errorf("Notes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExpandExcept(t *testing.T) {
	root := tree(t, "etc/motd", "opt/data/x", "opt/a")
	l := parse(t, "/etc/motd\n/opt/data\n/opt/*\n").Except("merged already", "etc").Except("another file system", "opt/data")
	got, err := l.Expand(root)
	want := carry.Expansion{
		Paths: []string{"opt/a"},
		Notes: []carry.Note{
			{Origin: "files:1", Line: "/etc/motd", Why: "merged already"},
			{Origin: "files:2", Line: "/opt/data", Why: "another file system"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Expand() (-want +got):\n%s%v", diff, err)
	}
}

func TestExpandOddNames(t *testing.T) {
	names := []string{"new\nline", "-rf", `back\slash`, "\xff\xfe", " ", "*", "[", "#", "!", strings.Repeat("n", 255)}
	root := t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(root, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := parse(t, "/?*\n/fifo/x\n/fifo/*").Expand(root)
	if err != nil || len(got.Paths) != len(names)+1 {
		t.Fatalf("Expand() = %q, %v; want %d paths", got.Paths, err, len(names)+1)
	}
	for _, name := range names {
		var list strings.Builder
		for _, b := range []byte(name) {
			fmt.Fprintf(&list, `\%03o`, b)
		}
		got, err := parse(t, "/"+list.String()).Expand(root)
		if err != nil || len(got.Paths) != 1 || got.Paths[0] != name {
			t.Errorf("Expand(%s) = %q, %v; want %q", list.String(), got.Paths, err, name)
		}
	}
	data, err := json.Marshal(carry.Expansion{Paths: []string{"a\xff\n"}, Notes: []carry.Note{{Origin: "files:1", Line: "/x", Why: "nothing is there"}}})
	want := `{"paths":["a\\377\\012"],"notes":[{"origin":"files:1","line":"/x","why":"nothing is there"}]}`
	if string(data) != want || err != nil {
		t.Errorf("Marshal() = %s, %v; want %s", data, err, want)
	}
	if data, _ := json.Marshal(carry.Expansion{}); string(data) != `{"paths":[]}` {
		t.Errorf("Marshal() of nothing = %s", data)
	}
}

func TestExpandErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := parse(t, "/a").Expand(missing); err == nil || err.Error() != "open "+missing+": no such file or directory" {
		t.Errorf("Expand() = %v; want no such directory", err)
	}
	root := tree(t, "00000")
	for i := range 10_000 { // links: as many names, less work for the disk
		if err := os.Link(root+"/00000", fmt.Sprintf("%s/%05d", root, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := parse(t, "/*").Expand(root); err == nil || err.Error() != root+": .: * matches more than 10000 names" {
		t.Errorf("Expand() = %v; want too many", err)
	}
	if _, err := parse(t, "/0*\n/1*").Expand(root); err == nil || err.Error() != root+": files:2: chooses more than 10000 paths" {
		t.Errorf("Expand() = %v; want too many", err)
	}
	got, err := parse(t, "/099*").Expand(root)
	if err != nil || len(got.Paths) != 100 || got.Paths[0] != "09900" {
		t.Errorf("Expand() = %d paths, %v; want 100", len(got.Paths), err)
	}
}
