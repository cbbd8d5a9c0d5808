package derive_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"imgbase/internal/derive"

	"github.com/google/go-cmp/cmp"
)

const kernel = "6.1.0-18-amd64"

// image is a base that has both tools' configuration; withDracut and withMk
// give it one of them.
var (
	image = files{
		"boot/vmlinuz-" + kernel:                            "kernel",
		"usr/lib/modules/" + kernel + "/modules.dep":        "kernel/a.ko:\n",
		"etc/lvm/lvm.conf":                                  "# LVM\ndevices {\n\tfilter = []\n}\n",
		"etc/modprobe.d/vendor.conf":                        "options a\n",
		"etc/initramfs-tools/hooks/vendor":                  "#!/bin/sh\n",
		"etc/fstab":                                         "# nothing\n",
		"usr/lib/dracut/modules.d/90multipath/multipath.sh": "#!/bin/sh\n",
		"usr/lib/firmware/a.bin":                            "firmware",
		"usr/sbin/multipath":                                "#!/bin/sh\n",
	}
	withDracut = image.with(files{"usr/bin/dracut": "#!/bin/sh\n"})
	withMk     = image.with(files{"usr/sbin/mkinitramfs": "#!/bin/sh\n"})
)

const admin = " by the administrator"

func TestPlanInitramfs(t *testing.T) {
	for _, c := range []struct {
		name   string
		image  files
		change files
		want   string
	}{
		{"nothing", withDracut, nil, "keep"},
		{"what is no input", withMk, files{"etc/motd": "hello", "etc/lvm/archive/x": "x", "etc/sysctl.conf": "a=1", "etc/ssh/sshd_config": "x"}, "keep"},
		{"multipath", withDracut, files{"etc/multipath.conf": "defaults {\n}\n"}, "make etc/multipath.conf added" + admin},
		{"multipath's directory", withMk, files{"etc/multipath/conf.d/a.conf": "x\n"}, "make etc/multipath/conf.d/a.conf added" + admin},
		{"filter", withMk, files{"etc/lvm/lvm.conf": "devices {\n\tfilter = [ \"r|.*|\" ]\n}\n"}, "make etc/lvm/lvm.conf changed" + admin},
		{"filter for dracut", withDracut, files{"etc/lvm/lvm.conf": "devices {}\n"}, "make etc/lvm/lvm.conf changed" + admin},
		{"a comment", withDracut, files{"etc/lvm/lvm.conf": "# Other words\n\ndevices {\n    filter = []\n}"}, "keep"},
		{"devices file", withDracut, files{"etc/lvm/devices/system.devices": "IDNAME=x\n"}, "make etc/lvm/devices/system.devices added" + admin},
		{"devices file's backup", withDracut, files{"etc/lvm/devices/backup/system.devices-1": "IDNAME=x\n"}, "keep"},
		{"crypttab", withDracut, files{"etc/crypttab": "luks UUID=1 none luks\n"}, "make etc/crypttab added" + admin},
		{"removed", withDracut, files{"etc/modprobe.d/vendor.conf": ""}, "make etc/modprobe.d/vendor.conf removed" + admin},
		{"not read", withDracut, files{"etc/modprobe.d/vendor.conf.imgnew": "x\n"}, "keep"},
		{"masked", withMk, files{"etc/modprobe.d/vendor.conf": "-> /dev/null"}, "make etc/modprobe.d/vendor.conf changed" + admin},
		{"same by a link", withMk, files{"etc/modprobe.d/vendor.conf": "-> ../../etc/v", "etc/v": "options a\n"}, "make etc/modprobe.d/vendor.conf changed" + admin},
		{"fifo", withMk, files{"etc/modprobe.d/vendor.conf": "|"}, "make etc/modprobe.d/vendor.conf changed" + admin},
		{"dracut's own", withDracut, files{"etc/dracut.conf.d/a.conf": "x=1\n"}, "make etc/dracut.conf.d/a.conf added" + admin},
		{"dracut's for mkinitramfs", withMk, files{"etc/dracut.conf.d/a.conf": "x=1\n"}, "keep"},
		{"hook", withMk, files{"etc/initramfs-tools/hooks/vendor": "#!/bin/sh\n# no comment\n"}, "make etc/initramfs-tools/hooks/vendor changed" + admin},
		{"root", withMk, files{"etc/fstab": "/dev/h/l / ext4 defaults 0 0\n"}, "keep"},
		{"usr", withMk, files{"etc/fstab": "/dev/h/u /usr xfs defaults 0 0\n"}, "make etc/fstab changed" + admin},
		{"driver", withDracut, files{"usr/lib/modules/" + kernel + "/modules.dep": "extra/b.ko:\n"}, "make usr/lib/modules/" + kernel + "/modules.dep changed by a package"},
		{"firmware", withMk, files{"usr/lib/firmware/b/c.bin": "x"}, "make usr/lib/firmware/b/c.bin added by a package"},
		{"other kernel's driver", withDracut, files{"usr/lib/modules/5.0/modules.dep": "x"}, "keep"},
		{"no tool", image, files{"etc/multipath.conf": "x\n"}, "lack etc/multipath.conf added" + admin + ", there is neither dracut nor mkinitramfs"},
		{"no tool needed", image, nil, "keep"},
		{"odd names", withMk, files{"etc/modprobe.d/a\n\xff.conf": "x\n"}, `make "etc/modprobe.d/a\n\xff.conf" added` + admin},
		{"directory of links in a circle", withMk, files{"etc/multipath/a": "-> .", "etc/multipath/b": "-> ../multipath"}, "make etc/multipath/a added" + admin + ", etc/multipath/b added" + admin},
		{"link that is none", withMk, files{"etc/multipath.conf": "-> multipath.conf"}, "keep"},
		{"file where a directory is", withMk, files{"etc/lvm/lvm.conf": "", "etc/lvm/profile": "x\n"}, "make etc/lvm/lvm.conf removed" + admin + ", etc/lvm/profile added" + admin},
		{
			"many", withDracut,
			files{"etc/udev/rules.d/1.rules": "a", "etc/udev/rules.d/2.rules": "a", "etc/udev/rules.d/3.rules": "a", "etc/udev/rules.d/4.rules": "a", "etc/udev/rules.d/5.rules": "a", "etc/udev/rules.d/6.rules": "a", "etc/vconsole.conf": "KEYMAP=de"},
			"make etc/udev/rules.d/1.rules added" + admin + ", etc/udev/rules.d/2.rules added" + admin + ", etc/udev/rules.d/3.rules added" + admin +
				", etc/udev/rules.d/4.rules added" + admin + ", etc/udev/rules.d/5.rules added" + admin + ", and 2 more",
		},
	} {
		got, err := c.image.with(c.change).place(t).PlanInitramfs(c.image.place(t).Root, derive.Kernel{Version: kernel, Initramfs: true})
		if err != nil || len(got) != 1 || got[0].Name != "initramfs of "+kernel {
			t.Errorf("%s: PlanInitramfs() = %v, %v; want one change", c.name, got, err)
			continue
		}
		line := strings.TrimSuffix(string(got[0].Op)+" "+strings.Join(got[0].Why, ", "), " nothing that it is made of differs from the image")
		if line != c.want {
			t.Errorf("%s: PlanInitramfs() = %s; want %s", c.name, line, c.want)
		}
	}
}

