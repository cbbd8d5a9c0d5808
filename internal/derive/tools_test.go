package derive_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgbase/internal/derive"
	"imgbase/internal/mount"
)

// realTools is a Debian tree with the programs that this package starts. It
// is made once, of a minute, and cached beside the lab's.
func realTools(t *testing.T) string {
	t.Helper()
	needRoot(t)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	const packages = "initramfs-tools,dracut-core,cryptsetup-initramfs,mdadm,linux-image-cloud-amd64,lvm2,multipath-tools," +
		"chrony,policycoreutils,selinux-policy-default,udev,kmod,zstd,cpio,e2fsprogs"
	tar := filepath.Join(cache, "imgbase-lab", "derive-bookworm.tar")
	if _, err := os.Stat(tar); errors.Is(err, os.ErrNotExist) {
		if os.Getenv("IMGBASE_REQUIRE_LAB") == "" {
			t.Skip("needs a tree with the real tools; IMGBASE_REQUIRE_LAB=1 makes it")
		}
		sh(t, `mkdir -p "${2%/*}"; mmdebstrap --variant=minbase --include="$1" bookworm "$2.new.tar" >/dev/null 2>&1; mv "$2.new.tar" "$2"`, packages, tar)
	}
	root := t.TempDir()
	sh(t, `tar -C "$1" --exclude='./dev/*' --exclude='./usr/share/doc' -xf "$2"`, root, tar)
	return root
}

// secrets are an administrator's files that an initramfs needs, some under
// names that are hard on shells.
var secrets = files{
	"etc/multipath.conf":              "defaults {\n\tuser_friendly_names yes\n}\n",
	"etc/multipath/conf.d/mine.conf":  "# mine\n",
	"etc/lvm/devices/system.devices":  "VERSION=1.1.1\nIDTYPE=sys_wwid IDNAME=naa.5000 DEVNAME=/dev/sda PVID=x\n",
	"etc/lvm/lvmlocal.conf":           "local {\n}\n",
	"etc/modprobe.d/two words.conf":   "blacklist floppy\n",
	"etc/modprobe.d/off.conf":         "-> /dev/null",
	"etc/modules-load.d/m.conf":       "dm_multipath\n",
	"etc/udev/rules.d/70-mine.rules":  "# mine\n",
	"etc/systemd/network/10-a.link":   "[Match]\nMACAddress=00:00:00:00:00:01\n[Link]\nName=lan0\n",
	"etc/mdadm/mdadm.conf":            "ARRAY /dev/md0 UUID=1:2:3:4\n",
	"etc/crypttab":                    "luks-root UUID=01234567-0123-0123-0123-0123456789ab none luks\ndata UUID=11234567-0123-0123-0123-0123456789ab none luks,x-other\n",
	"etc/fstab":                       "/dev/h/l / ext4 defaults,discard 0 0\n",
	"etc/initramfs-tools/conf.d/mine": "MODULES=dep\n",
}

func TestRealInitramfs(t *testing.T) {
	root := realTools(t)
	secrets.write(t, root)
	dirs, err := os.ReadDir(filepath.Join(root, "usr/lib/modules"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("kernels %v, %v; want one", dirs, err)
	}
	kernel := dirs[0].Name()
	before := sh(t, `cd "$1"; ls -a . etc etc/initramfs-tools boot var/tmp; md5sum etc/crypttab boot/*`, root)
	for _, c := range []struct{ tool, list, unpack, want, not string }{
		{
			"mkinitramfs", "lsinitramfs", "zstd", "etc/lvm/devices/system.devices etc/lvm/lvmlocal.conf etc/mdadm/mdadm.conf etc/modprobe.d/two words.conf " +
				"usr/lib/systemd/network/10-a.link usr/lib/udev/rules.d/70-mine.rules sbin/fsck.ext4 cryptroot/crypttab drivers/md/raid1.ko drivers/block/virtio_blk.ko",
			"etc/crypttab",
		},
		{
			"dracut", "lsinitrd", "gzip", "etc/lvm/devices/system.devices etc/lvm/lvmlocal.conf etc/mdadm.conf etc/modprobe.d/two words.conf etc/modules-load.d/m.conf " +
				"etc/systemd/network/10-a.link etc/udev/rules.d/70-mine.rules etc/crypttab etc/multipath.conf etc/multipath/conf.d/mine.conf drivers/md/dm-thin-pool.ko drivers/block/virtio_blk.ko",
			"etc/modprobe.d/off.conf",
		},
	} {
		if c.tool == "dracut" {
			sh(t, `mv "$1/usr/sbin/mkinitramfs" "$1/mkinitramfs"`, root)
		}
		out := t.TempDir()
		var sums []string
		for _, name := range []string{"first", "second"} {
			start := time.Now()
			err := tree(root).MakeInitramfs(t.Context(), derive.Initramfs{Kernel: kernel, File: filepath.Join(out, name), Unlock: []string{"luks-root"}})
			if err != nil {
				t.Fatalf("MakeInitramfs() with %s = %v", c.tool, err)
			}
			t.Logf("%s took %v", c.tool, time.Since(start).Round(time.Second))
			sums = append(sums, sh(t, `md5sum <"$1"`, filepath.Join(out, name)))
		}
		if sums[0] != sums[1] {
			t.Errorf("two files of %s differ; want them equal", c.tool)
		}
		list := inRoom(t, mount.Room{Root: root, Shares: []mount.Share{{Name: "out", Dir: out}}}, c.list, "/run/imgbase/out/first")
		for _, name := range strings.Split(strings.ReplaceAll(c.want, "two words", "two\x00words"), " ") {
			if name = strings.ReplaceAll(name, "\x00", " "); !strings.Contains(list, name) {
				t.Errorf("initramfs of %s has no %s", c.tool, name)
			}
		}
		if strings.Contains(list, c.not) {
			t.Errorf("initramfs of %s has %s", c.tool, c.not)
		}
		inRoom(t, mount.Room{Root: root, Shares: []mount.Share{{Name: "out", Dir: out}}}, "sh", "-c", c.unpack+" -dc /run/imgbase/out/first >/unpacked")
		if packed, unpacked := probe(t, out, "first"), probe(t, root, "unpacked"); packed != c.unpack || unpacked != "cpio" {
			t.Errorf("ProbeInitramfs() of what %s made = %s, unpacked %s; want %s, cpio", c.tool, packed, unpacked, c.unpack)
		}
		sh(t, `rm "$1/unpacked"`, root)
	}
	sh(t, `mv "$1/mkinitramfs" "$1/usr/sbin/"`, root)
	if after := sh(t, `cd "$1"; ls -a . etc etc/initramfs-tools boot var/tmp; md5sum etc/crypttab boot/*`, root); after != before {
		t.Errorf("the tree is now\n%s\nwant\n%s", after, before)
	}
}

func probe(t *testing.T, elem ...string) string {
	t.Helper()
	f, err := os.Open(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	kind, err := derive.ProbeInitramfs(f, info.Size())
	if err != nil {
		t.Errorf("ProbeInitramfs(%s) = %v", f.Name(), err)
	}
	return kind
}
