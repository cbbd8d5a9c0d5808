// Package hosttest is a whole host in a directory, for tests: volumes are
// directories kept by the model of LVM, /boot and the files on them are real
// files, and there is a power switch.
//
// It models a host, with its state and its refusals, and not a list of
// expected calls: a test says what the host is like, runs a verb, and looks
// at what the host has become ([Host.String]). A cut ([Cut]) ends everything
// at one effect; [Host.Boot] is the power coming back, with what had not been
// brought to the disk lost.
package hosttest

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"imgbase/internal/boot"
	"imgbase/internal/config"
	"imgbase/internal/durable"
	"imgbase/internal/host"
	"imgbase/internal/lvm"
	"imgbase/internal/lvm/lvmtest"
)

// Names on the modelled host.
const (
	VG      = "HostVG"
	Pool    = "pool00"
	Root    = "root"
	Kernel  = "6.1.0-9-amd64"
	GiB     = 1 << 30
	bootDev = "/dev/vda2"
)

// shared are the directories of the running root where something else is
// mounted: a snapshot of the root has them empty.
var shared = []string{"boot", "dev", "proc", "run", "sys", "var"}

// Host is the modelled host.
type Host struct {
	T     testing.TB
	Dir   string
	LVM   *lvmtest.Model
	Power *Power
	root  string // name of the volume that is the running root
	uuids map[string]string
	next  int
	open  map[string]bool
	// mounts are what [Host.SetMount] set: device and type by target.
	mounts map[string][2]string
	// EtcMine and EtcVendor are the configuration's.
	EtcMine, EtcVendor []string
}

// New is an installed Debian host on thin volumes, not taken over.
func New(t testing.TB) *Host {
	t.Helper()
	h := &Host{T: t, Dir: tempDir(t), Power: &Power{}, root: Root, uuids: map[string]string{}, open: map[string]bool{}, mounts: map[string][2]string{}}
	h.LVM = lvmtest.New(t.Errorf)
	h.LVM.Store = filepath.Join(h.Dir, "volumes")
	h.LVM.Profiles = []string{"imgbased-pool"} // every layer brings it
	h.LVM.AddVG(lvm.VG{Name: VG, Size: 64 * GiB, PVs: []string{"/dev/vda3"}})
	for _, lv := range []lvm.LV{
		{VG: VG, Name: Pool, Size: 40 * GiB, ThinPool: true, MetadataSize: GiB, ChunkSize: 64 << 10},
		{VG: VG, Name: Root, Size: 6 * GiB, Pool: Pool},
		{VG: VG, Name: "var", Size: 8 * GiB, Pool: Pool},
	} {
		if err := h.LVM.AddLV(lv); err != nil {
			t.Fatal(err)
		}
	}
	h.uuids[Root] = "uuid-root"
	h.LVM.SetOpen(VG, Root, true)
	h.LVM.SetOpen(VG, "var", true)
	h.tree()
	return h
}

// Root is the directory of the running root.
func (h *Host) Root() string { return h.LVM.Dir(VG, h.root) }

// Running is the name of the volume that runs.
func (h *Host) Running() string { return h.root }

// Host is the host that package host works on.
func (h *Host) Host() *host.Host {
	return host.New(host.Config{
		Root: h.Root(), Runner: powered{modelRunner{h}, h.Power}, Mounter: mounter{h},
		Files: files{power: h.Power}, Filesystems: filesystems{h},
		OpenImage: h.openImage, Machine: runtime.GOARCH, Program: h.program(),
		Carry: config.Default().Carry, EtcMine: h.EtcMine, EtcVendor: h.EtcVendor,
	})
}

