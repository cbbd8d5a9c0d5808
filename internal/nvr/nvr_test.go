package nvr_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/nvr"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want nvr.NVR
	}{
		{"ovirt-node-ng-4.5.0-0.20220307.0", nvr.NVR{Name: "ovirt-node-ng", Version: "4.5.0", Release: "0.20220307.0"}},
		{"package-1.2.3-4.el6", nvr.NVR{Name: "package", Version: "1.2.3", Release: "4.el6"}},
		{"Image-1-2", nvr.NVR{Name: "Image", Version: "1", Release: "2"}},
		{"a--1-2", nvr.NVR{Name: "a-", Version: "1", Release: "2"}},
		{"-a-1-2", nvr.NVR{Name: "-a", Version: "1", Release: "2"}},
		{"c++-1-2+3", nvr.NVR{Name: "c++", Version: "1", Release: "2+3"}},
		{"a-1~rc1-2^git3", nvr.NVR{Name: "a", Version: "1~rc1", Release: "2^git3"}},
		{strings.Repeat("n", 1<<16) + "-1-2", nvr.NVR{Name: strings.Repeat("n", 1<<16), Version: "1", Release: "2"}},
	} {
		got, err := nvr.Parse(tc.in)
		if err != nil {
			t.Errorf("Parse(%.60q) error: %v", tc.in, err)
			continue
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("Parse(%.60q) (-want +got):\n%s", tc.in, diff)
		}
		if got.String() != tc.in {
			t.Errorf("Parse(%.60q).String() = %.60q; want the same text", tc.in, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct{ in, why string }{
		{"", "no dash"},
		{"   ", "character ' '"},
		{"a", "no dash"},
		{"a-1", "only one dash"},
		{"--", "empty name"},
		{"-1-2", "empty name"},
		{"a--", "empty version"},
		{"a--2", "empty version"},
		{"a-1-", "empty release"},
		{"a-1-2 ", "character ' '"},
		{"a b-1-2", "character ' '"},
		{"a-1-2\n", `character '\n'`},
		{"a-1-2\x00", `character '\x00'`},
		{"../etc-1-2", "character '/'"},
		{"ä-1-2", "character 'ä'"},
		{"a-1-\xff", "character '\ufffd'"},
		{strings.Repeat("x", 1<<20), "no dash"},
	} {
		got, err := nvr.Parse(tc.in)
		if !errors.Is(err, nvr.ErrMalformed) {
			t.Errorf("Parse(%.60q) = %v, %v; want ErrMalformed", tc.in, got, err)
			continue
		}
		if msg := err.Error(); !strings.Contains(msg, tc.why) || len(msg) > 400 {
			t.Errorf("Parse(%.60q) says %.500q; want a short reason with %q", tc.in, msg, tc.why)
		}
	}
}

// The rows without a mark are rpm's own public list of comparisons
// (tests/rpmvercmp.at); each is checked in both directions.
func TestCompareVersions(t *testing.T) {
	for _, tc := range []struct {
		a    string
		want string
		b    string
	}{
		{"1.0", "=", "1.0"},
		{"1.0", "<", "2.0"},
		{"2.0", "<", "2.0.1"},
		{"2.0.1", "=", "2.0.1"},
		{"2.0.1a", ">", "2.0.1"},
		{"5.5p1", "<", "5.5p2"},
		{"5.5p1", "<", "5.5p10"},
		{"10xyz", "<", "10.1xyz"},
		{"xyz10", "<", "xyz10.1"},
		{"xyz.4", "=", "xyz.4"},
		{"xyz.4", "<", "8"},
		{"xyz.4", "<", "2"},
		{"5.5p2", "<", "5.6p1"},
		{"5.6p1", "<", "6.5p1"},
		{"6.0.rc1", ">", "6.0"},
		{"10b2", ">", "10a1"},
		{"10a2", "<", "10b2"},
		{"1.0a", "<", "1.0aa"},
		{"10.0001", "=", "10.1"},
		{"10.0001", "<", "10.0039"},
		{"10.0001", "=", "10.0001"},
		{"4.999.9", "<", "5.0"},
		{"20101121", "<", "20101122"},
		{"2_0", "=", "2_0"},
		{"2.0", "=", "2_0"},
		{"a+", "=", "a+"},
		{"a+", "=", "a_"},
		{"+a", "=", "_a"},
		{"+_", "=", "_+"},
		{"+", "=", "_"},
		{"1.0~rc1", "=", "1.0~rc1"},
		{"1.0~rc1", "<", "1.0"},
		{"1.0~rc1", "<", "1.0~rc2"},
		{"1.0~rc1~git123", "=", "1.0~rc1~git123"},
		{"1.0~rc1~git123", "<", "1.0~rc1"},
		{"1.0^", "=", "1.0^"},
		{"1.0^", ">", "1.0"},
		{"1.0^git1", ">", "1.0"},
		{"1.0^git1", "<", "1.0^git2"},
		{"1.0^git1", "<", "1.01"},
		{"1.0^20160101", "<", "1.0.1"},
		{"1.0^20160101^git1", "=", "1.0^20160101^git1"},
		{"1.0^20160102", ">", "1.0^20160101^git1"},
		{"1.0~rc1^git1", ">", "1.0~rc1"},
		{"1.0~rc1^git1", "<", "1.0"},
		{"1.0^git1~pre", "<", "1.0^git1"},
		{"1.0^git1~pre", "=", "1.0^git1~pre"},
		{"1b.fc17", "<", "1.fc17"},
		{"1g.fc17", ">", "1.fc17"}, // letters decide: g after fc
		{"1.fc17", "<", "1.fc18"},
		{"0+10", ">", "0+9"},
		{"0+1", "=", "0.1"},
		{"1.1.α", "=", "1.1.β"}, // rpm divides at what is no ASCII letter
		{"1.1.α", "=", "1.1."},
		// Not in rpm's list.
		{"", "=", ""},
		{"", "<", "0"},
		{"", "=", "."},
		{"", ">", "~"},
		{"0", "<", "1"},
		{"000", "=", "0"},
		{"1" + strings.Repeat("0", 5000), ">", strings.Repeat("9", 5000)},
		{"\xff1", "=", "1"},
	} {
		want := map[string]int{"<": -1, "=": 0, ">": 1}[tc.want]
		if got := nvr.CompareVersions(tc.a, tc.b); got != want {
			t.Errorf("CompareVersions(%.40q, %.40q) = %d; want %d", tc.a, tc.b, got, want)
		}
		if got := nvr.CompareVersions(tc.b, tc.a); got != -want {
			t.Errorf("CompareVersions(%.40q, %.40q) = %d; want %d", tc.b, tc.a, got, -want)
		}
	}
}

func TestCompareSorts(t *testing.T) {
	// Names first, then versions and releases by rpm's order, then text.
	want := []string{
		"alpha-9-9",
		"package-1.2.3-4.el6",
		"package-1.2.3-5.el6",
		"package-2.2.3-4.el6",
		"package-10~rc1-1",
		"package-10-1",
		"package-10.0-1.0",
		"package-10.0-1.00",
		"package-10.00-1.0",
		"package-10.0-1.1",
		"packages-1-1",
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, func(a, b string) int { return nvr.Compare(parse(t, a), parse(t, b)) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sorted by Compare (-want +got):\n%s", diff)
	}
}

func parse(t *testing.T, s string) nvr.NVR {
	t.Helper()
	n, err := nvr.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "a-1-2", "a--", "ovirt-node-ng-4.5.0-0.2", "a-1~rc1-2^g", "a b-1-2", "\xff-1-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := nvr.Parse(s)
		if err != nil {
			if !errors.Is(err, nvr.ErrMalformed) || n != (nvr.NVR{}) {
				t.Errorf("Parse(%q) = %v, %v; want nothing and ErrMalformed", s, n, err)
			}
			return
		}
		if n.String() != s {
			t.Errorf("Parse(%q).String() = %q; want the same text", s, n)
		}
		if strings.ContainsAny(s, "/ \t\n\x00") || strings.Contains(n.Version+n.Release, "-") {
			t.Errorf("Parse(%q) = %#v; want it refused or divided elsewhere", s, n)
		}
	})
}

// FuzzCompareLaws checks that Compare is a total order over any three values,
// and CompareVersions a weak one.
func FuzzCompareLaws(f *testing.F) {
	f.Add("n-1.0-1", "n-1.00-1", "n-1.0-01")
	f.Add("a-1~rc-1", "a-1-1", "a-1^g-1")
	f.Add("a-1b.fc17-1", "a-1.fc17-1", "a-1g.fc17-1")
	f.Add("", "a", "~")
	f.Fuzz(func(t *testing.T, x, y, z string) {
		laws(t, nvr.CompareVersions, [3]string{x, y, z})
		var n [3]nvr.NVR
		for i, s := range []string{x, y, z} {
			var err error
			if n[i], err = nvr.Parse(s); err != nil {
				// Values made by hand obey the laws as well.
				n[i] = nvr.NVR{Name: "n", Version: s, Release: "1"}
			}
		}
		laws(t, nvr.Compare, n)
		if c := nvr.Compare(n[0], n[1]); (c == 0) != (n[0] == n[1]) {
			t.Errorf("Compare(%v, %v) = %d; want 0 for equal text only", n[0], n[1], c)
		}
	})
}

func laws[T any](t *testing.T, compare func(a, b T) int, v [3]T) {
	t.Helper()
	for _, a := range v {
		if got := compare(a, a); got != 0 {
			t.Errorf("compare(%v, itself) = %d; want 0", a, got)
		}
		for _, b := range v {
			if ab, ba := compare(a, b), compare(b, a); ab != -ba || ab*ab > 1 {
				t.Errorf("compare(%v, %v) = %d but %d the other way; want -1, 0 or 1 and its opposite", a, b, ab, ba)
			}
			for _, c := range v {
				ab, bc, ac := compare(a, b), compare(b, c), compare(a, c)
				if ab <= 0 && bc <= 0 && (ac > 0 || ac == 0 && ab+bc < 0) {
					t.Errorf("order of %v, %v, %v: %d %d %d; want it transitive", a, b, c, ab, bc, ac)
				}
			}
		}
	}
}

func BenchmarkCompare(b *testing.B) {
	x := nvr.NVR{Name: "ovirt-node-ng", Version: "4.5.0", Release: "0.20220307.0"}
	y := nvr.NVR{Name: "ovirt-node-ng", Version: "4.5.0", Release: "0.20220307.1"}
	for b.Loop() {
		nvr.Compare(x, y)
	}
}
