package host

import (
	"context"
	"errors"
	"fmt"
	"os"

	"imgbase/internal/boot"
	"imgbase/internal/layout"
	"imgbase/internal/txn"
)

// RollbackOptions say where a rollback goes.
type RollbackOptions struct {
	// To is the layer to boot; "" is the one that ran before the running one
	// was made.
	To string
	// WithVolumes has /var go back as well.
	WithVolumes bool
}

// PlanRollback plans to boot another layer by default: the one named, or the
// one that ran before the running one was made. When another layer than the
// running one is to boot next, as after an update, going back is staying here.
//
// With volumes, /var becomes what it was before the first boot of the layer
// that came after that one. It was kept then, as a companion of that layer.
// Companions of later layers stay with them, but are of no use any more: LVM
// can go back to each only until it has gone back to an older one.
func (h *Host) PlanRollback(ctx context.Context, o RollbackOptions) (*Change, error) {
	s, b, err := h.bootable(ctx)
	if err != nil {
		return nil, err
	}
	next, err := h.next(b)
	if err != nil {
		return nil, err
	}
	target, err := s.back(o.To, next)
	if err != nil {
		return nil, fmt.Errorf("rollback: %w", err)
	}
	c, err := h.planDefault(s, b, target, next)
	if o.WithVolumes && errors.Is(err, ErrSame) {
		// It was rolled back without volumes before.
		c, err = &Change{Base: target.Base().String(), Layer: target.String(), journal: noJournal{}}, nil
	}
	if err == nil && o.WithVolumes {
		err = h.planRevert(s, c, target)
	}
	if err != nil {
		return nil, fmt.Errorf("rollback to %s: %w", target, err)
	}
	c.Verb = "rollback"
	return c, nil
}

// back is where a rollback goes. It never goes round to a newer layer.
func (s *state) back(name, next string) (layout.Image, error) {
	if name != "" {
		return s.findLayer(name)
	}
	if !s.isLayer {
		return layout.Image{}, fmt.Errorf("root %s: %w", s.root.Path, ErrNotLayer)
	}
	if next != "" && next != s.running.String() {
		return s.running, nil
	}
	before, ok := s.before(s.running)
	switch {
	case !ok:
		return before, fmt.Errorf("%s: %w: it is the first", s.running, ErrNothingBefore)
	case !s.layout.Has(before):
		return before, fmt.Errorf("%s: %w: %s, which ran before it, was removed", s.running, ErrNothingBefore, before)
	}
	return before, nil
}

func (s *state) findLayer(name string) (layout.Image, error) {
	i, _, err := s.find(name)
	if err == nil && !i.IsLayer {
		return i, fmt.Errorf("%s: %w: it is a base, and only layers boot", name, ErrNoImage)
	}
	return i, err
}

// PlanDefault plans to boot the layer of that name by default.
func (h *Host) PlanDefault(ctx context.Context, name string) (*Change, error) {
	s, b, err := h.bootable(ctx)
	if err != nil {
		return nil, err
	}
	target, err := s.findLayer(name)
	if err != nil {
		return nil, err
	}
	next, err := h.next(b)
	if err != nil {
		return nil, err
	}
	c, err := h.planDefault(s, b, target, next)
	if err != nil {
		return nil, fmt.Errorf("boot %s: %w", target, err)
	}
	return c, nil
}

func (h *Host) bootable(ctx context.Context) (*state, *boot.Boot, error) {
	s, err := h.read(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := s.taken(); err != nil {
		return nil, nil, err
	}
	b, err := h.loader(s)
	return s, b, err
}

// planDefault plans the flip to the newest kernel of a layer, after looking
// that everything it needs to boot is there.
func (h *Host) planDefault(s *state, b *boot.Boot, target layout.Image, next string) (*Change, error) {
	if target.String() == next {
		return nil, fmt.Errorf("%w: it boots by default already", ErrSame)
	}
	entry, err := b.Newest(target.String())
	if err == nil {
		err = b.CheckDefault()
	}
	if err != nil {
		return nil, err
	}
	for _, path := range append([]string{entry.Linux()}, entry.Initrds()...) {
		if _, err := os.Stat(h.path("boot", path)); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoKernel, err)
		}
	}
	c := &Change{Verb: "default", Base: target.Base().String(), Layer: target.String(), journal: noJournal{}}
	is := func(context.Context) (bool, error) {
		id, err := b.Default()
		return id == entry.ID, err
	}
	c.tx = txn.Plan{
		Record:  txn.Record{Verb: "default", Name: target.String()},
		Flipped: is,
		Flip: txn.Step{
			Name: "boot " + target.String() + " by default",
			Do:   func(context.Context) error { return b.SetDefault(entry.ID) },
		},
	}
	return c, nil
}
