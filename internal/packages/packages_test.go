package packages_test

import (
	"context"
	"strings"
	"testing"

	"imgbase/internal/packages"
	"imgbase/internal/run"

	"pgregory.net/rapid"
)

func TestFileName(t *testing.T) {
	for _, c := range []struct {
		p    packages.Package
		file string
		text string
		back string // version that the file name tells
	}{
		{packages.Package{Format: "rpm", Name: "bash", Version: "5.1.8-6.el9", Arch: "x86_64"}, "bash-5.1.8-6.el9.x86_64.rpm", "bash-5.1.8-6.el9.x86_64", "5.1.8-6.el9"},
		{packages.Package{Format: "rpm", Name: "gcc-c++", Version: "2:1~rc^git1-2", Arch: "noarch"}, "gcc-c++-1~rc^git1-2.noarch.rpm", "gcc-c++-2:1~rc^git1-2.noarch", "1~rc^git1-2"},
		{packages.Package{Format: "deb", Name: "libstdc++6", Version: "12.2.0-14", Arch: "amd64"}, "libstdc++6_12.2.0-14_amd64.deb", "libstdc++6_12.2.0-14_amd64", "12.2.0-14"},
		{packages.Package{Format: "deb", Name: "vim", Version: "2:9.0.1-1:2", Arch: "all"}, "vim_2%3a9.0.1-1%3a2_all.deb", "vim_2:9.0.1-1:2_all", "2:9.0.1-1:2"},
	} {
		if got := c.p.FileName(); got != c.file {
			t.Errorf("FileName(%v) = %s; want %s", c.p, got, c.file)
		}
		if got := c.p.String(); got != c.text {
			t.Errorf("String() = %s; want %s", got, c.text)
		}
		want := c.p
		want.Version = c.back
		if got, err := packages.ParseFileName(c.file); err != nil || got != want {
			t.Errorf("ParseFileName(%s) = %+v, %v; want %+v", c.file, got, err, want)
		}
	}
}

func TestParseFileNameRefuses(t *testing.T) {
	for _, name := range []string{
		"", ".rpm", ".deb", "bash", "bash.rpm", "bash-5.rpm", "bash-5-6.rpm", "bash-5.x86_64.rpm", "--.x.rpm", "bash-5-.x86_64.rpm", "-5-6.x86_64.rpm",
		"../../etc/x-1-1.noarch.rpm", "a b-1-1.noarch.rpm", "a\n-1-1.noarch.rpm", "-x-1-1.noarch.rpm", "a-1-1.no/arch.rpm", "ä-1-1.noarch.rpm",
		"a_1.deb", "a_1_all_x.deb", "_1_all.deb", "a__all.deb", "a_1_.deb", "a_1_al l.deb", "a_1%2f_all.deb", ".a_1_all.deb",
		strings.Repeat("a", 201) + "_1_all.deb", "bash-5-6.x86_64.txt",
	} {
		if got, err := packages.ParseFileName(name); err == nil || !strings.HasPrefix(err.Error(), "package file ") {
			t.Errorf("ParseFileName(%q) = %+v, %v; want refused", name, got, err)
		}
	}
}

// TestCompareVersionsAsDpkg asks dpkg itself.
func TestCompareVersionsAsDpkg(t *testing.T) {
	need(t, "dpkg")
	compare := func(t interface{ Fatalf(string, ...any) }, a, b string) {
		want := 0
		for op, sign := range map[string]int{"lt": -1, "gt": 1} {
			if _, err := (run.OS{}).Run(context.Background(), run.Cmd{Name: "dpkg", Args: []string{"--compare-versions", a, op, b}}); err == nil {
				want = sign
			}
		}
		if got := packages.Deb.CompareVersions(a, b); got != want {
			t.Fatalf("CompareVersions(%q, %q) = %d; want %d", a, b, got, want)
		}
	}
	for _, pair := range []string{
		"1 1", "1 2", "1.0 1.0-0", "1.0 1.0-1", "1.0~rc1 1.0", "1.0~rc1 1.0~rc1~a", "1:1 2", "0:1 1", "1.9 1.10", "1.01 1.1", "1a 1+", "1a 1~", "1+ 1-1",
		"1.0-1 1.0-1+b1", "2-1-1 2-1", "1:1.0-1~bpo11+1 1:1.0-1", "9999999999999999999999 10000000000000000000000", "1A 1a", "1.a 1.+",
	} {
		a, b, _ := strings.Cut(pair, " ")
		compare(t, a, b)
		compare(t, b, a)
	}
	version := rapid.StringMatching(`(1:)?[0-9][0-9a~+.]{0,4}(-[0-9a~+.]{1,2})?`)
	rapid.Check(t, func(rt *rapid.T) {
		compare(rt, version.Draw(rt, "a"), version.Draw(rt, "b"))
	})
}

func TestCompareVersionsRPM(t *testing.T) {
	// The parts are compared by package nvr; here it is their order.
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1-1", "1-1", 0}, {"1-1", "1-2", -1}, {"1:1-1", "2-2", 1}, {"0:1-1", "1-1", 0}, {"2:1-1", "10:1-1", -1}, {"1.0-9", "1.0.1-1", -1}, {"1~rc1-1", "1-1", -1}, {"1^git-1", "1-1", 1},
	} {
		if got := packages.RPM.CompareVersions(c.a, c.b); got != c.want {
			t.Errorf("CompareVersions(%s, %s) = %d; want %d", c.a, c.b, got, c.want)
		}
		if got := packages.RPM.CompareVersions(c.b, c.a); got != -c.want {
			t.Errorf("CompareVersions(%s, %s) = %d; want %d", c.b, c.a, got, -c.want)
		}
	}
}
