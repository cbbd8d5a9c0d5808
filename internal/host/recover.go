package host

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"imgbase/internal/durable"
	"imgbase/internal/hooks"
	"imgbase/internal/layout"
	"imgbase/internal/txn"
)

// transaction is what is known of a transaction from its record alone: how
// to see whether it happened, how to undo it, how to finish it. A verb adds
// its steps; recovery needs no more than this.
func (h *Host) transaction(s *state, r txn.Record) txn.Plan {
	p := txn.Plan{Record: r}
	i, err := layout.Parse(r.Name)
	if err != nil {
		err = fmt.Errorf("%q: %w", r.Name, err)
		p.Flipped = func(context.Context) (bool, error) { return false, err }
		return p
	}
	switch r.Verb {
	case "init":
		p.Flipped = h.boots(s, i)
		p.Undo = func(ctx context.Context) error { return h.discard(ctx, s, i, i.Base()) }
		p.Finish = func(ctx context.Context) error { return h.claim(ctx, s, i.Base()) }
	case "update":
		p.Flipped = h.boots(s, i)
		p.Undo = func(ctx context.Context) error { return h.discard(ctx, s, i, i.Base()) }
	case "layer":
		p.Flipped = h.boots(s, i)
		p.Undo = func(ctx context.Context) error { return h.discard(ctx, s, i) }
	case "base":
		p.Flipped = func(context.Context) (bool, error) { return false, nil }
		p.Undo = func(ctx context.Context) error { return h.discard(ctx, s, i) }
	case "remove":
		p.Finish = func(ctx context.Context) error { return h.discardBranch(ctx, s, i) }
	default:
		p.Flipped = func(context.Context) (bool, error) {
			return false, fmt.Errorf("a transaction %q that this version does not know", r.Verb)
		}
	}
	return p
}

// boots asks whether a layer is what boots by default, or what runs: somebody
// may have chosen it in the menu before its update was finished.
func (h *Host) boots(s *state, i layout.Image) func(context.Context) (bool, error) {
	return func(context.Context) (bool, error) {
		if s.root.Name == i.String() {
			return true, nil
		}
		b, err := h.loader(s)
		if err != nil {
			return false, err
		}
		next, err := h.next(b)
		return next == i.String(), err
	}
}

// discardBranch removes a layer, or a base and the layers it has now.
func (h *Host) discardBranch(ctx context.Context, s *state, base layout.Image) error {
	if base.IsLayer {
		return h.discard(ctx, s, base)
	}
	report, err := h.lvm.Report(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, lv := range report.LVsWithTag(s.vg.Name, TagBase, TagLayer) {
		names = append(names, lv.Name)
	}
	images := append(layout.New(names).LayersOf(base), base)
	return h.discard(ctx, s, images...)
}

// Settled is a transaction that an earlier run left and that is settled now.
type Settled struct {
	txn.Record
	Forward bool `json:"finished"` // finished, else undone
}

// Settle finishes or undoes what an interrupted run left behind. Every
// changing verb begins with it, and plans next, under the same lock.
func (h *Host) Settle(ctx context.Context) ([]Settled, error) {
	// A run killed between freeze and thaw left a /boot that nobody can
	// write to; one that is not frozen stays as it is.
	if err := durable.Thaw(h.path("boot")); err != nil {
		return nil, fmt.Errorf("/boot: %w", err)
	}
	s, err := h.read(ctx)
	if err != nil {
		return nil, err
	}
	if len(s.pending) == 0 {
		h.settled = s
		return nil, nil
	}
	return h.settle(ctx, s)
}

func (h *Host) settle(ctx context.Context, s *state) ([]Settled, error) {
	var done []Settled
	var errs []error
	b, err := h.loader(s)
	if err == nil {
		err = b.RemoveTemporary()
	}
	if err == nil {
		err = b.Refresh()
	}
	if err != nil {
		return nil, fmt.Errorf("recover: %w: %w", txn.ErrPending, err)
	}
	for _, r := range s.pending {
		forward, err := h.transaction(s, r).Recover(ctx, h.journal(s))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		done = append(done, Settled{Record: r, Forward: forward})
	}
	return done, errors.Join(errs...)
}

// Leftovers are what no boot entry leads to.
type Leftovers struct {
	Pending []txn.Record `json:"pending,omitempty"` // transactions to settle
	Layers  []string     `json:"layers,omitempty"`  // without a boot entry
	Bases   []string     `json:"bases,omitempty"`   // without a layer
	Entries []string     `json:"entries,omitempty"` // whose layer is not there
	Volumes []string     `json:"volumes,omitempty"` // paths whose data volume is not mounted
}

// leftovers compares volumes with boot entries. A layer that runs or boots
// next is in use, whatever entries say.
func (h *Host) leftovers(s *state, v view) Leftovers {
	l := Leftovers{Pending: s.pending, Volumes: s.unusedVolumes()}
	has := map[string]bool{}
	for _, e := range v.menu.Entries {
		if name := e.Layer(); name != "" {
			has[name] = true
			if i, err := layout.Parse(name); err == nil && !s.layout.Has(i) {
				l.Entries = append(l.Entries, e.ID)
			}
		}
	}
	for _, branch := range s.layout.Branches() {
		if len(branch.Layers) == 0 && !branch.Missing {
			l.Bases = append(l.Bases, branch.Base.String())
		}
		for _, i := range branch.Layers {
			name := i.String()
			if !has[name] && name != s.root.Name && name != v.next && !slices.Contains(v.fixed, name) {
				l.Layers = append(l.Layers, name)
			}
		}
	}
	return l
}

// Unused reports what recovery would settle and offer to remove.
func (h *Host) Unused(ctx context.Context) (Leftovers, error) {
	s, err := h.read(ctx)
	if err != nil {
		return Leftovers{}, err
	}
	v, err := h.view(s)
	if err != nil {
		return Leftovers{}, err
	}
	return h.leftovers(s, v), nil
}

// PlanDiscard plans to remove a layer that no boot entry leads to.
func (h *Host) PlanDiscard(ctx context.Context, name string) (*Change, error) {
	s, b, err := h.bootable(ctx)
	if err != nil {
		return nil, err
	}
	i, _, err := s.find(name)
	if err != nil {
		return nil, err
	}
	if err := h.unused(s, b, []layout.Image{i}); err != nil {
		return nil, fmt.Errorf("remove %s: %w", i, err)
	}
	c := &Change{Verb: "remove", Layer: name, journal: h.journal(s)}
	c.tx = h.transaction(s, txn.Record{Verb: "remove", Name: name})
	c.tx.Steps = []txn.Step{{
		Name: "remove " + name,
		Do:   func(ctx context.Context) error { return h.discard(ctx, s, i) },
	}}
	return c, h.tellRemoval(s, c, hooks.Recover, []layout.Image{i})
}
