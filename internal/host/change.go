package host

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"imgbase/internal/derive"
	"imgbase/internal/layout"
	"imgbase/internal/lvm"
	"imgbase/internal/packages"
	"imgbase/internal/txn"
)

// Change is a change of the host that was planned and has passed every
// check, and has not happened. It must be closed, whether it was run or not.
type Change struct {
	Verb  string `json:"verb"`
	Base  string `json:"base,omitempty"`
	Layer string `json:"layer,omitempty"`
	// Carried is what comes from the running system into the new layer; nil
	// when that stays as what it is made of.
	Carried *Carried `json:"carried,omitempty"`
	// Packages is what becomes of the packages that the administrator added;
	// nil when there are none.
	Packages *packages.Plan `json:"packages,omitempty"`
	// Modes are files of the layer that granted more than their packages say.
	Modes []Restored `json:"modes,omitempty"`
	// Derived is what is made anew in the layer, and what stays as the image
	// has it.
	Derived []derive.Change `json:"derived,omitempty"`
	// Var is the volume kept of /var that /var becomes at the next boot.
	Var string `json:"var,omitempty"`
	// Removed are the bases that were collected afterwards.
	Removed []string `json:"removed,omitempty"`
	// Notes are what the user should know and need not act upon.
	Notes []string `json:"notes,omitempty"`

	before  []txn.Step // may refuse, and change nothing
	tx      txn.Plan
	journal txn.Journal
	last    []txn.Step // after the flip, and part of the change
	after   []func(ctx context.Context) error
	closers []func() error
}

// Steps are what Run will do, in order, one line each.
func (c *Change) Steps() []string {
	var names []string
	for _, s := range append(slices.Clone(c.before), c.tx.Steps...) {
		names = append(names, s.Name)
	}
	if c.tx.Flip.Do != nil {
		names = append(names, c.tx.Flip.Name)
	}
	for _, s := range c.last {
		names = append(names, s.Name)
	}
	return names
}

// Close lets go of what planning opened, the image above all.
func (c *Change) Close() error {
	var errs []error
	for i := len(c.closers) - 1; i >= 0; i-- {
		errs = append(errs, c.closers[i]())
	}
	c.closers = nil
	return errors.Join(errs...)
}

func (c *Change) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// Run carries a change out as one transaction. On an error before the boot
// default changed, nothing of it is left. An error in what is part of the
// change but follows that is a [txn.ErrFlipped]; what else fails becomes a
// note, for the change has been made.
func (h *Host) Run(ctx context.Context, c *Change) error {
	observe := func(s txn.Step) {
		h.Log.InfoContext(ctx, s.Name)
		h.Observe(Event{Step: s.Name})
	}
	for _, s := range c.before {
		observe(s)
		if err := s.Do(ctx); err != nil {
			return err
		}
	}
	if err := c.tx.Run(ctx, c.journal, observe); err != nil {
		return err
	}
	for _, s := range c.last {
		observe(s)
		// What has flipped is not left halfway because of Ctrl-C.
		if err := s.Do(context.WithoutCancel(ctx)); err != nil {
			return fmt.Errorf("%s: %w; %w", s.Name, err, txn.ErrFlipped)
		}
	}
	for _, after := range c.after {
		if err := after(ctx); err != nil {
			c.note("%v", err)
		}
	}
	return nil
}

// journal keeps the record of a transaction as a tag of the volume group.
type journal struct {
	lvm *lvm.Client
	vg  lvm.VG
}

func (j journal) Begin(ctx context.Context, r txn.Record) error {
	return j.change(ctx, []string{r.Tag()}, nil)
}

func (j journal) End(ctx context.Context, r txn.Record) error {
	tag := r.Tag()
	if r.Verb == "" {
		tag = r.Name
	}
	return j.change(ctx, nil, []string{tag})
}

func (j journal) change(ctx context.Context, add, del []string) error {
	if err := j.lvm.ChangeVGTags(ctx, j.vg.Name, add, del); err != nil {
		return err
	}
	return j.lvm.Flush(ctx, j.vg.PVs...)
}

// noJournal is for a change that is a single flip.
type noJournal struct{}

func (noJournal) Begin(context.Context, txn.Record) error { return nil }
func (noJournal) End(context.Context, txn.Record) error   { return nil }

func (h *Host) journal(s *state) txn.Journal { return journal{lvm: h.lvm, vg: s.vg} }

// discard removes images and all that belongs to them, in the order in which
// a cut does no harm: an entry never outlives the volume it names. What is
// not there is no error.
func (h *Host) discard(ctx context.Context, s *state, images ...layout.Image) error {
	b, err := h.loader(s)
	if err != nil {
		return err
	}
	for _, i := range images {
		if !i.IsLayer {
			continue
		}
		if err := b.Remove(i.String()); err != nil {
			return fmt.Errorf("boot entries of %s: %w", i, err)
		}
		if err := b.RemoveKernels(i.String()); err != nil {
			return fmt.Errorf("kernels of %s: %w", i, err)
		}
	}
	report, err := h.lvm.Report(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, i := range images {
		for _, name := range append(companions(i), i.String()) {
			if _, ok := report.LV(s.vg.Name, name); ok {
				names = append(names, name)
			}
		}
	}
	return h.lvm.Remove(ctx, s.vg.Name, names...)
}
