package host

import (
	"context"
	"errors"
	"fmt"

	"imgbase/internal/filesystem"
	"imgbase/internal/layout"
	"imgbase/internal/lvm"
	"imgbase/internal/mount"
	"imgbase/internal/rootfs"
)

// PlanLayer plans a new layer on the image of that name, or on the newest
// layer if it is "", and to boot it next. On a base the layer gets the
// running /etc; a layer's copy keeps the /etc it has.
func (h *Host) PlanLayer(ctx context.Context, name string) (_ *Change, err error) {
	b, err := h.planOnLayer(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.c.Close())
		}
	}()
	parent, lv, err := b.s.parent(name)
	if err != nil {
		return nil, err
	}
	b.base, b.origin, b.merge = parent.Base(), parent.String(), !parent.IsLayer
	next, err := b.s.layout.Next(parent)
	if err != nil {
		return nil, err
	}
	if err := b.planNext(next); err != nil {
		return nil, err
	}
	if err := b.findKernels(ctx, parent, lv); err != nil {
		return nil, err
	}
	if err := b.checkKernels(); err != nil {
		return nil, err
	}
	extend, note, err := b.s.room(b.pool, 0)
	if err != nil {
		return nil, err
	}
	b.noteAll(note)
	steps := append(b.extendMetadata(extend), b.snapshotLayer(), b.settleLayer())
	if b.merge {
		steps = append(steps, b.syncPoint())
	}
	steps = append(steps, b.refitLayer(), b.installKernels(), b.addEntries())
	return b.c, b.complete("layer", steps...)
}

// parent is what a new layer is made on.
func (s *state) parent(name string) (layout.Image, lvm.LV, error) {
	if name != "" {
		return s.find(name)
	}
	product := s.running.Product()
	layer, err := s.layout.LatestLayer(product)
	if err != nil {
		return layer, lvm.LV{}, err
	}
	base, err := s.layout.LatestBase(product)
	if err != nil {
		return base, lvm.LV{}, err
	}
	if layout.Compare(layer.Base(), base) < 0 {
		return base, lvm.LV{}, fmt.Errorf("layer %s, base %s: %w", layer, base, ErrOutOfOrder)
	}
	return s.find(layer.String())
}

func (b *build) planNext(next layout.Image) error {
	b.layer = next
	return b.h.free(b.s, next)
}

// findKernels finds the kernels of a base or layer that is there already: in
// /boot, where the layers of the base have theirs, or in the image itself.
func (b *build) findKernels(ctx context.Context, parent layout.Image, lv lvm.LV) error {
	candidates := b.s.layout.LayersOf(parent)
	if parent.IsLayer {
		candidates = []layout.Image{parent}
	}
	for _, l := range candidates {
		kernels, err := rootfs.KernelsIn(b.h.path("boot", l.String()))
		if err == nil && len(kernels) > 0 {
			b.kernels = kernels
			return nil
		}
	}
	dir, err := b.hold(ctx, lv)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", parent, ErrEmptyBase, err)
	}
	b.kernels, err = rootfs.Kernels(dir)
	return err
}

// hold mounts a volume read-only until the change is closed.
func (b *build) hold(ctx context.Context, lv lvm.LV) (string, error) {
	if !lv.Active {
		if err := b.h.lvm.Activate(ctx, lv.VG, lv.Name); err != nil {
			return "", err
		}
		b.c.closers = append(b.c.closers, func() error {
			return b.h.lvm.Deactivate(context.WithoutCancel(ctx), lv.VG, lv.Name)
		})
	}
	info, err := b.h.Filesystems.Probe(ctx, lv.Path)
	if err == nil {
		err = filesystem.Supported(info.Type)
	}
	if err != nil {
		return "", err
	}
	m, err := b.h.Mounter.Mount(ctx, mount.Spec{Source: lv.Path, FSType: info.Type, ReadOnly: true})
	if err != nil {
		return "", err
	}
	b.c.closers = append(b.c.closers, m.Close)
	return m.Dir(), nil
}
