package host

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"imgbase/internal/layout"
	"imgbase/internal/lvm"
	"imgbase/internal/txn"
)

// planRevert plans to make /var what it was before the first of the layers
// booted that ran after target. It is mounted, so LVM makes the exchange at
// the next boot.
//
// This comes after the flip, without a journal: when the power is cut between
// the two, target boots with the /var it would have had without volumes, which
// only gained since. Reverting then, under the layer that runs, would be worse.
func (h *Host) planRevert(s *state, c *Change, target layout.Image) error {
	layers, err := s.since(target)
	if err != nil {
		return err
	}
	origin, err := h.varVolume(s)
	if err != nil {
		return fmt.Errorf("/var: %w", err)
	}
	first := layers[len(layers)-1]
	name := first.String() + suffixVar
	kept, ok := s.lv(name)
	switch {
	case origin.Merging:
		return fmt.Errorf("%s: %w: it goes back at the next boot already", origin.Name, ErrNoVar)
	case !ok:
		return fmt.Errorf("%s: %w: there is no such volume", name, ErrNoVar)
	case kept.Origin != origin.Name:
		return fmt.Errorf("%s: %w: %s went back to another one since", name, ErrNoVar, origin.Name)
	}
	c.Var = name
	c.note("at the next boot /var is what it was before %s first booted; what was written to it since, or will be, is lost", first)
	c.last = []txn.Step{
		{Name: "let layers after " + target.String() + " boot as for the first time", Do: func(ctx context.Context) error {
			return h.bootAnew(ctx, s, layers)
		}},
		{Name: "make /var " + name + " at the next boot", Do: func(ctx context.Context) error {
			if err := h.lvm.Revert(ctx, kept.VG, kept.Name); err != nil {
				return err
			}
			return h.lvm.Flush(ctx, s.vg.PVs...)
		}},
	}
	return nil
}

// since are the layers that ran after target, the running one first.
func (s *state) since(target layout.Image) ([]layout.Image, error) {
	if !s.isLayer {
		return nil, fmt.Errorf("root %s: %w", s.root.Path, ErrNotLayer)
	}
	if target == s.running {
		return nil, fmt.Errorf("%w: it is running, and /var is its own", ErrNoVar)
	}
	var layers []layout.Image
	for at := s.running; at != target; {
		before, ok := s.before(at)
		if layers = append(layers, at); !ok || slices.Contains(layers, before) {
			return nil, fmt.Errorf("%w: it did not run before %s", ErrNoVar, s.running)
		}
		at = before
	}
	return layers, nil
}

// bootAnew has layers do at their next boot what is done at the first: what
// their images brought into /var goes with the revert, and whoever boots one of
// them after all needs it. One that was removed meanwhile needs nothing.
func (h *Host) bootAnew(ctx context.Context, s *state, layers []layout.Image) error {
	for _, i := range layers {
		lv, ok := s.lv(i.String())
		var err error
		switch {
		case !ok:
		case lv.Name == s.root.Name:
			err = h.mark(h.Root)
		default:
			err = h.markIn(ctx, lv)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", i, err)
		}
	}
	return nil
}

func (h *Host) markIn(ctx context.Context, lv lvm.LV) error {
	return h.mounted(ctx, lv.Path, false, func(dir, _ string) error { return h.mark(dir) })
}

// mark makes the layer mounted at dir be one that has not booted.
func (h *Host) mark(dir string) error {
	path, err := placeIn(dir, firstBoot)
	if err != nil {
		return err
	}
	return h.Files.Replace(path, 0o644, bytes.NewReader(nil))
}
