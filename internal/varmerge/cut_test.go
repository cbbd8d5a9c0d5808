package varmerge_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/varmerge"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

var errCut = errors.New("power cut")

// power is a machine that is switched off ahead of its nth effect. What a
// file holds that was not synced is gone then, while names are as the journal
// of ext4 and XFS keeps them: all changes up to the cut, in their order.
type power struct {
	tb     tb
	host   string
	left   int // effects until the cut
	off    bool
	last   string
	synced map[uint64]bool
}

func newPower(tb tb, host string, effects int) *power {
	return &power{tb: tb, host: host, left: effects, synced: inodes(tb, host)}
}

func (p *power) before(effect, _ string) error {
	if p.last == "sync" {
		p.synced = inodes(p.tb, p.host)
	}
	p.last = effect
	if p.left == 0 {
		p.off = true
	}
	p.left--
	if p.off {
		return errCut
	}
	return nil
}

// lose takes the content of what was not synced.
func (p *power) lose() {
	regular(p.tb, p.host, func(path string, ino uint64) {
		if !p.synced[ino] {
			if err := os.Truncate(path, 0); err != nil {
				p.tb.Fatalf("lose %s: %v", path, err)
			}
		}
	})
}

func inodes(tb tb, root string) map[uint64]bool {
	all := map[uint64]bool{}
	regular(tb, root, func(_ string, ino uint64) { all[ino] = true })
	return all
}

func regular(tb tb, root string, f func(path string, ino uint64)) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		f(path, st.Ino)
		return nil
	})
	if err != nil {
		tb.Fatalf("walk: %v", err)
	}
}

// interrupted merges with a cut ahead of the given effect, checks that each
// path is then as it was or as the merge makes it in the end, and reports
// whether there was a cut at all.
func interrupted(tb tb, whole merged, host string, o varmerge.Options, effect int) bool {
	tb.Helper()
	before := read(tb, host)
	plan := compare(tb, whole.image, host, o)
	p := newPower(tb, host, effect)
	_, err := plan.ApplyHooked(context.Background(), p.before)
	if p.off != errors.Is(err, errCut) || !p.off && err != nil {
		tb.Fatalf("Apply cut at effect %d = %v; want the cut alone", effect, err)
	}
	p.lose()
	now := read(tb, host)
	lost(tb, before, now)
	if !p.off {
		return false
	}
	for name, f := range now {
		is := fmt.Sprint(unlinked(f))
		if was, ok := before[name]; ok && is == fmt.Sprint(unlinked(was)) || strings.Contains(name, varmerge.Staging) {
			continue
		}
		if is != fmt.Sprint(unlinked(whole.result[name])) {
			tb.Fatalf("cut at effect %d: %s = %v; want %v or %v", effect, name, f, before[name], whole.result[name])
		}
	}
	for name, was := range before {
		if _, ok := now[name]; !ok && !strings.Contains(name, varmerge.Staging) && was.Kind != 'd' && !above(plan, name) {
			tb.Fatalf("cut at effect %d: %s is gone; want the old or the new", effect, name)
		}
	}
	return true
}

func unlinked(f file) file { f.Same = ""; return f }

// above reports whether a directory above name is replaced.
func above(p varmerge.Plan, name string) bool {
	for _, c := range p.Changes {
		if c.Op == varmerge.Replace && strings.HasPrefix(name, c.Path+"/") {
			return true
		}
	}
	return false
}

// linkedTree is a random tree in which some files have more names.
func linkedTree(t *rapid.T) files {
	tree := anyTree(t, "image")
	var first string
	for _, name := range names {
		f, ok := tree[name]
		if !ok || f.Kind != 'f' || strings.Contains(name, ".img") {
			continue
		}
		if first != "" && rapid.Bool().Draw(t, "linked") {
			tree[name] = tree[first].same(first)
		} else if first == "" {
			first = name
		}
	}
	return tree
}

// Cut, merged again, cut again, merged again: the end is that of one merge
// without a cut, names of one file included.
func TestLawCutsDoNotShow(t *testing.T) {
	inTemp(t, func(t *rapid.T, root string) {
		image, host, o := linkedTree(t), anyTree(t, "host"), varmerge.Options{Class: anyClasses(t).of}
		whole := merge(t, root+"/whole", image, host, o)
		host.write(t, root+"/cut")
		cuts := 0
		for range 3 {
			if interrupted(t, whole, root+"/cut", o, rapid.IntRange(0, 40).Draw(t, "effects")) {
				cuts++
			}
		}
		apply(t, compare(t, whole.image, root+"/cut", o))
		if diff := cmp.Diff(whole.result, read(t, root+"/cut")); diff != "" {
			t.Fatalf("after %d cuts (-want +got):\n%s", cuts, diff)
		}
	})
}

