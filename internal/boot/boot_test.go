package boot_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/boot"
)

const (
	layerA, layerB = "node-4.5-1+1", "node-4.5-2+1"
	kver, kverOld  = "6.1.0-13-amd64", "6.1.0-9-amd64"
	idA, idB       = layerA + "-" + kver, layerB + "-" + kver
)

var styles = []string{"debian12", "el9"}

func forStyles(t *testing.T, test func(t *testing.T, style string)) {
	for _, style := range styles {
		t.Run(style, func(t *testing.T) {
			t.Parallel()
			test(t, style)
		})
	}
}

func TestAddSetDefaultRemove(t *testing.T) {
	forStyles(t, func(t *testing.T, style string) {
		h := newHost(t, style)
		h.must(h.install(layerA, kverOld))
		h.must(h.install(layerA, kver))
		h.must(h.install(layerB, kver))
		h.check()
		e, err := h.boot.Newest(layerA)
		if err != nil || e.ID != idA {
			t.Errorf("Newest = %v, %v; want %s: 13 is newer than 9", e, err, idA)
		}
		h.must(h.boot.SetDefault(idA))
		h.check()
		if id, err := h.boot.Default(); id != idA || err != nil {
			t.Errorf("Default = %q, %v; want %s", id, err, idA)
		}
		if err := h.boot.Remove(layerA); !errors.Is(err, boot.ErrIsDefault) {
			t.Errorf("Remove of the default = %v; want %v", err, boot.ErrIsDefault)
		}
		if err := h.boot.RemoveKernels(layerA); !errors.Is(err, boot.ErrInUse) {
			t.Errorf("RemoveKernels with an entry = %v; want %v", err, boot.ErrInUse)
		}
		h.must(h.boot.SetDefault(idB))
		for range 2 {
			h.must(h.boot.Remove(layerA))
			h.must(h.boot.RemoveKernels(layerA))
			h.check()
		}
		if ids, _ := h.menu(); !cmp.Equal(ids, []string{idB}) {
			t.Errorf("menu = %q; want %s", ids, idB)
		}
		h.must(h.boot.ClearDefault())
		if id, err := h.boot.Default(); id != "" || err != nil {
			t.Errorf("Default after ClearDefault = %q, %v; want none", id, err)
		}
		h.must(h.boot.Remove(layerB))
		h.must(h.boot.RemoveKernels(layerB))
		h.check()
		for _, path := range []string{"/boot/grub/custom.cfg", "/boot/grub/imgbase.cfg", "/boot/grub2/custom.cfg", "/boot/" + layerA, "/boot/" + layerB} {
			if h.exists(path) {
				t.Errorf("%s is left after the last layer", path)
			}
		}
	})
}

func TestAddWritesEntry(t *testing.T) {
	h := newHost(t, "debian12")
	h.must(h.boot.InstallKernel(t.Context(), layerA, h.kernel(kver)))
	s := spec(layerA, kver)
	s.Options = boot.ParseArgs(`img.bootid=other root=/dev/a note="a b's"`)
	e, err := h.boot.Add(t.Context(), s)
	h.must(err)
	want := `title node-4.5-1 (6.1.0-13-amd64)
version 6.1.0-13-amd64
linux /node-4.5-1+1/vmlinuz-6.1.0-13-amd64
initrd /node-4.5-1+1/initrd.img-6.1.0-13-amd64
options root=/dev/a note="a b's" img.bootid=node-4.5-1+1
grub_users $grub_users
grub_arg --unrestricted
`
	if diff := cmp.Diff(want, h.read("/boot/loader/entries/"+e.ID+".conf")); diff != "" {
		t.Errorf("entry file (-want +got):\n%s", diff)
	}
	include := h.read("/boot/grub/imgbase.cfg")
	for _, line := range []string{
		"menuentry 'node-4.5-1 (6.1.0-13-amd64)' --class os --unrestricted --id '" + idA + "' {\n",
		"\tsearch --no-floppy --fs-uuid --set=root '" + uuid + "'\n",
		"\tlinux '/node-4.5-1+1/vmlinuz-6.1.0-13-amd64' 'root=/dev/a' 'note=a b'\\''s' 'img.bootid=node-4.5-1+1'\n",
		"\tinitrd '/node-4.5-1+1/initrd.img-6.1.0-13-amd64'\n",
		"if [ -z \"${boot_once}\" ]; then\n\tif [ \"${saved_entry}\" = '" + idA + "' ]; then set default='" + idA + "'; fi\nfi\n",
	} {
		if !strings.Contains(include, line) {
			t.Errorf("the include lacks %q:\n%s", line, include)
		}
	}
	if h.disk.settled == 0 {
		t.Error("Add returned without Settle")
	}
}

