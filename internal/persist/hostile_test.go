package persist_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"imgbase/internal/persist"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestOddNames(t *testing.T) {
	mine := files{}
	for _, name := range []string{
		"new\nline", "-rf", "--", "q'\"`$(x)", `back\slash`, "per%cent", "\xff\xfe", " ", "*", ".hidden",
		"tags", "CVS", ".git", strings.Repeat("n", 255), strings.Repeat("ü", 127), ".imgnew",
	} {
		mine[name] = text("mine")
		mine["d/"+name] = text("mine")
	}
	mine["d"] = dir()
	got := merge(t, t.TempDir(), nil, mine, nil, persist.Rules{})
	if diff := cmp.Diff(mine, got.result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	for _, c := range got.plan.Changes {
		if s := c.String(); strings.Contains(s, "\n") || !utf8.ValidString(s) {
			t.Errorf("String() = %q; want one printable line", s)
		}
	}
}

func TestLongNamesLieBesideEachOther(t *testing.T) {
	one, two := strings.Repeat("n", 254)+"1", strings.Repeat("n", 254)+"2"
	got := merge(t, t.TempDir(), nil, files{one: text("m"), two: text("m")},
		files{one: text("t1"), two: text("t2")}, persist.Rules{})
	conflicts := got.plan.Conflicts()
	if len(conflicts) != 2 {
		t.Fatalf("Conflicts() = %v; want 2", conflicts)
	}
	for i, want := range []string{"t1", "t2"} {
		if f := got.result[conflicts[i].Beside]; f.Data != want || len(conflicts[i].Beside) > 255 {
			t.Errorf("%d: beside %d bytes long = %q; want %q", i, len(conflicts[i].Beside), f.Data, want)
		}
	}
}

func TestJSONHoldsAnyName(t *testing.T) {
	got := merge(t, t.TempDir(), nil, files{"\xff\n\\": text("m")}, files{"\xff\n\\": text("t")}, persist.Rules{})
	data, err := json.Marshal(got.plan)
	if err != nil {
		t.Fatalf("Marshal() = %v; want no error", err)
	}
	want := `{"changes":[{"path":"\\377\\012\\134","op":"carry","why":"added by the administrator and by the vendor",` +
		`"conflict":true,"beside":"\\377\\012\\134.imgnew"}]}`
	if string(data) != want {
		t.Errorf("Marshal() = %s; want %s", data, want)
	}
}

// Links to a file outside, as a leaf, as a directory on the way, in each of
// the trees: what they point at is neither read nor written.
func TestNothingOutside(t *testing.T) {
	root := t.TempDir()
	outside := root + "/outside"
	before := files{"passwd": text("secret").mode(0o600), "d": dir(), "d/in": text("secret")}
	before.write(t, outside)
	up := "../outside"
	for name, c := range map[string]struct{ base, mine, theirs, want files }{
		"target's link replaced": {
			files{"f": link(outside + "/passwd")},
			files{"f": text("mine")},
			files{"f": link(outside + "/passwd")},
			files{"f": text("mine")},
		},
		"chmod of what is a link there": {
			files{"f": text("x")},
			files{"f": text("x").mode(0o666)},
			files{"f": link(outside + "/passwd")},
			files{"f": text("x").mode(0o666), "f.imgnew": link(outside + "/passwd")},
		},
		"directory is a link in target": {
			files{"d": dir(), "d/in": text("0")},
			files{"d": dir(), "d/in": text("mine"), "d/new": text("mine")},
			files{"d": link(up + "/d")},
			files{"d": dir(), "d/in": text("mine"), "d/new": text("mine"), "d.imgnew": link(up + "/d")},
		},
		"removed through a link": {
			files{"d": dir(), "d/in": text("0")},
			nil,
			files{"d": link(outside + "/d")},
			files{"d.imgnew": link(outside + "/d")},
		},
		"mine's link is no directory": {
			files{"d": dir(), "d/in": text("0")},
			files{"d": link(outside + "/d")},
			files{"d": dir(), "d/in": text("0")},
			files{"d": link(outside + "/d")},
		},
		"beside is a link": {
			files{"f": text("0")},
			files{"f": text("mine")},
			files{"f": text("1"), "f.imgnew": link(outside + "/passwd")},
			files{"f": text("mine"), "f.imgnew": text("1")},
		},
		"staging name is a link": {
			nil,
			files{"f": text("mine")},
			files{".staged.imgnew": link(outside + "/passwd")},
			files{"f": text("mine")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := merge(t, t.TempDir(), c.base, c.mine, c.theirs, persist.Rules{})
			if diff := cmp.Diff(c.want, got.result); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, read(t, outside)); diff != "" {
				t.Errorf("outside (-before +after):\n%s", diff)
			}
		})
	}
}

