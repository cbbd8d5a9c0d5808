package host_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/host"
	"imgbase/internal/host/hosttest"
	"imgbase/internal/lvm"
	"imgbase/internal/txn"
)

func back(o host.RollbackOptions) do {
	return func(ctx context.Context, on *host.Host) (*host.Change, error) { return on.PlanRollback(ctx, o) }
}

// generation updates to an image that brings a file of its name into /var,
// boots its layer, and writes another there.
func generation(h *hosttest.Host, name string) {
	h.T.Helper()
	path := h.Image(name, map[string]string{"var/lib/of-" + name: "vendor's"})
	h.Must(h.Do(func(ctx context.Context, on *host.Host) (*host.Change, error) {
		return on.PlanUpdate(ctx, host.UpdateOptions{Image: path, Keep: 9})
	}))
	h.Boot()
	started(h)
	h.Write(map[string]string{"var/lib/state": "of " + name, "var/lib/late-" + name: "mine"})
}

// inVar are the files of the generations that are in /var, and the state.
func inVar(h *hosttest.Host) string {
	h.T.Helper()
	found := []string{h.Read("var/lib/state")}
	for _, name := range []string{"node-1.1-1", "node-1.2-1"} {
		for _, file := range []string{"of-", "late-"} {
			if h.Read("var/lib/"+file+name) != "" {
				found = append(found, file+name)
			}
		}
	}
	return strings.Join(found, ", ")
}

func wantVar(t *testing.T, h *hosttest.Host, when, want string) {
	t.Helper()
	if got := inVar(h); got != want {
		t.Errorf("/var %s: %s; want %s", when, got, want)
	}
}

// /var goes back at the reboot, with the layer; and who boots the newer layer
// again has there what its image brings.
func TestRollbackWithVolumes(t *testing.T) {
	h := taken(t)
	generation(h, "node-1.1-1")
	for range 2 {
		c := h.Must(h.Do(back(host.RollbackOptions{WithVolumes: true})))
		if c.Verb != "rollback" || c.Layer != "node-1.0-1+1" || c.Var != "node-1.1-1+1.var" || len(c.Notes) != 1 || len(c.Steps()) != 3 {
			t.Errorf("Change = %+v with steps %q; want the layer, what /var becomes, a note and three steps", c, c.Steps())
		}
		wantVar(t, h, "before the reboot", "of node-1.1-1, of-node-1.1-1, late-node-1.1-1")
		h.Write(map[string]string{"var/lib/late": "lost"})
		h.Boot()
		running(t, h, "node-1.0-1+1")
		wantVar(t, h, "after the reboot", "state")
		if got := h.Read("var/lib/late") + volumes(h, ".var"); got != "" {
			t.Errorf("late file and volumes after the reboot: %q; want neither", got)
		}
		if done := started(h); done != nil {
			t.Errorf("Start of the layer that booted before = %+v; want nothing to do", done)
		}

		h.Must(h.Do(bootBy("node-1.1-1+1")))
		h.Boot()
		done := started(h)
		if done == nil || done.Saved != "node-1.1-1+1.var" || len(done.Notes) > 0 {
			t.Fatalf("Start of the layer once more = %+v; want /var kept and merged again", done)
		}
		wantVar(t, h, "of the newer layer again", "state, of-node-1.1-1")
		h.Write(map[string]string{"var/lib/state": "of node-1.1-1", "var/lib/late-node-1.1-1": "mine"})
	}
}

// Between a rollback with volumes and the reboot the status says what becomes of
// /var; neither before nor after, nor for another volume.
func TestStatusTellsThatVarGoesBack(t *testing.T) {
	h := taken(t)
	generation(h, "node-1.1-1")
	want := func(when string, goesBack bool) {
		t.Helper()
		st, err := h.Host().Status(t.Context())
		told := strings.Contains(strings.Join(st.Warnings, "\n"), "at the next boot /var goes back")
		if err != nil || st.VarGoesBack != goesBack || told != goesBack {
			t.Errorf("status %s: goes back %v, warnings %q, %v; want it told: %v", when, st.VarGoesBack, st.Warnings, err, goesBack)
		}
	}
	want("before", false)
	h.Must(h.Do(back(host.RollbackOptions{WithVolumes: true})))
	want("until the reboot", true)
	h.Boot()
	want("after the reboot", false)

	// Somebody else's volume that goes back is not /var.
	other := lvm.Thin{VG: hosttest.VG, Pool: hosttest.Pool, Name: "other", Size: hosttest.GiB}
	h.Must(nil, lvm.New(h.LVM).CreateThin(t.Context(), other))
	h.Must(nil, lvm.New(h.LVM).Snapshot(t.Context(), lvm.Snap{VG: hosttest.VG, Origin: "other", Name: "older"}))
	h.LVM.SetOpen(hosttest.VG, "other", true)
	h.Must(nil, lvm.New(h.LVM).Revert(t.Context(), hosttest.VG, "older"))
	if lv, _ := h.LVM.State().LV(hosttest.VG, "other"); !lv.Merging {
		t.Fatalf("%s = %+v; want it to go back", lv.Name, lv)
	}
	want("of another volume", false)
}

