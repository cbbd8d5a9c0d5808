package rootfs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/rootfs"

	"github.com/google/go-cmp/cmp"
)

// names are a kernel's files as "name=path below root".
func names(root string, k rootfs.Kernel) []string {
	var out []string
	for _, f := range k.Files {
		out = append(out, f.Name+"="+strings.TrimPrefix(f.Path, root+"/"))
	}
	return out
}

func TestKernelsPerDistribution(t *testing.T) {
	const el, deb, suse = "5.14.0-70.el9.x86_64", "6.12.9-amd64", "6.4.0-150600.21-default"
	for name, c := range map[string]struct {
		files                  map[string]string
		version, image, initrd string
		want                   []string
	}{
		"EL": {map[string]string{
			"boot/vmlinuz-" + el: "k", "boot/initramfs-" + el + ".img": "i", "boot/initramfs-" + el + "kdump.img": "kd",
			"boot/config-" + el: "c", "boot/System.map-" + el: "s", "boot/symvers-" + el + ".gz": "v", "boot/.vmlinuz-" + el + ".hmac": "h",
			"boot/vmlinuz-0-rescue-0123456789abcdef": "r", "boot/initramfs-0-rescue-0123456789abcdef.img": "r", "boot/grub2/": "",
		}, el, "vmlinuz-" + el, "initramfs-" + el + ".img", []string{
			".vmlinuz-" + el + ".hmac=boot/.vmlinuz-" + el + ".hmac", "System.map-" + el + "=boot/System.map-" + el, "config-" + el + "=boot/config-" + el,
			"initramfs-" + el + ".img=boot/initramfs-" + el + ".img", "symvers-" + el + ".gz=boot/symvers-" + el + ".gz", "vmlinuz-" + el + "=boot/vmlinuz-" + el,
		}},
		"Debian": {map[string]string{
			"boot/vmlinuz-" + deb: "k", "boot/initrd.img-" + deb: "i", "boot/initrd.img-" + deb + ".old-dkms": "x", "vmlinuz": "-> boot/vmlinuz-" + deb,
			"boot/vmlinuz-" + deb + ".dpkg-tmp": "x", "boot/vmlinuz.old": "-> none", "boot/vmlinuz-" + deb + ".old": "x",
		}, deb, "vmlinuz-" + deb, "initrd.img-" + deb, []string{"initrd.img-" + deb + "=boot/initrd.img-" + deb, "vmlinuz-" + deb + "=boot/vmlinuz-" + deb}},
		"openSUSE": {map[string]string{
			"boot/vmlinuz-" + suse: "-> ../usr/lib/modules/" + suse + "/vmlinuz", "usr/lib/modules/" + suse + "/vmlinuz": "k", "boot/initrd-" + suse: "i",
			"boot/vmlinuz": "-> vmlinuz-" + suse, "boot/initrd-" + suse + "-kdump": "x",
		}, suse, "vmlinuz-" + suse, "initrd-" + suse, []string{"initrd-" + suse + "=boot/initrd-" + suse, "vmlinuz-" + suse + "=usr/lib/modules/" + suse + "/vmlinuz"}},
		"ostree": {map[string]string{
			"usr/lib/modules/" + el + "/vmlinuz": "k", "usr/lib/modules/" + el + "/initramfs.img": "i", "usr/lib/modules/" + el + "/config": "c",
			"usr/lib/modules/" + el + "/.vmlinuz.hmac": "h", "usr/lib/modules/" + el + "/modules.dep": "x", "boot/": "",
		}, el, "vmlinuz-" + el, "initramfs-" + el + ".img", []string{
			".vmlinuz-" + el + ".hmac=usr/lib/modules/" + el + "/.vmlinuz.hmac", "config-" + el + "=usr/lib/modules/" + el + "/config",
			"initramfs-" + el + ".img=usr/lib/modules/" + el + "/initramfs.img", "vmlinuz-" + el + "=usr/lib/modules/" + el + "/vmlinuz",
		}},
		"no initrd": {
			map[string]string{"boot/vmlinuz-" + deb: "k", "boot/initrd.img-" + deb: "-> /none"},
			deb, "vmlinuz-" + deb, "",
			[]string{"vmlinuz-" + deb + "=boot/vmlinuz-" + deb},
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t, c.files)
			got, err := rootfs.Kernels(root)
			if err != nil || len(got) != 1 {
				t.Fatalf("Kernels() = %+v, %v; want one kernel", got, err)
			}
			k := got[0]
			if k.Version != c.version || k.Image != c.image || k.Initrd != c.initrd {
				t.Errorf("Kernels() = %s, %s, %s; want %s, %s, %s", k.Version, k.Image, k.Initrd, c.version, c.image, c.initrd)
			}
			if diff := cmp.Diff(c.want, names(root, k)); diff != "" {
				t.Errorf("Files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKernelsOldestFirst(t *testing.T) {
	root := tree(t, map[string]string{"boot/vmlinuz-6.10.0": "", "boot/vmlinuz-6.9.0": "", "usr/lib/modules/6.9.5/vmlinuz": "", "boot/vmlinuz-6.9.0~rc1": ""})
	got, err := rootfs.Kernels(root)
	var versions []string
	for _, k := range got {
		versions = append(versions, k.Version)
	}
	if diff := cmp.Diff([]string{"6.9.0~rc1", "6.9.0", "6.9.5", "6.10.0"}, versions); diff != "" || err != nil {
		t.Errorf("Kernels(), %v (-want +got):\n%s", err, diff)
	}
}

func TestKernelsStayInside(t *testing.T) {
	outside := t.TempDir()
	for _, name := range []string{"vmlinuz-1.0", "vmlinuz"} {
		if err := os.WriteFile(filepath.Join(outside, name), []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, files := range map[string]map[string]string{
		"empty tree":      {"etc/": ""},
		"boot is a link":  {"boot": "-> " + outside},
		"kernel is one":   {"boot/vmlinuz-1.0": "-> " + outside + "/vmlinuz-1.0"},
		"modules is one":  {"usr/lib/modules/1.0": "-> " + outside},
		"boot is a file":  {"boot": "x"},
		"not a kernel":    {"boot/vmlinuz-": "x", "boot/vmlinuz-x\ny": "x", "boot/vmlinuz-..": "x", "usr/lib/modules/extra/vmlinuz": "x"},
		"a directory":     {"boot/vmlinuz-1.0/": ""},
		"only an initrd":  {"boot/initrd.img-1.0": "x"},
		"modules no file": {"usr/lib/modules": "x"},
	} {
		if got, err := rootfs.Kernels(tree(t, files)); err != nil || len(got) != 0 {
			t.Errorf("Kernels(%s) = %+v, %v; want none", name, got, err)
		}
	}
}

func TestKernelsIn(t *testing.T) {
	root := tree(t, map[string]string{"usr/lib/modules/1.0/vmlinuz": "", "boot/vmlinuz-1.0": "-> ../usr/lib/modules/1.0/vmlinuz", "boot/vmlinuz-2.0": "", "boot/initrd.img-2.0": ""})
	got, err := rootfs.KernelsIn(filepath.Join(root, "boot"))
	if err != nil || len(got) != 2 || got[0].Files[0].Path != root+"/usr/lib/modules/1.0/vmlinuz" || got[1].Initrd != "initrd.img-2.0" {
		t.Errorf("KernelsIn() = %+v, %v; want 1.0 through its link, and 2.0", got, err)
	}
	if got, err := rootfs.KernelsIn(filepath.Join(root, "none")); err != nil || got != nil {
		t.Errorf("KernelsIn(none) = %+v, %v; want none", got, err)
	}
}