// The target changes between plan and apply: a directory became a link out.
func TestApplyRefusesLinkOnTheWay(t *testing.T) {
	root := t.TempDir()
	files{}.write(t, root+"/outside")
	got := merge(t, root, nil, files{"d": dir(), "d/f": text("mine")}, files{"d": dir()}, persist.Rules{})
	os.RemoveAll(got.target + "/d")
	if err := os.Symlink(root+"/outside", got.target+"/d"); err != nil {
		t.Fatal(err)
	}
	if err := got.plan.Apply(context.Background(), got.target); err == nil {
		t.Error("Apply() through a link = nil; want an error")
	}
	if out := read(t, root+"/outside"); len(out) != 0 {
		t.Errorf("outside = %v; want it empty", out)
	}
}

func TestSpecialFiles(t *testing.T) {
	asRoot(t)
	mine := files{
		"null": {Kind: 'c', Mode: 0o622}, "fifo": {Kind: 'p', Mode: 0o640}, "abs": link("/nowhere"),
		"sock": {Kind: 's', Mode: 0o600}, "empty": dir().mode(0o1777),
	}
	mine["null"] = mine["null"].owner(5, 6)
	mine["abs"] = mine["abs"].owner(7, 8).xattr("trusted.l", "on a link")
	got := merge(t, t.TempDir(), nil, mine, nil, persist.Rules{})
	delete(mine, "sock")
	if diff := cmp.Diff(mine, got.result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

// A version 2 capability: permitted cap_net_raw, effective.
const netRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// acl(5) in the kernel's form: version, then tag, permissions, id of each
// entry: owner rw, user 1000 rw, group r, mask rw, others none.
const acl = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x06\x00\xe8\x03\x00\x00" +
	"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x06\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"

func TestCapabilitiesAndAccessLists(t *testing.T) {
	asRoot(t)
	mine := files{
		"tool":   text("x").mode(0o4755).owner(1, 2).xattr("security.capability", netRaw),
		"shared": text("x").mode(0o660).xattr("system.posix_acl_access", acl),
		"d":      dir().mode(0o770).xattr("system.posix_acl_default", acl).xattr("system.posix_acl_access", acl),
		"d/f":    text("no list though the directory has a default one"),
	}
	mine["d"] = mine["d"].mode(0o760)
	mine["shared"] = mine["shared"].mode(0o660)
	got := merge(t, t.TempDir(), nil, files{}.with("tool", mine["tool"]).with("shared", mine["shared"]).with("d", mine["d"]), nil, persist.Rules{})
	delete(mine, "d/f")
	if diff := cmp.Diff(read(t, got.mine), got.result); diff != "" {
		t.Errorf("result (-mine +got):\n%s", diff)
	}

	base := files{"f": text("0").mode(0o640)}
	withACL := files{"f": text("0").mode(0o660).xattr("system.posix_acl_access", acl)}
	both := merge(t, t.TempDir(), base, withACL, files{"f": text("1").mode(0o640)}, persist.Rules{})
	if f := both.result["f"]; f.Data != "1" || f.Attrs["system.posix_acl_access"] != acl || f.Mode != 0o660 {
		t.Errorf("result = %v; want the vendor's content with the administrator's access list", f)
	}
}

// A vendor's program that lies beside cannot be run and gives no rights,
// through its mode, its access list or its capabilities.
func TestBesideIsInert(t *testing.T) {
	asRoot(t)
	// As acl, but the owner, the named user and the mask may execute.
	list := []byte(acl)
	for _, entry := range []int{4, 12, 28} {
		list[entry+2] |= 1
	}
	job := text("vendor").mode(0o6775).owner(1, 2).xattr("security.capability", netRaw).
		xattr("system.posix_acl_access", string(list)).xattr("user.note", "stays")
	theirs := files{"job": job, "d": dir().mode(0o2755), "d/job": job, "d/sub": dir(), "d/sub/job": job, "new": job}
	got := merge(t, t.TempDir(), nil, files{"job": text("mine").mode(0o755), "d": text("mine").mode(0o755)}, theirs, persist.Rules{})
	for _, name := range []string{"job.imgnew", "d.imgnew/job", "d.imgnew/sub/job"} {
		want := text("vendor").mode(0o660).owner(1, 2).xattr("system.posix_acl_access", acl).xattr("user.note", "stays")
		if diff := cmp.Diff(want, got.result[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for name, want := range map[string]uint32{"job": 0o755, "d": 0o755, "d.imgnew": 0o2755, "d.imgnew/sub": 0o755, "new": read(t, got.theirs)["new"].Mode} {
		if f := got.result[name]; f.Mode != want {
			t.Errorf("%s has mode %o; want %o", name, f.Mode, want)
		}
	}
}

func TestInheritedAccessListIsNotLeft(t *testing.T) {
	asRoot(t)
	mine := files{"d": dir().xattr("system.posix_acl_default", acl)}
	root := t.TempDir()
	mine.write(t, root+"/mine")
	plain := root + "/mine/d/f"
	if err := os.WriteFile(plain, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Lremovexattr(plain, "system.posix_acl_access"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(plain, 0o644); err != nil {
		t.Fatal(err)
	}
	got := merge(t, root, nil, nil, nil, persist.Rules{})
	if f := got.result["d/f"]; len(f.Attrs) != 0 || f.Mode != 0o644 {
		t.Errorf("d/f = %v; want mode 0644 and no access list", f)
	}
}

func TestLabelsOnlyWhenAsked(t *testing.T) {
	asRoot(t)
	base := files{"f": text("x").xattr("security.selinux", "base\x00")}
	mine := files{"f": text("x").xattr("security.selinux", "mine\x00")}
	if got := merge(t, t.TempDir(), base, mine, base, persist.Rules{}); len(got.plan.Changes) != 0 {
		t.Errorf("Changes = %v; want none", got.plan.Changes)
	}
	got := merge(t, t.TempDir(), base, mine, base, persist.Rules{Labels: true})
	if diff := cmp.Diff(mine, got.result); diff != "" {
		t.Errorf("result with labels (-want +got):\n%s", diff)
	}
}

func TestHardLinksAreKept(t *testing.T) {
	root := t.TempDir()
	files{"a": text("one"), "d": dir(), "gone": text("one")}.write(t, root+"/mine")
	for _, name := range []string{"b", "d/c"} {
		if err := os.Link(root+"/mine/a", root+"/mine/"+name); err != nil {
			t.Fatal(err)
		}
	}
	theirs := files{"v1": text("v")}
	theirs.write(t, root+"/base")
	files{"v1": text("v").mode(0o600)}.write(t, root+"/mine")
	theirs.write(t, root+"/theirs")
	theirs.write(t, root+"/target")
	for _, tree := range []string{"/theirs", "/target"} {
		if err := os.Link(root+tree+"/v1", root+tree+"/v2"); err != nil {
			t.Fatal(err)
		}
	}
	got := merge(t, root, nil, nil, nil, persist.Rules{})
	a, errA := os.Stat(got.target + "/a")
	c, errC := os.Stat(got.target + "/d/c")
	if err := errors.Join(errA, errC); err != nil || !os.SameFile(a, c) {
		t.Errorf("a and d/c = %v, %v (%v); want one file", a, c, err)
	}
	if got.result["v1"].Mode != 0o600 || got.result["v2"].Mode != 0o644 {
		t.Errorf("v1, v2 = %v, %v; want 0600 and the vendor's 0644", got.result["v1"], got.result["v2"])
	}
}

func TestDeepTree(t *testing.T) {
	root, deep := t.TempDir(), strings.Repeat("d/", 500)
	merge(t, root, nil, nil, nil, persist.Rules{})
	if err := os.MkdirAll(filepath.Join(root, "mine", deep), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "mine", deep, "f"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	plan, err := persist.Compare(root+"/base", root+"/mine", root+"/theirs", persist.Rules{})
	if err != nil {
		t.Fatalf("Compare() = %v; want no error", err)
	}
	if err := plan.Apply(context.Background(), root+"/target"); err != nil {
		t.Fatalf("Apply() = %v; want no error", err)
	}
	if got, err := os.ReadFile(filepath.Join(root, "target", deep, "f")); err != nil || string(got) != "x" {
		t.Errorf("deep file = %q, %v; want it carried", got, err)
	}
}

func TestSameSizeAndTimeIsStillCompared(t *testing.T) {
	root := t.TempDir()
	big := strings.Repeat("x", 200_000)
	got := merge(t, root, files{"f": text(big + "0")}, files{"f": text(big + "1")}, files{"f": text(big + "0")}, persist.Rules{})
	if !strings.HasSuffix(got.result["f"].Data, "1") {
		t.Error("a change in the last byte of 200 kB is lost; want it carried")
	}
}

func TestTimeIsCarriedNotCompared(t *testing.T) {
	root := t.TempDir()
	files{"edited": text("mine"), "touched": text("0")}.write(t, root+"/mine")
	old := []unix.Timespec{{Sec: 1}, {Sec: 4_000_000_000}}
	for _, name := range []string{"edited", "touched"} {
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, root+"/mine/"+name, old, 0); err != nil {
			t.Fatal(err)
		}
	}
	both := files{"edited": text("0"), "touched": text("0")}
	for _, name := range []string{"base", "theirs", "target"} {
		both.write(t, root+"/"+name)
	}
	got := merge(t, root, nil, nil, nil, persist.Rules{})
	if len(got.plan.Changes) != 1 {
		t.Errorf("Changes = %v; want the edited file only", got.plan.Changes)
	}
	if st, err := os.Stat(got.target + "/edited"); err != nil || st.ModTime().Unix() != 4_000_000_000 {
		t.Errorf("time of the carried file = %v, %v; want the administrator's", st.ModTime(), err)
	}
}

func TestVanishedMeanwhileIsLeftOut(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"base", "theirs", "target"} {
		files{}.write(t, root+"/"+name)
	}
	files{"tmp": text("x"), "d/tmp": text("x"), "stays": text("x")}.write(t, root+"/mine")
	plan, err := persist.Compare(root+"/base", root+"/mine", root+"/theirs", persist.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(root + "/mine/tmp")
	os.RemoveAll(root + "/mine/d")
	if err := plan.Apply(context.Background(), root+"/target"); err != nil {
		t.Fatalf("Apply() = %v; want no error", err)
	}
	if diff := cmp.Diff(files{"d": dir(), "stays": text("x")}, read(t, root+"/target")); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

func TestCanceledApplyEnds(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"base", "theirs", "target"} {
		files{}.write(t, root+"/"+name)
	}
	files{"a": text("x")}.write(t, root+"/mine")
	plan, err := persist.Compare(root+"/base", root+"/mine", root+"/theirs", persist.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := plan.Apply(ctx, root+"/target"); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply() = %v; want context.Canceled", err)
	}
	if got := read(t, root+"/target"); len(got) != 0 {
		t.Errorf("target = %v; want it untouched", got)
	}
}

func TestCompareRefuses(t *testing.T) {
	root := t.TempDir()
	files{}.write(t, root+"/ok")
	files{"f": text("x")}.write(t, root)
	for _, c := range []struct {
		name               string
		base, mine, theirs string
		rules              persist.Rules
		want               error
	}{
		{"no base", root + "/none", root + "/ok", root + "/ok", persist.Rules{}, fs.ErrNotExist},
		{"no mine", root + "/ok", root + "/none", root + "/ok", persist.Rules{}, fs.ErrNotExist},
		{"theirs is a file", root + "/ok", root + "/ok", root + "/f", persist.Rules{}, unix.ENOTDIR},
		{"bad pattern", root + "/ok", root + "/ok", root + "/ok", persist.Rules{Carry: []string{"[x"}}, path.ErrBadPattern},
	} {
		_, err := persist.Compare(c.base, c.mine, c.theirs, c.rules)
		if !errors.Is(err, c.want) {
			t.Errorf("Compare(%s) = %v; want %v", c.name, err, c.want)
		}
	}
}