func TestPlanInitramfsModes(t *testing.T) {
	base, layer := withMk.place(t), withMk.place(t)
	for _, c := range []struct {
		name string
		mode fs.FileMode
		want derive.Op
	}{
		{"etc/modprobe.d/vendor.conf", 0o600, derive.Keep},
		{"etc/initramfs-tools/hooks/vendor", 0o744, derive.Keep},
		{"etc/initramfs-tools/hooks/vendor", 0o644, derive.Make}, // is not run any more
	} {
		if err := os.Chmod(filepath.Join(layer.Root, c.name), c.mode); err != nil {
			t.Fatal(err)
		}
		got, err := layer.PlanInitramfs(base.Root, derive.Kernel{Version: kernel, Initramfs: true})
		if err != nil || got[0].Op != c.want {
			t.Errorf("PlanInitramfs() with %s of %v = %v, %v; want %s", c.name, c.mode, got, err, c.want)
		}
	}
}

func TestPlanInitramfsKernels(t *testing.T) {
	added := files{"boot/vmlinuz-7.0": "x", "usr/lib/modules/7.0/modules.dep": ""}
	base, layer := withDracut.place(t), withDracut.with(added).place(t)
	kernels := []derive.Kernel{{Version: "7.0", Initramfs: true}, {Version: kernel}, {Version: kernel, Initramfs: true}}
	got, err := layer.PlanInitramfs(base.Root, kernels...)
	want := []derive.Change{
		{Op: derive.Make, Name: "initramfs of 7.0", Why: []string{"the kernel is not in the image"}},
		{Op: derive.Make, Name: "initramfs of " + kernel, Why: []string{"the kernel has none"}},
		{Op: derive.Keep, Name: "initramfs of " + kernel, Why: []string{"nothing that it is made of differs from the image"}},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("PlanInitramfs() = %v (-want +got):\n%s", err, diff)
	}
	text, err := json.Marshal(got[0])
	if want := `{"op":"make","name":"initramfs of 7.0","why":["the kernel is not in the image"]}`; err != nil || string(text) != want {
		t.Errorf("Marshal() = %s, %v; want %s", text, err, want)
	}
	if got, want := got[1].String(), "make       initramfs of "+kernel+": the kernel has none"; got != want {
		t.Errorf("String() = %q; want %q", got, want)
	}
	for _, bad := range []string{"", "../../etc", "-rf", "6.1 x", "6.1/..", "6*", strings.Repeat("6", 300)} {
		if got, err := layer.PlanInitramfs(base.Root, derive.Kernel{Version: bad}); err == nil || !strings.Contains(err.Error(), "kernel version") {
			t.Errorf("PlanInitramfs(%q) = %v, %v; want refused", bad, got, err)
		}
		if err := layer.MakeInitramfs(t.Context(), derive.Initramfs{Kernel: bad, File: filepath.Join(t.TempDir(), "f")}); err == nil || !strings.Contains(err.Error(), "kernel version") {
			t.Errorf("MakeInitramfs(%q) = %v; want refused", bad, err)
		}
	}
}

