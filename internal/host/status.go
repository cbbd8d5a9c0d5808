package host

import (
	"context"
	"fmt"
	"strings"

	"imgbase/internal/boot"
	"imgbase/internal/layout"
	"imgbase/internal/lvm"
)

// Status is the host as `imgbase status` shows it. Sizes are in bytes.
type Status struct {
	VG       string      `json:"vg"`
	Running  string      `json:"running,omitempty"` // layer mounted at /
	Root     string      `json:"root"`              // device mounted at /
	Next     string      `json:"next,omitempty"`    // layer that boots by default
	Images   []Image     `json:"images"`
	Pool     *PoolStatus `json:"pool,omitempty"`
	Leftover Leftovers   `json:"leftovers"`
	// Conflicts are the vendor's versions that lie beside the administrator's
	// in /etc, until somebody looks at them and deletes them.
	Conflicts []string `json:"conflicts,omitempty"`
	// VarGoesBack is a rollback with volumes that waits for the reboot: LVM
	// exchanges /var then, and what is written to it until then is lost.
	VarGoesBack bool     `json:"var_goes_back,omitempty"`
	Warnings    []string `json:"warnings,omitempty"`
}

// Image is a base or a layer.
type Image struct {
	Name    string   `json:"name"`
	Base    string   `json:"base,omitempty"` // of a layer
	Orphan  bool     `json:"orphan,omitempty"`
	Size    uint64   `json:"size"` // of the volume
	Entries []string `json:"entries,omitempty"`
}

// PoolStatus is how full the thin pool is. A percentage is missing while the
// pool is not active.
type PoolStatus struct {
	Name            string   `json:"name"`
	Size            uint64   `json:"size"`
	DataPercent     *float64 `json:"data_percent,omitempty"`
	MetadataSize    uint64   `json:"metadata_size"`
	MetadataPercent *float64 `json:"metadata_percent,omitempty"`
	NeedsCheck      bool     `json:"needs_check,omitempty"`
	Health          string   `json:"health,omitempty"`
}

// Status reads the whole host with one LVM process.
func (h *Host) Status(ctx context.Context) (Status, error) {
	s, err := h.read(ctx)
	if err != nil {
		return Status{}, err
	}
	if err := s.taken(); err != nil {
		return Status{}, err
	}
	st := Status{VG: s.vg.Name, Root: s.root.Path}
	if s.isLayer {
		st.Running = s.running.String()
	}
	v, err := h.view(s)
	if err != nil {
		st.Warnings = append(st.Warnings, err.Error())
	}
	st.Next = v.next
	st.Images = s.images(v)
	if pool, err := s.pool(); err != nil {
		st.Warnings = append(st.Warnings, err.Error())
	} else {
		st.Pool = poolStatus(pool)
	}
	st.Leftover = h.leftovers(s, v)
	if st.Conflicts, err = h.Conflicts(); err != nil {
		st.Warnings = append(st.Warnings, err.Error())
	}
	// A host whose /var cannot go back has no such volume.
	if lv, err := h.varVolume(s); err == nil && lv.Merging {
		st.VarGoesBack = true
		st.Warnings = append(st.Warnings, "at the next boot /var goes back to what it was, as rollback --with-volumes was told; what is written to it until then is lost")
	}
	for _, e := range v.menu.Unreadable {
		st.Warnings = append(st.Warnings, e.Error())
	}
	for _, vg := range s.foreign {
		st.Warnings = append(st.Warnings, fmt.Sprintf("volume group %s carries %s as well; it is ignored", vg, TagVG))
	}
	return st, nil
}

func (s *state) images(v view) []Image {
	var images []Image
	add := func(i layout.Image, orphan bool) {
		lv, _ := s.lv(i.String())
		img := Image{Name: i.String(), Size: lv.Size, Orphan: orphan}
		if i.IsLayer {
			img.Base = i.Base().String()
			img.Entries = v.entries(i.String())
		}
		images = append(images, img)
	}
	for _, branch := range s.layout.Branches() {
		if !branch.Missing {
			add(branch.Base, false)
		}
		for _, l := range branch.Layers {
			add(l, branch.Missing)
		}
	}
	return images
}

func poolStatus(pool lvm.LV) *PoolStatus {
	p := &PoolStatus{
		Name: pool.Name, Size: pool.Size, MetadataSize: pool.MetadataSize,
		NeedsCheck: pool.NeedsCheck, Health: pool.Health,
	}
	if pool.DataPercent.Known {
		p.DataPercent = &pool.DataPercent.Value
	}
	if pool.MetadataPercent.Known {
		p.MetadataPercent = &pool.MetadataPercent.Value
	}
	return p
}

// view is the boot menu and what of it boots by default.
type view struct {
	menu boot.Menu
	def  *boot.Entry // nil when the default is none of the entries
	next string      // layer of the default entry
	// fixed are layers that boot from entries which are not ours to change.
	fixed []string
}

