package lab_test

import (
	"encoding/json"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/test/lab"
)

// Before: the host runs its first layer. Its administrator edits /etc,
// updates, goes back, updates to something newer and cleans up. After each
// step, and in the end: what the administrator was promised.
func TestLife(t *testing.T) {
	t.Parallel()
	vm := updatable(t)
	foreign := "title Rescue\nversion 1\nlinux /vmlinuz-rescue\n"
	vm.Put(t, "/boot/loader/entries/rescue.conf", []byte(foreign), 0o600)
	vm.Must(t, `echo mine > /etc/admin && chmod 640 /etc/admin && echo '127.0.0.1 localhost mine' > /etc/hosts && rm /etc/issue`)
	before := vm.State(t)

	report := vm.Must(t, "imgbase update "+two+" 2>&1")
	if !strings.Contains(report, "1 conflicts\n") || !strings.Contains(report, "the vendor's is hosts.imgnew") {
		t.Errorf("report of the update does not tell of the conflict in hosts:\n%s", report)
	}
	if got := vm.BootedLayer(t); got != "lab-1.0-1+1" {
		t.Errorf("running layer after the update = %q; want the one that ran", got)
	}
	reboots(t, vm, "lab-2.0-1+1")
	checkEtc(t, vm)
	checkLayer(t, vm)
	checkForeign(t, before, vm.State(t))
	checkOutput(t, vm)

	vm.Must(t, "imgbase rollback")
	reboots(t, vm, "lab-1.0-1+1")
	if got := vm.Must(t, "cat /etc/admin /etc/hosts; ls /etc/vendor /etc/issue 2>/dev/null; true"); got != "mine\n127.0.0.1 localhost mine" {
		t.Errorf("/etc after the rollback: %q; want it as it was left", got)
	}

	vm.Mount(t, "images")
	report = vm.Must(t, "imgbase update "+three+" 2>&1")
	if !strings.Contains(report, "\nremoved lab-2.0-1") {
		t.Errorf("report of the second update does not tell that lab-2.0-1 was collected:\n%s", report)
	}
	says(t, vm, "layout", "lab-1.0-1\n +- lab-1.0-1+1\nlab-3.0-1\n +- lab-3.0-1+1\n")
	vm.Must(t, "imgbase rollback && imgbase base --remove lab-3.0-1")
	says(t, vm, "layout", "lab-1.0-1\n +- lab-1.0-1+1\n")

	after := vm.State(t)
	if diff := cmp.Diff(settled(before), settled(after)); diff != "" {
		t.Errorf("host with every update removed (-before +after):\n%s", diff)
	}
	checkForeign(t, before, after)
}

// tooSlow prints something if lvm2-monitor failed because LVM gave dmeventd,
// which it had just started, too little time to answer: what it waits is fixed
// (_daemon_read in libdm-event.c) and too short for a loaded emulator.
const tooSlow = "systemctl is-failed -q lvm2-monitor.service && journalctl -b -q -u lvm2-monitor.service --grep='No input from event server'"

// reboots restarts the host and wants it to come up sound, on that layer.
func reboots(t testing.TB, vm *lab.VM, layer string) {
	t.Helper()
	state := vm.Reboot(t)
	if state == "degraded" && vm.Must(t, tooSlow+"; true") != "" {
		state = vm.Must(t, "systemctl restart lvm2-monitor.service && systemctl is-system-running; true")
	}
	if state != "running" {
		t.Errorf("boot of %s: %q; want %q\n%s", layer, state, "running", vm.Must(t, "systemctl --failed --no-legend"))
	}
	if got := vm.BootedLayer(t); got != layer {
		t.Fatalf("booted layer = %q; want %q", got, layer)
	}
}

// settled is what a host consists of, without what a boot or the boot
// loader's default decide: numbers of devices, options of mounts.
func settled(s lab.State) lab.State {
	s.Mounts, s.Devices = nil, nil
	s.Files = maps.Clone(s.Files)
	delete(s.Files, "/boot/grub/grubenv")
	return s
}