func TestExpectInitramfs(t *testing.T) {
	has := derive.Kernel{Version: kernel, Initramfs: true}
	for _, c := range []struct {
		tree   files
		paths  string
		kernel derive.Kernel
		want   string
	}{
		{withMk, "etc/motd etc/fstab etc/multipath.config etc/modprobe.d/a", has, "keep nothing that it is made of differs from the image"},
		{withMk, "etc/multipath.conf", has, "make etc/multipath.conf changed" + admin},
		{withMk, "etc/initramfs-tools/hooks/a", has, "make etc/initramfs-tools/hooks/a changed" + admin},
		{withMk, "etc/modprobe.d", has, "make etc/modprobe.d changed" + admin},
		{withMk, "etc/dracut.conf", has, "keep nothing that it is made of differs from the image"},
		{withDracut, "etc/dracut.conf", has, "make etc/dracut.conf changed" + admin},
		{withDracut, "", derive.Kernel{Version: kernel}, "make the kernel has none"},
		{image, "etc/crypttab", has, "lack etc/crypttab changed" + admin + ", there is neither dracut nor mkinitramfs"},
	} {
		got, err := c.tree.place(t).ExpectInitramfs(strings.Fields(c.paths), c.kernel)
		if err != nil || len(got) != 1 || string(got[0].Op)+" "+strings.Join(got[0].Why, ", ") != c.want {
			t.Errorf("ExpectInitramfs(%s) = %v, %v; want %s", c.paths, got, err, c.want)
		}
	}
}

// fakeDracut writes down how it was called, and something like an initramfs
// of kilobytes to the last argument but one.
func fakeDracut(kilobytes string) string {
	return `#!/bin/sh
set -eu
: "$SOURCE_DATE_EPOCH"
printf '%s\n' "$@" >/called
last=
for a; do out=$last last=$a; done
[ ! -e "${out%/*}/crypttab" ] || cat "${out%/*}/crypttab" >/crypttab
{ printf '\037\213'; head -c ` + kilobytes + `k /dev/urandom; } >"$out"
hostname stolen
touch /run/left /tmp/left
`
}

