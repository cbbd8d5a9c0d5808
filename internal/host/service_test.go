package host_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/host"
	"imgbase/internal/host/hosttest"
)

// started is what the boot's unit does.
func started(h *hosttest.Host) *host.Started {
	h.T.Helper()
	on := h.Host()
	if _, err := on.Settle(h.T.Context()); err != nil {
		h.T.Fatal(err)
	}
	done, err := on.Start(h.T.Context())
	if err != nil {
		h.T.Fatal(err)
	}
	return done
}

// volumes are the names of all volumes that hold part of a name.
func volumes(h *hosttest.Host, part string) string {
	var names []string
	for _, lv := range h.LVM.State().LVs {
		if strings.Contains(lv.Name, part) {
			names = append(names, lv.Name)
		}
	}
	return strings.Join(names, " ")
}

// What the image has for /var comes in at the first boot of its layer, after
// /var was kept as it was, and never again.
func TestFirstBoot(t *testing.T) {
	h := taken(t)
	h.Must(h.Update(h.Image("node-1.1-1", map[string]string{"var/lib/vendor/data": "vendor\n", "var/lib/state": "vendor's state"})))
	if got := h.Read("var/lib/vendor/data"); got != "" {
		t.Errorf("/var before the layer boots has %q; want it untouched", got)
	}
	if h.Boot(); h.Read("var/lib/vendor/data") != "" {
		t.Error("/var has the image's before the boot's unit ran")
	}
	done := started(h)
	if done == nil || done.Saved != "node-1.1-1+1.var" || len(done.Notes) > 0 {
		t.Fatalf("Start = %+v; want /var kept as node-1.1-1+1.var, without a note", done)
	}
	if got, want := h.Read("var/lib/vendor/data")+h.Read("var/lib/state"), "vendor\nstate"; got != want {
		t.Errorf("/var has %q; want %q: what is new comes, what no package owns stays", got, want)
	}
	if got := volumes(h, "node-1.1-1+1"); got != "node-1.1-1+1 node-1.1-1+1.var" {
		t.Errorf("volumes of the layer: %s; want it and its /var", got)
	}
	if again := started(h); again != nil {
		t.Errorf("Start once more = %+v; want nothing to do", again)
	}
	// Both go with the layer.
	h.Must(h.Update(h.Image("node-1.2-1", nil)))
	h.Boot()
	started(h)
	h.Must(h.Update(h.Image("node-1.3-1", nil)))
	if got := volumes(h, "node-1.1-1"); got != "" {
		t.Errorf("volumes of a collected layer: %s; want none", got)
	}
}

// The first layer has nothing to bring in.
func TestFirstBootOfTheFirstLayer(t *testing.T) {
	h := taken(t)
	if done := started(h); done != nil {
		t.Errorf("Start = %+v; want nothing to do", done)
	}
}

