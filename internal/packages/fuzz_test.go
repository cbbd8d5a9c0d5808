package packages_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"imgbase/internal/packages"
)

const status = `Package: adduser
Status: install ok installed
Priority: important
Maintainer: D <d@example.org>
Architecture: all
Version: 3.134
Depends: passwd
Conffiles:
 /etc/adduser.conf 73f4d2ba0b1d2d2a0cb7c0bd3b9f2a11
 /etc/with blank.conf 73f4d2ba0b1d2d2a0cb7c0bd3b9f2a11 obsolete
Description: add users
 long text
 .
 Version: 9

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1:2-3
Config-Version: 1:2-3
Conffiles:
 /etc/gone newconffile

Package: known
Status: unknown ok not-installed

package: half
STATUS: install reinstreq half-configured
VERSION: 1
architecture: amd64
`

func TestParseStatus(t *testing.T) {
	var got []string
	err := packages.ParseStatus(strings.NewReader(status), func(s packages.Stanza) {
		got = append(got, s.Package.String()+" "+s.Status+" "+strings.Join(s.Conffiles, ","))
	})
	want := "adduser_3.134_all installed /etc/adduser.conf,/etc/with blank.conf; gone_1:2-3_amd64 config-files /etc/gone; known__ not-installed ; half_1_amd64 half-configured "
	if err != nil || strings.Join(got, "; ") != want {
		t.Errorf("ParseStatus() = %s, %v; want %s", strings.Join(got, "; "), err, want)
	}
	for text, want := range map[string]string{
		"Package: a\nStatus: install ok installed\nArchitecture: all\n":              `package "a": empty version`,
		"Package: a\nStatus: install ok installed\nArchitecture: all\nVers":          `line 4: no field in "Vers"`,
		"Package: a\nStatus: installed\n\nPackage: b\n":                              `line 3: status "installed"; want three words`,
		"Package: ../a\nVersion: 1\nArchitecture: all\n":                             `package "../a": name "../a"`,
		"Package: a\nVersion: 1 2\nArchitecture: all\n":                              `package "a": version "1 2"`,
		"Package: a\nPackage: b\n":                                                   `line 2: second Package of a package`,
		" continued\n":                                                               `line 1: " continued" continues nothing`,
		"Package: a\nConffiles:\n etc/x 12\n":                                        `line 3: no configuration file in " etc/x 12"`,
		"Package: a\nConffiles:\n /etc/x\n":                                          `line 3: no configuration file in " /etc/x"`,
		"\x00\xff\x00":                                                               `line 1: no field in "\x00\xff\x00"`,
		"a\n" + strings.Repeat("x", 2<<20):                                           `line 1: no field in "a"`,
		"Package: a\nX: " + strings.Repeat("x", 2<<20):                               `line 2: bufio.Scanner: token too long`,
		"Package: " + strings.Repeat("a", 300) + "\nVersion: 1\nArchitecture: all\n": `package "` + strings.Repeat("a", 100) + `": name of 300 bytes`,
	} {
		err := packages.ParseStatus(strings.NewReader(text), func(packages.Stanza) {})
		if err == nil || err.Error() != want {
			t.Errorf("ParseStatus(%.80q) = %v; want %s", text, err, want)
		}
	}
}

// endless is a file that never ends.
type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	if e.n += len(p); e.n > 64<<20 {
		return 0, errors.New("read too much")
	}
	return copy(p, bytes.Repeat([]byte("Package: a\n\n")[:1], len(p))), nil
}

func TestParseStatusStops(t *testing.T) {
	if err := packages.ParseStatus(&endless{}, func(packages.Stanza) {}); err == nil || strings.Contains(err.Error(), "too much") {
		t.Errorf("ParseStatus() of an endless line = %v; want refused early", err)
	}
}

