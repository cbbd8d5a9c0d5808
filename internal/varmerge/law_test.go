package varmerge_test

import (
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"imgbase/internal/owners"
	"imgbase/internal/varmerge"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// names of the random trees. Few, so that the two meet often.
var names = []string{"a", "a.imgbak", "a.imglnk", "a.imgnew", "b", "b/a", "d", "d/a", "d/b", "d/e", "d/e/a", "d/e/b"}

// anyTree draws a small tree. What is drawn for a name has the name in its
// content, so that it is known again wherever it goes.
func anyTree(t *rapid.T, side string) files {
	tree := files{}
	for _, name := range names {
		if parent, ok := tree[path.Dir(name)]; path.Dir(name) != "." && (!ok || parent.Kind != 'd') {
			continue
		}
		kinds := []byte("--fffflp")
		if strings.ContainsAny(name, "de") {
			kinds = []byte("-dddddfl")
		}
		f := file{Kind: rapid.SampledFrom(kinds).Draw(t, side+" "+name), Mode: 0o777}
		if f.Kind == '-' {
			continue
		}
		if f.Kind != 'l' {
			f.Mode = rapid.SampledFrom([]uint32{0o644, 0o644, 0o644, 0o755, 0o4711}).Draw(t, "mode")
		}
		if f.Kind == 'f' || f.Kind == 'l' {
			f.Data = name + rapid.SampledFrom([]string{"1", "1", "22", "3"}).Draw(t, "data")
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

// anyClasses draws a package database.
func anyClasses(t *rapid.T) classes {
	c := classes{}
	for _, name := range names {
		c[name] = rapid.SampledFrom([]varmerge.Class{
			varmerge.Unowned, varmerge.Ghost, varmerge.Config, varmerge.NoReplace, varmerge.Packaged, varmerge.Packaged, varmerge.Packaged,
		}).Draw(t, "class of "+name)
	}
	return c
}

// inTemp runs a property with a directory of its own for each try.
func inTemp(t *testing.T, property func(t *rapid.T, root string)) {
	base := inMemory(t)
	rapid.Check(t, func(rt *rapid.T) {
		root, err := os.MkdirTemp(base, "")
		if err != nil {
			rt.Fatalf("temporary directory: %v", err)
		}
		defer os.RemoveAll(root)
		property(rt, root)
	})
}

// inMemory is a directory in which a sync costs nothing, if there is one that
// holds extended attributes: each merge syncs its file system twice.
func inMemory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "varmerge")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if unix.Setxattr(dir, "user.probe", nil, 0) != nil {
		return t.TempDir()
	}
	return dir
}

// oracle is the merge told over again, on maps.
func oracle(image, host files, c classes, owner map[uint32]uint32) files {
	out, settled := maps.Clone(host), map[string]bool{}
	same := func(a, b file) bool { return a.Kind == b.Kind && a.Data == b.Data }
	equal := func(a, b file) bool { return fmt.Sprint(a) == fmt.Sprint(b) && a.Kind != 'd' }
	move := func(from, to string) {
		for name := range host {
			if rest, ok := strings.CutPrefix(name, from); ok && (rest == "" || rest[0] == '/') {
				out[to+rest] = host[name]
				delete(out, name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(image)) {
		v, h, parent := image[name], host[name], path.Dir(name)
		if uid, ok := owner[uint32(v.UID)]; ok {
			v.UID = int(uid)
		}
		if strings.Contains(name, ".img") || settled[parent] {
			settled[name] = settled[parent]
			continue
		}
		replaced := parent != "." && host[parent].Kind != 'd'
		switch {
		case h.Kind == 0 || replaced:
			out[name] = v
		case v.Kind == 'd' && h.Kind == 'd' || same(v, h):
		case v.Kind == 'd' && h.Kind == 'l' || c[name] < varmerge.Config:
			settled[name] = true
		case v.Kind != 'd' && c[name] != varmerge.Packaged:
			to := name + varmerge.VendorSuffix
			if host[to].Kind == 'd' {
				to = name + "~2" + varmerge.VendorSuffix
			}
			if host[to].Kind != 0 && same(host[to], v) {
				continue
			}
			out[to] = v
		default:
			suffix := varmerge.BackupSuffix
			if v.Kind == 'l' && h.Kind == 'l' {
				suffix = varmerge.LinkSuffix
			}
			to := name + suffix
			if host[to].Kind != 0 && !equal(host[to], h) {
				to = name + "~2" + suffix
			}
			move(name, to)
			out[name] = v
		}
	}
	return out
}

func TestLawAsTheTableSays(t *testing.T) {
	inTemp(t, func(t *rapid.T, root string) {
		image, host, c := anyTree(t, "image"), anyTree(t, "host"), anyClasses(t)
		ids := owners.Map{UIDs: map[uint32]uint32{7: 8, 0: 0, 8: 9}}
		if os.Geteuid() != 0 {
			ids = owners.Map{}
		}
		got := merge(t, root, image, host, varmerge.Options{Class: c.of, Owners: ids})
		if diff := cmp.Diff(oracle(image, got.before, c, ids.UIDs), got.result); diff != "" {
			t.Fatalf("result (-want +got):\n%s\nplan %v", diff, got.plan.Changes)
		}
	})
}

// Whatever the host had is there afterwards, under its name or beside it,
// except a .imgnew, which was the vendor's.
func TestLawNothingIsLost(t *testing.T) {
	inTemp(t, func(t *rapid.T, root string) {
		got := merge(t, root, anyTree(t, "image"), anyTree(t, "host"), varmerge.Options{Class: anyClasses(t).of})
		lost(t, got.before, got.result)
	})
}

// lost checks that every file of the host is in its tree.
func lost(tb tb, before, now files) {
	tb.Helper()
	here := map[string]bool{}
	for name, f := range now {
		f.Same = ""
		if !strings.Contains(name, varmerge.Staging) {
			here[fmt.Sprint(f)] = true
		}
	}
	for name, f := range before {
		f.Same = ""
		if !strings.HasSuffix(name, varmerge.VendorSuffix) && !strings.Contains(name, varmerge.Staging) && !here[fmt.Sprint(f)] {
			tb.Fatalf("%s %v is lost; there are %v", name, f, now)
		}
	}
}

// The image's own tree as the host's: there is nothing to do.
func TestLawSameTreeIsNothingToDo(t *testing.T) {
	inTemp(t, func(t *rapid.T, root string) {
		tree := anyTree(t, "both")
		got := merge(t, root, tree, tree, varmerge.Options{Class: anyClasses(t).of})
		if len(got.plan.Changes) != 0 {
			t.Fatalf("Changes = %v; want none", got.plan.Changes)
		}
	})
}

// An empty host gets the image's tree.
func TestLawEmptyHostGetsAll(t *testing.T) {
	inTemp(t, func(t *rapid.T, root string) {
		tree := anyTree(t, "image")
		maps.DeleteFunc(tree, func(name string, _ file) bool { return strings.Contains(name, ".img") })
		got := merge(t, root, tree, nil, varmerge.Options{Class: anyClasses(t).of})
		if diff := cmp.Diff(tree, got.result); diff != "" {
			t.Fatalf("result (-want +got):\n%s", diff)
		}
	})
}

// A second image after the first: each merge is complete by itself, and the
// plan for it does not depend on what came before.
func TestLawLayerAfterLayer(t *testing.T) {
	inTemp(t, func(t *rapid.T, root string) {
		host, c := anyTree(t, "host"), anyClasses(t)
		first := merge(t, root+"/1", anyTree(t, "first"), host, varmerge.Options{Class: c.of})
		second := merge(t, root+"/2", anyTree(t, "second"), first.result, varmerge.Options{Class: c.of})
		lost(t, first.before, second.result)
	})
}