// rich is a merge in which everything happens.
func rich() (image, host files, o varmerge.Options) {
	image = files{
		"a": text("a new"), "b": text("a new").same("a"), "conf": text("conf new"), "d": link("/usr/d"),
		"file": text("file new").mode(0o4755), "l": link("new"), "lib/e/f": text("f"), "lib/e/g": text("f").same("lib/e/f"),
		"lib/h": text("f").same("lib/e/f"), "t/in": text("t"), "x": text("x"),
	}
	host = files{
		"b": text("b old"), "conf": text("conf mine"), "conf.imgnew": text("conf older"), "d/e": text("kept"),
		"file": text("file old"), "file.imgbak": text("file oldest"), "l": link("old"), "lib": dir(), "t": text("t old"),
		"x": text("x"), varmerge.Staging + "/junk": text("half"),
	}
	all := classes{"conf": varmerge.NoReplace}
	for _, name := range []string{"a", "b", "d", "file", "l", "t"} {
		all[name] = varmerge.Packaged
	}
	return image, host, varmerge.Options{Class: all.of}
}

// Every cut there is, in a merge in which everything happens.
func TestEveryCut(t *testing.T) {
	root := inMemory(t)
	image, host, o := rich()
	whole := merge(t, root+"/whole", image, host, o)
	want := map[varmerge.Op]int{varmerge.Sweep: 1, varmerge.Add: 3, varmerge.Replace: 5, varmerge.Beside: 1}
	got := map[varmerge.Op]int{}
	for _, c := range whole.plan.Changes {
		got[c.Op]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("operations (-want +got):\n%s\n%v", diff, whole.plan.Changes)
	}
	for effect := 0; ; effect++ {
		dir := fmt.Sprintf("%s/cut%d", root, effect)
		host.write(t, dir)
		cut := interrupted(t, whole, dir, o, effect)
		apply(t, compare(t, whole.image, dir, o))
		if diff := cmp.Diff(whole.result, read(t, dir)); diff != "" {
			t.Fatalf("cut at effect %d (-want +got):\n%s", effect, diff)
		}
		if !cut {
			if effect < 30 {
				t.Fatalf("the merge had %d effects; want all of them hooked", effect)
			}
			return
		}
	}
}

// An error until the first path changes, a full disk for one, leaves the
// host as it was, but for what an earlier merge had staged.
func TestErrorWhileStagingLeavesNothing(t *testing.T) {
	image, host, o := rich()
	for effect := range 100 {
		root := inMemory(t)
		image.write(t, root+"/image")
		host.write(t, root+"/host")
		before := read(t, root+"/host")
		delete(before, varmerge.Staging)
		delete(before, varmerge.Staging+"/junk")
		n := 0
		_, err := compare(t, root+"/image", root+"/host", o).ApplyHooked(context.Background(), func(effectName, _ string) error {
			n++
			if n == effect+1 && effectName != "remove" {
				return fmt.Errorf("%s: %w", effectName, unix.ENOSPC)
			}
			if effectName == "rename" && n <= effect {
				return context.Canceled // publishing begins: enough
			}
			return nil
		})
		if errors.Is(err, context.Canceled) {
			if effect < 15 {
				t.Fatalf("publishing began at effect %d", effect)
			}
			return
		}
		if err == nil {
			continue // the effect was a removal
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("Apply() = %v; want %v", err, unix.ENOSPC)
		}
		if diff := cmp.Diff(before, read(t, root+"/host")); diff != "" {
			t.Fatalf("error at effect %d (-want +got):\n%s", effect, diff)
		}
	}
	t.Fatal("publishing never began")
}

func TestCanceledApplyLeavesNothing(t *testing.T) {
	root := inMemory(t)
	image, host, o := rich()
	image.write(t, root+"/image")
	host.write(t, root+"/host")
	plan := compare(t, root+"/image", root+"/host", o)
	ctx, cancel := context.WithCancel(context.Background())
	_, err := plan.ApplyHooked(ctx, func(effect, _ string) error {
		if effect == "write" {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Apply() canceled while staging = %v; want %v", err, context.Canceled)
	}
	for name := range read(t, root+"/host") {
		if _, ok := host[name]; !ok && name != "d" {
			t.Errorf("%s is there; want the host as it was", name)
		}
	}
	if _, err := varmerge.Compare(ctx, root+"/image", root+"/host", o); !errors.Is(err, context.Canceled) {
		t.Errorf("Compare() canceled = %v; want %v", err, context.Canceled)
	}
}