func TestParseRPMs(t *testing.T) {
	got, err := packages.ParseRPMs([]byte("bash\t0\t5.1.8\t6.el9\tx86_64\ngpg-pubkey\t(none)\t1\t2\t(none)\nvim\t2\t8\t1\tnoarch\n"))
	if err != nil || names(got) != "bash-5.1.8-6.el9.x86_64 vim-2:8-1.noarch" {
		t.Errorf("ParseRPMs() = %s, %v", names(got), err)
	}
	for text, want := range map[string]string{
		"bash\t0\t5\t6\n":         `rpm's line 1: 4 fields in "bash\t0\t5\t6"; want 5`,
		"bash\t0\t5\t6\tx\ty\n":   `rpm's line 1: 6 fields in "bash\t0\t5\t6\tx\ty"; want 5`,
		"b\t0\t1\t1\tx\n\n":       `rpm's line 2: 1 fields in ""; want 5`,
		"bash\tx\t5\t6\tx\n":      `rpm's line 1: epoch "x"`,
		"bash\t-1\t5\t6\tx\n":     `rpm's line 1: epoch "-1"`,
		"bash\t0\t5:1\t6\tx\n":    `rpm's line 1: version "5:1-6"`,
		"bash\t0\t5-1\t6\tx\n":    `rpm's line 1: version "5-1-6"`,
		"bash\t0\t\t6\tx\n":       `rpm's line 1: version "-6"`,
		"a/b\t0\t5\t6\tx\n":       `rpm's line 1: name "a/b"`,
		"bash\t0\t5\t6\t(none)\n": `rpm's line 1: architecture "(none)"`,
		"-rf\t0\t5\t6\tx\n":       `rpm's line 1: name "-rf"`,
		"b\t99999999999\t5\t6\tx": `rpm's line 1: epoch "99999999999"`,
	} {
		if got, err := packages.ParseRPMs([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("ParseRPMs(%q) = %v, %v; want %s", text, got, err, want)
		}
	}
}

func TestParseRPMFiles(t *testing.T) {
	var got []string
	add := func(path []byte, c packages.Class) { got = append(got, string(path)+" "+c.String()) }
	text := "17 '/etc/a'\n1 '/etc/b'\n64 '/c'\n0 '/it'\\''s'\n0 '/new\nline'\n(none) '(none)'\n16 '/d'\n80 '/e'\n0 '\xff'\n"
	err := packages.ParseRPMFiles([]byte(text), add)
	want := "/etc/a noreplace|/etc/b config|/c ghost|/it's packaged|/new\nline packaged|/d packaged|/e ghost|\xff packaged"
	if err != nil || strings.Join(got, "|") != want {
		t.Errorf("ParseRPMFiles() = %q, %v; want %q", strings.Join(got, "|"), err, want)
	}
	for text, want := range map[string]string{
		"0":                     `rpm's file 1: no flags in "0"`,
		"0 '/a":                 `rpm's file 1: name cut short`,
		"0 '/a'":                `rpm's file 1: name cut short or not ended at "/a"`,
		"0 '/a'\\'":             `rpm's file 1: name cut short or not ended at "/a"`,
		"0 /a\n":                `rpm's file 1: no quoted name in "/a\n"`,
		"0 '/a'\nx '/b'\n":      `rpm's file 2: flags "x"`,
		"4294967296 '/b'\n":     `rpm's file 1: flags "4294967296"`,
		strings.Repeat("1", 99): `rpm's file 1: no flags in "` + strings.Repeat("1", 99) + `"`,
	} {
		if err := packages.ParseRPMFiles([]byte(text), func([]byte, packages.Class) {}); err == nil || err.Error() != want {
			t.Errorf("ParseRPMFiles(%q) = %v; want %s", text, err, want)
		}
	}
}

func TestParseVerify(t *testing.T) {
	got, err := packages.ParseVerify([]byte(".M.......  c /etc/a\n.....UG..    /it's odd \nmissing   c /etc/b\nmissing     /c (Permission denied)\nS.5....T.  c /etc/d\n.M?..UG..    /e\n.M.......  g /ghost\n"))
	if err != nil || len(got) != 3 || got["/etc/a"] != "M" || got["/it's odd "] != "UG" || got["/e"] != "MUG" {
		t.Errorf("ParseVerify() = %v, %v", got, err)
	}
	for _, text := range []string{"x", ".M.......  c", ".M.......  c etc/a", ".X.......  c /a", ".M....... c /etc/a", "Unsatisfied dependencies for a-1:", "\n", ".M.......  c /a\nline'\n"} {
		if got, err := packages.ParseVerify([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "rpm -V, line ") {
			t.Errorf("ParseVerify(%q) = %v, %v; want refused", text, got, err)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add([]byte(status))
	f.Add([]byte("Package: a\nVersion: 1\nArchitecture: all\nConffiles:\n /etc/x 12\n\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_ = packages.ParseStatus(bytes.NewReader(text), func(s packages.Stanza) {
			if s.Status == "installed" {
				back, err := packages.ParseFileName(s.Package.FileName())
				if err != nil && !strings.Contains(s.Package.Name+s.Package.Version+s.Package.Arch, "_") || err == nil && back != s.Package {
					t.Errorf("%+v comes back from its file name as %+v, %v", s.Package, back, err)
				}
			}
			for _, path := range s.Conffiles {
				if !strings.HasPrefix(path, "/") {
					t.Errorf("configuration file %q; want it absolute", path)
				}
			}
		})
	})
}

func FuzzParseRPMs(f *testing.F) {
	f.Add([]byte("bash\t0\t5.1.8\t6.el9\tx86_64\nvim\t2\t8\t1\tnoarch\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := packages.ParseRPMs(text)
		if err != nil {
			return
		}
		for _, p := range all {
			back, err := packages.ParseFileName(p.FileName())
			if err != nil || back.Name != p.Name || back.Arch != p.Arch || !strings.HasSuffix(p.Version, back.Version) {
				t.Errorf("%+v comes back from its file name as %+v, %v", p, back, err)
			}
		}
	})
}

func FuzzParseRPMFiles(f *testing.F) {
	f.Add([]byte("17 '/etc/a'\n0 '/it'\\''s'\n0 '/new\nline'\n(none) '(none)'\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var again bytes.Buffer
		err := packages.ParseRPMFiles(text, func(path []byte, c packages.Class) {
			flags := map[packages.Class]string{packages.Packaged: "0", packages.Ghost: "64", packages.Config: "1", packages.NoReplace: "17"}[c]
			again.WriteString(flags + " '" + strings.ReplaceAll(string(path), "'", `'\''`) + "'\n")
		})
		if err != nil {
			return
		}
		first := again.String()
		again.Reset()
		err = packages.ParseRPMFiles([]byte(first), func(path []byte, c packages.Class) {
			flags := map[packages.Class]string{packages.Packaged: "0", packages.Ghost: "64", packages.Config: "1", packages.NoReplace: "17"}[c]
			again.WriteString(flags + " '" + strings.ReplaceAll(string(path), "'", `'\''`) + "'\n")
		})
		if err != nil || again.String() != first {
			t.Errorf("again = %q, %v; want %q", again.String(), err, first)
		}
	})
}

func FuzzParseVerify(f *testing.F) {
	f.Add([]byte(".M.......  c /etc/a\n.....UG..    /it's odd\nmissing   c /etc/b\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		wrong, err := packages.ParseVerify(text)
		for path, what := range wrong {
			if path == "" || path[0] != '/' || what == "" || strings.Trim(what, "MUG") != "" {
				t.Errorf("ParseVerify() has %q: %q, %v", path, what, err)
			}
		}
	})
}
