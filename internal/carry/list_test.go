package carry_test

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"imgbase/internal/carry"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func parse(t *testing.T, text string) carry.List {
	t.Helper()
	l, err := carry.Parse("files", []byte(text))
	if err != nil {
		t.Fatalf("Parse(%q) = %v", text, err)
	}
	return l
}

func TestSelects(t *testing.T) {
	for name, c := range map[string]struct {
		list    string
		yes, no string // paths
	}{
		"nothing":               {"", "", "opt a . etc/passwd"},
		"comments and blanks":   {"# /opt\n\n  \t\n   # /usr\n", "", "opt usr #"},
		"a path":                {"/opt/agent", "opt/agent opt/agent/a opt/agent/a/b", "opt opt/agen opt/agents usr/opt/agent agent"},
		"ends of line":          {"/a\r\n/b\r\n  /c \t\n/d", "a b c d", "c\t d\n"},
		"slashes and dots":      {"//opt///agent/./\n/./usr/.", "opt/agent usr usr/x", "opt"},
		"a name with dots":      {"/..a/...", "..a/...", "..a"},
		"globs":                 {"/opt/*/conf.d\n/usr/?\n/srv/[a-c]x", "opt/x/conf.d opt/.x/conf.d opt/x/conf.d/y usr/a usr/a/b srv/bx", "opt/conf.d opt/x/y/conf.d usr/ab usr srv/dx"},
		"taken out":             {"/opt\n!/opt/cache", "opt opt/a opt/cached", "opt/cache opt/cache/x"},
		"and in again":          {"/opt\n!/opt/cache\n/opt/cache/keep", "opt opt/cache/keep opt/cache/keep/x", "opt/cache opt/cache/x"},
		"the last line decides": {"!/opt/cache\n/opt\n! \t/usr/*/x\n/usr/a", "opt/cache usr/a/x", "usr/b/x usr"},
		"only taken out":        {"!/opt", "", "opt opt/x"},
		"characters":            {`/a\*b` + "\n" + `/c\ ` + "\n" + `/\#d` + "\n/#e\n/f!\n" + `/g\\h` + "\n" + `/i\[j` + "\n", `a*b #d #e f! g\h i[j`, `axb c g\\h`},
		"octal":                 {`/a\052b` + "\n" + `/\377\376` + "\n" + `/x\012y` + "\n" + `/p\134q` + "\n" + `/r\134*` + "\n" + `/[\052\135]`, "a*b \xff\xfe p\\q * ] r\\ r\\s", "axb xy x r* r"},
		"bytes as they are":     {"/\xff\n/\xc3(*", "\xff \xc3(z", "\xfe"},
	} {
		t.Run(name, func(t *testing.T) {
			l := parse(t, c.list)
			for want, names := range map[bool]string{true: c.yes, false: c.no} {
				for _, p := range strings.Split(names, " ") {
					if p != "" && l.Selects(p) != want {
						t.Errorf("Selects(%q) = %v; want %v", p, !want, want)
					}
				}
			}
		})
	}
	if l := parse(t, `/c\ `+"\n"+`/x\012y`+"\n"+`/d\\ `+"\n/e f"); !l.Selects("c ") || !l.Selects("x\ny") || !l.Selects(`d\`) || !l.Selects("e f") {
		t.Error("Selects() of names with blanks and line ends = false; want true")
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"/a\nopt\n":                      "files:2: opt: is no path from the root",
		"!":                              "files:1: !: is no path from the root",
		"!opt":                           "files:1: !opt: is no path from the root",
		"*":                              "files:1: *: is no path from the root",
		"/":                              "files:1: /: is the whole system",
		"#\n\n//./\n":                    "files:3: //./: is the whole system",
		"/a/../b":                        "files:1: /a/../b: leads up",
		`/a/\.\./b`:                      `files:1: /a/\134.\134./b: leads up`,
		`/a/\056\056`:                    `files:1: /a/\134056\134056: leads up`,
		"/a[":                            "files:1: /a[: syntax error in pattern",
		"/[a/b]":                         "files:1: /[a/b]: syntax error in pattern",
		`/a\`:                            `files:1: /a\134: syntax error in pattern`,
		"/a\\\r\n":                       `files:1: /a\134: syntax error in pattern`,
		`/a\057b`:                        `files:1: /a\134057b: stands for a byte that no name holds`,
		`/a\000`:                         `files:1: /a\134000: stands for a byte that no name holds`,
		`/a\400`:                         `files:1: /a\134400: stands for a byte that no name holds`,
		"/a\x00b":                        `files:1: /a\000b: holds a NUL`,
		"\xff\xfe/\x00o\x00":             `files:1: \377\376/\000o\000: holds a NUL`,
		"/" + strings.Repeat("a/", 2048): "files:1: /" + strings.Repeat("a/", 2047) + "a: is longer than 4096 bytes",
		strings.Repeat("/a\n", 10001):    "files: more than 10000 lines",
		strings.Repeat("#", 1<<20+1):     "files: larger than 1048576 bytes",
		"/a\n" + strings.Repeat("# x\n", 2e4) + "x": "files:20002: x: is no path from the root",
	} {
		l, err := carry.Parse("files", []byte(text))
		if err == nil || err.Error() != want {
			t.Errorf("Parse(%.40q) = %.200v; want %.200s", text, err, want)
		}
		if l.Selects("a") {
			t.Errorf("Parse(%.40q) chooses something beside the error", text)
		}
	}
}

func TestReaches(t *testing.T) {
	l := parse(t, "/opt/agent/etc\n/usr/*/x\n!/opt/agent/etc/cache\n!/srv\n")
	for dir, want := range map[string]bool{
		".": true, "opt": true, "opt/agent": true, "opt/agent/etc": true, "opt/agent/etc/a": true, "opt/agent/lib": false,
		"usr": true, "usr/a": true, "usr/a/x": true, "usr/a/x/b": true, "usr/a/b": false, "srv": false, "var": false,
	} {
		if got := l.Reaches(dir); got != want {
			t.Errorf("Reaches(%q) = %v; want %v", dir, got, want)
		}
	}
	for _, text := range []string{"", "!/opt", "# /opt"} {
		if parse(t, text).Reaches(".") {
			t.Errorf("%q: Reaches(.) = true; want false", text)
		}
	}
}

// What is selected is reached through every directory above it.
func TestReachesLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := ""
		for _, parts := range rapid.SliceOfN(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*", "?", `\a`}), 1, 3), 0, 5).Draw(t, "lines") {
			text += rapid.SampledFrom([]string{"/", "/", "!/"}).Draw(t, "not") + strings.Join(parts, "/") + "\n"
		}
		l, err := carry.Parse("files", []byte(text))
		if err != nil {
			t.Fatalf("Parse(%q) = %v", text, err)
		}
		name := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 4).Draw(t, "name"), "/")
		if l.Selects(name) != wanted(text, name) {
			t.Fatalf("%q: Selects(%s) = %v; want %v", text, name, l.Selects(name), !l.Selects(name))
		}
		if !l.Selects(name) {
			return
		}
		for dir := name; ; dir = path.Dir(dir) {
			if !l.Reaches(dir) {
				t.Fatalf("%q: Selects(%s), but Reaches(%s) = false", text, name, dir)
			}
			if dir == "." {
				return
			}
		}
	})
}

// wanted is Selects by the words of the package comment: of the lines that
// match the path or one above it, the last.
func wanted(text, name string) bool {
	lines := strings.Split(text, "\n")
	slices.Reverse(lines)
	for _, line := range lines {
		pattern, not := strings.CutPrefix(line, "!")
		for dir := "/" + name; dir != "/"; dir = path.Dir(dir) {
			if ok, err := path.Match(pattern, dir); ok && err == nil {
				return !not
			}
		}
	}
	return false
}

func TestExcept(t *testing.T) {
	l := parse(t, "/opt\n/etc/motd\n/usr/*\n")
	less := l.Except("merged already", "etc").Except("another file system", "opt/data", "usr/[x]")
	for name, want := range map[string]bool{
		"opt": true, "opt/data": false, "opt/data/x": false, "opt/database": true, "etc/motd": false, "usr/x": true, "usr/[x]": false,
	} {
		if got := less.Selects(name); got != want {
			t.Errorf("Selects(%s) = %v; want %v", name, got, want)
		}
	}
	first, second := l.Except("no", "opt"), l.Except("no", "usr")
	if first.Selects("opt") || !first.Selects("usr/x") || second.Selects("usr/x") || !second.Selects("opt") {
		t.Error("two lists from one are not apart")
	}
	if !l.Selects("opt/data") || !l.Selects("etc/motd") {
		t.Error("Except() changed its list")
	}
}

// Names as reports print them are read back as lines of a list.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"/opt\n!/opt/cache\n# x\n", "/a\\\n", "/[", "/\\377\\\r\n", " !/a\\ ", "/*/?/[a-z]", "\x00", "!", "/a\\052", "//./", "/[^\\]]",
	} {
		f.Add(seed, "opt/agent")
		f.Add(seed, "a\xff\n/ *")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		l, err := carry.Parse("files", []byte(text))
		if err == nil {
			if l.Selects(name) && !l.Reaches(path.Dir(name)) && !strings.HasPrefix(name, "/") && path.Clean(name) == name {
				t.Errorf("%q selects %q and does not reach it", text, name)
			}
			if l.Except("no", name).Selects(name) {
				t.Errorf("%q selects %q although it is taken out", text, name)
			}
		} else if msg := err.Error(); !strings.HasPrefix(msg, "files:") || strings.ContainsAny(msg, "\n\x00") {
			t.Errorf("Parse(%q) = %q; want one line", text, msg)
		}
		checkReadBack(t, name)
	})
}

// checkReadBack writes name into a list with each byte in octal.
func checkReadBack(t *testing.T, name string) {
	t.Helper()
	if path.Clean("/"+name) != "/"+name || name == "" || len(name) > 1000 || strings.ContainsRune(name, 0) {
		return
	}
	var octal strings.Builder
	for _, b := range []byte(name) {
		if b == '/' {
			octal.WriteByte(b)
		} else {
			fmt.Fprintf(&octal, `\%03o`, b)
		}
	}
	l, err := carry.Parse("files", []byte("/"+octal.String()))
	if err != nil || !l.Selects(name) || l.Selects(name+"x") {
		t.Errorf("Parse(/%s) = %v; want it to choose %q alone", octal.String(), err, name)
	}
}

func TestZeroList(t *testing.T) {
	var l carry.List
	e, err := l.Expand(t.TempDir())
	if diff := cmp.Diff(carry.Expansion{}, e); diff != "" || err != nil {
		t.Errorf("Expand() (-want +got):\n%s%v", diff, err)
	}
}
