package persist_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/owners"
	"imgbase/internal/persist"
)

// only selects a directory with all beneath it.
func only(dir string) persist.Rules {
	return persist.Rules{
		Select: func(rel string) bool { return rel == dir || strings.HasPrefix(rel, dir+"/") },
		Reach:  func(rel string) bool { return rel == "." || strings.HasPrefix(dir, rel+"/") },
	}
}

// What is not selected stays as theirs has it, also what leads to it; the way
// comes along where theirs has none.
func TestSelect(t *testing.T) {
	at := func(dir, side string) files {
		return files{"a": text(side), "opt": dir2(side), "opt/x": text(side), dir: dir2(side), dir + "/f": text(side)}
	}
	theirsOnly := files{"a": text("theirs")}
	for _, tc := range []struct {
		name               string
		base, mine, theirs files
		want               files
	}{
		{"edited", at("opt/sel", "base"), at("opt/sel", "mine"), at("opt/sel", "base"), union(at("opt/sel", "base"), files{"opt/sel": dir2("mine"), "opt/sel/f": text("mine")})},
		{"no way in theirs", files{}, at("opt/sel", "mine"), theirsOnly, union(theirsOnly, files{"opt": dir2("mine"), "opt/sel": dir2("mine"), "opt/sel/f": text("mine")})},
		{"removed with its way", at("opt/sel", "base"), files{"a": text("mine")}, at("opt/sel", "base"), files{"a": text("base"), "opt": dir2("base"), "opt/x": text("base")}},
		{"nothing there", files{}, files{"a": text("mine")}, theirsOnly, theirsOnly},
		{"a link on the way", files{}, union(files{"opt": link("/")}, files{"a": text("mine")}), theirsOnly, theirsOnly},
		{"a link on their way", files{}, at("opt/sel", "mine"), files{"opt": link("/elsewhere")}, files{"opt": link("/elsewhere")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := merge(t, t.TempDir(), tc.base, tc.mine, tc.theirs, only("opt/sel"))
			if d := cmp.Diff(tc.want, got.result); d != "" {
				t.Errorf("result (-want +got):\n%s\nplan %v", d, got.plan.Changes)
			}
		})
	}
}

// dir2 is a directory whose mode tells the side.
func dir2(side string) file {
	return dir().mode(map[string]uint32{"base": 0o755, "mine": 0o750, "theirs": 0o711}[side])
}

// Lines are merged where a rule asks for it, both changed the file, and it
// can be done; attributes are merged as ever.
func TestRebase(t *testing.T) {
	rules := persist.Rules{
		Rebase: func(rel string) bool { return rel == "hosts" },
		Merge: func(base, mine, theirs []byte) ([]byte, bool) {
			return []byte(string(mine) + "+" + string(theirs)), string(theirs) == "bad"
		},
	}
	for _, tc := range []struct {
		name, base, mine, theirs, want string
		op                             persist.Op
	}{
		{"both", "0", "1", "2", "1+2", persist.Rebase},
		{"mine only", "0", "1", "0", "1", persist.Carry},
		{"theirs only", "0", "0", "2", "2", persist.Vendor},
		{"cannot", "0", "1", "bad", "1", persist.Carry},
		{"no ancestor", "", "1", "2", "1", persist.Carry},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := files{"hosts": text(tc.base)}
			if tc.base == "" {
				b = files{}
			}
			got := merge(t, t.TempDir(), b, files{"hosts": text(tc.mine).mode(0o600)}, files{"hosts": text(tc.theirs)}, rules)
			if f := got.result["hosts"]; f.Data != tc.want || f.Mode != 0o600 {
				t.Errorf("hosts = %+v; want %q, mode 600", f, tc.want)
			}
			if tc.op != persist.Vendor && got.plan.Changes[0].Op != tc.op {
				t.Errorf("change = %v; want %s", got.plan.Changes[0], tc.op)
			}
		})
	}
	other := merge(t, t.TempDir(), files{"x": text("0")}, files{"x": text("1")}, files{"x": text("2")}, rules)
	if c := other.plan.Changes[0]; c.Op != persist.Carry || !c.Conflict {
		t.Errorf("a file that no rule names: %v; want a conflict", c)
	}
}

// Ids that differ by system are no change of anyone, in access lists too.
func TestOwnersByName(t *testing.T) {
	asRoot(t)
	ids := owners.Map{UIDs: map[uint32]uint32{7: 107}, GIDs: map[uint32]uint32{8: 108}}
	b := files{"f": text("0").owner(7, 8)}
	mine := files{"f": text("0").owner(107, 108)}
	root := t.TempDir()
	for name, tree := range map[string]files{"base": b, "mine": mine, "theirs": b} {
		tree.write(t, root+"/"+name)
	}
	plan, err := persist.Compare(root+"/base", root+"/mine", root+"/theirs", persist.Rules{Base: ids, Theirs: ids})
	if err != nil || len(plan.Changes) != 0 {
		t.Errorf("Compare = %v, %v; want no change", plan.Changes, err)
	}
	plan, err = persist.Compare(root+"/base", root+"/mine", root+"/theirs", persist.Rules{})
	if err != nil || len(plan.Changes) != 1 {
		t.Errorf("Compare without the ids = %v, %v; want the owner changed", plan.Changes, err)
	}
}