func TestMakeInitramfsDracut(t *testing.T) {
	tr := runs(t, withDracut.with(files{
		"usr/bin/dracut":                 fakeDracut("600"),
		"etc/multipath.conf":             "x\n",
		"etc/lvm/devices/system.devices": "x\n",
		"etc/modprobe.d/two words.conf":  "x\n",
		"etc/modprobe.d/off.conf":        "-> /nowhere",
		"etc/udev/rules.d/d.rules":       "/",
		"etc/crypttab":                   "# mine\nroot /dev/sda2 none luks\nswap /dev/sda3 /dev/urandom swap\nearly /dev/sda4 none luks,x-initrd.attach",
		".imgbase-initramfs/left":        "of a run that was killed",
	}).place(t), "head", "cat", "touch", "hostname")
	before := sh(t, "hostname")
	out := filepath.Join(t.TempDir(), "initramfs")
	if err := tr.MakeInitramfs(t.Context(), derive.Initramfs{Kernel: kernel, File: out, Unlock: []string{"root", "gone"}}); err != nil {
		t.Fatal(err)
	}
	want := `--force
--no-hostonly
--no-hostonly-cmdline
--reproducible
--lvmconf
--mdadmconf
--tmpdir
/.imgbase-initramfs
--include
/.imgbase-initramfs/crypttab
/etc/crypttab
--add
multipath
--include
/etc/lvm/devices/system.devices
/etc/lvm/devices/system.devices
--include
/etc/modprobe.d/two words.conf
/etc/modprobe.d/two words.conf
--include
/etc/modprobe.d/vendor.conf
/etc/modprobe.d/vendor.conf
/.imgbase-initramfs/initramfs
` + kernel + "\n"
	if diff := cmp.Diff(want, read(t, tr.Root, "called")); diff != "" {
		t.Errorf("dracut was called otherwise (-want +got):\n%s", diff)
	}
	if got, want := read(t, tr.Root, "crypttab"), "root /dev/sda2 none luks\nearly /dev/sda4 none luks,x-initrd.attach\n"; got != want {
		t.Errorf("crypttab for dracut = %q; want %q", got, want)
	}
	if info, err := os.Stat(out); err != nil || info.Size() != 600<<10+2 || info.Mode() != 0o600 {
		t.Errorf("the initramfs is %v, %v; want what was made, for root alone", info, err)
	}
	if after := sh(t, "hostname"); after != before {
		t.Errorf("host name = %q; want %q", after, before)
	}
	if left := sh(t, `cd "$1"; ls -A run tmp; ls -d .imgbase* 2>&1 || true`, tr.Root); strings.Contains(left, "left") || !strings.Contains(left, "cannot access") {
		t.Errorf("left in the tree: %s", left)
	}
}

func TestMakeInitramfsTools(t *testing.T) {
	mk := `#!/bin/sh
set -eu
printf '%s\n' "$@" >/called
cat /etc/crypttab >/crypttab
while [ "$1" != -o ]; do shift; done
MODULES=dep FSTYPE=auto; . "$TMPDIR/conf/conf.d/zz-imgbase"
echo "$MODULES $FSTYPE" >/conf
MODULES=list FSTYPE=xfs; . "$TMPDIR/conf/conf.d/zz-imgbase"
echo "$MODULES $FSTYPE" >>/conf
[ -x "$TMPDIR/conf/hooks/vendor" ]
{ printf '\050\265\057\375'; head -c 600k /dev/urandom; } >"$2"
`
	const crypttab = "# mine\nroot /dev/sda2\nswap /dev/sda3 /dev/urandom swap\nearly /dev/sda4 none luks,initramfs\nother /dev/sda5 /key luks"
	tr := runs(t, withMk.with(files{
		"usr/sbin/mkinitramfs": mk,
		"etc/crypttab":         crypttab,
		"etc/fstab":            "#/dev/old / xfs\n/dev/h/l / ext4 defaults 0 0\n/dev/h/l2 /usr ext3 x\n/dev/x /usr $(reboot) x\n/dev/v /var btrfs x\n",
	}).place(t), "head", "cat", "cp", "mkdir", "mount")
	out := filepath.Join(t.TempDir(), "initramfs")
	if err := tr.MakeInitramfs(t.Context(), derive.Initramfs{Kernel: kernel, File: out, Unlock: []string{"root", "early", "other"}}); err != nil {
		t.Fatal(err)
	}
	want := "-d\n/.imgbase-initramfs/conf\n-o\n/.imgbase-initramfs/initramfs\n" + kernel + "\n"
	if got := read(t, tr.Root, "called"); got != want {
		t.Errorf("mkinitramfs was called with %q; want %q", got, want)
	}
	if got, want := read(t, tr.Root, "conf"), "most ext4,ext3\nlist xfs\n"; got != want {
		t.Errorf("configuration = %q; want %q", got, want)
	}
	seen := "# mine\nroot /dev/sda2 none initramfs\nswap /dev/sda3 /dev/urandom swap\nearly /dev/sda4 none luks,initramfs\nother /dev/sda5 /key luks,initramfs\n"
	if got := read(t, tr.Root, "crypttab"); got != seen {
		t.Errorf("mkinitramfs saw %q; want %q", got, seen)
	}
	if got := read(t, tr.Root, "etc/crypttab"); got != crypttab {
		t.Errorf("crypttab is now %q; want it untouched", got)
	}
}

