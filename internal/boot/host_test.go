package boot_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/boot"
	"imgbase/internal/durable"
	"imgbase/internal/run"
)

const uuid = "6f1a2d6e-0c3b-4d53-9f8a-3d1c5b7e9a10"

var errCut = errors.New("the power is cut")

// disk is the disk of a host whose power is cut after a number of durable
// changes. Nothing is frozen: the directory lies on the file system of the
// machine that runs the test.
type disk struct {
	durable.OS
	left    int // changes until the cut
	torn    int // of an Overwrite that is cut: which of its sectors arrive, a bit each
	settled int // Settle calls
	changes int
}

func (d *disk) change() error {
	if d.left == 0 {
		return errCut
	}
	d.left--
	d.changes++
	return nil
}

func (d *disk) Replace(path string, mode fs.FileMode, r io.Reader) error {
	if err := d.change(); err != nil {
		return err
	}
	return d.OS.Replace(path, mode, r)
}

func (d *disk) Overwrite(path string, data []byte) error {
	if err := d.change(); err != nil {
		return errors.Join(err, d.tear(path, data))
	}
	return d.OS.Overwrite(path, data)
}

func (d *disk) tear(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := 0; i*512 < len(data); i++ {
		if d.torn&(1<<i) == 0 {
			continue
		}
		if _, err := f.WriteAt(data[i*512:(i+1)*512], int64(i*512)); err != nil {
			return err
		}
	}
	d.torn = 0 // the power is off
	return nil
}

func (d *disk) Link(old, path string) error {
	if err := d.change(); err != nil {
		return err
	}
	return d.OS.Link(old, path)
}

func (d *disk) Remove(path string) error {
	if err := d.change(); err != nil {
		return err
	}
	return d.OS.Remove(path)
}

func (d *disk) Settle(string) error {
	d.settled++
	return nil
}

// host is a tree with /boot and a boot loader.
type host struct {
	*testing.T
	root string
	disk *disk
	boot *boot.Boot
}

// foreignFiles are on every host and must stay as they are.
var foreignFiles = map[string]string{
	"/boot/vmlinuz-6.1.0-9":                        "foreign kernel",
	"/boot/loader/entries/0649-6.1.0-9.conf":       fedora,
	"/boot/loader/entries/broken.conf":             "\x00",
	"/boot/loader/entries/README":                  "not an entry",
	"/boot/efi/EFI/debian/grub.cfg":                "configfile $prefix/grub.cfg\n",
	"/etc/default/grub":                            "GRUB_DEFAULT=0\n",
	"/boot/lost+found/vmlinuz-6.1.0-13-amd64":      "not a layer's",
	"/boot/grub/fonts/unicode.pf2":                 "font",
	"/usr/share/kernels/initrd.img-6.1.0-13-amd64": "initrd of 6.1.0-13",
	"/usr/share/kernels/vmlinuz-6.1.0-13-amd64":    "kernel 6.1.0-13",
	"/usr/share/kernels/initrd.img-6.1.0-9-amd64":  "initrd of 6.1.0-9",
	"/usr/share/kernels/vmlinuz-6.1.0-9-amd64":     "kernel 6.1.0-9",
}

