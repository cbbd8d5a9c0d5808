package lab_test

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"imgbase/test/lab"
)

// TestGolden boots the golden host and goes through all that cases build on.
func TestGolden(t *testing.T) {
	start := time.Now()
	vm := lab.Golden(t)
	t.Logf("golden host there after %v", time.Since(start))

	root := vm.Must(t, "findmnt -no SOURCE /")
	if want := "/dev/mapper/" + lab.VG + "-root"; root != want {
		t.Errorf("root is on %q; want %q", root, want)
	}
	attr := vm.Must(t, "lvs --noheadings -o lv_attr "+lab.VG+"/root")
	if !strings.HasPrefix(attr, "Vwi-a") {
		t.Errorf("lv_attr of root = %q; want an active thin volume", attr)
	}
	if size := vm.Must(t, `echo $(( $(stat -f -c '%b * %S' /boot) ))`); len(size) < 10 {
		t.Errorf("/boot has %s bytes; want at least 1000000000", size)
	}
	if cfg := vm.Must(t, "cat /boot/grub/grub.cfg"); !strings.Contains(cfg, "custom.cfg") {
		t.Error("grub.cfg has no custom.cfg; want update-grub's own")
	}
	if r := vm.Run(t, "echo out; echo err >&2; exit 3"); r != (lab.Result{Stdout: "out\n", Stderr: "err\n", Code: 3}) {
		t.Errorf("Run() = %+v; want out, err and 3", r)
	}
}

func TestReboot(t *testing.T) {
	vm := lab.Golden(t)
	before := vm.Must(t, "cat /proc/sys/kernel/random/boot_id")
	start := time.Now()
	state := vm.Reboot(t)
	t.Logf("reboot: %q after %v", state, time.Since(start))
	if after := vm.Must(t, "cat /proc/sys/kernel/random/boot_id"); after == before {
		t.Error("boot id is the same after Reboot")
	}
	if failed := vm.Must(t, "systemctl --failed --no-legend --plain"); failed != "" {
		t.Errorf("failed units: %s", failed)
	}
}

// TestPowerCut shows that what was synced survives and that the host comes
// up again.
func TestPowerCut(t *testing.T) {
	vm := lab.Golden(t)
	vm.Must(t, "echo synced > /root/synced && sync && echo lost > /root/lost")
	vm.Kill()
	vm.Boot(t)
	if got := vm.Must(t, "cat /root/synced"); got != "synced" {
		t.Errorf("synced file holds %q after a power cut; want %q", got, "synced")
	}
	if r := vm.Run(t, "cat /root/lost"); r.Stdout != "" {
		t.Errorf("file not synced holds %q after a power cut; want nothing", r.Stdout)
	}
}

func TestSaveRestore(t *testing.T) {
	vm := lab.Golden(t)
	vm.Must(t, "echo synced > /root/synced && sync && echo one > /root/state")
	start := time.Now()
	saved := vm.Save(t)
	t.Logf("saved in %v", time.Since(start))
	vm.Must(t, "echo two > /root/state")

	// The best of three: others may want the processors too.
	best := time.Hour
	for range 3 {
		start = time.Now()
		vm.Restore(t, saved)
		if got := vm.Must(t, "cat /root/state"); got != "one" {
			t.Errorf("state after Restore = %q; want %q", got, "one")
		}
		best = min(best, time.Since(start))
		vm.Must(t, "echo three > /root/state")
	}
	t.Logf("restored in %v", best)
	if best > 5*time.Second {
		t.Errorf("Restore took %v at best; want less than 5s", best)
	}
	vm.Kill()
	vm.Boot(t)
	if got := vm.Must(t, "cat /root/synced"); got != "synced" {
		t.Errorf("file synced before Save = %q after Restore and a power cut; want %q", got, "synced")
	}
}

