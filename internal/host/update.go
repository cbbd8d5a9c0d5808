package host

import (
	"context"
	"errors"
	"fmt"

	"imgbase/internal/image"
	"imgbase/internal/layout"
	"imgbase/internal/rootfs"
)

// UpdateOptions say what to update to.
type UpdateOptions struct {
	Image              string // path of the image
	AllowProductChange bool   // the image may be of another product
	SkipPackages       bool   // leave out added packages that cannot be installed
	Keep               int    // bases to keep, see [layout.Layout.Collectable]
}

// PlanUpdate plans to make the image a new base with a layer on it that boots
// next, with the running /etc carried over, and then to collect old bases.
func (h *Host) PlanUpdate(ctx context.Context, o UpdateOptions) (_ *Change, err error) {
	b, err := h.planOnLayer(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.c.Close())
		}
	}()
	src, err := b.open(ctx, o.Image)
	if err != nil {
		return nil, err
	}
	if err := b.checkImage(src, o); err != nil {
		return nil, fmt.Errorf("update to %s: %w", src.Info().NVR, err)
	}
	if b.kernels, err = rootfs.Kernels(src.Root()); err != nil {
		return nil, fmt.Errorf("update to %s: %w", b.base, err)
	}
	if err := b.checkKernels(); err != nil {
		return nil, fmt.Errorf("update to %s: %w", b.base, err)
	}
	// What the image takes is known at once, what is carried only after a look
	// at all of it.
	used := uint64(src.Info().Used)
	if _, _, err := b.s.room(b.pool, used); err != nil {
		return nil, fmt.Errorf("update to %s: %w", b.base, err)
	}
	if err := b.preview(ctx, src.Root()); err != nil {
		return nil, fmt.Errorf("update to %s: %w", b.base, err)
	}
	extend, note, err := b.s.room(b.pool, used+b.c.Carried.Size()+b.derivedRoom())
	if err != nil {
		return nil, fmt.Errorf("update to %s: %w", b.base, err)
	}
	b.noteAll(note)
	bytes := max(b.s.root.Size, uint64(src.Info().Size)) // BZ 1376042
	steps := append(b.extendMetadata(extend), b.createBase(bytes), b.writeBase(src), b.sealBase(),
		b.snapshotLayer(), b.settleLayer(), b.syncPoint(), b.refitLayer(), b.installKernels(), b.addEntries())
	if err := b.complete("update", steps...); err != nil {
		return nil, err
	}
	b.skipPackages = o.SkipPackages
	b.c.after = append(b.c.after, b.dropStale, func(ctx context.Context) error { return h.collect(ctx, b.c, o.Keep) })
	return b.c, nil
}

// planOnLayer begins a plan that needs a layer to be running.
func (h *Host) planOnLayer(ctx context.Context) (*build, error) {
	s, err := h.read(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.taken(); err != nil {
		return nil, err
	}
	if !s.isLayer {
		return nil, fmt.Errorf("root %s: %w", s.root.Path, ErrNotLayer)
	}
	if err := h.fit(s); err != nil {
		return nil, err
	}
	b := &build{h: h, s: s, c: &Change{}, merge: true}
	if b.pool, err = s.pool(); err != nil {
		return nil, err
	}
	if b.b, err = h.fitBoot(s); err != nil {
		return nil, err
	}
	b.args, err = h.machineArgs(s, b.b)
	return b, err
}

func (b *build) open(ctx context.Context, path string) (image.Source, error) {
	src, err := b.h.OpenImage(ctx, path)
	if err != nil {
		return nil, err // it names the image
	}
	b.c.closers = append(b.c.closers, src.Close)
	return src, nil
}

// checkImage refuses an image that does not belong on this host, or whose
// names cannot be given.
func (b *build) checkImage(src image.Source, o UpdateOptions) error {
	n := src.Info().NVR
	if err := layout.CheckNew(n); err != nil {
		return err
	}
	if product := b.s.running.Product(); n.Name != product && !o.AllowProductChange {
		return fmt.Errorf("%w: %s; this host runs %s", ErrProduct, n.Name, product)
	}
	if err := b.h.checkMachine(src.Root()); err != nil {
		return err
	}
	b.base, b.image = layout.Image{NVR: n}, src.Root()
	b.origin = n.String()
	return b.planNew(1)
}

func (h *Host) checkMachine(root string) error {
	m, err := rootfs.Arch(root)
	if err != nil {
		return err
	}
	if m.GOARCH != h.Machine {
		return fmt.Errorf("%w: %s; this host is %s", ErrArch, m.GOARCH, h.Machine)
	}
	return nil
}

// preview computes the merge that a dry run shows. What is wrong with the
// trees shows here, before the first effect.
func (b *build) preview(ctx context.Context, theirs string) error {
	var err error
	if b.c.Packages, err = b.h.planPackages(ctx, theirs); err != nil {
		return err
	}
	return b.h.ancestor(ctx, b.s, func(base string) error {
		carried, err := b.h.preview(b.s, base, theirs)
		if err != nil {
			return err
		}
		b.c.Carried = &carried
		return b.expectDerived(theirs)
	})
}