func TestAddRefuses(t *testing.T) {
	change := map[string]func(*boot.EntrySpec){
		"no layer":           func(s *boot.EntrySpec) { s.Layer = "" },
		"a base":             func(s *boot.EntrySpec) { s.Layer = "grub" },
		"path as layer":      func(s *boot.EntrySpec) { s.Layer = "../x+1" },
		"digit first":        func(s *boot.EntrySpec) { s.Layer = "7node-1-1+1" },
		"no kernel version":  func(s *boot.EntrySpec) { s.KVer = "" },
		"boot counter":       func(s *boot.EntrySpec) { s.KVer = "5" },
		"path as version":    func(s *boot.EntrySpec) { s.KVer = "../6.1" },
		"line in title":      func(s *boot.EntrySpec) { s.Title = "a\nlinux /evil" },
		"line in options":    func(s *boot.EntrySpec) { s.Options = boot.Args{"a\nlinux", "/evil"} },
		"missing kernel":     func(s *boot.EntrySpec) { s.Linux = "vmlinuz-none" },
		"no kernel":          func(s *boot.EntrySpec) { s.Linux = "" },
		"missing initrd":     func(s *boot.EntrySpec) { s.Initrds = []string{"initrd.img-none"} },
		"kernel elsewhere":   func(s *boot.EntrySpec) { s.Linux = "../vmlinuz-6.1.0-9" },
		"directory as linux": func(s *boot.EntrySpec) { s.Linux = "dir" },
	}
	for name, f := range change {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, "debian12")
			h.must(h.boot.InstallKernel(t.Context(), layerA, h.kernel(kver)))
			h.write("/boot/"+layerA+"/dir/x", "")
			changes := h.disk.changes
			s := spec(layerA, kver)
			f(&s)
			if e, err := h.boot.Add(t.Context(), s); err == nil {
				t.Errorf("Add = %q; want an error", e.Bytes())
			}
			if h.disk.changes != changes {
				t.Error("a refused Add changed something")
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h := newHost(t, "debian12")
	h.must(h.boot.InstallKernel(t.Context(), layerA, h.kernel(kver)))
	if _, err := h.boot.Add(ctx, spec(layerA, kver)); !errors.Is(err, context.Canceled) {
		t.Errorf("Add after the context's end = %v; want %v", err, context.Canceled)
	}
}

func TestEntriesReportsUnreadable(t *testing.T) {
	h := newHost(t, "debian12")
	h.must(os.Mkdir(filepath.Join(h.root, "boot/loader/entries/dir.conf"), 0o755))
	h.symlink("/dev/zero", "/boot/loader/entries/endless.conf")
	h.symlink("missing", "/boot/loader/entries/dangling.conf")
	m, err := h.boot.Entries()
	h.must(err)
	if len(m.Entries) != 1 || len(m.Unreadable) != 4 {
		t.Errorf("Entries = %d entries, unreadable %v; want the foreign one, and four", len(m.Entries), m.Unreadable)
	}
	h.must(os.RemoveAll(filepath.Join(h.root, "boot/loader")))
	if m, err := h.boot.Entries(); err != nil || len(m.Entries)+len(m.Unreadable) > 0 {
		t.Errorf("Entries without a directory = %v, %v; want none", m, err)
	}
}

func TestSetDefaultRefuses(t *testing.T) {
	h := newHost(t, "debian12")
	h.must(h.install(layerA, kver))
	// Foreign entries are not in the include, so GRUB would not find them.
	for _, id := range []string{"none", "", "0649-6.1.0-9"} {
		if err := h.boot.SetDefault(id); !errors.Is(err, boot.ErrNoEntry) {
			t.Errorf("SetDefault(%q) = %v; want %v", id, err, boot.ErrNoEntry)
		}
	}
	h.must(os.Remove(filepath.Join(h.root, "boot", layerA, "vmlinuz-"+kver)))
	if err := h.boot.SetDefault(idA); !errors.Is(err, boot.ErrNoEntry) {
		t.Errorf("SetDefault of an entry without its kernel = %v; want %v", err, boot.ErrNoEntry)
	}
	h = newHost(t, "el9")
	h.must(h.install(layerA, kver))
	h.write("/boot/efi/EFI/redhat/grubenv", "saved_entry=x\n")
	if err := h.boot.SetDefault(idA); !errors.Is(err, boot.ErrEnvBlock) {
		t.Errorf("SetDefault with a broken environment block = %v; want %v", err, boot.ErrEnvBlock)
	}
	if got := h.read("/boot/efi/EFI/redhat/grubenv"); got != "saved_entry=x\n" {
		t.Errorf("the broken block = %q; want it left alone", got)
	}
	h.write("/boot/grub2/grub.cfg", "set default=\"0\"\nblscfg\n")
	h.open()
	if err := h.boot.SetDefault(idA); !errors.Is(err, boot.ErrFixedDefault) {
		t.Errorf("SetDefault with a fixed default = %v; want %v", err, boot.ErrFixedDefault)
	}
}

// A run cut in Remove leaves an entry file that is off the menu already.
func TestSetDefaultCompletesMenu(t *testing.T) {
	h := newHost(t, "debian12")
	h.must(h.install(layerA, kver))
	h.must(os.Remove(filepath.Join(h.root, "boot/grub/imgbase.cfg")))
	h.must(h.boot.SetDefault(idA))
	h.check()
}

// The block is behind a link on EL; it must stay one, and the block itself
// must keep its inode and all that others wrote.
func TestSetDefaultKeepsBlock(t *testing.T) {
	h := newHost(t, "el9")
	h.must(h.install(layerA, kver))
	link := filepath.Join(h.root, "boot/grub2/grubenv")
	before, err := os.Stat(link)
	h.must(err)
	h.must(h.boot.SetDefault(idA))
	after, err := os.Stat(link)
	h.must(err)
	if !os.SameFile(before, after) {
		t.Error("the block is another file after the flip")
	}
	if target, err := os.Readlink(link); err != nil || target != "../efi/EFI/redhat/grubenv" {
		t.Errorf("the link leads to %q, %v; want it unchanged", target, err)
	}
	out, _ := editenv(t, []byte(h.read("/boot/grub2/grubenv")), "list")
	if want := "saved_entry=" + idA + "\nboot_success=0\n"; out != want {
		t.Errorf("GRUB lists %q; want %q", out, want)
	}
}

func TestSetDefaultMakesBlock(t *testing.T) {
	h := newHost(t, "debian12")
	h.must(os.Remove(filepath.Join(h.root, "boot/grub/grubenv")))
	h.must(h.install(layerA, kver))
	h.must(h.boot.SetDefault(idA))
	out, _ := editenv(t, []byte(h.read("/boot/grub/grubenv")), "list")
	if want := "saved_entry=" + idA + "\n"; out != want {
		t.Errorf("GRUB lists %q; want %q", out, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	tests := map[string]func(h *host){
		"no configuration": func(h *host) { h.must(os.Remove(filepath.Join(h.root, "boot/grub/grub.cfg"))) },
		"hand-made one":    func(h *host) { h.write("/boot/grub/grub.cfg", "menuentry x {\n}\n# blscfg\n# source /custom.cfg\n") },
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, "debian12")
			f(h)
			_, err := boot.Open(boot.Options{Root: h.root, UUID: uuid, Files: h.disk})
			if !errors.Is(err, boot.ErrNoBootloader) || !strings.Contains(err.Error(), "/boot/grub/grub.cfg") {
				t.Errorf("Open = %v; want %v and what was looked at", err, boot.ErrNoBootloader)
			}
		})
	}
	h := newHost(t, "debian12")
	for _, id := range []string{"", "' ; reboot '", "UUID=x"} {
		if _, err := boot.Open(boot.Options{Root: h.root, UUID: id, Files: h.disk}); err == nil {
			t.Errorf("Open with UUID %q = nil; want an error", id)
		}
	}
	h.must(os.Remove(filepath.Join(h.root, "boot/grub/grub.cfg")))
	h.symlink("grub.cfg", "/boot/grub/grub.cfg")
	if _, err := boot.Open(boot.Options{Root: h.root, UUID: uuid, Files: h.disk}); err == nil {
		t.Error("Open with a loop of links = nil; want an error")
	}
}

