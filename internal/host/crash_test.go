package host_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/host"
	"imgbase/internal/host/hosttest"
	"imgbase/internal/layout"
	"imgbase/internal/lvm"
	"imgbase/internal/txn"
)

// verb is a changing verb on a host that is ready for it.
type verb struct {
	name  string
	ready func(t testing.TB) *hosttest.Host
	run   func(h *hosttest.Host) error
	part  func(h *hosttest.Host) error // as far as it goes at least once it has flipped: an update without the collection after it
}

func verbs() []verb {
	plan := func(p func(ctx context.Context, on *host.Host) (*host.Change, error)) func(h *hosttest.Host) error {
		return func(h *hosttest.Host) error { _, err := h.Do(p); return err }
	}
	updated := func(t testing.TB) *hosttest.Host {
		h := taken(t)
		h.Must(h.Update(h.Image("node-1.1-1", nil)))
		h.Boot()
		return h
	}
	return []verb{
		{name: "init", ready: func(t testing.TB) *hosttest.Host { return hosttest.New(t) }, run: func(h *hosttest.Host) error {
			_, err := h.Init("node-1.0-1")
			return err
		}},
		// Tags that were there before stay when it is undone.
		{name: "init on a tagged pool", ready: func(t testing.TB) *hosttest.Host {
			h := hosttest.New(t)
			c := lvm.New(h.LVM)
			h.Must(nil, c.ChangeLVTags(t.Context(), lvm.Retag{VG: hosttest.VG, Name: hosttest.Pool, Add: []string{host.TagPool}}))
			vg, _ := h.LVM.State().VG(hosttest.VG)
			h.Must(nil, c.Flush(t.Context(), vg.PVs...))
			return h
		}, run: func(h *hosttest.Host) error {
			_, err := h.Init("node-1.0-1")
			return err
		}},
		// With an initramfs of the layer's own.
		{name: "update", ready: func(t testing.TB) *hosttest.Host {
			h := taken(t)
			h.Write(map[string]string{"etc/multipath.conf": "mine\n"})
			return h
		}, run: func(h *hosttest.Host) error {
			_, err := h.Update(h.Image("node-1.1-1", map[string]string{"etc/motd": "vendor\n", hosttest.Initramfs: ""}))
			return err
		}},
		// The second update also collects.
		{name: "update and collect", ready: updated, run: func(h *hosttest.Host) error {
			_, err := h.Update(h.Image("node-1.2-1", nil))
			return err
		}, part: plan(func(ctx context.Context, on *host.Host) (*host.Change, error) {
			return on.PlanUpdate(ctx, host.UpdateOptions{Image: filepath.Join(on.Root, "../../../images/node-1.2-1"), Keep: 9})
		})},
		{name: "layer", ready: taken, run: plan(func(ctx context.Context, on *host.Host) (*host.Change, error) { return on.PlanLayer(ctx, "") })},
		{name: "layer on base", ready: taken, run: plan(func(ctx context.Context, on *host.Host) (*host.Change, error) { return on.PlanLayer(ctx, "node-1.0-1") })},
		{name: "base", ready: taken, run: plan(func(ctx context.Context, on *host.Host) (*host.Change, error) {
			return on.PlanBase(ctx, host.BaseOptions{NVR: "node-3.0-1", Size: hosttest.GiB})
		})},
		{name: "remove", ready: updated, run: plan(func(ctx context.Context, on *host.Host) (*host.Change, error) {
			return on.PlanRemove(ctx, "node-1.0-1")
		})},
		{name: "rollback", ready: updated, run: plan(func(ctx context.Context, on *host.Host) (*host.Change, error) {
			return on.PlanRollback(ctx, host.RollbackOptions{})
		})},
		// A cut between flip and revert leaves the old layer with the newer /var.
		{name: "rollback with volumes", ready: func(t testing.TB) *hosttest.Host {
			h := updated(t)
			started(h)
			return h
		}, run: plan(func(ctx context.Context, on *host.Host) (*host.Change, error) {
			return on.PlanRollback(ctx, host.RollbackOptions{WithVolumes: true})
		}), part: plan(func(ctx context.Context, on *host.Host) (*host.Change, error) {
			return on.PlanRollback(ctx, host.RollbackOptions{})
		})},
	}
}