// By name the way back may be longer than one layer: /var is what it was when
// the one named was left.
func TestRollbackWithVolumesOverTwoLayers(t *testing.T) {
	h := taken(t)
	generation(h, "node-1.1-1")
	generation(h, "node-1.2-1")
	c := h.Must(h.Do(back(host.RollbackOptions{To: "node-1.0-1+1", WithVolumes: true})))
	if c.Var != "node-1.1-1+1.var" {
		t.Errorf("/var becomes %s; want node-1.1-1+1.var", c.Var)
	}
	h.Boot()
	running(t, h, "node-1.0-1+1")
	wantVar(t, h, "after the reboot", "state")

	// What was kept later is nothing to go back to any more, until it is kept
	// again.
	for _, next := range []struct{ boots, inVar string }{{"node-1.2-1+1", "of-node-1.2-1"}, {"node-1.1-1+1", "of-node-1.1-1, of-node-1.2-1"}} {
		h.Must(h.Do(bootBy(next.boots)))
		h.Boot()
		done := started(h)
		if done == nil || done.Saved != next.boots+".var" || len(done.Notes) > 0 {
			t.Fatalf("Start of %s once more = %+v; want /var kept and merged again", next.boots, done)
		}
		wantVar(t, h, "of "+next.boots, "state, "+next.inVar)
		if lv, _ := h.LVM.State().LV(hosttest.VG, next.boots+".var"); lv.Origin != "var" {
			t.Errorf("%s = %+v; want a snapshot of /var", lv.Name, lv)
		}
	}
}

// Whoever went back without volumes before can still have /var follow.
func TestRollbackThenVolumes(t *testing.T) {
	h := taken(t)
	generation(h, "node-1.1-1")
	h.Must(h.Do(back(host.RollbackOptions{})))
	c := h.Must(h.Do(back(host.RollbackOptions{To: "node-1.0-1+1", WithVolumes: true})))
	if c.Base != "node-1.0-1" || c.Layer != "node-1.0-1+1" || len(c.Steps()) != 2 {
		t.Errorf("Change = %+v with steps %q; want no flip", c, c.Steps())
	}
	h.Boot()
	running(t, h, "node-1.0-1+1")
	wantVar(t, h, "after the reboot", "state")
}

func TestRollbackWithVolumesRefused(t *testing.T) {
	older := host.RollbackOptions{WithVolumes: true}
	for _, c := range []struct {
		name string
		is   func(h *hosttest.Host)
		o    host.RollbackOptions
		want error
		text string
	}{
		{"first layer", func(*hosttest.Host) {}, older, host.ErrNothingBefore, "it is the first"},
		{"update not booted", func(h *hosttest.Host) { h.Must(h.Update(h.Image("node-1.1-1", nil))) }, older, host.ErrNoVar, "it is running"},
		{"to a newer one", func(h *hosttest.Host) {
			generation(h, "node-1.1-1")
			h.Must(h.Do(back(host.RollbackOptions{})))
			h.Boot()
		}, host.RollbackOptions{To: "node-1.1-1+1", WithVolumes: true}, host.ErrNoVar, "it did not run before node-1.0-1+1"},
		{"twice", func(h *hosttest.Host) {
			generation(h, "node-1.1-1")
			h.Must(h.Do(back(older)))
		}, host.RollbackOptions{To: "node-1.0-1+1", WithVolumes: true}, host.ErrNoVar, "at the next boot already"},
		{"further while it is under way", func(h *hosttest.Host) {
			generation(h, "node-1.1-1")
			generation(h, "node-1.2-1")
			h.Must(h.Do(back(older)))
		}, host.RollbackOptions{To: "node-1.0-1+1", WithVolumes: true}, host.ErrNoVar, "at the next boot already"},
		{"further when it was done", func(h *hosttest.Host) {
			generation(h, "node-1.1-1")
			generation(h, "node-1.2-1")
			h.Must(h.Do(back(older)))
			h.Boot()
		}, older, host.ErrNoVar, "var went back to another one since"},
		{"without a first boot", func(h *hosttest.Host) {
			h.Must(h.Update(h.Image("node-1.1-1", nil)))
			h.Boot()
		}, older, host.ErrNoVar, "node-1.1-1+1.var: no /var to go back to: there is no such volume"},
		{"removed by hand", func(h *hosttest.Host) {
			generation(h, "node-1.1-1")
			h.Must(nil, lvm.New(h.LVM).Remove(h.T.Context(), hosttest.VG, "node-1.1-1+1.var"))
		}, older, host.ErrNoVar, "there is no such volume"},
		{"way back is a circle", func(h *hosttest.Host) {
			generation(h, "node-1.1-1")
			generation(h, "node-1.2-1")
			retag(h, "node-1.1-1+1", "imgbased:before:node-1.2-1+1", "imgbased:before:node-1.0-1+1")
		}, host.RollbackOptions{To: "node-1.0-1+1", WithVolumes: true}, host.ErrNoVar, "it did not run before"},
		{"/var not mounted", func(h *hosttest.Host) {
			generation(h, "node-1.1-1")
			h.SetMount("/var", "", "")
		}, older, host.ErrVarNotSeparate, "/var"},
		{"/var elsewhere", func(h *hosttest.Host) {
			generation(h, "node-1.1-1")
			h.SetMount("/var", "/dev/vda9", "ext4")
		}, older, host.ErrNotThin, "/dev/vda9"},
		{"no layer runs", func(h *hosttest.Host) {
			h.Must(h.Do(func(ctx context.Context, on *host.Host) (*host.Change, error) {
				return on.PlanInit(ctx, "node-1.0-1", "")
			}))
		}, host.RollbackOptions{To: "node-1.0-1+1", WithVolumes: true}, host.ErrNotLayer, "root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := hosttest.New(t)
			if c.want != host.ErrNotLayer {
				h = taken(t)
			}
			c.is(h)
			before := h.String()
			_, err := h.Do(back(c.o))
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("PlanRollback(%+v) = %v; want %v with %q", c.o, err, c.want, c.text)
			}
			h.Unchanged(before)
		})
	}
}

