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
	})
}

// Before: the host runs its first layer. An update, a restart. After: it runs
// the image's system, with what the administrator had changed in /etc.
func TestUpdateBoots(t *testing.T) {
	image := lab.Image{NVR: "lab-2.0-1", Files: map[string]lab.File{"/etc/vendor": {Text: "new\n"}}}.Build(t)
	vm := taken(t)
	vm.Must(t, "echo mine > /etc/admin")
	vm.Must(t, "imgbase update "+vm.Share(t, "images", image)+"/lab-2.0-1.img")
	if state := vm.Reboot(t); state != "running" {
		t.Errorf("boot after the update: %q; want %q", state, "running")
	}
	if got := vm.BootedLayer(t); got != "lab-2.0-1+1" {
		t.Errorf("booted layer after the update = %q; want lab-2.0-1+1", got)
	}
	if got := vm.Must(t, "cat /etc/admin /etc/vendor"); got != "mine\nnew" {
		t.Errorf("/etc after the update holds %q; want the administrator's file and the vendor's", got)
	}
}

// Before: the host runs its first layer. Updates that are refused. After: not
// one changed byte, volume, tag or mount.
func TestUpdateRefused(t *testing.T) {
	whole := lab.Image{NVR: "lab-2.0-1"}.Build(t)
	nameless := lab.Image{Form: lab.LiveImg}.Build(t)
	vm := taken(t)
	dir := vm.Share(t, "images", whole, nameless)
	vm.Must(t, "head -c 1000000 "+dir+"/lab-2.0-1.img > /root/short.img; : > /root/empty.img")
	before := vm.State(t, "/var/lib")
	for _, image := range []string{"/root/none.img", "/root/short.img", "/root/empty.img", dir + "/.img", "/etc"} {
		r := vm.Run(t, "imgbase update "+image)
		if r.Code == 0 {
			t.Errorf("imgbase update %s: exit 0; want a refusal", image)
		}
		t.Logf("%s: exit %d: %s", image, r.Code, r.Stderr)
	}
	if diff := cmp.Diff(before, vm.State(t, "/var/lib")); diff != "" {
		t.Errorf("refused updates changed the host (-before +after):\n%s", diff)
	}
}

// Before: the host runs its first layer. An update is killed at one of its
// steps. After the next run has settled it: as before.
func TestUpdateKilled(t *testing.T) {
	image := lab.Image{NVR: "lab-2.0-1"}.Build(t)
	for _, step := range []string{"create base", "write base", "snapshot layer", "add boot entries"} {
		t.Run(step, func(t *testing.T) {
			vm := taken(t)
			dir := vm.Share(t, "images", image)
			before := vm.State(t, "/var/lib")
			r := vm.Start(t, "exec imgbase update "+dir+"/lab-2.0-1.img", lab.Kill{On: step}).Wait(t)
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

// Before: the host runs its first layer. The power is cut while an update
// writes to /boot. After: the host boots the layer it ran, and when the
// update is settled, volumes, tags, /boot and /etc are as before.
func TestUpdatePowerCut(t *testing.T) {
	image := lab.Image{NVR: "lab-2.0-1"}.Build(t)
	vm := taken(t)
	before := vm.State(t)
	dir := vm.Share(t, "images", image)
	p := vm.Start(t, "exec imgbase update "+dir+"/lab-2.0-1.img", lab.Kill{})
	if !p.Await(t, "install kernels") {
		t.Fatalf("update ended before the power cut: %+v", p.Wait(t))
	}
	vm.Kill()
	vm.Boot(t)
	if got, want := vm.BootedLayer(t), lab.HostNVR+"+1"; got != want {
		t.Errorf("booted layer after the power cut = %q; want %q", got, want)
	}
	vm.Must(t, "imgbase recover")
	after := vm.State(t)
	for _, part := range []struct {
		name          string
		before, after map[string]string
	}{{"groups", before.Groups, after.Groups}, {"volumes", before.Volumes, after.Volumes}, {"files", before.Files, after.Files}} {
		if diff := cmp.Diff(part.before, part.after); diff != "" {
			t.Errorf("%s after a power cut and recover (-before +after):\n%s", part.name, diff)
		}
	}
}