// TestStage saves a state with an attached drive once and starts two machines
// from it, each with its own disk.
func TestStage(t *testing.T) {
	prepared := 0
	stage := func(t testing.TB) *lab.VM {
		return lab.Stage(t, "shared", lab.Golden, func(t testing.TB, vm *lab.VM) {
			prepared++
			file := filepath.Join(t.TempDir(), "word")
			if err := os.WriteFile(file, []byte("hello"), 0o644); err != nil {
				t.Fatal(err)
			}
			vm.Must(t, "cp "+vm.Share(t, "words", file)+"/word /root/word")
		})
	}
	for i := range 2 {
		vm := stage(t)
		if got := vm.Must(t, "cat /root/word /run/lab/words/word"); got != "hellohello" {
			t.Errorf("machine %d: words = %q; want both", i, got)
		}
		vm.Must(t, "echo changed > /root/word; sync")
		vm.Kill() // a test that holds a machine must not wait for another
	}
	if prepared != 1 {
		t.Errorf("stage prepared %d times; want once", prepared)
	}
}

func TestFiles(t *testing.T) {
	vm := lab.Golden(t)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	start := time.Now()
	vm.Put(t, "/root/new/big", big, fs.ModeSetuid|0o750)
	t.Logf("put %d bytes in %v", len(big), time.Since(start))
	if got := vm.Must(t, "stat -c %a:%s /root/new/big"); got != "4750:1048576" {
		t.Errorf("file put = %s; want mode 4750 and 1048576 bytes", got)
	}
	start = time.Now()
	if got := vm.Get(t, "/root/new/big"); !bytes.Equal(got, big) {
		t.Errorf("Get() returned %d bytes that differ; want the %d put", len(got), len(big))
	}
	t.Logf("got them in %v", time.Since(start))
	if got := string(vm.Get(t, "/proc/sys/kernel/ostype")); got != "Linux\n" {
		t.Errorf("Get(/proc/sys/kernel/ostype) = %q; want Linux", got)
	}
}

func TestProcess(t *testing.T) {
	vm := lab.Golden(t)
	p := vm.Start(t, "echo ready; exec sleep 1000", lab.Kill{})
	if !p.Await(t, "ready") {
		t.Error(`Await("ready") = false; want true`)
	}
	p.Kill(t)
	if r := p.Wait(t); r.Code != 128+9 {
		t.Errorf("code after Kill = %d; want 137", r.Code)
	}
	p = vm.Start(t, "echo one; sleep 1000; echo two", lab.Kill{On: "one"})
	if p.Await(t, "two") {
		t.Error(`Await("two") = true; want false`)
	}
	if r := p.Wait(t); r.Code != 128+9 || r.Stdout != "one\n" {
		t.Errorf("killed on output = %+v; want code 137 after one", r)
	}
	p = vm.Start(t, "sleep 1000", lab.Kill{After: int64(100 * time.Millisecond)})
	if r := p.Wait(t); r.Code != 128+9 {
		t.Errorf("code of a program killed after 100 ms = %d; want 137", r.Code)
	}
}

// TestState changes one thing of each kind and wants it, and nothing else,
// to show.
func TestState(t *testing.T) {
	vm := lab.Golden(t)
	start := time.Now()
	before := vm.State(t)
	t.Logf("state of %d files in %v", len(before.Files), time.Since(start))
	if diff := cmp.Diff(before, vm.State(t)); diff != "" {
		t.Errorf("State() of an untouched host changed (-before +after):\n%s", diff)
	}
	if len(before.Volumes) < 6 || len(before.Files) < 400 || before.Files["/boot/grub/grubenv"] == "" {
		t.Errorf("State() has %d volumes, %d files; want the whole host", len(before.Volumes), len(before.Files))
	}
	vm.Must(t, `lvchange --addtag x `+lab.VG+`/root && vgchange --addtag y `+lab.VG+` && chmod 600 /etc/hosts &&
		grub-editenv - set saved_entry=x && mount -t tmpfs lab /mnt && truncate -s 1M /root/f && losetup -f /root/f`)
	after := vm.State(t)
	for _, part := range []struct {
		name          string
		before, after map[string]string
		want          string
	}{
		{"group", before.Groups, after.Groups, lab.VG},
		{"volume", before.Volumes, after.Volumes, lab.VG + "/root"},
		{"mount", before.Mounts, after.Mounts, "/mnt"},
		{"device", before.Devices, after.Devices, "/dev/loop0"},
		{"file", before.Files, after.Files, "/boot/grub/grubenv /etc/hosts"},
	} {
		if got := strings.Join(changed(part.before, part.after), " "); got != part.want {
			t.Errorf("%s: changed = %q; want %q", part.name, got, part.want)
		}
	}
}