func TestMakeInitramfsFails(t *testing.T) {
	cut, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	for _, c := range []struct {
		name, dracut, want string
		ctx                context.Context
	}{
		{"says why", "#!/bin/sh\necho because >&2\nexit 1\n", "dracut: because", t.Context()},
		{"makes nothing", "#!/bin/sh\n", "no such file or directory", t.Context()},
		{"makes a little", fakeDracut("1"), "only 1026 bytes of gzip archive", t.Context()},
		{"makes a link", "#!/bin/sh\nln -s /etc/shadow /.imgbase-initramfs/initramfs\n", "L--------- of 11 bytes was made", t.Context()},
		{"makes a directory", "#!/bin/sh\nmkdir /.imgbase-initramfs/initramfs\n", "d--------- of ", t.Context()},
		{"leads out", "#!/bin/sh\nrm -r /.imgbase-initramfs; ln -s ../../../../etc /.imgbase-initramfs\n", "path escapes from parent", t.Context()},
		{"hangs", "#!/bin/sh\nwhile :; do sleep 1; done\n", "deadline exceeded", cut},
	} {
		tr := runs(t, withDracut.with(files{"usr/bin/dracut": c.dracut}).place(t), "head", "cat", "ln", "mkdir", "rm", "sleep", "touch", "hostname")
		out := filepath.Join(t.TempDir(), "initramfs")
		err := tr.MakeInitramfs(c.ctx, derive.Initramfs{Kernel: kernel, File: out})
		if err == nil || !strings.HasPrefix(err.Error(), "initramfs of "+kernel+": ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: MakeInitramfs() = %v; want %s", c.name, err, c.want)
		}
		for _, left := range []string{out, filepath.Join(tr.Root, ".imgbase-initramfs")} {
			if _, err := os.Lstat(left); err == nil {
				t.Errorf("%s: %s is left", c.name, left)
			}
		}
	}
	existing := filepath.Join(t.TempDir(), "initramfs")
	files{"initramfs": "precious"}.write(t, filepath.Dir(existing))
	tr := runs(t, withDracut.with(files{"usr/bin/dracut": fakeDracut("600")}).place(t), "head", "cat", "touch", "hostname")
	if err := tr.MakeInitramfs(t.Context(), derive.Initramfs{Kernel: kernel, File: existing}); err == nil || read(t, existing) != "precious" {
		t.Errorf("MakeInitramfs() over a file = %v; want it kept", err)
	}
	if err := image.place(t).MakeInitramfs(t.Context(), derive.Initramfs{Kernel: kernel, File: existing + "2"}); err == nil || !strings.Contains(err.Error(), "neither dracut nor mkinitramfs") {
		t.Errorf("MakeInitramfs() without a tool = %v; want that said", err)
	}
}

func TestEncrypted(t *testing.T) {
	text := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	link := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s), Mode: fs.ModeSymlink} }
	sys := fstest.MapFS{
		"dev/block/253:3": link("../../devices/virtual/block/dm-3"),
		"dev/block/8:1":   link("../../devices/virtual/block/sda1"),
		"dev/block/253:9": link("../../devices/virtual/block/dm-9"),
	}
	for name, d := range map[string]struct{ dm, uuid, slaves string }{
		"dm-3": {"host-root", "LVM-x", "dm-2"},
		"dm-2": {"host-pool-tpool", "LVM-x", "dm-0 dm-1"},
		"dm-1": {"host-pool_tdata", "LVM-x", "dm-8"},
		"dm-0": {"host-pool_tmeta", "LVM-x", "dm-8 dm-9"},
		"dm-8": {"luks-a", "CRYPT-LUKS2-0123-luks-a", "sda1"},
		"dm-9": {"luks-b", "CRYPT-PLAIN-luks-b", "sdb dm-3"}, // no kernel makes such a circle
		"sda1": {}, "sdb": {},
	} {
		dir := "devices/virtual/block/" + name
		sys["class/block/"+name] = link("../../" + dir)
		sys[dir+"/size"] = text("1\n")
		if d.dm != "" {
			sys[dir+"/dm/name"], sys[dir+"/dm/uuid"] = text(d.dm+"\n"), text(d.uuid+"\n")
		}
		for s := range strings.FieldsSeq(d.slaves) {
			sys[dir+"/slaves/"+s] = link("../../" + s)
		}
	}
	for device, want := range map[string]string{"253:3": "luks-a luks-b", "253:9": "luks-a luks-b", "8:1": "", "1:1": ""} {
		got, err := derive.Encrypted(sys, device)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("Encrypted(%s) = %v, %v; want %s", device, got, err, want)
		}
	}
	if got, err := derive.Encrypted(os.DirFS("/sys"), "0:0"); err != nil || got != nil {
		t.Errorf("Encrypted() of this machine's 0:0 = %v, %v; want none", got, err)
	}
}
