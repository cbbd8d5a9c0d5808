package persist_test

import (
	"maps"
	"os"
	"path"
	"strings"
	"testing"

	"imgbase/internal/persist"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// anyTree draws a small tree. Few names and few contents, so that the three
// trees of a merge meet often.
func anyTree(t *rapid.T, side string) files {
	tree := files{}
	names := []string{"a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "b/a"}
	for _, name := range names {
		if parent, ok := tree[path.Dir(name)]; path.Dir(name) != "." && (!ok || parent.Kind != 'd') {
			continue
		}
		kinds := []byte("-fffflp")
		if strings.ContainsAny(name, "bde") {
			kinds = []byte("-ddddfl")
		}
		f := file{Kind: rapid.SampledFrom(kinds).Draw(t, side+name), Mode: 0o777}
		if f.Kind == '-' {
			continue
		}
		if f.Kind != 'l' {
			f.Mode = rapid.SampledFrom([]uint32{0o644, 0o644, 0o644, 0o755, 0o4711, 0o2777}).Draw(t, "mode")
		}
		if f.Kind == 'f' || f.Kind == 'l' {
			f.Data = rapid.SampledFrom([]string{"1", "1", "22", "3", "/etc"}).Draw(t, "data")
		}
		if os.Geteuid() == 0 {
			f.UID = rapid.SampledFrom([]int{0, 0, 0, 7}).Draw(t, "uid")
		}
		if f.Kind == 'f' && rapid.IntRange(0, 4).Draw(t, "xattr") == 0 {
			f = f.xattr("user.k", rapid.SampledFrom([]string{"", "v", "w"}).Draw(t, "value"))
		}
		tree[name] = f
	}
	return tree
}

// change draws a tree that differs from one in a few places.
func change(t *rapid.T, tree files, side string) files {
	other, out := anyTree(t, side), maps.Clone(tree)
	for _, name := range []string{"a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "b/a"} {
		if rapid.IntRange(0, 2).Draw(t, "keep") > 0 {
			continue
		}
		delete(out, name)
		if f, ok := other[name]; ok {
			out[name] = f
		}
	}
	for name := range out { // nothing lies beneath what is no directory
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if out[dir].Kind != 'd' {
				delete(out, name)
			}
		}
	}
	return out
}

// inTemp runs a property with a directory of its own for each try.
func inTemp(t *testing.T, property func(t *rapid.T, root string)) {
	rapid.Check(t, func(rt *rapid.T) {
		root, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatalf("temporary directory: %v", err)
		}
		defer os.RemoveAll(root)
		property(rt, root)
	})
}

func TestLawNoLocalChangeIsTheirs(t *testing.T) {
	inTemp(t, func(t *rapid.T, root string) {
		base := anyTree(t, "base")
		theirs := change(t, base, "theirs")
		got := merge(t, root, base, base, theirs, persist.Rules{})
		if diff := cmp.Diff(theirs, got.result); diff != "" {
			t.Fatalf("result (-theirs +got):\n%s", diff)
		}
		for _, c := range got.plan.Changes {
			if c.Op != persist.Vendor {
				t.Fatalf("change %v; want the vendor's only", c)
			}
		}
	})
}

func TestLawNoVendorChangeIsMine(t *testing.T) {
	inTemp(t, func(t *rapid.T, root string) {
		base := anyTree(t, "base")
		mine := change(t, base, "mine")
		got := merge(t, root, base, mine, base, persist.Rules{})
		if diff := cmp.Diff(mine, got.result); diff != "" {
			t.Fatalf("result (-mine +got):\n%s\nplan %v", diff, got.plan.Changes)
		}
		if c := got.plan.Conflicts(); len(c) != 0 {
			t.Fatalf("Conflicts() = %v; want none", c)
		}
	})
}

func TestLawSameChangeIsNothingToDo(t *testing.T) {
	inTemp(t, func(t *rapid.T, root string) {
		base := anyTree(t, "base")
		both := change(t, base, "both")
		got := merge(t, root, base, both, both, persist.Rules{})
		if len(got.plan.Changes) != 0 {
			t.Fatalf("Changes = %v; want none", got.plan.Changes)
		}
	})
}

