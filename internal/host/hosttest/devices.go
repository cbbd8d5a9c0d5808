package hosttest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"imgbase/internal/filesystem"
	"imgbase/internal/mount"
	"imgbase/internal/run"
)

// packageTools are programs of this computer that look at package files.
var packageTools = map[string]bool{"rpm": true, "dpkg-deb": true}

// modelRunner is the model, with what is mounted in the running root taken
// out of every copy of it. Programs of the host's own tree, hooks above all,
// are run for real.
type modelRunner struct{ h *Host }

func (r modelRunner) Run(ctx context.Context, c run.Cmd) (run.Output, error) {
	if packageTools[c.Name] || strings.HasPrefix(c.Name, r.h.Root()+"/") {
		return run.OS{}.Run(ctx, c)
	}
	if c.Name == "env" {
		return r.room(ctx, c)
	}
	out, err := r.run(ctx, c)
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

// run starts one program of the model. Of /var its volume is copied.
func (r modelRunner) run(ctx context.Context, c run.Cmd) (out run.Output, err error) {
	if c.Name != "lvcreate" || !slices.Contains(c.Args, VG+"/var") {
		return r.h.LVM.Run(ctx, c)
	}
	if err := r.h.unmountVar(); err != nil {
		return run.Output{}, err
	}
	defer func() { err = errors.Join(err, r.h.mountVar()) }()
	return r.h.LVM.Run(ctx, c)
}

// unmountVar puts what is in /var onto its volume, mountVar what is on its
// volume into /var.
func (h *Host) unmountVar() error { return move(filepath.Join(h.Root(), "var"), h.LVM.Dir(VG, "var")) }

func (h *Host) mountVar() error { return move(h.LVM.Dir(VG, "var"), filepath.Join(h.Root(), "var")) }

func move(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.Rename(from, to)
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
	// With owners and modes, as an image's blocks have them.
	_, err = run.OS{}.Run(context.Background(), run.Cmd{Name: "cp", Args: []string{"-a", "-T", "--", dir, h.LVM.Dir(VG, name)}})
	return err
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

// Dir is the running layer without what is mounted over it, when it is that.
func (m *mounted) Dir() string {
	if m.name == m.h.root {
		return m.h.Root() + ".under"
	}
	return m.h.LVM.Dir(VG, m.name)
}

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