func changed(before, after map[string]string) []string {
	names := map[string]bool{}
	for k, v := range before {
		names[k] = names[k] || after[k] != v
	}
	for k, v := range after {
		names[k] = names[k] || before[k] != v
	}
	maps.DeleteFunc(names, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(names))
}

// TestImages brings an image of each form into a guest, hot-plugged, and
// looks inside with the guest's own tools.
func TestImages(t *testing.T) {
	files := map[string]lab.File{
		"/etc/hosts":       {Removed: true},
		"/usr/bin/su-copy": {Text: "#!/bin/sh\n", Mode: fs.ModeSetuid | 0o755, UID: 1, GID: 2},
		"/etc/linked":      {Link: "hostname"},
	}
	start := time.Now()
	paths := []string{
		lab.Image{NVR: "lab-2.0-1", Files: files}.Build(t),
		lab.Image{NVR: "lab-2.0-1", Files: files, Form: lab.Squashfs}.Build(t),
		lab.Image{NVR: "lab-2.1-1", Files: files, Form: lab.Raw, XFS: true}.Build(t),
	}
	t.Logf("images there after %v", time.Since(start))

	vm := lab.Golden(t)
	start = time.Now()
	dir := vm.Share(t, "images", paths...)
	t.Logf("shared in %v", time.Since(start))
	vm.Must(t, "cd "+dir+` && mkdir /run/a /run/b /run/c /run/d
		mount -o loop,ro lab-2.0-1.img /run/a && mount -o loop,ro /run/a/LiveOS/rootfs.img /run/b &&
		mount -o loop,ro lab-2.0-1.squashfs /run/c && mount -o loop,ro lab-2.1-1.raw /run/d`)
	for root, nvr := range map[string]string{"/run/b": "lab-2.0-1", "/run/c": "lab-2.0-1", "/run/d": "lab-2.1-1"} {
		if got := string(vm.Get(t, root+"/usr/share/imgbase/build/meta/nvr")); got != nvr {
			t.Errorf("%s: NVR = %q; want %q", root, got, nvr)
		}
		if got := vm.Must(t, ". "+root+"/usr/lib/os-release; echo $VERSION"); got != nvr {
			t.Errorf("%s: VERSION of os-release = %q; want %q", root, got, nvr)
		}
		vm.Must(t, "cd "+root+"/boot && ls vmlinuz-* initrd.img-* config-*")
		if got := vm.Must(t, "stat -c '%a %u:%g' "+root+"/usr/bin/su-copy"); got != "4755 1:2" {
			t.Errorf("%s: added file = %q; want set-id, 1:2", root, got)
		}
		if r := vm.Run(t, "ls "+root+"/etc/hosts "+root+"/usr/sbin/imgbase"); r.Stdout != "" {
			t.Errorf("%s: has %q; want neither", root, r.Stdout)
		}
		if got := vm.Must(t, "readlink "+root+"/etc/linked; stat -c %s "+root+"/etc/machine-id"); got != "hostname\n0" {
			t.Errorf("%s: link and machine-id = %q; want hostname and an empty file", root, got)
		}
	}
}
