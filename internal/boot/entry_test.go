package boot_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/boot"
)

// fedora is an entry as kernel-install of Fedora and EL writes it.
const fedora = `title Red Hat Enterprise Linux (5.14.0-427.el9.x86_64) 9.4 (Plow)
version 5.14.0-427.el9.x86_64
linux /vmlinuz-5.14.0-427.el9.x86_64
initrd /initramfs-5.14.0-427.el9.x86_64.img $tuned_initrd
options root=/dev/mapper/rhel-root ro $tuned_params
grub_users $grub_users
grub_arg --unrestricted
grub_class rhel
`

// upstream is an entry as oVirt's tool leaves it: double slashes and a
// second key of a name.
const upstream = "# by hand\r\ntitle\tovirt-node-4.5-1  (5.14)\n\n" +
	"linux //node-4.5-1+1/vmlinuz-5.14.0-70.el9.x86_64\n" +
	"initrd //node-4.5-1+1/initramfs-5.14.0-70.el9.x86_64.img\n" +
	"initrd /node-4.5-1+1/../node-4.5-1+1/extra.img\n" +
	"options root=/dev/onn/a rd.lvm.lv=onn/a\n" +
	"x-unknown kept as   it is\n" +
	"options img.bootid=node-4.5-1+1\n" +
	"lonely"

func TestParseEntry(t *testing.T) {
	type view struct {
		Title, Version, Linux, Layer string
		Initrds                      []string
		Options                      boot.Args
	}
	tests := []struct {
		name, text string
		want       view
	}{
		{"fedora", fedora, view{
			Title:   "Red Hat Enterprise Linux (5.14.0-427.el9.x86_64) 9.4 (Plow)",
			Version: "5.14.0-427.el9.x86_64",
			Linux:   "/vmlinuz-5.14.0-427.el9.x86_64",
			Initrds: []string{"/initramfs-5.14.0-427.el9.x86_64.img"},
			Options: boot.Args{"root=/dev/mapper/rhel-root", "ro", "$tuned_params"},
		}},
		{"upstream", upstream, view{
			Title:   "ovirt-node-4.5-1  (5.14)",
			Version: "5.14.0-70.el9.x86_64",
			Linux:   "/node-4.5-1+1/vmlinuz-5.14.0-70.el9.x86_64",
			Layer:   "node-4.5-1+1",
			Initrds: []string{"/node-4.5-1+1/initramfs-5.14.0-70.el9.x86_64.img", "/node-4.5-1+1/extra.img"},
			Options: boot.Args{"root=/dev/onn/a", "rd.lvm.lv=onn/a", "img.bootid=node-4.5-1+1"},
		}},
		{"hostile layer", "options img.bootid=../../etc+1\nlinux ../../../etc/shadow", view{
			Linux: "/etc/shadow", Options: boot.Args{"img.bootid=../../etc+1"},
		}},
		{"base as layer", "options img.bootid=efi", view{Options: boot.Args{"img.bootid=efi"}}},
		{"option as layer", "options img.bootid=--x+1", view{Options: boot.Args{"img.bootid=--x+1"}}},
		{"last layer counts", "options img.bootid=a-1-1+1 img.bootid=b-1-1+1", view{
			Layer: "b-1-1+1", Options: boot.Args{"img.bootid=a-1-1+1", "img.bootid=b-1-1+1"},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, err := boot.ParseEntry("id", []byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			got := view{e.Title(), e.Version(), e.Linux(), e.Layer(), e.Initrds(), e.Options()}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("ParseEntry (-want +got):\n%s", diff)
			}
			if got := string(e.Bytes()); got != test.text {
				t.Errorf("Bytes() = %q; want what was parsed", got)
			}
		})
	}
}

func TestParseEntryRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty":         "",
		"comments only": "# title x\n\n  #\n",
		"binary":        "title \x00\x01\n",
		"enormous":      "title " + strings.Repeat("x", 1<<20),
	} {
		if e, err := boot.ParseEntry("id", []byte(text)); err == nil {
			t.Errorf("ParseEntry of %s = %v; want an error", name, e)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	for _, s := range []string{fedora, upstream, "linux\n", "initrd $a  b\noptions \"", "\r\n\t"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := boot.ParseEntry("id", data)
		if err != nil {
			return
		}
		if string(e.Bytes()) != string(data) {
			t.Errorf("Bytes() = %q; want %q", e.Bytes(), data)
		}
		for _, p := range append(e.Initrds(), e.Linux()) {
			if p != "" && (p[0] != '/' || strings.Contains(p+"/", "/../")) {
				t.Errorf("path %q leaves /boot", p)
			}
		}
		if strings.ContainsAny(e.Layer(), "/ \n\x00") {
			t.Errorf("Layer() = %q; want no path", e.Layer())
		}
	})
}
