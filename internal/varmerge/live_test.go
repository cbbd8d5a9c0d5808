package varmerge_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"imgbase/internal/varmerge"

	"github.com/google/go-cmp/cmp"
)

// A file that becomes something else while it is looked at does no harm: no
// fifo is waited for and no link followed.
func TestChangedWhileCompared(t *testing.T) {
	for name, other := range map[string]file{
		"gone": {}, "socket": {Kind: 's'}, "fifo": {Kind: 'p', Mode: 0o600}, "link": link("/etc/passwd"), "directory": dir(), "file": text("more than that"),
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			files{"f": text("new")}.write(t, root+"/image")
			files{"f": text("old")}.write(t, root+"/host")
			asked := false
			o := varmerge.Options{Class: func(path string) varmerge.Class {
				if path == "f" && !asked {
					asked = true
					if err := os.Remove(root + "/host/f"); err != nil {
						t.Error(err)
					}
					if other.Kind != 0 {
						files{"f": other}.write(t, root+"/host")
					}
				}
				return varmerge.Packaged
			}}
			plan := compare(t, root+"/image", root+"/host", o)
			if _, err := plan.Apply(context.Background()); err != nil {
				t.Errorf("Apply() = %v; want no error", err)
			}
		})
	}
}

// So does a directory that becomes a link before it is entered.
func TestDirectoryBecomesLinkWhileCompared(t *testing.T) {
	root := t.TempDir()
	files{"d/f": text("new"), "z": text("new")}.write(t, root+"/image")
	files{"d/f": text("old"), "e/f": text("old")}.write(t, root+"/host")
	asked := false
	plan := compare(t, root+"/image", root+"/host", varmerge.Options{Class: func(path string) varmerge.Class {
		if path == "d" && !asked {
			asked = true
			if err := errors.Join(os.RemoveAll(root+"/host/d"), os.Symlink("e", root+"/host/d")); err != nil {
				t.Error(err)
			}
		}
		return varmerge.Packaged
	}})
	var got []string
	for _, c := range plan.Changes {
		got = append(got, brief(c))
	}
	if diff := cmp.Diff([]string{"keep! d", "add z"}, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

// What happens to the host between plan and effect is not undone: those
// changes are left out, all others are made.
func TestChangedMeanwhileIsLeft(t *testing.T) {
	at := func(path string, f file) func(host string) error {
		return func(host string) error {
			if err := os.RemoveAll(host + "/" + path); err != nil || f.Kind == 0 {
				return err
			}
			return os.WriteFile(host+"/"+path, []byte(f.Data), 0o600)
		}
	}
	for name, c := range map[string]struct {
		do   func(host string) error
		left string
	}{
		"appeared":           {at("new", text("theirs")), "new"},
		"rewritten":          {at("old", text("theirs")), "old"},
		"removed":            {at("old", file{}), "old"},
		"directory is gone":  {at("d", file{}), "d/f"},
		"directory is moved": {func(host string) error { return os.Rename(host+"/d", host+"/e") }, "d/f"},
		"backup appeared":    {at("old.imgbak", text("theirs")), "old"},
		"grew":               {func(host string) error { return os.Truncate(host+"/old", 100) }, "old"},
		"staging replaced": {func(host string) error {
			dir := host + "/d/" + varmerge.Staging
			return errors.Join(os.Rename(dir, dir+".away"), os.Mkdir(dir, 0o777), os.Symlink("/etc/passwd", dir+"/f"))
		}, "d/f"},
		"entered meanwhile": {func(host string) error { return os.WriteFile(host+"/dir/mine", nil, 0o600) }, "dir"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			files{"d/f": text("1"), "dir": text("1"), "last": text("1"), "new": text("1"), "old": text("1")}.write(t, root+"/image")
			files{"d": dir(), "dir": dir(), "old": text("mine")}.write(t, root+"/host")
			var then files
			synced := false
			left, err := compare(t, root+"/image", root+"/host", every(varmerge.Packaged)).ApplyHooked(context.Background(), func(effect, _ string) error {
				if effect == "sync" && !synced {
					synced = true
					if err := c.do(root + "/host"); err != nil {
						t.Error(err)
					}
					then = read(t, root+"/host")
				}
				return nil
			})
			if err != nil || len(left) != 1 || left[0].Path != c.left {
				t.Fatalf("Apply() = %v, %v; want %s left", left, err, c.left)
			}
			got := read(t, root+"/host")
			lost(t, then, got)
			for _, other := range []string{"d/f", "dir", "last", "new", "old"} {
				if done := got[other].Data == "1" && got[other].Kind == 'f'; done == (other == c.left) {
					t.Errorf("%s = %v; done is %t", other, got[other], done)
				}
			}
			again := compare(t, root+"/image", root+"/host", every(varmerge.Packaged))
			apply(t, again)
			if got := read(t, root+"/host"); got[c.left].Data != "1" {
				t.Errorf("%s after another merge = %v; want the vendor's", c.left, got[c.left])
			}
		})
	}
}

// A directory of either tree that gives way to a link while the merge is at
// work leads nowhere: nothing is staged, published or removed through it.
func TestDirectoryBecomesLink(t *testing.T) {
	root := t.TempDir()
	outside := root + "/outside"
	files{"f": text("secret"), varmerge.Staging + "/f": text("theirs"), "mine": text("secret")}.write(t, outside)
	before := read(t, outside)
	for effect := range 40 {
		dir := fmt.Sprintf("%s/%d", root, effect)
		files{"a": text("1"), "d/f": text("1"), "d/g": text("1"), "z": text("1")}.write(t, dir+"/image")
		files{"d/f": text("mine")}.write(t, dir+"/host")
		n := 0
		left, err := compare(t, dir+"/image", dir+"/host", every(varmerge.Packaged)).ApplyHooked(context.Background(), func(string, string) error {
			if n++; n == effect {
				return errors.Join(os.Rename(dir+"/host/d", dir+"/host/away"), os.Symlink(outside, dir+"/host/d"))
			}
			return nil
		})
		if diff := cmp.Diff(before, read(t, outside)); diff != "" {
			t.Fatalf("link at effect %d: outside (-before +after):\n%s\n%v, %v", effect, diff, left, err)
		}
		if err != nil {
			t.Errorf("link at effect %d: Apply() = %v; want the changes in it left", effect, err)
		}
	}
}
