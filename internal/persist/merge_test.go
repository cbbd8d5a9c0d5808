package persist_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"imgbase/internal/persist"

	"github.com/google/go-cmp/cmp"
)

// states are what a side may have made of x, a file with content "base" at
// first, or, for those with a slash, of the directory x.
var fileStates = map[string]files{
	"same":   {"x": text("base")},
	"edit":   {"x": text("SIDE")},
	"delete": {},
	"chmod":  {"x": text("base").mode(0o6750)},
	"retype": {"x": file{Kind: 'p', Mode: 0o600}},
	"link":   {"x": link("/SIDE/absolute")},
	"dir":    {"x": dir(), "x/in": text("SIDE")},
}

var dirStates = map[string]files{
	"same":   {"x": dir(), "x/a": text("base"), "x/b": text("base")},
	"edit":   {"x": dir(), "x/a": text("SIDE"), "x/b": text("base")},
	"delete": {},
	"chmod":  {"x": dir().mode(0o700), "x/a": text("base"), "x/b": text("base")},
	"less":   {"x": dir(), "x/b": text("base")},
	"link":   {"x": link("SIDE")},
	"file":   {"x": text("SIDE")},
}

// of fills in which side a state is on.
func of(state files, side string) files {
	out := files{}
	for name, f := range state {
		if f.Kind == 'f' && f.Data == "SIDE" {
			f.Data = side
		}
		if f.Kind == 'l' && f.Data != "" {
			f.Data += side
		}
		out[name] = f
	}
	return out
}

// besides renames a state as it lies beside the administrator's, where nobody
// can run it.
func besides(state files) files {
	out := files{}
	for name, f := range state {
		if f.Kind == 'f' {
			f.Mode &^= 0o6111
		}
		out["x"+persist.Suffix+name[1:]] = f
	}
	return out
}

