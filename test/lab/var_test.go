package lab_test

import (
	"testing"

	"imgbase/test/lab"
)

// Before: the host runs its first layer. It is updated to an image that has
// something for /var, runs on, and goes back with volumes. After: /var is what
// it was before the update's first boot; and when the newer layer boots once
// more, what its image brings is there again.
func TestRollbackWithVolumes(t *testing.T) {
	t.Parallel()
	image := lab.Image{NVR: "lab-2.0-1", Files: map[string]lab.File{
		"/var/lib/of-vendor/data": {Text: "vendor's\n"},
	}}.Build(t)
	vm := taken(t)
	vm.Share(t, "images", image)
	vm.Must(t, "echo before > /var/lib/mine && imgbase update "+two)
	in := func(when, want string) {
		t.Helper()
		if got := vm.Must(t, "cd /var/lib; head -n 9 of-vendor/data mine later 2>/dev/null; true"); got != want {
			t.Errorf("/var %s:\n%s\nwant\n%s", when, got, want)
		}
	}
	reboots(t, vm, "lab-2.0-1+1")
	in("at the first boot", "==> of-vendor/data <==\nvendor's\n\n==> mine <==\nbefore")

	vm.Must(t, "cd /var/lib && echo after > mine && echo later > later")
	uuid := vm.Must(t, "lvs --noheadings -o lv_uuid HostVG/var")
	vm.Must(t, "imgbase rollback --with-volumes")
	if r := vm.Run(t, "imgbase rollback --to lab-1.0-1+1 --with-volumes"); r.Code != 46 {
		t.Errorf("rollback with volumes once more = %+v; want exit 46", r)
	}
	in("before the reboot", "==> of-vendor/data <==\nvendor's\n\n==> mine <==\nafter\n\n==> later <==\nlater")
	reboots(t, vm, "lab-1.0-1+1")
	in("after the rollback", "==> mine <==\nbefore")
	if got := vm.Must(t, "lvs --noheadings -o lv_uuid HostVG/var; lvs -a --noheadings -o lv_name HostVG | grep '[.]var' || true"); got != uuid {
		t.Errorf("identity of /var, and what is kept of it: %q; want %q and nothing", got, uuid)
	}

	vm.Must(t, "imgbase boot --set-default lab-2.0-1+1")
	reboots(t, vm, "lab-2.0-1+1")
	in("in the newer layer again", "==> of-vendor/data <==\nvendor's\n\n==> mine <==\nbefore")
}
