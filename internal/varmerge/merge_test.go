package varmerge_test

import (
	"strings"
	"testing"

	"imgbase/internal/varmerge"

	"github.com/google/go-cmp/cmp"
)

// The table of the package comment, row by row, with what the plan says.
func TestMerge(t *testing.T) {
	const (
		ghost     = varmerge.Ghost
		config    = varmerge.Config
		noreplace = varmerge.NoReplace
		packaged  = varmerge.Packaged
	)
	for _, test := range []struct {
		name        string
		class       classes
		image, host files
		changed     files    // of the host's; a file of no kind is gone
		plan        []string // without reasons
	}{
		{
			"file missing", nil,
			files{"lib/a": text("1").mode(0o640)},
			files{"lib": dir()},
			files{"lib/a": text("1").mode(0o640)},
			[]string{"add lib/a"},
		},
		{
			"directory missing comes whole",
			classes{"lib/d/a": ghost, "lib/d": packaged},
			files{"lib/d": dir().mode(0o2750), "lib/d/a": text("1"), "lib/d/e": dir(), "lib/d/e/l": link("../a")},
			files{"lib": dir()},
			files{"lib/d": dir().mode(0o2750), "lib/d/a": text("1"), "lib/d/e": dir(), "lib/d/e/l": link("../a")},
			[]string{"add lib/d"},
		},
		{
			"dangling and absolute links are leaves", nil,
			files{"run": link("/run"), "gone": link("nowhere")},
			nil,
			files{"run": link("/run"), "gone": link("nowhere")},
			[]string{"add gone", "add run"},
		},
		{
			"what only the host has stays", nil,
			files{"d": dir()},
			files{"d/mine": text("1"), "e/f": text("2"), "g.imgbak": text("3")},
			nil, nil,
		},
		{"unowned file differs", nil, files{"a": text("new")}, files{"a": text("old")}, nil, nil},
		{"ghost differs", classes{"a": ghost}, files{"a": link("x")}, files{"a": text("old")}, nil, nil},
		{"same content", classes{"a": packaged}, files{"a": text("1")}, files{"a": text("1")}, nil, nil},
		{
			"same content, other mode",
			classes{"a": packaged, "d": packaged},
			files{"a": text("1").mode(0o600), "d": dir().mode(0o700)},
			files{"a": text("1"), "d": dir()},
			nil,
			[]string{"keep a", "keep d"},
		},
		{
			"of no package, other mode", nil,
			files{"a": text("1").mode(0o600), "d": dir().mode(0o700)},
			files{"a": text("1"), "d": dir()},
			nil, nil,
		},
		{
			"packaged file differs",
			classes{"a": packaged},
			files{"a": text("new").mode(0o4755)},
			files{"a": text("old").mode(0o600)},
			files{"a": text("new").mode(0o4755), "a.imgbak": text("old").mode(0o600)},
			[]string{"replace a a.imgbak"},
		},
		{
			"same size, other content",
			classes{"a": packaged},
			files{"a": text("new")},
			files{"a": text("old")},
			files{"a": text("new"), "a.imgbak": text("old")},
			[]string{"replace a a.imgbak"},
		},
		{
			"another backup is there",
			classes{"a": packaged},
			files{"a": text("3")},
			files{"a": text("2"), "a.imgbak": text("1")},
			files{"a": text("3"), "a~2.imgbak": text("2")},
			[]string{"replace a a~2.imgbak"},
		},
		{
			"the same backup is there",
			classes{"a": packaged},
			files{"a": text("3")},
			files{"a": text("2"), "a.imgbak": text("1"), "a~2.imgbak": text("2")},
			files{"a": text("3")},
			[]string{"replace a a~2.imgbak"},
		},
		{
			"a backup with another mode is another",
			classes{"a": packaged},
			files{"a": text("3")},
			files{"a": text("2").mode(0o600), "a.imgbak": text("2")},
			files{"a": text("3"), "a~2.imgbak": text("2").mode(0o600)},
			[]string{"replace a a~2.imgbak"},
		},
		{
			"a backup holds what the vendor has now",
			classes{"a": packaged},
			files{"a": text("1")},
			files{"a": text("2"), "a.imgbak": text("1")},
			files{"a": text("1"), "a~2.imgbak": text("2")},
			[]string{"replace a a~2.imgbak"},
		},
		{
			"link to elsewhere",
			classes{"l": packaged},
			files{"l": link("new")},
			files{"l": link("old")},
			files{"l": link("new"), "l.imglnk": link("old")},
			[]string{"replace l l.imglnk"},
		},
		{
			"file becomes link",
			classes{"l": packaged},
			files{"l": link("new")},
			files{"l": text("old")},
			files{"l": link("new"), "l.imgbak": text("old")},
			[]string{"replace l l.imgbak"},
		},
		{
			"link becomes file",
			classes{"l": packaged},
			files{"l": text("new")},
			files{"l": link("old")},
			files{"l": text("new"), "l.imgbak": link("old")},
			[]string{"replace l l.imgbak"},
		},
		{
			"directory becomes link",
			classes{"d": packaged},
			files{"d": link("/usr/d")},
			files{"d/e/f": text("1")},
			files{"d": link("/usr/d"), "d/e/f": {}, "d/e": {}, "d.imgbak": dir(), "d.imgbak/e": dir(), "d.imgbak/e/f": text("1")},
			[]string{"replace d d.imgbak"},
		},
		{
			"directory becomes file, a backup is there",
			classes{"d": packaged},
			files{"d": text("1")},
			files{"d": dir(), "d.imgbak": dir()},
			files{"d": text("1"), "d~2.imgbak": dir()},
			[]string{"replace d d~2.imgbak"},
		},
		{
			"directory stays where a link is of no package", nil, files{"d": link("/usr/d")}, files{"d/f": text("1")}, nil, nil,
		},
		{
			"file becomes directory",
			classes{"d": packaged},
			files{"d/e/f": text("1")},
			files{"d": text("old")},
			files{"d": dir(), "d/e": dir(), "d/e/f": text("1"), "d.imgbak": text("old")},
			[]string{"replace d d.imgbak"},
		},
		{
			"file where a directory of no package is", nil,
			files{"d/f": text("1")},
			files{"d": text("old")},
			nil,
			[]string{"keep! d"},
		},
		{
			"link where the vendor has a directory",
			classes{"d": packaged, "d/f": packaged},
			files{"d/f": text("1")},
			files{"d": link("e"), "e/f": text("2")},
			nil,
			[]string{"keep! d"},
		},
		{
			"noreplace",
			classes{"a": noreplace},
			files{"a": text("new").mode(0o600)},
			files{"a": text("mine")},
			files{"a.imgnew": text("new").mode(0o600)},
			[]string{"beside! a a.imgnew"},
		},
		{
			"noreplace, the vendor's lies there already",
			classes{"a": noreplace},
			files{"a": text("new")},
			files{"a": text("mine"), "a.imgnew": text("new")},
			nil,
			[]string{"keep! a a.imgnew"},
		},
		{
			"noreplace, an older one of the vendor's lies there",
			classes{"a": noreplace},
			files{"a": text("2")},
			files{"a": text("mine"), "a.imgnew": text("1")},
			files{"a.imgnew": text("2")},
			[]string{"beside! a a.imgnew"},
		},
		{
			"noreplace, a directory is in the way",
			classes{"a": noreplace},
			files{"a": text("2")},
			files{"a": text("mine"), "a.imgnew": dir()},
			files{"a~2.imgnew": text("2")},
			[]string{"beside! a a~2.imgnew"},
		},
		{
			"noreplace of other types",
			classes{"l": noreplace, "d": noreplace},
			files{"l": link("new"), "d": text("new")},
			files{"l": text("mine"), "d": dir()},
			files{"l.imgnew": link("new"), "d.imgnew": text("new")},
			[]string{"beside! d d.imgnew", "beside! l l.imgnew"},
		},
		{
			"config that nobody knows to be untouched",
			classes{"a": config},
			files{"a": text("new")},
			files{"a": text("mine")},
			files{"a.imgnew": text("new")},
			[]string{"beside! a a.imgnew"},
		},
		{
			"config untouched",
			classes{"untouched": config},
			files{"untouched": text("new")},
			files{"untouched": text("old")},
			files{"untouched": text("new"), "untouched.imgbak": text("old")},
			[]string{"replace untouched untouched.imgbak"},
		},
		{
			"names that merges give are not the image's",
			classes{"a.imgnew": packaged},
			files{"a.imgnew": text("1"), "b.imgbak": text("1"), "c.imglnk": link("1"), varmerge.Staging: text("1"), ".imgnew": text("1")},
			files{"a.imgnew": text("2")},
			files{".imgnew": text("1")},
			[]string{"add .imgnew"},
		},
		{
			"an interrupted merge's staging is swept", nil,
			files{"lib": dir()},
			files{"lib/" + varmerge.Staging + "/d/f": text("half"), varmerge.Staging: link("/etc")},
			files{"lib/" + varmerge.Staging: {}, "lib/" + varmerge.Staging + "/d": {}, "lib/" + varmerge.Staging + "/d/f": {}, varmerge.Staging: {}},
			[]string{"sweep " + varmerge.Staging, "sweep lib/" + varmerge.Staging},
		},
		{
			"another socket and fifo",
			classes{"p": packaged, "s": packaged},
			files{"p": {Kind: 'p', Mode: 0o600}, "s": text("1"), "q": {Kind: 's'}},
			files{"p": {Kind: 'p', Mode: 0o600}, "s": {Kind: 's', Mode: 0o666}},
			files{"s": text("1"), "s.imgbak": {Kind: 's', Mode: 0o666}},
			[]string{"replace s s.imgbak"},
		},
		{
			"hard links", nil,
			files{"a": text("1"), "b": text("").same("a"), "d/c": text("").same("a"), "e/x": text("").same("a")},
			files{"e": dir(), "e/x": text("1")},
			files{"a": text("1"), "b": text("1").same("a"), "d": dir(), "d/c": text("1").same("a"), "e/x": text("1").same("a")},
			[]string{"add a", "add b", "add d"},
		},
		{
			"hard link to what the host changed", nil,
			files{"a": text("1"), "b": text("").same("a")},
			files{"a": text("2")},
			files{"b": text("1")},
			[]string{"add b"},
		},
		{
			"what lies beside is a file by itself",
			classes{"a": noreplace},
			files{"a": text("1"), "b": text("").same("a"), "c": text("").same("a")},
			files{"a": text("2")},
			files{"a.imgnew": text("1"), "b": text("1"), "c": text("1").same("b")},
			[]string{"beside! a a.imgnew", "add b", "add c"},
		},
		{
			"hard link to what has another mode", nil,
			files{"a": text("1"), "b": text("").same("a")},
			files{"a": text("1").mode(0o600)},
			files{"b": text("1")},
			[]string{"add b"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := varmerge.Options{Class: test.class.of, Untouched: func(path string) bool { return path == "untouched" }}
			got := merge(t, t.TempDir(), test.image, test.host, o)
			want := got.before.with(test.changed)
			if diff := cmp.Diff(want, got.result); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			var plan []string
			for _, c := range got.plan.Changes {
				plan = append(plan, brief(c))
			}
			if diff := cmp.Diff(test.plan, plan); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

// with is the tree with other files put in; one of no kind is taken out.
func (t files) with(changed files) files {
	out := files{}
	for name, f := range t {
		out[name] = f
	}
	for name, f := range changed {
		out[name] = f
		if f.Kind == 0 {
			delete(out, name)
		}
	}
	return out
}

// brief is a change without its reason.
func brief(c varmerge.Change) string {
	op := string(c.Op)
	if c.Conflict {
		op += "!"
	}
	return strings.TrimSpace(op + " " + c.Path + " " + c.Beside)
}
