package layout_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/layout"
	"imgbase/internal/nvr"
)

func TestParse(t *testing.T) {
	node := nvr.NVR{Name: "Image", Version: "1", Release: "2"}
	for _, tc := range []struct {
		in   string
		want layout.Image
	}{
		{"Image-1-2", layout.Image{NVR: node}},
		{"Image-1-2+1", layout.Image{NVR: node, IsLayer: true, Index: 1}},
		{"Image-1-2+0", layout.Image{NVR: node, IsLayer: true}},
		{"Image-1-2+10", layout.Image{NVR: node, IsLayer: true, Index: 10}},
		// A plus that is not followed by a plain number belongs to the NVR.
		{"c++-1-2", layout.Image{NVR: nvr.NVR{Name: "c++", Version: "1", Release: "2"}}},
		{"c+1-1-2", layout.Image{NVR: nvr.NVR{Name: "c+1", Version: "1", Release: "2"}}},
		{"c++-1-2+3", layout.Image{NVR: nvr.NVR{Name: "c++", Version: "1", Release: "2"}, IsLayer: true, Index: 3}},
		{"a-1-2+", layout.Image{NVR: nvr.NVR{Name: "a", Version: "1", Release: "2+"}}},
		{"a-1-2+01", layout.Image{NVR: nvr.NVR{Name: "a", Version: "1", Release: "2+01"}}},
		{"a-1-2+00", layout.Image{NVR: nvr.NVR{Name: "a", Version: "1", Release: "2+00"}}},
		{"a-1-2+1x", layout.Image{NVR: nvr.NVR{Name: "a", Version: "1", Release: "2+1x"}}},
		{"a-1-2+9223372036854775808", layout.Image{NVR: nvr.NVR{Name: "a", Version: "1", Release: "2+9223372036854775808"}}},
		{"a-1-2+-1", layout.Image{NVR: nvr.NVR{Name: "a-1", Version: "2+", Release: "1"}}},
		{"a-1-2++1", layout.Image{NVR: nvr.NVR{Name: "a", Version: "1", Release: "2+"}, IsLayer: true, Index: 1}},
	} {
		got, err := layout.Parse(tc.in)
		if err != nil {
			t.Errorf("Parse(%q) error: %v", tc.in, err)
			continue
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", tc.in, diff)
		}
		if got.String() != tc.in {
			t.Errorf("Parse(%q).String() = %q; want the same text", tc.in, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		"", "+1", "home", "var_log", "pool00", "a-1", "a-1+1", "-+1", "a--+1",
		"a-1-+1",             // no release below the layer
		"a-1-2+1+1",          // a layer of a layer
		"a-1-2+1 ", " a-1-2", // LVM's reports are padded; trimming is theirs
		"a-1-2+-1/", "a-1-2\n+1",
		strings.Repeat("+1", 1<<16),
	} {
		if got, err := layout.Parse(in); !errors.Is(err, nvr.ErrMalformed) {
			t.Errorf("Parse(%.60q) = %v, %v; want ErrMalformed", in, got, err)
		}
	}
}

func TestCompareSorts(t *testing.T) {
	order := []string{
		"Image-1-0", "Image-1-0+0", "Image-1-0+1", "Image-1-0+2", "Image-1-0+10",
		"Image-1-0.1", // to rpm the same as the layer +1
		"Image-1.0-0", "Image-1.00-0",
		"Image-2-0", "Image-13-0",
		"Other-1-0",
	}
	for i, a := range order {
		for j, b := range order {
			got, want := layout.Compare(image(t, a), image(t, b)), sign(i-j)
			if got != want {
				t.Errorf("Compare(%s, %s) = %d; want %d", a, b, got, want)
			}
		}
	}
}

func TestCheckNew(t *testing.T) {
	name52 := strings.Repeat("n", 48) + "-1-2"
	for _, tc := range []struct {
		name string
		want error
		why  string
	}{
		{"ovirt-node-ng-4.5.0-0.20220307.0", nil, ""},
		{"c++-1-2", nil, ""},
		{"c+1-1-2", nil, ""},
		{"a-1-2+git", nil, ""},
		{"_-1-2", nil, ""},
		{name52, nil, ""},
		{"n" + name52, layout.ErrNameTooLong, "53 characters; want at most 52"},
		{strings.Repeat("n", 1<<20) + "-1-2", layout.ErrNameTooLong, "at most 52"},
		{"a-1~rc1-2", layout.ErrNameInvalid, `no "~"`},
		{"a-1-2^git", layout.ErrNameInvalid, `no "^"`},
		{"-a-1-2", layout.ErrNameInvalid, "starts with a dash"},
		{".a-1-2", layout.ErrNameInvalid, "starts with a dot"},
		{"..-1-2", layout.ErrNameInvalid, "starts with a dot"},
		{"a-1-2+1", layout.ErrNameInvalid, "like a layer"},
		{"a-1-2+01", layout.ErrNameInvalid, "like a layer"},
		{"a-1-2+1+1", layout.ErrNameInvalid, "like a layer"},
		{"a-1-+99999999999999999999", layout.ErrNameInvalid, "like a layer"},
	} {
		n, err := nvr.Parse(tc.name)
		if err != nil {
			t.Fatal(err)
		}
		err = layout.CheckNew(n)
		if !errors.Is(err, tc.want) {
			t.Errorf("CheckNew(%.60q) = %v; want %v", tc.name, err, tc.want)
		}
		if err != nil && (!strings.Contains(err.Error(), tc.why) || len(err.Error()) > 400) {
			t.Errorf("CheckNew(%.60q) says %.500q; want a short reason with %q", tc.name, err, tc.why)
		}
	}
}

// An NVR made by hand may hold anything.
func TestCheckNewRefusesWhatParseWould(t *testing.T) {
	for _, tc := range []struct {
		n    nvr.NVR
		want error
	}{
		{nvr.NVR{}, nvr.ErrMalformed},
		{nvr.NVR{Name: "a", Version: "1"}, nvr.ErrMalformed},
		{nvr.NVR{Name: "../a", Version: "1", Release: "2"}, nvr.ErrMalformed},
		{nvr.NVR{Name: "a", Version: "1 ", Release: "2"}, nvr.ErrMalformed},
		{nvr.NVR{Name: "a", Version: "1-2", Release: "3"}, layout.ErrNameInvalid},
		{nvr.NVR{Name: "a", Version: "1", Release: "2-3"}, layout.ErrNameInvalid},
	} {
		if err := layout.CheckNew(tc.n); !errors.Is(err, tc.want) {
			t.Errorf("CheckNew(%#v) = %v; want %v", tc.n, err, tc.want)
		}
	}
}

func image(t *testing.T, name string) layout.Image {
	t.Helper()
	i, err := layout.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func sign(n int) int { return max(-1, min(1, n)) }