// whole checks what must hold at every instant: what boots is there, and
// nothing in the menu lacks what it names.
func whole(h *hosttest.Host) {
	h.T.Helper()
	state := h.LVM.State()
	menu, err := h.Loader().Entries()
	if err != nil {
		h.T.Fatalf("entries: %v", err)
	}
	for _, err := range menu.Unreadable {
		h.T.Errorf("entry: %v", err)
	}
	for _, e := range menu.Entries {
		if e.Layer() == "" {
			continue
		}
		if _, ok := state.LV(hosttest.VG, e.Layer()); !ok {
			h.T.Errorf("boot entry %s has no volume", e.ID)
		}
		for _, path := range append([]string{e.Linux()}, e.Initrds()...) {
			if _, err := os.Stat(filepath.Join(h.Root(), "boot", path)); err != nil {
				h.T.Errorf("boot entry %s: %v", e.ID, err)
			}
		}
	}
}

// clean checks what must hold once everything is settled: nothing that
// belongs to no image is left.
func clean(h *hosttest.Host) {
	h.T.Helper()
	whole(h)
	state := h.LVM.State()
	vg, _ := state.VG(hosttest.VG)
	for _, tag := range vg.Tags {
		if strings.HasPrefix(tag, "imgbased:txn") {
			h.T.Errorf("tag %s is left", tag)
		}
	}
	entries := map[string]bool{}
	menu, err := h.Loader().Entries()
	if err != nil {
		h.T.Fatal(err)
	}
	for _, e := range menu.Entries {
		entries[e.Layer()] = true
	}
	for _, lv := range state.LVsIn(hosttest.VG) {
		i, err := layout.Parse(lv.Name)
		if err != nil {
			continue
		}
		switch {
		case i.IsLayer && !entries[lv.Name]:
			h.T.Errorf("layer %s has no boot entry", lv.Name)
		case !i.IsLayer && !(lv.ReadOnly && lv.SkipActivation):
			h.T.Errorf("base %s is not protected: %+v", lv.Name, lv)
		}
	}
	for name := range leftInBoot(h) {
		if _, ok := state.LV(hosttest.VG, name); !ok {
			h.T.Errorf("/boot/%s belongs to no layer", name)
		}
	}
}

func leftInBoot(h *hosttest.Host) map[string]bool {
	found := map[string]bool{}
	err := filepath.WalkDir(filepath.Join(h.Root(), "boot"), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if i, perr := layout.Parse(d.Name()); d.IsDir() && perr == nil {
			found[i.String()] = true
		}
		if strings.HasPrefix(d.Name(), "tmp.imgbased.") {
			h.T.Errorf("%s is left", path)
		}
		return nil
	})
	if err != nil {
		h.T.Fatal(err)
	}
	return found
}

// outcomes are the hosts that a verb may leave: the old, the new, and the new
// before what follows the flip, as the collection of old bases.
type outcomes struct {
	old, new, part string
	effects        []string
}

func outcomesOf(t *testing.T, v verb) outcomes {
	t.Helper()
	h := v.ready(t)
	o := outcomes{old: summary(h)}
	h.Power.Effects = nil
	if err := v.run(h); err != nil {
		t.Fatalf("%s: %v", v.name, err)
	}
	o.effects = slices.Clone(h.Power.Effects)
	clean(h)
	o.new, o.part = summary(h), summary(h)
	if v.part != nil {
		h := v.ready(t)
		h.Image("node-1.2-1", nil)
		if err := v.part(h); err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		o.part = summary(h)
	}
	return o
}

// name tells which of the outcomes a host is, "" when it is none.
func (o outcomes) name(h *hosttest.Host) string {
	switch summary(h) {
	case o.old:
		return "old"
	case o.new:
		return "new"
	case o.part:
		return "new in part"
	}
	return ""
}

// summary is what tells the old host from the new one: the volumes with
// their tags, and what boots by default.
func summary(h *hosttest.Host) string {
	next, err := h.Loader().Default()
	if err != nil {
		h.T.Fatal(err)
	}
	var layers []string
	for name := range leftInBoot(h) {
		layers = append(layers, name)
	}
	slices.Sort(layers)
	// Whether a volume is active or open now says nothing about the next boot.
	// A merge that is noted is one that the next boot has made.
	volumes := strings.NewReplacer(" active", "", " open", "", " merging", "").Replace(h.LVM.String())
	return fmt.Sprintf("%s\ndefault %s\n/boot %q", volumes, next, layers)
}