func union(a, b files) files {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// TestMergeFile merges every pair of changes of one file. What is expected
// is written down per pair where the table of the package's documentation
// does not say it in one line.
func TestMergeFile(t *testing.T) {
	for m, mState := range fileStates {
		for v, vState := range fileStates {
			mineTree, theirsTree := of(mState, "mine"), of(vState, "theirs")
			var want files
			conflict := false
			switch {
			case m == "same" || m == v && cmp.Equal(mineTree, theirsTree):
				want = theirsTree
			case v == "same":
				want = mineTree
			case m == "chmod" && v == "edit":
				want = files{"x": text("theirs").mode(0o6750)}
			case m == "edit" && v == "chmod":
				want = files{"x": text("mine").mode(0o6750)}
			case m == "dir" && v == "dir": // merged by what is in them
				want, conflict = mineTree.with("x/in"+persist.Suffix, text("theirs")), true
			default: // the vendor's removal leaves nothing to lay beside
				want, conflict = union(mineTree, besides(theirsTree)), true
			}
			t.Run(m+"-"+v, func(t *testing.T) {
				got := merge(t, t.TempDir(), fileStates["same"], mineTree, theirsTree, persist.Rules{})
				if diff := cmp.Diff(want, got.result); diff != "" {
					t.Errorf("result (-want +got):\n%s\nplan %v", diff, got.plan.Changes)
				}
				if n := len(got.plan.Conflicts()); (n > 0) != conflict {
					t.Errorf("Conflicts() = %v; want some: %v", got.plan.Conflicts(), conflict)
				}
			})
		}
	}
}

func TestMergeDirectory(t *testing.T) {
	for m, mState := range dirStates {
		for v, vState := range dirStates {
			mineTree, theirsTree := of(mState, "mine"), of(vState, "theirs")
			want, conflict := wantDirectory(m, v, mineTree, theirsTree)
			t.Run(m+"-"+v, func(t *testing.T) {
				got := merge(t, t.TempDir(), dirStates["same"], mineTree, theirsTree, persist.Rules{})
				if diff := cmp.Diff(want, got.result); diff != "" {
					t.Errorf("result (-want +got):\n%s\nplan %v", diff, got.plan.Changes)
				}
				if n := len(got.plan.Conflicts()); (n > 0) != conflict {
					t.Errorf("Conflicts() = %v; want some: %v", got.plan.Conflicts(), conflict)
				}
			})
		}
	}
}

func wantDirectory(m, v string, mineTree, theirsTree files) (want files, conflict bool) {
	const suffix = persist.Suffix
	x := func(entries ...any) files { // name, file, name, file
		out := files{"x": dir()}
		for i := 0; i < len(entries); i += 2 {
			out[entries[i].(string)] = entries[i+1].(file)
		}
		return out
	}
	switch m + "-" + v {
	case "edit-edit":
		return x("x/a", text("mine"), "x/a"+suffix, text("theirs"), "x/b", text("base")), true
	case "edit-delete":
		return x("x/a", text("mine")), true
	case "edit-chmod", "chmod-edit":
		return union(union(mineTree, theirsTree), files{
			"x":   dir().mode(0o700),
			"x/a": text(map[string]string{"edit": "mine", "chmod": "theirs"}[m]),
		}), false
	case "edit-less":
		return x("x/a", text("mine"), "x/b", text("base")), true
	case "delete-edit":
		return x("x/a"+suffix, text("theirs")), true
	case "delete-chmod": // all in it was removed; its mode alone is reported
		return files{}, true
	case "delete-less":
		return files{}, false
	case "chmod-delete":
		return files{"x": dir().mode(0o700)}, true
	case "chmod-less":
		return files{"x": dir().mode(0o700), "x/b": text("base")}, false
	case "less-edit":
		return x("x/a"+suffix, text("theirs"), "x/b", text("base")), true
	case "less-delete":
		return files{}, false
	case "less-chmod":
		return files{"x": dir().mode(0o700), "x/b": text("base")}, false
	}
	switch {
	case m == "same" || m == v:
		if m == "link" || m == "file" {
			return union(mineTree, besides(theirsTree)), true
		}
		return theirsTree, false
	case v == "same":
		return mineTree, false
	}
	return union(mineTree, besides(theirsTree)), true // one side is no directory
}

func TestMergeAddedByBoth(t *testing.T) {
	got := merge(t, t.TempDir(), nil,
		files{"same": text("a"), "differ": text("mine"), "mode": text("c").mode(0o600)},
		files{"same": text("a"), "differ": text("theirs"), "mode": text("c")}, persist.Rules{})
	want := files{"same": text("a"), "differ": text("mine"), "differ.imgnew": text("theirs"), "mode": text("c").mode(0o600)}
	if diff := cmp.Diff(want, got.result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if s := got.plan.Summary(); s != (persist.Summary{Carried: 1, Attributes: 1, Conflicts: 2}) {
		t.Errorf("Summary() = %v; want 1 carried, 1 attributes, 2 conflicts", s)
	}
}

func TestMergeOwnersAndAttributesApart(t *testing.T) {
	asRoot(t)
	base := text("x").owner(10, 10).xattr("user.a", "1").xattr("user.b", "1").xattr("trusted.c", "1")
	mine := base.owner(11, 10).xattr("user.a", "2").xattr("user.new", "mine")
	delete(mine.Attrs, "trusted.c")
	theirs := base.owner(10, 3_000_000_000).xattr("user.b", "2").mode(0o4755)
	theirs.Data = "y"
	got := merge(t, t.TempDir(), files{"f": base}, files{"f": mine}, files{"f": theirs}, persist.Rules{})

	want := theirs.owner(11, 3_000_000_000).xattr("user.a", "2").xattr("user.new", "mine")
	delete(want.Attrs, "trusted.c")
	if diff := cmp.Diff(files{"f": want}, got.result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if c := got.plan.Conflicts(); len(c) != 0 {
		t.Errorf("Conflicts() = %v; want none", c)
	}
}

func TestMergeAttributeConflictKeepsMine(t *testing.T) {
	got := merge(t, t.TempDir(), files{"f": text("x")}, files{"f": text("x").mode(0o600)},
		files{"f": text("y").mode(0o640)}, persist.Rules{})
	if diff := cmp.Diff(files{"f": text("y").mode(0o600)}, got.result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if c := got.plan.Conflicts(); len(c) != 1 || c[0].Beside != "" {
		t.Errorf("Conflicts() = %v; want one, about the mode, without a file beside", c)
	}
}

// An update of the same base, with nothing new, keeps everything: conflicts
// that were not settled too, until the file beside is deleted.
func TestConflictLastsUntilSettled(t *testing.T) {
	root := t.TempDir()
	first := merge(t, root+"/1", files{"a": text("0"), "gone": text("0")}, files{"a": text("mine")},
		files{"a": text("1"), "gone": text("1")}, persist.Rules{})
	theirs := files{"a": text("1"), "gone": text("1")}

	second := merge(t, root+"/2", theirs, first.result, theirs, persist.Rules{})
	if diff := cmp.Diff(first.result, second.result); diff != "" {
		t.Errorf("same base again (-first +second):\n%s", diff)
	}
	if n := len(second.plan.Conflicts()); n != 2 {
		t.Errorf("Conflicts() = %v; want both of the first merge", second.plan.Conflicts())
	}

	news := merge(t, root+"/3", theirs, first.result, theirs.with("a", text("2")), persist.Rules{})
	want := files{"a": text("mine"), "a.imgnew": text("2"), "gone.imgnew": text("1")}
	if diff := cmp.Diff(want, news.result); diff != "" {
		t.Errorf("next base (-want +got):\n%s", diff)
	}

	settled := maps.Clone(first.result)
	delete(settled, "a.imgnew")
	delete(settled, "gone.imgnew")
	last := merge(t, root+"/4", theirs, settled, theirs, persist.Rules{})
	if diff := cmp.Diff(files{"a": text("mine")}, last.result); diff != "" {
		t.Errorf("settled (-want +got):\n%s", diff)
	}
	if n := len(last.plan.Conflicts()); n != 0 {
		t.Errorf("Conflicts() = %v; want none once settled", last.plan.Conflicts())
	}
}

func TestLeftoverIsNotCarriedOn(t *testing.T) {
	got := merge(t, t.TempDir(), files{"a": text("0")}, files{
		"a": text("0"), "a.imgnew": text("old"),
		"d.imgnew": dir(), "d.imgnew/in": text("old"),
	}, files{"a": text("1")}, persist.Rules{})
	if diff := cmp.Diff(files{"a": text("1")}, got.result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

func TestPlanOrderAndReason(t *testing.T) {
	got := merge(t, t.TempDir(), files{"b": text("0"), "d/x": text("0")},
		files{"b": text("m"), "d/x": text("0"), "d/new": text("m")}, files{"b": text("t"), "a": text("t")}, persist.Rules{})
	var lines []string
	for _, c := range got.plan.Changes {
		lines = append(lines, c.String())
	}
	want := []string{
		"vendor     a: added by the vendor",
		"carry      b: changed by the administrator and by the vendor (conflict); the vendor's is b.imgnew",
		"carry      d: holds files of the administrator",
		"carry      d/new: added by the administrator",
		"vendor     d/x: removed by the vendor",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("Changes = %s; want %s", fmt.Sprintf("%q", lines), fmt.Sprintf("%q", want))
	}
}