func (h *Host) view(s *state) (view, error) {
	b, err := h.loader(s)
	if err != nil {
		return view{}, err
	}
	menu, err := b.Entries()
	if err != nil {
		return view{}, fmt.Errorf("boot entries: %w", err)
	}
	v := view{menu: menu, fixed: b.Fixed()}
	id, err := b.Default()
	if err != nil {
		return v, fmt.Errorf("boot default: %w", err)
	}
	for _, e := range menu.Entries {
		if e.ID == id {
			v.def, v.next = e, e.Layer()
		}
	}
	return v, nil
}

func (v view) entries(layer string) []string {
	var ids []string
	for _, e := range v.menu.Entries {
		if e.Layer() == layer {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// Layout is the host's images. The error is [ErrNoLayout] on a host that was
// not taken over.
func (h *Host) Layout(ctx context.Context) (layout.Layout, error) {
	s, err := h.names(ctx)
	if err != nil {
		return layout.Layout{}, err
	}
	return s.layout, s.taken()
}

// Running is the layer mounted at /, or [ErrNotLayer].
func (h *Host) Running(ctx context.Context) (layout.Image, layout.Layout, error) {
	s, err := h.names(ctx)
	if err != nil {
		return layout.Image{}, layout.Layout{}, err
	}
	if err := s.taken(); err != nil {
		return layout.Image{}, layout.Layout{}, err
	}
	if !s.isLayer {
		return layout.Image{}, s.layout, fmt.Errorf("root %s: %w", s.root.Path, ErrNotLayer)
	}
	return s.running, s.layout, nil
}

// Product is the product of the running layer, else the only one there is,
// else the first by name: what "latest" is the latest of.
func (h *Host) Product(ctx context.Context) (string, layout.Layout, error) {
	s, err := h.names(ctx)
	if err != nil {
		return "", layout.Layout{}, err
	}
	if err := s.taken(); err != nil {
		return "", s.layout, err
	}
	if s.isLayer {
		return s.running.Product(), s.layout, nil
	}
	if products := s.layout.Products(); len(products) > 0 {
		return products[0], s.layout, nil
	}
	return "", s.layout, layout.ErrNoBases
}

// FreeSpace is how many bytes of data the thin pool has left.
func (h *Host) FreeSpace(ctx context.Context) (uint64, error) {
	s, err := h.read(ctx)
	if err != nil {
		return 0, err
	}
	if err := s.taken(); err != nil {
		return 0, err
	}
	pool, err := s.pool()
	if err != nil {
		return 0, err
	}
	if !pool.DataPercent.Known {
		return 0, fmt.Errorf("thin pool %s: %w: it is not active", pool.Name, ErrPool)
	}
	return unused(pool.Size, pool.DataPercent), nil
}

// VolumePath is the device of an image's volume.
func (h *Host) VolumePath(ctx context.Context, name string) (string, error) {
	s, err := h.names(ctx)
	if err != nil {
		return "", err
	}
	_, lv, err := s.find(name)
	return lv.Path, err
}

// Entry is a boot entry as the command line shows it.
type Entry struct {
	ID      string   `json:"id"`
	Layer   string   `json:"layer,omitempty"` // "" for an entry that is not ours
	Title   string   `json:"title"`
	Version string   `json:"version,omitempty"`
	Linux   string   `json:"linux,omitempty"`
	Initrds []string `json:"initrds,omitempty"`
	Options string   `json:"options,omitempty"`
	Root    string   `json:"root,omitempty"`
	Default bool     `json:"default"`
}

// Entries are the boot entries, ours and foreign ones.
func (h *Host) Entries(ctx context.Context) ([]Entry, error) {
	s, err := h.names(ctx)
	if err != nil {
		return nil, err
	}
	v, err := h.view(s)
	if err != nil {
		return nil, err
	}
	entries := []Entry{}
	for _, e := range v.menu.Entries {
		root, _ := e.Options().Get("root")
		entries = append(entries, Entry{
			ID: e.ID, Layer: e.Layer(), Title: e.Title(), Version: e.Version(), Linux: e.Linux(), Initrds: e.Initrds(),
			Options: e.Options().String(), Root: root, Default: e == v.def,
		})
	}
	return entries, nil
}

// unusedVolumes are the data volumes that are mounted nowhere.
func (s *state) unusedVolumes() []string {
	var paths []string
	for _, lv := range s.report.LVsWithTag(s.vg.Name, TagVolume) {
		if len(s.mounts.Of(lv.Path)) == 0 && len(s.mounts.Of(lv.DMPath)) == 0 && !lv.Open {
			paths = append(paths, "/"+strings.ReplaceAll(strings.ReplaceAll(lv.Name, "_", "/"), "--", "-"))
		}
	}
	return paths
}
