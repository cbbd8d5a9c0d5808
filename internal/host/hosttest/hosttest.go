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
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/boot"
	"imgbase/internal/durable"
	"imgbase/internal/filesystem"
	"imgbase/internal/host"
	"imgbase/internal/image"
	"imgbase/internal/lvm"
	"imgbase/internal/lvm/lvmtest"
	"imgbase/internal/mount"
	"imgbase/internal/nvr"
	"imgbase/internal/run"
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
}

// New is an installed Debian host on thin volumes, not taken over.
func New(t testing.TB) *Host {
	t.Helper()
	h := &Host{T: t, Dir: tempDir(t), Power: &Power{}, root: Root, uuids: map[string]string{}, open: map[string]bool{}}
	h.LVM = lvmtest.New(t.Errorf)
	h.LVM.Store = filepath.Join(h.Dir, "volumes")
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
	})
}

// Boot is the power coming on, after a cut or a shutdown: the default boot
// entry decides what runs. It fails the test if what should boot is not
// whole.
func (h *Host) Boot() {
	h.T.Helper()
	h.LVM.PowerCut()
	h.Power.off, h.Power.Cut, h.Power.Effects = false, Cut{}, nil
	h.open = map[string]bool{}
	name := h.bootDefault()
	if name != h.root {
		old := h.Root()
		h.root = name
		for _, dir := range shared {
			must(h.T, os.RemoveAll(filepath.Join(h.Root(), dir)))
			must(h.T, os.Rename(filepath.Join(old, dir), filepath.Join(h.Root(), dir)))
			must(h.T, os.Mkdir(filepath.Join(old, dir), 0o755))
		}
	}
	h.LVM.SetOpen(VG, h.root, true)
	h.LVM.SetOpen(VG, "var", true)
	h.mountTable()
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

// Image makes an image: this host's first system with files changed or added
// (content "-" removes).
func (h *Host) Image(name string, changes map[string]string) string {
	dir := filepath.Join(h.Dir, "images", name)
	h.write(dir, system)
	h.write(dir, map[string]string{
		"usr/share/imgbase/build/meta/nvr":                      name + "\n",
		"boot/vmlinuz-" + imageKernel(name):                     "kernel of " + name,
		"boot/initrd.img-" + imageKernel(name):                  "initrd of " + name,
		"usr/lib/modules/" + imageKernel(name) + "/modules.dep": "",
		"etc/os-release":                                        "ID=node\nVERSION_ID=" + name + "\n",
	})
	for _, d := range shared[1:] {
		must(h.T, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	h.executable(filepath.Join(dir, "usr/lib/systemd/systemd"))
	h.write(dir, changes)
	return dir
}

func imageKernel(name string) string {
	return "6.1.0-" + name[strings.LastIndex(name, "-")+1:] + "-amd64"
}

func (h *Host) openImage(_ context.Context, path string) (image.Source, error) {
	data, err := os.ReadFile(filepath.Join(path, "usr/share/imgbase/build/meta/nvr"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", image.ErrNoNVR, err)
	}
	n, err := nvr.Parse(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, err
	}
	return source{h: h, dir: path, info: image.Info{NVR: n, Size: 3 * GiB, Used: GiB, FSType: "ext4"}}, nil
}

// String is everything that must not change when a change is refused or
// undone: volumes and tags, /boot, the running /etc, mounts.
func (h *Host) String() string {
	var b strings.Builder
	b.WriteString(h.LVM.String())
	for _, dir := range []string{"boot", "etc"} {
		b.WriteString(listing(h.T, filepath.Join(h.Root(), dir), dir))
	}
	var mounts []string
	for dev := range h.open {
		mounts = append(mounts, "mounted "+dev+"\n")
	}
	sort.Strings(mounts)
	b.WriteString(strings.Join(mounts, ""))
	return b.String()
}

// Unchanged fails the test if the host is not what it was.
func (h *Host) Unchanged(before string) {
	h.T.Helper()
	if diff := cmp.Diff(before, h.String()); diff != "" {
		h.T.Errorf("the host has changed (-before +after):\n%s", diff)
	}
}

// listing is a tree as text: mode, path and content of every file.
func listing(t testing.TB, dir, name string) string {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content := ""
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			content, err = os.Readlink(path)
		case d.Type().IsRegular():
			var data []byte
			data, err = os.ReadFile(path)
			content = fmt.Sprintf("%q", data)
		}
		fmt.Fprintf(&b, "%s %s %s\n", info.Mode(), filepath.Join(name, rel), content)
		return err
	})
	must(t, err)
	return b.String()
}

// modelRunner is the model, with what is mounted in the running root taken
// out of every copy of it.
type modelRunner struct{ h *Host }

func (r modelRunner) Run(ctx context.Context, c run.Cmd) (run.Output, error) {
	out, err := r.h.LVM.Run(ctx, c)
	if c.Name != "lvcreate" || err != nil {
		return out, err
	}
	for _, lv := range r.h.LVM.State().LVs {
		if lv.ThinPool || lv.Name == r.h.root || lv.Name == "var" {
			continue
		}
		if _, known := r.h.uuids[lv.Name]; !known && lv.Origin != "" {
			r.h.uuids[lv.Name] = r.h.uuids[lv.Origin]
			if lv.Origin == r.h.root {
				for _, dir := range shared {
					path := filepath.Join(r.h.LVM.Dir(VG, lv.Name), dir)
					if err := os.RemoveAll(path); err != nil {
						return out, err
					}
					if err := os.Mkdir(path, 0o755); err != nil {
						return out, err
					}
				}
			}
		}
	}
	return out, nil
}

// disk is the file system on a device.
func (h *Host) disk(dev string) (filesystem.Info, error) {
	name, err := h.volume(dev)
	if err != nil {
		return filesystem.Info{}, err
	}
	uuid := h.uuids[name]
	if uuid == "" {
		return filesystem.Info{}, fmt.Errorf("%s: %w", dev, filesystem.ErrUnknown)
	}
	return filesystem.Info{Type: "ext4", UUID: uuid}, nil
}

func (h *Host) volume(dev string) (string, error) {
	name := strings.TrimPrefix(dev, "/dev/"+VG+"/")
	lv, ok := h.LVM.State().LV(VG, name)
	if !ok || !lv.Active {
		return "", fmt.Errorf("%s: %w", dev, fs.ErrNotExist)
	}
	return name, nil
}

func (h *Host) renew(dev string) error {
	name, err := h.volume(dev)
	if err == nil && h.open[dev] {
		err = fmt.Errorf("%s is mounted", dev)
	}
	if err != nil {
		return err
	}
	h.next++
	h.uuids[name] = fmt.Sprintf("uuid-%d", h.next)
	return nil
}

// fill puts an image onto a device.
func (h *Host) fill(dev, dir string) error {
	name, err := h.volume(dev)
	if err != nil {
		return err
	}
	h.uuids[name] = "uuid-of-" + filepath.Base(dir)
	return os.CopyFS(h.LVM.Dir(VG, name), os.DirFS(dir))
}

// mounter mounts volumes of the model: their directories are there already.
type mounter struct{ h *Host }

func (m mounter) Mount(_ context.Context, s mount.Spec) (mount.Mount, error) {
	if m.h.Power.off {
		return nil, ErrOff
	}
	if _, err := m.h.disk(s.Source); err != nil {
		return nil, err
	}
	name, err := m.h.volume(s.Source)
	if err != nil {
		return nil, err
	}
	lv, _ := m.h.LVM.State().LV(VG, name)
	if lv.ReadOnly && !s.ReadOnly {
		return nil, fmt.Errorf("mount %s: %w", s.Source, fs.ErrPermission)
	}
	m.h.open[s.Source] = true
	m.h.LVM.SetOpen(VG, name, true)
	return &mounted{h: m.h, dev: s.Source, name: name}, nil
}

type mounted struct {
	h         *Host
	dev, name string
}

func (m *mounted) Dir() string { return m.h.LVM.Dir(VG, m.name) }

func (m *mounted) Close() error {
	if m.h.Power.off || !m.h.open[m.dev] {
		return nil
	}
	delete(m.h.open, m.dev)
	if m.name != m.h.root {
		m.h.LVM.SetOpen(VG, m.name, false)
	}
	return nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