// What is changed between update and shutdown arrives.
func TestShutdown(t *testing.T) {
	h := taken(t)
	h.Write(map[string]string{"etc/early": "before\n", "etc/both": "one\n"})
	h.Must(h.Update(h.Image("node-1.1-1", map[string]string{"etc/both": "vendor\n"})))
	h.Write(map[string]string{
		"etc/early": "after\n", "etc/late": "new\n", "etc/motd": "-", "root/late": "new\n", "etc/fstab": h.Read("etc/fstab") + "# mine\n",
		"etc/passwd": h.Read("etc/passwd") + "late:x:1000:1000::/:/bin/sh\n", "etc/group": h.Read("etc/group") + "late:x:1000:\n",
	})
	for range 2 { // a second time changes nothing
		carried, err := h.Host().Stop(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if carried != nil && len(carried.Etc.Changes) == 0 {
			t.Errorf("Stop = %+v; want changes of /etc", carried)
		}
	}
	if got := volumes(h, ".sync"); got != "" {
		t.Errorf("volumes %s after the shutdown; want none", got)
	}
	h.Boot()
	if done := started(h); len(done.Late) > 0 {
		t.Errorf("late changes %v; want none", done.Late)
	}
	for name, want := range map[string]string{"etc/early": "after\n", "etc/late": "new\n", "etc/motd": "", "root/late": "new\n", "etc/both": "one\n", "etc/fstab.imgnew": ""} {
		if got := h.Read(name); got != want {
			t.Errorf("%s = %q; want %q", name, got, want)
		}
	}
	if fstab := h.Read("etc/fstab"); !strings.Contains(fstab, "node-1.1-1+1 / ext4") || !strings.Contains(fstab, "# mine\n") {
		t.Errorf("fstab:\n%s\nwant the layer's root, and the late line", fstab)
	}
	if passwd := h.Read("etc/passwd"); strings.Count(passwd, "\nlate:") != 1 {
		t.Errorf("passwd:\n%s\nwant the late user once", passwd)
	}
}

// Without an orderly shutdown what was changed late is told.
func TestLateChangesAreTold(t *testing.T) {
	h := taken(t)
	h.Must(h.Update(h.Image("node-1.1-1", nil)))
	h.Write(map[string]string{"etc/late": "new\n"})
	h.Boot()
	done := started(h)
	if len(done.Late) != 1 || done.Late[0].Path != "late" {
		t.Errorf("late changes %v; want late alone", done.Late)
	}
	if got := volumes(h, ".sync"); got != "" {
		t.Errorf("volumes %s after the first boot; want none", got)
	}
}

// A shutdown that leads nowhere new merges nothing.
func TestShutdownWithoutUpdate(t *testing.T) {
	h := updated(t)
	h.Boot()
	started(h)
	h.Write(map[string]string{"etc/mine": "mine\n"})
	h.Must(h.Do(rollbackTo("")))
	before := h.String()
	if carried, err := h.Host().Stop(t.Context()); carried != nil || err != nil {
		t.Errorf("Stop = %+v, %v; want nothing", carried, err)
	}
	h.Unchanged(before)
	if _, err := os.Stat(filepath.Join(h.LVM.Dir(hosttest.VG, "node-1.0-1+1"), "etc/mine")); err == nil {
		t.Error("a rollback carried /etc back")
	}
}

// cuts runs do on hosts made by ready, and cuts the power before and after
// each of its effects; then is told of each such host.
func cuts(t *testing.T, ready func(t *testing.T) *hosttest.Host, do func(h *hosttest.Host) error, then func(h *hosttest.Host, cut hosttest.Cut)) {
	t.Helper()
	for n := 1; ; n++ {
		for _, before := range []bool{true, false} {
			h, cut := ready(t), hosttest.Cut{At: n, Before: before}
			h.Power.Effects, h.Power.Cut = nil, cut
			err := do(h)
			if !h.Power.Off() {
				if err != nil || n < 3 {
					t.Fatalf("cut %+v: error %v; want cuts at 2 effects at least", cut, err)
				}
				return
			}
			then(h, cut)
		}
	}
}

// The power may go at any effect of the first boot: done again, all is as if
// there had been no cut.
func TestFirstBootCutAnywhere(t *testing.T) {
	ready := func(t *testing.T) *hosttest.Host {
		h := taken(t)
		h.Must(h.Update(h.Image("node-1.1-1", map[string]string{"var/lib/vendor/data": "vendor\n"})))
		h.Boot()
		return h
	}
	whole := ready(t)
	started(whole)
	want := whole.String()
	cuts(t, ready, func(h *hosttest.Host) error {
		_, err := h.Host().Start(t.Context())
		return err
	}, func(h *hosttest.Host, cut hosttest.Cut) {
		h.Boot()
		started(h)
		if diff := cmp.Diff(want, h.String()); diff != "" {
			t.Errorf("cut %+v, and a boot after it (-want +got):\n%s", cut, diff)
		}
	})
}

// The power may go at any effect of a shutdown: the new layer boots, and what
// was changed late is in it or is told.
func TestShutdownCutAnywhere(t *testing.T) {
	cuts(t, func(t *testing.T) *hosttest.Host {
		h := taken(t)
		h.Must(h.Update(h.Image("node-1.1-1", nil)))
		h.Write(map[string]string{"etc/late": "new\n"})
		return h
	}, func(h *hosttest.Host) error {
		_, err := h.Host().Stop(t.Context())
		return err
	}, func(h *hosttest.Host, cut hosttest.Cut) {
		h.Boot()
		running(t, h, "node-1.1-1+1")
		done := started(h)
		if told := len(done.Late) == 1; told == (h.Read("etc/late") == "new\n") {
			t.Errorf("cut %+v: late change told: %v, etc/late = %q; want one of them", cut, told, h.Read("etc/late"))
		}
		if got := volumes(h, ".sync"); got != "" {
			t.Errorf("cut %+v: volumes %s are left", cut, got)
		}
	})
}