func newHost(t *testing.T, style string) *host {
	t.Helper()
	h := &host{T: t, root: t.TempDir(), disk: &disk{left: 1000}}
	for path, content := range foreignFiles {
		h.write(path, content)
	}
	cfg, err := os.ReadFile(filepath.Join("testdata", style, "grub.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	switch style {
	case "debian12":
		h.write("/boot/grub/grub.cfg", string(cfg))
		h.write("/boot/grub/grubenv", string(block(oddBlocks["across the sectors"])))
	case "el9":
		h.write("/boot/grub2/grub.cfg", string(cfg))
		h.write("/boot/efi/EFI/redhat/grubenv", string(block("saved_entry=0649-6.1.0-9\nboot_success=0\n")))
		h.symlink("../efi/EFI/redhat/grubenv", "/boot/grub2/grubenv")
		h.symlink("../boot/grub2/grub.cfg", "/etc/grub2.cfg")
	}
	h.open()
	return h
}

func (h *host) open() {
	h.Helper()
	b, err := boot.Open(boot.Options{Root: h.root, UUID: uuid, Files: h.disk})
	if err != nil {
		h.Fatal(err)
	}
	h.boot = b
}

func (h *host) write(path, content string) {
	h.Helper()
	path = filepath.Join(h.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		h.Fatal(err)
	}
}

func (h *host) symlink(target, path string) {
	h.Helper()
	path = filepath.Join(h.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		h.Fatal(err)
	}
}

// read returns a file's content, "" when it is missing.
func (h *host) read(path string) string {
	h.Helper()
	b, err := os.ReadFile(filepath.Join(h.root, path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.Fatal(err)
	}
	return string(b)
}

func (h *host) exists(path string) bool {
	_, err := os.Stat(filepath.Join(h.root, path))
	return err == nil
}

func (h *host) kernel(kver string) boot.Kernel {
	dir := filepath.Join(h.root, "usr/share/kernels")
	return boot.Kernel{Version: kver, Files: map[string]string{
		"vmlinuz-" + kver:    filepath.Join(dir, "vmlinuz-"+kver),
		"initrd.img-" + kver: filepath.Join(dir, "initrd.img-"+kver),
	}}
}

func spec(layer, kver string) boot.EntrySpec {
	return boot.EntrySpec{
		Layer: layer, KVer: kver, Title: strings.SplitN(layer, "+", 2)[0],
		Linux: "vmlinuz-" + kver, Initrds: []string{"initrd.img-" + kver},
		Options: boot.ParseArgs("root=/dev/vg/" + layer + " ro quiet"),
	}
}

// install is what an update does to /boot before the flip.
func (h *host) install(layer, kver string) error {
	ctx := context.Background()
	if err := h.boot.InstallKernel(ctx, layer, h.kernel(kver)); err != nil {
		return err
	}
	_, err := h.boot.Add(ctx, spec(layer, kver))
	return err
}

func (h *host) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

var (
	menuentry = regexp.MustCompile(`(?m)^menuentry .* --id '([^']*)' \{$`)
	bootFile  = regexp.MustCompile(`'(/[^']*)'`)
)

// menu is what GRUB would show of ours, read from the include or from the
// entry files, and all files those entries start.
func (h *host) menu() (ids, files []string) {
	h.Helper()
	if h.exists("/boot/grub2") {
		m, err := h.boot.Entries()
		h.must(err)
		for _, e := range m.Entries {
			if e.Layer() != "" {
				ids, files = append(ids, e.ID), append(append(files, e.Linux()), e.Initrds()...)
			}
		}
		return ids, files
	}
	if !strings.Contains(h.read("/boot/grub/custom.cfg"), "imgbase.cfg") {
		return nil, nil
	}
	include := h.read("/boot/grub/imgbase.cfg")
	for _, m := range menuentry.FindAllStringSubmatch(include, -1) {
		ids = append(ids, m[1])
	}
	for line := range strings.Lines(include) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "linux "):
			files = append(files, bootFile.FindStringSubmatch(line)[1])
		case strings.HasPrefix(line, "initrd "):
			for _, m := range bootFile.FindAllStringSubmatch(line, -1) {
				files = append(files, m[1])
			}
		}
	}
	return ids, files
}

// check is what holds at every instant: no entry without its files, no
// default without its entry, nothing foreign changed, scripts that GRUB reads.
func (h *host) check() {
	h.Helper()
	ids, files := h.menu()
	for _, f := range files {
		if !h.exists("/boot" + f) {
			h.Errorf("the menu starts %s, which is missing", f)
		}
	}
	id, err := h.boot.Default()
	if err != nil {
		h.Errorf("Default = %v; want no error", err)
	}
	if strings.HasPrefix(id, "node-") && !strings.Contains(strings.Join(ids, "\n")+"\n", id+"\n") {
		h.Errorf("the default %s is not on the menu %q", id, ids)
	}
	h.checkEnv()
	if h.exists("/boot/grub2/imgbase.cfg") {
		h.Error("there is an include for a GRUB that reads the entries itself")
	}
	for path, content := range foreignFiles {
		if got := h.read(path); got != content {
			h.Errorf("%s = %q; want it untouched", path, got)
		}
	}
	h.scriptCheck("/boot/grub/imgbase.cfg")
	h.scriptCheck("/boot/grub/custom.cfg")
}

// checkEnv checks that GRUB finds the variables of others as they were.
func (h *host) checkEnv() {
	h.Helper()
	path, want := "/boot/grub/grubenv", map[string]string{"other": strings.Repeat("o", 480) + "\n", "last": "1\n"}
	if h.exists("/boot/grub2") {
		path, want = "/boot/grub2/grubenv", map[string]string{"boot_success": "0\n"}
	}
	if !h.exists(path) {
		return
	}
	out, _ := editenv(h.T, []byte(h.read(path)), "list")
	got := listing(out)
	delete(got, "saved_entry")
	if diff := cmp.Diff(want, got); diff != "" {
		h.Errorf("variables of others in the environment block (-want +got):\n%s", diff)
	}
}

func (h *host) scriptCheck(path string) {
	h.Helper()
	if !h.exists(path) {
		return
	}
	_, err := run.OS{}.Run(context.Background(), run.Cmd{Name: "grub-script-check", Args: []string{filepath.Join(h.root, path)}})
	var failed *run.Error
	if errors.As(err, &failed) && failed.Code > 0 {
		h.Errorf("%s is no GRUB script: %v\n%s", path, err, h.read(path))
	}
}