// checkEtc wants what administrator and vendor each did, and the vendor's
// version beside the one file that both changed.
func checkEtc(t testing.TB, vm *lab.VM) {
	t.Helper()
	const want = "mine\n640\n127.0.0.1 localhost mine\n127.0.0.1 localhost vendor\nnew"
	if got := vm.Must(t, "cat /etc/admin; stat -c %a /etc/admin; cat /etc/hosts /etc/hosts.imgnew /etc/vendor"); got != want {
		t.Errorf("/etc after the update:\n%s\nwant\n%s", got, want)
	}
	if r := vm.Run(t, "ls /etc/issue"); r.Code == 0 {
		t.Error("/etc/issue, which the administrator removed, is back after the update")
	}
	fstab := vm.Must(t, "grep -v '^#' /etc/fstab")
	want2 := regexp.MustCompile(`^/dev/HostVG/lab-2\.0-1\+1 / ext4 defaults,discard 0 1\n/dev/HostVG/var /var ext4 defaults,discard 0 2\nUUID=\S+ /boot ext4 defaults 0 2$`)
	if !want2.MatchString(fstab) {
		t.Errorf("fstab of the new layer:\n%s\nwant only its root changed", fstab)
	}
}

// checkLayer wants a file system of its own on the running layer, as large as
// its volume, on a base that nobody can write to.
func checkLayer(t testing.TB, vm *lab.VM) {
	t.Helper()
	line := strings.Fields(vm.Must(t, "cat /proc/cmdline"))
	if last := line[len(line)-1]; last != "img.bootid=lab-2.0-1+1" {
		t.Errorf("last kernel argument = %q; want img.bootid", last)
	}
	for _, word := range []string{"root=/dev/HostVG/lab-2.0-1+1", "rd.lvm.lv=HostVG/lab-2.0-1+1", "console=ttyS0", "mitigations=off"} {
		if !strings.Contains(" "+strings.Join(line, " ")+" ", " "+word+" ") {
			t.Errorf("kernel arguments %q lack %s", line, word)
		}
	}
	if got := vm.Must(t, "findmnt -no SOURCE /"); got != "/dev/HostVG/lab-2.0-1+1" {
		t.Errorf("root is on %q; want the layer's volume", got)
	}
	got := strings.Fields(vm.Must(t, `d=/dev/HostVG/lab-2.0-1+1
		blockdev --getsize64 $d
		field() { dumpe2fs -h $d 2>/dev/null | sed -n "s/^$1: *//p"; }
		echo $(( $(field 'Block count') * $(field 'Block size') ))
		blkid -s UUID -o value $d
		lvchange -qq -ay -K HostVG/lab-2.0-1 && blkid -s UUID -o value /dev/HostVG/lab-2.0-1
		cat /sys/block/$(basename $(readlink -f /dev/HostVG/lab-2.0-1))/ro
		lvchange -qq -an HostVG/lab-2.0-1`))
	if len(got) != 5 || got[0] != got[1] || got[2] == got[3] || got[4] != "1" {
		t.Errorf("size of volume and file system, UUID of layer and base, base read-only = %q; want equal, different, 1", got)
	}
	attr := vm.Must(t, "lvs --noheadings -o lv_permissions,lv_skip_activation,lv_tags HostVG/lab-2.0-1")
	if got := strings.Join(strings.Fields(attr), " "); got != "read-only skip activation imgbased:base" {
		t.Errorf("base is %q; want read-only, skipped, tagged", got)
	}
}

// checkForeign wants everything below /boot that was there before, but GRUB's
// environment block and what it includes of ours, as it was.
func checkForeign(t testing.TB, before, after lab.State) {
	t.Helper()
	ours := map[string]bool{"/boot/grub/grubenv": true, "/boot/grub/custom.cfg": true, "/boot/grub/imgbase.cfg": true}
	n := 0
	for path, was := range before.Files {
		if !strings.HasPrefix(path, "/boot/") || ours[path] {
			continue
		}
		n++
		if is := after.Files[path]; is != was {
			t.Errorf("%s = %q; want %q as before", path, is, was)
		}
	}
	if n < 100 || before.Files["/boot/grub/grub.cfg"] == "" {
		t.Errorf("%d files below /boot before; want GRUB's and the kernel's", n)
	}
}

