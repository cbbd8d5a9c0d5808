package lab_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/test/lab"
)

// taken is a host that was taken over and runs its first layer.
func taken(t testing.TB) *lab.VM {
	return lab.Stage(t, "taken over", lab.Host, func(t testing.TB, vm *lab.VM) {
		vm.Must(t, "imgbase layout --init")
		vm.Reboot(t)
		if got, want := vm.BootedLayer(t), lab.HostNVR+"+1"; got != want {
			t.Fatalf("booted layer after taking over = %q; want %q", got, want)
		}
		// The first change after a boot makes LVM load what the pool's profile
		// says into the kernel. Cases compare devices: let that be behind us.
		vm.Must(t, "lvcreate -qq -y --type thin -V 4M --thinpool "+lab.Pool+" -n first "+lab.VG+" && lvremove -qq -y "+lab.VG+"/first")
	})
}

// second and third are images that the host can be updated to. What second's
// vendor changed in /etc, the administrator of a case may have changed too.
func second(t testing.TB) string {
	return lab.Image{NVR: "lab-2.0-1", Files: map[string]lab.File{
		"/etc/vendor": {Text: "new\n"},
		"/etc/hosts":  {Text: "127.0.0.1 localhost vendor\n"},
	}}.Build(t)
}

func third(t testing.TB) string { return lab.Image{NVR: "lab-3.0-1"}.Build(t) }

// Where updatable has the images.
const (
	images = "/run/lab/images"
	two    = images + "/lab-2.0-1.img"
	three  = images + "/lab-3.0-1.img"
)

// updatable is a host that runs its first layer and has the images.
func updatable(t testing.TB) *lab.VM {
	return lab.Stage(t, "updatable", taken, func(t testing.TB, vm *lab.VM) {
		vm.Share(t, "images", second(t), third(t))
	})
}

// Before: the host runs its first layer. An update is killed at one of its
// steps. After the next run has settled it: as before.
func TestUpdateKilled(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"create base", "write base", "snapshot layer", "add boot entries"} {
		t.Run(step, func(t *testing.T) {
			vm := updatable(t)
			before := vm.State(t, "/var/lib")
			r := vm.Start(t, "exec imgbase update "+two, lab.Kill{On: step}).Wait(t)
			if r.Code != 128+9 {
				t.Fatalf("update killed at %q: exit %d; want 137\n%s%s", step, r.Code, r.Stdout, r.Stderr)
			}
			if tags := vm.Must(t, "vgs --noheadings -o vg_tags "+lab.VG); !strings.Contains(tags, "imgbased:txn:update:") {
				t.Errorf("tags of the volume group after the kill = %q; want the update's journal", tags)
			}
			vm.Must(t, "imgbase recover")
			if diff := cmp.Diff(before, vm.State(t, "/var/lib")); diff != "" {
				t.Errorf("host after a killed update and recover (-before +after):\n%s", diff)
			}
		})
	}
}
