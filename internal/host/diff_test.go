package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/filesystem"
	"imgbase/internal/host"
	"imgbase/internal/host/hosttest"
	"imgbase/internal/image"
	"imgbase/internal/lvm"
	"imgbase/internal/rootfs"
)

// diffed is what a diff says, of a host that it leaves as it is.
func diffed(h *hosttest.Host, image string) host.Carried {
	h.T.Helper()
	before := h.String()
	c, err := h.Host().Diff(h.T.Context(), image)
	if err != nil {
		h.T.Fatalf("Diff(%q) = %v; want none", image, err)
	}
	h.Unchanged(before)
	return c
}

// sameCarried wants two plans to say the same, and to make the same accounts.
func sameCarried(t *testing.T, what string, got, want host.Carried) {
	t.Helper()
	if diff := cmp.Diff(document(t, want), document(t, got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
	if diff := cmp.Diff(want.Accounts.Files, got.Accounts.Files); diff != "" {
		t.Errorf("%s: account files (-want +got):\n%s", what, diff)
	}
}

func document(t *testing.T, c host.Carried) string {
	t.Helper()
	text, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ops are the changes of /etc as "op path", a conflict marked.
func ops(c host.Carried) (all []string) {
	for _, change := range c.Etc.Changes {
		text := string(change.Op) + " " + change.Path
		if change.Conflict {
			text += " !"
		}
		all = append(all, text)
	}
	return all
}

// edited is a host with edits of every kind, on its first base or on an
// image's.
func edited(t *testing.T, first bool) *hosttest.Host {
	t.Helper()
	h := fresh(t)
	shipped := map[string]string{"etc/gone.conf": "vendor\n", "etc/hosts": "one\ntwo\nthree\n", "opt/agent/conf": "vendor\n"}
	if first {
		h.Write(shipped)
	}
	h.Must(h.Init("node-1.0-1"))
	h.Boot()
	if !first {
		h.Must(h.Update(h.Image("node-1.0-2", shipped)))
		h.Boot()
	}
	h.Write(map[string]string{
		"etc/motd": "mine\n", "etc/local.conf": "added\n", "etc/gone.conf": "-", "etc/ssh/sshd_config.imgnew": "Port 2222\n",
		"etc/ssh/sshd_config": "Port 23\n", "etc/hosts": "one mine\ntwo\nthree\n", "opt/agent/conf": "mine\n", "root/notes": "mine\n",
		"etc/passwd":           h.Read("etc/passwd") + "mine:x:990:990::/:/bin/sh\n# a remark\n",
		"etc/group":            h.Read("etc/group") + "mine:x:990:\n",
		"config/rebase.d/list": "/etc/hosts\n", "config/files": "/usr/share/theme\n/nothing\n", "usr/share/theme/x": "mine\n",
	})
	return h
}

// newer is an image that has to do with every edit.
func newer(h *hosttest.Host, nvr string) string {
	return h.Image(nvr, map[string]string{
		"etc/motd": "vendor\n", "etc/new.conf": "new\n", "etc/gone.conf": "vendor too\n", "etc/hosts": "one\ntwo\nthree vendor\n",
		"opt/agent/conf": "vendor too\n", "usr/share/theme/y": "vendor\n",
		"etc/passwd": h.SystemFile("etc/passwd") + "vendor:x:990:990::/:/usr/sbin/nologin\n",
		"etc/group":  h.SystemFile("etc/group") + "vendor:x:990:\n",
	})
}

// A diff is the value that the dry run prints, and what the update then does.
func TestDiffIsThePlan(t *testing.T) {
	for _, c := range []struct {
		name  string
		first bool
		nvr   string
	}{
		{"on the first base", true, "node-1.1-1"},
		{"on an image", false, "node-1.1-1"},
		{"another product", false, "other-1.0-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := edited(t, c.first)
			path := newer(h, c.nvr)
			got := diffed(h, path)
			options := host.UpdateOptions{Image: path, AllowProductChange: true, Keep: 2}
			plan, err := h.Host().PlanUpdate(t.Context(), options)
			if err != nil {
				t.Fatal(err)
			}
			sameCarried(t, "diff, and the plan of the update", got, *plan.Carried)
			h.Must(plan, plan.Close())
			done := h.Must(h.Do(func(ctx context.Context, on *host.Host) (*host.Change, error) { return on.PlanUpdate(ctx, options) }))
			sameCarried(t, "diff, and what the update did", got, *done.Carried)
			if n := got.Etc.Summary(); n.Carried == 0 || n.Removed == 0 || n.Conflicts == 0 || len(got.Trees.Changes) == 0 ||
				len(got.Accounts.Changes) == 0 || got.Accounts.Owners.Empty() || len(got.Notes) == 0 {
				t.Errorf("the diff has not something of each kind: %s", document(t, got))
			}
		})
	}
}

// The base that an image became is that image, and the diff is what a new
// layer on it does.
func TestDiffOfABase(t *testing.T) {
	for _, first := range []bool{true, false} {
		h := edited(t, first)
		path := newer(h, "node-1.1-1")
		want := diffed(h, path)
		h.Must(h.Do(addBase(host.BaseOptions{NVR: "node-1.1-1", Size: 6 * hosttest.GiB, Image: path})))
		got := diffed(h, "node-1.1-1")
		sameCarried(t, "diff of a base, and of its image", got, want)
		done := h.Must(h.Do(layerOn("node-1.1-1")))
		sameCarried(t, "diff of a base, and what layer --add did", got, *done.Carried)
	}
}

// Without an image it is what was changed in the running layer, and nothing
// but its base is looked at.
func TestDiffOfNothing(t *testing.T) {
	for _, first := range []bool{true, false} {
		h := taken(t)
		base := "node-1.0-1"
		if !first {
			base = "node-1.1-1"
			h.Must(h.Update(h.Image(base, map[string]string{"root/vendor": "vendor\n"})))
			h.Boot()
		}
		if got, want := ops(diffed(h, "")), []string{"carry fstab"}; !slices.Equal(got, want) {
			t.Errorf("changes of a layer that nobody touched: %q; want %q, by which it boots", got, want)
		}
		h.Write(map[string]string{"etc/motd": "mine\n", "etc/local.conf": "added\n", "etc/ssh/sshd_config": "-", "root/notes": "mine\n"})
		h.Power.Effects = nil
		c := diffed(h, "")
		if got, want := ops(c), []string{"carry fstab", "carry local.conf", "carry motd", "remove ssh/sshd_config"}; !slices.Equal(got, want) {
			t.Errorf("changes = %q; want %q", got, want)
		}
		if got := c.Trees.Changes; len(got) == 0 || got[len(got)-1].Path != "root/notes" {
			t.Errorf("changes of other trees = %v; want root/notes", got)
		}
		onlyBase(t, h, base)
		sameCarried(t, "diff, and diff of the base by name", diffed(h, base), c)
		onlyBase(t, h, base)
	}
}

// onlyBase wants the base to have been made active and inactive again since it
// was asked last, and nothing else.
func onlyBase(t *testing.T, h *hosttest.Host, base string) {
	t.Helper()
	others := slices.DeleteFunc(slices.Clone(h.Power.Effects), func(e string) bool { return strings.HasSuffix(e, hosttest.VG+"/"+base) })
	if len(h.Power.Effects) != 2 || len(others) != 0 {
		t.Errorf("effects %q; want two, on %s", h.Power.Effects, base)
	}
	h.Power.Effects = nil
}

// Numbers that the base's image has otherwise are nobody's change of a file.
func TestDiffOfDrift(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners")
	}
	h := taken(t)
	h.Write(map[string]string{"etc/passwd": h.Read("etc/passwd") + "mine:x:990:990::/:/bin/sh\n", "etc/group": h.Read("etc/group") + "mine:x:990:\n"})
	h.Must(h.Update(withUser(h, "node-1.1-1", "vendor", "990", 990)))
	h.Boot()
	if got := owner(h, "etc/vendor.conf"); got == 0 || got == 990 {
		t.Fatalf("the vendor's file belongs to %d; want another number than the image's", got)
	}
	h.Write(map[string]string{"etc/local.conf": "added\n"})
	if got, want := ops(diffed(h, "")), []string{"carry fstab", "carry local.conf"}; !slices.Equal(got, want) {
		t.Errorf("changes = %q; want %q", got, want)
	}
}

// What an installer's root had in it when it became the first base is no
// change, and nobody's: the next image decides.
func TestDiffOfTheFirstBase(t *testing.T) {
	h := hosttest.New(t)
	h.Write(map[string]string{"etc/passwd": h.Read("etc/passwd") + "early:x:980:980::/:/bin/sh\n", "etc/early.conf": "early\n"})
	h.Must(h.Init("node-1.0-1"))
	h.Boot()
	h.Write(map[string]string{"etc/passwd": strings.Replace(h.Read("etc/passwd"), "early:x:980:980::/:/bin/sh", "early:x:980:980::/:/bin/zsh", 1)})
	c := diffed(h, "")
	if got, want := ops(c), []string{"carry fstab"}; !slices.Equal(got, want) || len(c.Accounts.Changes) != 0 {
		t.Errorf("changes = %q, accounts %v; want %q, and no conflict with anyone", got, c.Accounts.Changes, want)
	}
	if got := ops(diffed(h, h.Image("node-1.1-1", nil))); !slices.Contains(got, "carry early.conf") {
		t.Errorf("changes = %q; want early.conf carried", got)
	}
}

// Of a layer its own tree counts, with what was changed in it.
func TestDiffOfALayer(t *testing.T) {
	h := updated(t)
	h.Boot()
	h.Write(map[string]string{"etc/motd": "of the newer\n", "etc/late.conf": "late\n"})
	h.Must(h.Do(rollbackTo("node-1.0-1+1")))
	h.Boot()
	running(t, h, "node-1.0-1+1")
	h.Write(map[string]string{"etc/motd": "of the older\n", "etc/mine.conf": "mine\n"})
	got, want := ops(diffed(h, "node-1.1-1+1")), []string{"carry fstab", "vendor late.conf", "carry mine.conf", "carry motd !"}
	if !slices.Equal(got, want) {
		t.Errorf("changes = %q; want %q", got, want)
	}
}

// A name goes before a file of that name; a path is always a file.
func TestDiffOfNameOrFile(t *testing.T) {
	h := taken(t)
	h.Must(h.Do(addBase(host.BaseOptions{NVR: "node-1.1-1", Size: 6 * hosttest.GiB, Image: h.Image("node-1.1-1", map[string]string{"etc/base": ""})})))
	dir := filepath.Dir(h.Image("node-1.1-1", map[string]string{"etc/file": "", "etc/base": "-"}))
	h.Image("node-1.2-1", map[string]string{"etc/file": ""})
	t.Chdir(dir)
	for name, want := range map[string]string{
		"node-1.1-1": "vendor base", "./node-1.1-1": "vendor file", "node-1.2-1": "vendor file", filepath.Join(dir, "node-1.2-1"): "vendor file",
	} {
		if got := ops(diffed(h, name)); !slices.Contains(got, want) {
			t.Errorf("Diff(%q) = %q; want %q in it", name, got, want)
		}
	}
}

// closing counts how often an image is closed.
type closing struct {
	image.Source
	closed *int
}

func (c closing) Close() error {
	*c.closed++
	return c.Source.Close()
}

// An image file is let go of, whether it could be compared or not.
func TestDiffClosesTheImage(t *testing.T) {
	h := taken(t)
	for path, refused := range map[string]bool{
		h.Image("node-1.1-1", nil): false,
		h.Image("node-1.2-1", map[string]string{hosttest.InitProgram: "-"}): true,
	} {
		closed, on := 0, h.Host()
		open := on.OpenImage
		on.OpenImage = func(ctx context.Context, path string) (image.Source, error) {
			src, err := open(ctx, path)
			return closing{src, &closed}, err
		}
		if _, err := on.Diff(t.Context(), path); (err != nil) != refused || closed != 1 {
			t.Errorf("Diff(%q) = %v, the image closed %d times; want an error: %v, and once", path, err, closed, refused)
		}
	}
}

// What was active before is active afterwards.
func TestDiffLeavesActive(t *testing.T) {
	h := updated(t)
	for _, name := range []string{"node-1.0-1", "node-1.1-1"} {
		h.Must(nil, lvm.New(h.LVM).Activate(t.Context(), hosttest.VG, name))
	}
	diffed(h, "")
	diffed(h, "node-1.1-1")
	diffed(h, "node-1.1-1+1")
}

// A diff that fails leaves no trace, and one that cannot leave the base
// inactive has its answer all the same.
func TestDiffFailing(t *testing.T) {
	h := taken(t)
	want, before := diffed(h, ""), h.String()
	h.Power.Effects, h.Power.Cut = nil, hosttest.Cut{At: 1, Fail: true}
	if _, err := h.Host().Diff(t.Context(), ""); !errors.Is(err, hosttest.ErrIO) {
		t.Errorf("Diff() = %v where the base cannot be made active; want ErrIO", err)
	}
	h.Unchanged(before)
	h.Power.Effects, h.Power.Cut = nil, hosttest.Cut{At: 2, Fail: true}
	got, err := h.Host().Diff(t.Context(), "")
	if err != nil {
		t.Errorf("Diff() = %v where the base stays active; want none", err)
	}
	sameCarried(t, "where the base stays active", got, want)
}

func TestDiffRefusals(t *testing.T) {
	name := func(n string) func(*hosttest.Host) string { return func(*hosttest.Host) string { return n } }
	for _, c := range []struct {
		name  string
		ready func(t testing.TB) *hosttest.Host
		image func(h *hosttest.Host) string
		want  error
	}{
		{"not taken over", fresh, name(""), host.ErrNoLayout},
		{"no layer runs", func(t testing.TB) *hosttest.Host {
			h := fresh(t)
			h.Must(h.Init("node-1.0-1"))
			return h
		}, name(""), host.ErrNotLayer},
		{"the running layer", updated, name("node-1.0-1+1"), host.ErrSame},
		{"no such base", updated, name("node-9.9-9"), host.ErrNoImage},
		{"no such layer", updated, name("node-1.1-1+9"), host.ErrNoImage},
		{"no name", updated, name("nonsense"), host.ErrNoImage},
		{"a volume that is no image", updated, name("pool00"), host.ErrNoImage},
		{"no such file", updated, name("/nowhere/node-1.2-1.img"), host.ErrNoImage},
		{"an empty base", updated, func(h *hosttest.Host) string {
			h.Must(h.Do(addBase(host.BaseOptions{NVR: "node-2.0-1", Size: hosttest.GiB})))
			return "node-2.0-1"
		}, host.ErrEmptyBase},
		{"no base under the running layer", updated, func(h *hosttest.Host) string {
			h.Must(nil, lvm.New(h.LVM).Remove(h.T.Context(), hosttest.VG, "node-1.0-1"))
			return "node-1.1-1"
		}, host.ErrNoImage},
		{"no image", updated, func(h *hosttest.Host) string { return h.Rubbish("random", false, 1<<16) }, image.ErrNotImage},
		{"an empty file", updated, func(h *hosttest.Host) string { return h.Rubbish("empty", false, 0) }, image.ErrNotImage},
		{"a truncated image", updated, func(h *hosttest.Host) string { return h.Rubbish("cut", true, 1<<16) }, image.ErrTruncated},
		{"an image without a name", updated, func(h *hosttest.Host) string {
			return h.Image("node-1.2-1", map[string]string{"usr/share/imgbase/build/meta/nvr": "-"})
		}, image.ErrNoNVR},
		{"an image for another machine", updated, func(h *hosttest.Host) string {
			return h.Image("node-1.2-1", map[string]string{hosttest.InitProgram: h.ForeignProgram()})
		}, host.ErrArch},
		{"an image without a system", updated, func(h *hosttest.Host) string {
			return h.Image("node-1.2-1", map[string]string{hosttest.InitProgram: "-"})
		}, rootfs.ErrNoSystem},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := c.ready(t)
			image := c.image(h)
			before := h.String()
			_, err := h.Host().Diff(t.Context(), image)
			if !errors.Is(err, c.want) {
				t.Errorf("Diff(%q) = %v; want %v", image, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("Diff(%q) = %q; want one line", image, err)
			}
			if c.want == host.ErrEmptyBase && !errors.Is(err, filesystem.ErrUnknown) {
				t.Errorf("Diff(%q) = %v; want the cause in it", image, err)
			}
			h.Unchanged(before)
		})
	}
}

// A list that cannot be read is refused, as it is by the update.
func TestDiffBadList(t *testing.T) {
	h := taken(t)
	h.Write(map[string]string{"config/files": "relative/path\n"})
	before := h.String()
	for _, image := range []string{"", h.Image("node-1.1-1", nil)} {
		if _, err := h.Host().Diff(t.Context(), image); err == nil || !strings.Contains(err.Error(), "files:1") {
			t.Errorf("Diff(%q) = %v; want file and line", image, err)
		}
		h.Unchanged(before)
	}
}