// says wants a program to succeed with exactly that on standard output, and
// nothing else.
func says(t testing.TB, vm *lab.VM, args, want string) {
	t.Helper()
	if got := vm.Run(t, "imgbase "+args); got != (lab.Result{Stdout: want}) {
		t.Errorf("imgbase %s = %+v; want %q", args, got, want)
	}
}

// checkOutput asks for everything that reports on the updated host.
func checkOutput(t testing.TB, vm *lab.VM) {
	t.Helper()
	kernel := vm.Must(t, "uname -r")
	for args, want := range map[string]string{
		"layout":                          "lab-1.0-1\n +- lab-1.0-1+1\nlab-2.0-1\n +- lab-2.0-1+1\n",
		"layout --bases":                  "lab-1.0-1\nlab-2.0-1\n",
		"layout --layers":                 "lab-1.0-1+1\nlab-2.0-1+1\n",
		"w":                               "You are on lab-2.0-1+1\n",
		"base --latest":                   "lab-2.0-1\n",
		"base --of-layer lab-1.0-1+1":     "lab-1.0-1\n",
		"layer --latest":                  "lab-2.0-1+1\n",
		"layer --current":                 "lab-2.0-1+1\n",
		"layer --volume-path lab-1.0-1":   "/dev/HostVG/lab-1.0-1\n",
		"layer --volume-path lab-2.0-1+1": "/dev/HostVG/lab-2.0-1+1\n",
		"boot --get-default":              "lab-2.0-1+1 (" + kernel + ")\n",
		"recover --list":                  "No unused layers\nNo unused volumes\n",
	} {
		says(t, vm, args, want)
	}
	says(t, vm, "boot --list", strings.ReplaceAll("  lab-1.0-1+1-KERNEL\tlab-1.0-1+1 (KERNEL)\n* lab-2.0-1+1-KERNEL\tlab-2.0-1+1 (KERNEL)\n  rescue\tRescue\n", "KERNEL", kernel))
	status := regexp.MustCompile(`^lab-1\.0-1 +4GiB\s*
 \+- lab-1\.0-1\+1 +4GiB\s*
lab-2\.0-1 +4GiB\s*
 \+- lab-2\.0-1\+1 +4GiB +running, boots next

running +lab-2\.0-1\+1
next boot +lab-2\.0-1\+1
thin pool +HostVG/pool00, data \d+\.\d % of 12GiB, metadata \d+\.\d % of 1GiB
conflicts, the vendor's version beside: /etc/hosts
?$`)
	if got := vm.Run(t, "imgbase status"); !status.MatchString(got.Stdout) || got.Stderr != "" || got.Code != 0 {
		t.Errorf("imgbase status = %+v; want two bases with a layer each, and the conflict", got)
	}
	for args, kind := range map[string]string{
		"layout": "layout", "layout --bases": "bases", "layout --layers": "layers", "layout --free-space": "free-space", "w": "running",
		"base --latest": "image", "layer --current": "image", "layer --volume-path lab-1.0-1": "path",
		"boot --list": "entries", "boot --get-default": "entry", "recover --list": "leftovers", "status": "status",
		"rollback --dry-run": "plan", "base --remove lab-1.0-1 --dry-run": "plan",
	} {
		r := vm.Run(t, "imgbase --json "+args)
		var doc struct {
			Version int
			Kind    string
			Value   any
		}
		if err := json.Unmarshal([]byte(r.Stdout), &doc); err != nil || doc.Version != 1 || doc.Kind != kind || doc.Value == nil || r.Code != 0 {
			t.Errorf("imgbase --json %s = %+v (%v); want a document of kind %q", args, r, err, kind)
		}
	}
}