// Both links exist where both of EL 8's packages do: the firmware decides.
func TestOpenAsksFirmware(t *testing.T) {
	h := newHost(t, "el9")
	h.write("/boot/efi/EFI/redhat/grub.cfg", h.read("/boot/grub2/grub.cfg"))
	h.symlink("/boot/efi/EFI/redhat/grub.cfg", "/etc/grub2-efi.cfg")
	h.must(os.Remove(filepath.Join(h.root, "boot/grub2/grubenv")))
	h.open()
	if id, err := h.boot.Default(); id != "" || err != nil {
		t.Errorf("Default on BIOS = %q, %v; want none, the block of EFI is not asked", id, err)
	}
	h.must(os.MkdirAll(filepath.Join(h.root, "sys/firmware/efi"), 0o755))
	h.open()
	if id, err := h.boot.Default(); id != "0649-6.1.0-9" || err != nil {
		t.Errorf("Default on EFI = %q, %v; want the saved entry of the block beside EFI's grub.cfg", id, err)
	}
}

func TestCustomKeepsAdministrator(t *testing.T) {
	tests := map[string]string{
		"entries":      "menuentry 'mine' {\n\ttrue\n}\n",
		"no line end":  "set x=y",
		"half a block": "# BEGIN imgbase: the boot entries of layers\nset x=y\n",
		"stray end":    "# END imgbase\nset x=y\n",
		"empty lines":  "\n\n",
	}
	for name, custom := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, "debian12")
			h.write("/boot/grub/custom.cfg", custom)
			h.must(h.install(layerA, kver))
			h.must(h.install(layerB, kver))
			got := h.read("/boot/grub/custom.cfg")
			if !strings.HasPrefix(got, custom) || strings.Count(got, "\tsource \"${config_directory}/imgbase.cfg\"\n") != 1 {
				t.Errorf("custom.cfg = %q; want the administrator's and one block", got)
			}
			h.check()
			h.must(h.boot.Remove(layerA))
			h.must(h.boot.Remove(layerB))
			if got := h.read("/boot/grub/custom.cfg"); got != strings.TrimSuffix(custom, "\n")+"\n" {
				t.Errorf("custom.cfg = %q after the last entry; want %q", got, custom)
			}
		})
	}
}

