package packages_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"imgbase/internal/packages"
)

// pk reads "name version" of an rpm, or with a third word its architecture;
// a leading "deb:" is a Debian package.
func pk(text string) packages.Package {
	p := packages.Package{Format: "rpm", Arch: "x86_64"}
	if rest, ok := strings.CutPrefix(text, "deb:"); ok {
		text, p.Format, p.Arch = rest, "deb", "amd64"
	}
	f := strings.Fields(text)
	p.Name, p.Version = f[0], f[1]
	if len(f) > 2 {
		p.Arch = f[2]
	}
	return p
}

func pks(text string) (all []packages.Package) {
	for _, t := range strings.Split(text, ", ") {
		if t != "" {
			all = append(all, pk(t))
		}
	}
	return all
}

func TestCompare(t *testing.T) {
	for _, c := range []struct{ name, kept, running, image, want string }{
		{"new", "a 1-1", "a 1-1, b 1-1", "b 1-1", "install a-1-1.x86_64: not in the new image"},
		{"removed since", "a 1-1", "b 1-1", "", "drop a-1-1.x86_64: no longer installed"},
		{"updated since", "a 1-1, a 2-1", "a 2-1", "", "drop a-1-1.x86_64: no longer installed; install a-2-1.x86_64: not in the new image"},
		{"in the image", "a 1-1", "a 1-1", "a 1-1", "skip a-1-1.x86_64: the new image has it"},
		{"newer in the image", "a 9-1", "a 9-1", "a 10-1", "skip a-9-1.x86_64: the new image has 10-1"},
		{"older in the image", "a 10-1", "a 10-1", "a 9-1", "install a-10-1.x86_64: the new image has 9-1, which is older"},
		{"file has no epoch", "a 1-1", "a 2:1-1", "a 3-1", "install a-2:1-1.x86_64: the new image has 3-1, which is older"},
		{"other architecture", "a 1-1 i686", "a 1-1 i686, a 1-1", "a 1-1", "install a-1-1.i686: not in the new image"},
		{"became noarch", "a 1-1", "a 1-1", "a 2-1 noarch", "skip a-1-1.x86_64: the new image has 2-1"},
		{"several kernels", "k 2-1, k 3-1", "k 1-1, k 2-1, k 3-1", "k 1-1, k 2-1", "skip k-2-1.x86_64: the new image has it; install k-3-1.x86_64: the new image has 2-1, which is older"},
		{"another format", "a 1-1", "deb:a 1-1", "", "drop a-1-1.x86_64: no longer installed"},
		{"debian", "deb:a 1:1-1", "deb:a 1:1-1", "deb:a 2-1", "install a_1:1-1_amd64: the new image has 2-1, which is older"},
		{"debian tilde", "deb:a 1~rc1", "deb:a 1~rc1", "deb:a 1", "skip a_1~rc1_amd64: the new image has 1"},
		{"nothing kept", "", "a 1-1", "", ""},
	} {
		var kept []packages.Kept
		for _, p := range pks(c.kept) {
			kept = append(kept, packages.Kept{Package: p, File: "/kept/" + p.FileName(), Size: 7})
		}
		plan := packages.Compare(kept, pks(c.running), pks(c.image))
		var got []string
		for _, change := range plan.Changes {
			got = append(got, strings.Join(strings.Fields(change.String()), " "))
		}
		if got := strings.Join(got, "; "); got != c.want {
			t.Errorf("%s: Compare() = %s; want %s", c.name, got, c.want)
		}
	}
}

func TestPlanPrints(t *testing.T) {
	kept := []packages.Kept{{Package: pk("a 1-1"), File: "/kept/a-1-1.x86_64.rpm", Size: 7}}
	plan := packages.Compare(kept, pks("a 1:1-1"), nil)
	got, err := json.Marshal(plan)
	want := `{"changes":[{"op":"install","format":"rpm","name":"a","version":"1:1-1","arch":"x86_64","file":"/kept/a-1-1.x86_64.rpm","size":7,"why":"not in the new image"}]}`
	if err != nil || string(got) != want {
		t.Errorf("JSON = %s, %v; want %s", got, err, want)
	}
	if got := plan.String(); got != "1 packages to install, 0 in the new image, 0 stale" {
		t.Errorf("String() = %s", got)
	}
	if got, err := json.Marshal(packages.Compare(nil, nil, nil)); err != nil || string(got) != `{"changes":[]}` {
		t.Errorf("JSON of nothing = %s, %v", got, err)
	}
}

// TestCompareLaws: every kept package is in the plan once; what is installed
// is on the host and neither it nor a newer one is in the image; once the
// image has what was to be installed, nothing is left to install.
func TestCompareLaws(t *testing.T) {
	pkg := rapid.Custom(func(t *rapid.T) packages.Package {
		return packages.Package{
			Format: rapid.SampledFrom([]packages.Format{"rpm", "deb"}).Draw(t, "format"), Name: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name"),
			Version: rapid.SampledFrom([]string{"1-1", "1:1-1", "2-1", "1~rc-1"}).Draw(t, "version"), Arch: rapid.SampledFrom([]string{"x", "noarch"}).Draw(t, "arch"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		running, image := rapid.SliceOf(pkg).Draw(t, "running"), rapid.SliceOf(pkg).Draw(t, "image")
		var kept []packages.Kept
		for _, p := range rapid.SliceOfDistinct(pkg, packages.Package.FileName).Draw(t, "kept") {
			kept = append(kept, packages.Kept{Package: p, File: p.FileName()})
		}
		plan := packages.Compare(kept, running, image)
		if len(plan.Changes) != len(kept) {
			t.Fatalf("%d changes for %d packages", len(plan.Changes), len(kept))
		}
		after := slices.Clone(image)
		for i, c := range plan.Changes {
			if c.File != kept[i].File {
				t.Fatalf("change %d is of %s; want %s", i, c.File, kept[i].File)
			}
			if c.Op != packages.Install {
				continue
			}
			if !slices.Contains(running, c.Package) || slices.Contains(image, c.Package) {
				t.Fatalf("install %s; running %v, image %v", c.Package, running, image)
			}
			after = append(after, c.Package)
		}
		if again := packages.Compare(kept, running, after).Of(packages.Install); len(again) != 0 {
			t.Fatalf("install again %v", again)
		}
	})
}