// What either side made lies in the result, the administrator's in its place.
func TestLawNothingIsLost(t *testing.T) {
	inTemp(t, func(t *rapid.T, root string) {
		base := anyTree(t, "base")
		mine, theirs := change(t, base, "mine"), change(t, base, "theirs")
		got := merge(t, root, base, mine, theirs, persist.Rules{})
		same := func(a, b file) bool { return a.Kind == b.Kind && a.Data == b.Data }
		for name, f := range mine {
			if f.Kind != 'd' && !same(f, base[name]) && !same(f, got.result[name]) {
				t.Fatalf("%s = %v; want the administrator's %v\nplan %v", name, got.result[name], f, got.plan.Changes)
			}
		}
		for name, f := range theirs {
			if f.Kind != 'd' && !same(f, base[name]) && !same(f, got.result[name]) && !same(f, got.result[vendorName(got.result, name)]) {
				t.Fatalf("%s: the vendor's %v is lost\nresult %v\nplan %v", name, f, got.result, got.plan.Changes)
			}
		}
		for name := range got.result {
			if _, ok := mine[name]; !ok && base[name].Kind != 0 && cmp.Equal(base[name], theirs[name]) && base[name].Kind != 'd' {
				t.Fatalf("%s is there; want it removed as the administrator did\nplan %v", name, got.plan.Changes)
			}
		}
	})
}

// vendorName is where the vendor's version of name lies: beside it, or
// within a directory that lies beside.
func vendorName(result files, name string) string {
	for at := len(name); at > 0; at = strings.LastIndexByte(name[:at], '/') {
		if other := name[:at] + persist.Suffix + name[at:]; result[other].Kind != 0 {
			return other
		}
	}
	return name
}

// What the plan says lies beside does, as the vendor has it, and nothing else;
// no file of it can be run.
func TestLawBesideIsThePlansAndInert(t *testing.T) {
	inTemp(t, func(t *rapid.T, root string) {
		base := anyTree(t, "base")
		got := merge(t, root, base, change(t, base, "mine"), change(t, base, "theirs"), persist.Rules{})
		vendors, planned := read(t, got.theirs), files{}
		for _, c := range got.plan.Changes {
			for name, f := range vendors {
				if rest, ok := strings.CutPrefix(name, c.Path); ok && c.Beside != "" && (rest == "" || rest[0] == '/') {
					if f.Kind == 'f' {
						f.Mode &^= 0o6111
					}
					planned[c.Beside+rest] = f
				}
			}
		}
		lie := files{}
		for name, f := range got.result {
			if strings.Contains(name, persist.Suffix) {
				lie[name] = f
			}
		}
		if diff := cmp.Diff(planned, lie); diff != "" {
			t.Fatalf("beside (-plan +result):\n%s\nplan %v", diff, got.plan.Changes)
		}
	})
}

// An update to the same base again changes nothing, open conflicts included,
// and the plan of it speaks of the same paths.
func TestLawSameBaseAgainKeepsAll(t *testing.T) {
	inTemp(t, func(t *rapid.T, root string) {
		base := anyTree(t, "base")
		mine, theirs := change(t, base, "mine"), change(t, base, "theirs")
		first := merge(t, root+"/1", base, mine, theirs, persist.Rules{})
		again := merge(t, root+"/2", theirs, first.result, theirs, persist.Rules{})
		if diff := cmp.Diff(first.result, again.result); diff != "" {
			t.Fatalf("same base again (-first +again):\n%s\nplan %v\nthen %v", diff, first.plan.Changes, again.plan.Changes)
		}
		effect := func(p persist.Plan) (paths []string) {
			for _, c := range p.Changes {
				if c.Op != persist.Vendor {
					paths = append(paths, string(c.Op)+" "+c.Path)
				}
			}
			return paths
		}
		if diff := cmp.Diff(effect(first.plan), effect(again.plan)); diff != "" {
			t.Fatalf("plans (-first +again):\n%s", diff)
		}
	})
}

// Taken over with edits unknown, no file of the running system changes.
func TestLawAdoptedKeepsAllFiles(t *testing.T) {
	inTemp(t, func(t *rapid.T, root string) {
		mine := anyTree(t, "mine")
		theirs := change(t, mine, "theirs")
		got := merge(t, root, mine, mine, theirs, persist.Rules{Adopted: true})
		for name, f := range mine {
			if f.Kind != 'd' && !cmp.Equal(f, got.result[name]) {
				t.Fatalf("%s = %v; want %v as it was\nplan %v", name, got.result[name], f, got.plan.Changes)
			}
		}
		trusting := persist.Rules{Adopted: true, Pristine: func(string) bool { return true }}
		vendors := merge(t, root+"/pristine", mine, mine, theirs, trusting)
		for name, f := range theirs {
			if f.Kind != 'd' && !cmp.Equal(f, vendors.result[name]) {
				t.Fatalf("%s = %v; want the vendor's %v", name, vendors.result[name], f)
			}
		}
	})
}