// Whatever an entry file holds, the include is a script that GRUB reads, with
// one menu entry for it.
func TestIncludeOfHostileEntries(t *testing.T) {
	h := newHost(t, "debian12")
	h.must(h.boot.InstallKernel(t.Context(), layerA, h.kernel(kver)))
	linux := "linux /" + layerA + "/vmlinuz-" + kver + "\n"
	for id, text := range map[string]string{
		"quotes'; reboot; '": "title '; reboot; '\noptions a='b' \"c d\n",
		"$(x)":               "title $x ${y} `z` \\\noptions \\' $a {}}{\n",
		"-x":                 "title --id=evil\n",
		"braces":             "title }}}\n",
		"control\x1b\n":      "title \x1b[2J\x01\n",
		"utf8 ☃":             "title \xff\xfe☃\n",
	} {
		h.write("/boot/loader/entries/"+id+".conf", text+linux+"options img.bootid="+layerA+"\n")
	}
	h.write("/boot/loader/entries/nokernel.conf", "linux /"+layerA+"/vmlinuz-none\noptions img.bootid="+layerA+"\n")
	h.must(h.boot.Refresh())
	h.scriptCheck("/boot/grub/imgbase.cfg")
	include := h.read("/boot/grub/imgbase.cfg")
	if got := strings.Count(include, "\nmenuentry "); got != 6 {
		t.Errorf("%d menu entries; want 6\n%s", got, include)
	}
	for _, bad := range []string{"nokernel", "menuentry '-", "\x1b", "\x01"} {
		if strings.Contains(include, bad) {
			t.Errorf("the include holds %q:\n%s", bad, include)
		}
	}
}

func TestRefreshWritesOnlyDifferences(t *testing.T) {
	h := newHost(t, "debian12")
	h.must(h.install(layerA, kver))
	changes := h.disk.changes
	h.must(h.boot.Refresh())
	if h.disk.changes != changes {
		t.Errorf("Refresh made %d changes; want none", h.disk.changes-changes)
	}
	h.must(os.Remove(filepath.Join(h.root, "boot/grub/imgbase.cfg")))
	h.must(h.boot.Refresh())
	if ids, _ := h.menu(); !cmp.Equal(ids, []string{idA}) {
		t.Errorf("menu after Refresh = %q; want %s", ids, idA)
	}
}

func TestNewestOfNone(t *testing.T) {
	h := newHost(t, "el9")
	if _, err := h.boot.Newest(layerA); !errors.Is(err, boot.ErrNoEntry) {
		t.Errorf("Newest = %v; want %v", err, boot.ErrNoEntry)
	}
	if err := h.boot.Remove("efi"); err == nil {
		t.Error("Remove of what is no layer = nil; want an error")
	}
	if err := h.boot.RemoveKernels("efi"); err == nil || !h.exists("/boot/efi") {
		t.Errorf("RemoveKernels(efi) = %v; want an error and /boot/efi kept", err)
	}
	if _, err := os.Stat(filepath.Join(h.root, "boot/efi")); errors.Is(err, fs.ErrNotExist) {
		t.Error("/boot/efi is gone")
	}
}