func retag(h *hosttest.Host, name, add, del string) {
	h.T.Helper()
	h.Must(nil, lvm.New(h.LVM).ChangeLVTags(h.T.Context(), lvm.Retag{VG: hosttest.VG, Name: name, Add: []string{add}, Del: []string{del}}))
}

// A revert that fails says that the layer goes back all the same.
func TestRollbackWithVolumesFails(t *testing.T) {
	h := taken(t)
	generation(h, "node-1.1-1")
	_, err := h.Do(func(ctx context.Context, on *host.Host) (*host.Change, error) {
		c, err := on.PlanRollback(ctx, host.RollbackOptions{WithVolumes: true})
		// Somebody else removes it in between.
		h.Must(nil, lvm.New(h.LVM).Remove(ctx, hosttest.VG, "node-1.1-1+1.var"))
		return c, err
	})
	if !errors.Is(err, lvm.ErrNotFound) || !errors.Is(err, txn.ErrFlipped) {
		t.Errorf("Run = %v; want ErrNotFound and ErrFlipped", err)
	}
	h.Boot()
	running(t, h, "node-1.0-1+1")
	wantVar(t, h, "after the reboot", "of node-1.1-1, of-node-1.1-1, late-node-1.1-1")
}

// Whenever the power is cut: if /var went back, the newer layer knows that it
// has to merge into it again.
func TestRollbackWithVolumesCut(t *testing.T) {
	outcomes := map[string]int{}
	for at := 1; at <= 6; at++ {
		for _, before := range []bool{true, false} {
			h := taken(t)
			generation(h, "node-1.1-1")
			h.Power.Effects, h.Power.Cut = nil, hosttest.Cut{At: at, Before: before}
			if _, err := h.Do(back(host.RollbackOptions{WithVolumes: true})); err == nil || !h.Power.Off() {
				t.Fatalf("cut at effect %d of %q did not happen", at, h.Power.Effects)
			}
			h.Boot()
			outcome := h.Running() + ", " + inVar(h)
			if volumes(h, ".var") == "" {
				outcome += ", reverted"
				if _, err := os.Stat(filepath.Join(h.LVM.Dir(hosttest.VG, "node-1.1-1+1"), "usr/lib/imgbased/first-boot")); err != nil {
					t.Errorf("cut at effect %d: /var went back, and the layer after does not know: %v", at, err)
				}
			}
			outcomes[outcome]++
		}
	}
	const newer = ", of node-1.1-1, of-node-1.1-1, late-node-1.1-1"
	for _, want := range []string{"node-1.1-1+1" + newer, "node-1.0-1+1" + newer, "node-1.0-1+1, state, reverted"} {
		if outcomes[want] == 0 {
			t.Errorf("no cut ended as %q: %v", want, outcomes)
		}
		delete(outcomes, want)
	}
	if len(outcomes) > 0 {
		t.Errorf("cuts ended as %v", outcomes)
	}
}
