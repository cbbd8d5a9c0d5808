package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"imgbase/internal/layout"
	"imgbase/internal/lvm"
	"imgbase/internal/mount"
	"imgbase/internal/txn"
)

// Tags on volumes and volume groups; docs/on-disk.md has the contract. The
// first six are the original's, byte for byte.
const (
	TagVG     = "imgbased:vg"
	TagPool   = "imgbased:pool"
	TagInit   = "imgbased:init"
	TagBase   = "imgbased:base"
	TagLayer  = "imgbased:layer"
	TagVolume = "imgbased:volume"
	// TagAdopted marks a base made from an installed root: what the machine's
	// owner had changed by then is part of it.
	TagAdopted = "imgbased:adopted"
	// tagBefore and a layer's name: the layer that ran when this one was made.
	tagBefore = "imgbased:before:"
)

// state is the host as one reading saw it.
type state struct {
	report   lvm.Report
	mounts   mount.Table
	vg       lvm.VG
	root     lvm.LV // what is mounted at /
	rootFS   string // its file system's type
	layout   layout.Layout
	running  layout.Image // valid if isLayer
	isLayer  bool
	pending  []txn.Record
	foreign  []string // other volume groups that carry our tag
	bootUUID string
}

// read reads the host with one LVM process. The error is [ErrNotLVM] when
// the root is on no logical volume.
func (h *Host) read(ctx context.Context) (*state, error) {
	if s := h.settled; s != nil {
		h.settled = nil
		return s, nil
	}
	return h.arranged(ctx, h.lvm.Report)
}

// names is read for those who need no more than names and tags.
func (h *Host) names(ctx context.Context) (*state, error) { return h.arranged(ctx, h.lvm.Names) }

func (h *Host) arranged(ctx context.Context, ask func(context.Context) (lvm.Report, error)) (*state, error) {
	mounts, err := mount.ReadTable(h.path("proc/self/mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	report, err := ask(ctx)
	if err != nil {
		return nil, err // it says what was read
	}
	s := &state{report: report, mounts: mounts}
	root, ok := mounts.At("/")
	if !ok {
		return nil, fmt.Errorf("root: %w: nothing is mounted at /", ErrNotLVM)
	}
	s.rootFS = root.FSType
	if s.root, ok = h.volume(report, root); !ok {
		return nil, fmt.Errorf("root %s: %w", root.Source, ErrNotLVM)
	}
	if s.vg, ok = report.VG(s.root.VG); !ok {
		return nil, fmt.Errorf("root %s: %w", root.Source, lvm.ErrNotFound)
	}
	s.pending = txn.Records(s.vg.Tags)
	for _, vg := range report.VGsWithTag(TagVG) {
		if vg.Name != s.vg.Name {
			s.foreign = append(s.foreign, vg.Name)
		}
	}
	s.arrange()
	s.bootUUID = h.bootUUID(mounts)
	return s, nil
}

// volume finds the logical volume behind a mount: by the name device mapper
// gives it, or by the name the kernel knows of the device's number.
func (h *Host) volume(report lvm.Report, m mount.Entry) (lvm.LV, bool) {
	if lv, ok := report.Device(m.Source); ok {
		return lv, true
	}
	name, err := os.ReadFile(h.path(fmt.Sprintf("sys/dev/block/%d:%d/dm/name", m.Major, m.Minor)))
	if err != nil {
		return lvm.LV{}, false
	}
	return report.Device(strings.TrimSpace(string(name)))
}

// arrange makes the layout of our volume group's images. The original tags
// its first base as a layer, so the name decides which of the two it is.
func (s *state) arrange() {
	var names []string
	for _, lv := range s.report.LVsWithTag(s.vg.Name, TagBase, TagLayer) {
		names = append(names, lv.Name)
	}
	s.layout = layout.New(names)
	if i, err := layout.Parse(s.root.Name); err == nil && i.IsLayer && s.layout.Has(i) {
		s.running, s.isLayer = i, true
	}
}

// taken says whether the host has been taken over.
func (s *state) taken() error {
	if !s.vg.HasTag(TagVG) {
		return fmt.Errorf("volume group %s: %w", s.vg.Name, ErrNoLayout)
	}
	return nil
}

// pool is the thin pool that our images live in.
func (s *state) pool() (lvm.LV, error) {
	for _, lv := range s.report.LVsWithTag(s.vg.Name, TagPool) {
		if lv.ThinPool {
			return lv, nil
		}
	}
	return lvm.LV{}, fmt.Errorf("volume group %s: %w: none carries %s", s.vg.Name, ErrPool, TagPool)
}

func (s *state) lv(name string) (lvm.LV, bool) { return s.report.LV(s.vg.Name, name) }

// find resolves what the user calls an image.
func (s *state) find(name string) (layout.Image, lvm.LV, error) {
	i, err := layout.Parse(name)
	if err != nil {
		return i, lvm.LV{}, err
	}
	lv, ok := s.lv(i.String())
	if !ok || !s.layout.Has(i) {
		return i, lvm.LV{}, fmt.Errorf("%s: %w", name, ErrNoImage)
	}
	return i, lv, nil
}

// before is the layer that i's tag says ran when it was made.
func (s *state) before(i layout.Image) (layout.Image, bool) {
	lv, _ := s.lv(i.String())
	for _, tag := range lv.Tags {
		if name, ok := strings.CutPrefix(tag, tagBefore); ok {
			before, err := layout.Parse(name)
			return before, err == nil
		}
	}
	return s.layout.Before(i)
}

// bootUUID is the UUID of the file system mounted at /boot, as udev's links
// tell; "" when none does.
func (h *Host) bootUUID(mounts mount.Table) string {
	m, ok := mounts.At("/boot")
	if !ok {
		return ""
	}
	dir := h.path("dev/disk/by-uuid")
	links, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	for _, l := range links {
		target, err := os.Readlink(filepath.Join(dir, l.Name()))
		if err == nil && filepath.Base(target) == filepath.Base(m.Source) {
			return l.Name()
		}
	}
	return ""
}