// Boot is the power coming on, after a cut or a shutdown: the default boot
// entry decides what runs. It fails the test if what should boot is not
// whole.
func (h *Host) Boot() {
	h.T.Helper()
	must(h.T, h.unmountVar())
	h.LVM.PowerCut()
	h.Power.off, h.Power.Cut, h.Power.Effects = false, Cut{}, nil
	h.open = map[string]bool{}
	name := h.bootDefault()
	if name != h.root {
		old := h.Root()
		h.root = name
		h.under()
		for _, dir := range shared {
			if dir != "var" {
				must(h.T, move(filepath.Join(old, dir), filepath.Join(h.Root(), dir)))
			}
			must(h.T, os.Mkdir(filepath.Join(old, dir), 0o755))
		}
		must(h.T, h.uncover(old))
	}
	must(h.T, h.mountVar())
	h.LVM.SetOpen(VG, h.root, true)
	h.LVM.SetOpen(VG, "var", true)
	h.mountTable()
}

// under moves the running layer's own /var to where it can be seen although the
// shared one is mounted over it.
func (h *Host) under() {
	h.T.Helper()
	dir := h.Root() + ".under"
	must(h.T, os.MkdirAll(dir, 0o755))
	if _, err := os.Stat(dir + "/var"); os.IsNotExist(err) {
		must(h.T, os.Rename(filepath.Join(h.Root(), "var"), dir+"/var"))
	}
}

// uncover puts the own /var of a layer that does not run any more into its place.
func (h *Host) uncover(root string) error {
	if _, err := os.Stat(root + ".under/var"); os.IsNotExist(err) {
		return nil // it was never covered
	}
	return move(root+".under/var", filepath.Join(root, "var"))
}

// bootDefault is the volume that GRUB would boot now.
func (h *Host) bootDefault() string {
	b := h.Loader()
	id, err := b.Default()
	must(h.T, err)
	menu, err := b.Entries()
	must(h.T, err)
	for _, e := range menu.Entries {
		if e.ID != id {
			continue
		}
		for _, path := range append([]string{e.Linux()}, e.Initrds()...) {
			if _, err := os.Stat(filepath.Join(h.Root(), "boot", path)); err != nil {
				h.T.Errorf("boot entry %s: %v", id, err)
			}
		}
		root, _ := e.Options().Get("root")
		name := strings.TrimPrefix(root, "/dev/"+VG+"/")
		lv, ok := h.LVM.State().LV(VG, name)
		if !ok || lv.SkipActivation || lv.ReadOnly {
			h.T.Fatalf("boot entry %s: its root %s cannot boot: %+v", id, root, lv)
		}
		return name
	}
	return Root // the installer's own entry, the first in grub.cfg
}

// Loader is the boot loader, for looking at.
func (h *Host) Loader() *boot.Boot {
	b, err := boot.Open(boot.Options{Root: h.Root(), UUID: "8f1c2a5e-0b1d-4c53-9d0a-6f3f1c9b7e11", Files: durable.OS{}})
	must(h.T, err)
	return b
}

// Do plans a change and runs it, after settling, as the command line does.
func (h *Host) Do(plan func(ctx context.Context, on *host.Host) (*host.Change, error)) (*host.Change, error) {
	h.T.Helper()
	ctx := h.T.Context()
	on := h.Host()
	if _, err := on.Settle(ctx); err != nil {
		return nil, err
	}
	c, err := plan(ctx, on)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := c.Close(); err != nil && !h.Power.off {
			h.T.Errorf("close: %v", err)
		}
	}()
	return c, on.Run(ctx, c)
}

// Init takes the host over as an NVR.
func (h *Host) Init(name string) (*host.Change, error) {
	return h.Do(func(ctx context.Context, on *host.Host) (*host.Change, error) { return on.PlanInit(ctx, name, "") })
}

// Update updates to an image made by [Host.Image].
func (h *Host) Update(path string) (*host.Change, error) {
	return h.Do(func(ctx context.Context, on *host.Host) (*host.Change, error) {
		return on.PlanUpdate(ctx, host.UpdateOptions{Image: path, Keep: 2})
	})
}

// Must fails the test on an error.
func (h *Host) Must(c *host.Change, err error) *host.Change {
	h.T.Helper()
	must(h.T, err)
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
