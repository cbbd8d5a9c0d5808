package lab_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"imgbase/test/lab"
)

// Before: the host runs its first layer. The power is cut while it is being
// updated. After: it boots the old layer or the new one, the boot itself has
// settled the update, and of one that did not happen nothing is left.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	var before lab.State
	t.Run("before", func(t *testing.T) { before = updatable(t).State(t) })
	for _, cut := range []struct {
		step   string        // whose beginning is awaited
		within time.Duration // the cut comes at random up to this time after it
		again  bool          // afterwards the update is repeated
	}{
		{"create base", 0, false},
		{"create base", time.Second, false},
		{"write base", 4 * time.Second, true},
		{"write base", 12 * time.Second, false},
		{"seal base", time.Second, false},
		{"snapshot layer", time.Second, false},
		{"merge /etc", 2 * time.Second, false},
		{"install kernels", time.Second, true},
		{"add boot entries", time.Second / 2, false},
		{"by default", time.Second, false},
	} {
		after := rand.N(cut.within + 1)
		t.Run(fmt.Sprintf("%s+%v", cut.step, after.Round(time.Millisecond)), func(t *testing.T) {
			t.Parallel()
			vm := updatable(t)
			p := vm.Start(t, "exec imgbase update "+two, lab.Kill{})
			if !p.Await(t, cut.step) {
				t.Fatalf("update ended before the power cut: %+v", p.Wait(t))
			}
			time.Sleep(after)
			vm.Kill()
			checkCut(t, vm, before)
			if !cut.again || t.Failed() {
				return
			}
			vm.Mount(t, "images")
			vm.Must(t, "imgbase update "+two)
			reboots(t, vm, "lab-2.0-1+1")
		})
	}
}

// checkCut boots the host and wants it to be wholly the old one or wholly the
// new one.
func checkCut(t *testing.T, vm *lab.VM, before lab.State) {
	t.Helper()
	if state := vm.Boot(t); state != "running" {
		t.Errorf("boot after the power cut: %q; want %q\n%s", state, "running", vm.Must(t, "systemctl --failed --no-legend"))
	}
	if got := vm.Must(t, "systemctl show -p Result,ExecMainStatus --value imgbase-setup.service"); got != "success\n0" {
		t.Errorf("imgbase-setup.service ended with %q; want success", got)
	}
	if tags := vm.Must(t, "vgs --noheadings -o vg_tags "+lab.VG); strings.Contains(tags, "imgbased:txn") {
		t.Errorf("tags of the volume group after the boot = %q; want the update settled", tags)
	}
	switch layer := vm.BootedLayer(t); layer {
	case "lab-1.0-1+1":
		if diff := cmp.Diff(settled(before), settled(vm.State(t))); diff != "" {
			t.Errorf("host after an update that did not happen (-before +after):\n%s", diff)
		}
		says(t, vm, "layout", "lab-1.0-1\n +- lab-1.0-1+1\n")
	case "lab-2.0-1+1":
		says(t, vm, "layout", "lab-1.0-1\n +- lab-1.0-1+1\nlab-2.0-1\n +- lab-2.0-1+1\n")
		says(t, vm, "recover --list", "No unused layers\nNo unused volumes\n")
	default:
		t.Fatalf("booted layer after the power cut = %q; want the old or the new one", layer)
	}
	t.Logf("boots %s", vm.BootedLayer(t))
}
