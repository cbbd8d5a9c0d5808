package host

import (
	"context"
	"fmt"

	"imgbase/internal/boot"
	"imgbase/internal/hooks"
	"imgbase/internal/layout"
	"imgbase/internal/txn"
)

// PlanRemove plans to remove a base with all its layers. The base that runs,
// and the one that boots next, are refused, and so is one in use.
func (h *Host) PlanRemove(ctx context.Context, name string) (*Change, error) {
	s, err := h.read(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.taken(); err != nil {
		return nil, err
	}
	base, _, err := s.find(name)
	if err != nil {
		return nil, err
	}
	if base.IsLayer {
		return nil, fmt.Errorf("%s: %w: it is a layer", name, ErrNoImage)
	}
	return h.planRemove(s, base, hooks.Remove)
}

func (h *Host) planRemove(s *state, base layout.Image, mode hooks.Mode) (*Change, error) {
	b, err := h.loader(s)
	if err != nil {
		return nil, err
	}
	images := append(s.layout.LayersOf(base), base)
	if err := h.unused(s, b, images); err != nil {
		return nil, fmt.Errorf("remove %s: %w", base, err)
	}
	c := &Change{Verb: "remove", Base: base.String(), journal: h.journal(s)}
	c.tx = h.transaction(s, txn.Record{Verb: "remove", Name: base.String()})
	for _, i := range images {
		c.tx.Steps = append(c.tx.Steps, txn.Step{
			Name: "remove " + i.String(),
			Do:   func(ctx context.Context) error { return h.discard(ctx, s, i) },
		})
	}
	return c, h.tellRemoval(s, c, mode, images)
}

// unused refuses images that run, boot next, or are mounted.
func (h *Host) unused(s *state, b *boot.Boot, images []layout.Image) error {
	next, err := h.next(b)
	if err != nil {
		return err
	}
	for _, i := range images {
		lv, _ := s.lv(i.String())
		switch {
		case lv.Name == s.root.Name:
			return fmt.Errorf("%s: %w: it is running", i, ErrRunning)
		case i.String() == next:
			return fmt.Errorf("%s: %w: it boots next", i, ErrRunning)
		case lv.Open:
			return fmt.Errorf("%s: %w: its volume is open", i, ErrRunning)
		}
	}
	return nil
}

// next is the name of the layer that boots by default, "" when that is no
// layer.
func (h *Host) next(b *boot.Boot) (string, error) {
	id, err := b.Default()
	if err != nil || id == "" {
		return "", err
	}
	menu, err := b.Entries()
	if err != nil {
		return "", err
	}
	for _, e := range menu.Entries {
		if e.ID == id {
			return e.Layer(), nil
		}
	}
	return "", nil
}

// collect removes old bases until keep are left. What cannot be removed is
// left for the next time.
func (h *Host) collect(ctx context.Context, c *Change, keep int) error {
	s, err := h.read(ctx)
	if err != nil {
		return err
	}
	var protected []layout.Image
	for _, name := range []string{c.Layer, c.Base} {
		if i, err := layout.Parse(name); err == nil {
			protected = append(protected, i)
		}
	}
	for _, base := range s.layout.Collectable(keep, s.running, protected...) {
		rm, err := h.planRemove(s, base, hooks.Update)
		if err == nil {
			err = h.Run(ctx, rm)
			c.Notes = append(c.Notes, rm.Notes...)
		}
		if err != nil {
			c.note("collect: %v", err)
			continue
		}
		c.Removed = append(c.Removed, base.String())
	}
	return nil
}