// settled is the host after the power came back and recovery ran, itself
// cut at the given effects before it may run through.
func settled(h *hosttest.Host, cuts []hosttest.Cut) {
	h.T.Helper()
	for _, cut := range append(cuts, hosttest.Cut{}) {
		h.Boot()
		whole(h)
		h.Power.Cut = cut
		if _, err := h.Host().Settle(context.WithoutCancel(h.T.Context())); err != nil && !h.Power.Off() {
			h.T.Fatalf("recover: %v", err)
		}
	}
	h.Boot() // what recovery did must be on the disk too
	clean(h)
}

// TestCutAnywhere cuts the power before, after and in the middle of every
// effect of every verb, and then recovery as well: the host is the old one or
// the new one, and nothing is left over.
func TestCutAnywhere(t *testing.T) {
	total := 0
	for _, v := range verbs() {
		o := outcomesOf(t, v)
		seen := map[string]int{}
		for i, effect := range o.effects {
			for _, cut := range cutsAt(i+1, effect) {
				for _, again := range recoveryCuts(i + 1) {
					seen[cutOnce(t, v, o, cut, again)]++
					total++
				}
			}
		}
		t.Logf("%s: %d effects; the host was then %v", v.name, len(o.effects), seen)
		if seen["old"] == 0 || seen["new"] == 0 {
			t.Errorf("%s: no cut ended as the old, or none as the new host: %v", v.name, seen)
		}
	}
	t.Logf("%d cuts", total)
}

func cutOnce(t *testing.T, v verb, o outcomes, cut hosttest.Cut, again []hosttest.Cut) string {
	t.Helper()
	h := v.ready(t)
	h.Power.Effects, h.Power.Cut = nil, cut
	if err := v.run(h); err == nil && !h.Power.Off() {
		t.Fatalf("%s: cut %+v did not happen", v.name, cut)
	}
	effects := h.Power.Effects
	settled(h, again)
	name := o.name(h)
	if name == "" {
		t.Errorf("neither old nor new; (-old +is):\n%s\n(-new +is):\n%s", cmp.Diff(o.old, summary(h)), cmp.Diff(o.new, summary(h)))
	}
	if t.Failed() {
		t.Fatalf("%s: cut %+v, recovery cut %+v; effects until the cut:\n%s", v.name, cut, again, strings.Join(effects, "\n"))
	}
	return name
}

// cutsAt are the cuts at an effect: before it, after it, and, where a file is
// written in place, between its two sectors.
func cutsAt(at int, effect string) []hosttest.Cut {
	cuts := []hosttest.Cut{{At: at, Before: true}, {At: at}}
	if strings.HasPrefix(effect, "overwrite ") {
		cuts = append(cuts, hosttest.Cut{At: at, Torn: 1}, hosttest.Cut{At: at, Torn: 2})
	}
	return cuts
}

// recoveryCuts are the cuts of recovery that follow a cut at an effect: none,
// one at each of the first effects, and two.
func recoveryCuts(at int) [][]hosttest.Cut {
	all := [][]hosttest.Cut{nil}
	for n := 1; n <= 6; n++ {
		all = append(all, []hosttest.Cut{{At: n, Before: (at+n)%2 == 0}})
	}
	return append(all, []hosttest.Cut{{At: 1 + at%4}, {At: 1 + at%3, Before: true}})
}

// TestErrorAnywhere makes every effect fail once while the power stays: an
// error says that the host is the old one, and no error that it is the new.
func TestErrorAnywhere(t *testing.T) {
	for _, v := range verbs() {
		o := outcomesOf(t, v)
		for at := 1; at <= len(o.effects); at++ {
			h := v.ready(t)
			h.Power.Effects, h.Power.Cut = nil, hosttest.Cut{At: at, Fail: true}
			err := v.run(h)
			effect := h.Power.Effects[at-1]
			name := o.name(h)
			pending := errors.Is(err, txn.ErrPending)
			if !pending && (err != nil && !errors.Is(err, txn.ErrFlipped)) != (name == "old") {
				t.Errorf("%s: error at %q: %v, and the host is %q:\n%s", v.name, effect, err, name, summary(h))
			}
			if _, serr := h.Host().Settle(t.Context()); serr != nil {
				t.Errorf("%s: error at %q: recover: %v", v.name, effect, serr)
			}
			clean(h)
			if name := o.name(h); name == "" {
				t.Errorf("%s: error at %q: %v, and then the host is neither old nor new:\n%s", v.name, effect, err, summary(h))
			}
		}
	}
}
