// Package txn runs a change of the host as one transaction.
//
// A transaction is steps, then a flip, then a finish. The steps build
// everything aside: until the flip nobody would miss them. The flip is the
// one small write after which the host is the new one. The finish is what is
// left to do then, and may be done again.
//
// The journal holds one [Record], a verb and a name, from before the first
// step until after the finish. It says that a transaction is under way, not
// how far it came: whether the flip happened is asked of the world
// ([Plan.Flipped]), and undo is derived from what exists with the record's
// name ([Plan.Undo]), so that there is a single way back, the same after an
// error, a signal, a kill and a power cut. Flipped, Undo and Finish are
// therefore functions of the record alone, idempotent, and may themselves be
// cut at any instant.
//
// Two kinds of plan have no Flip. Without Flipped it only goes forward, since
// something half removed is of no use to anyone: it is finished, never
// undone. With a Flipped that says no, the end of the journal is the flip: it
// is undone unless every step succeeded.
package txn

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// prefix of the tag that holds a record; see docs/on-disk.md.
const prefix = "imgbased:txn:"

// Record names a transaction: the verb ("update") and what it makes or
// removes (an image's name).
type Record struct {
	Verb string `json:"verb"`
	Name string `json:"name"`
}

// Tag is the record as it stands among the volume group's tags.
func (r Record) Tag() string { return prefix + r.Verb + ":" + r.Name }

// String is the record as the user reads it.
func (r Record) String() string { return r.Verb + " " + r.Name }

// Records returns the records among a volume group's tags. A tag under our
// prefix that holds none is returned as a record of the verb "", with the
// tag as its name, because ignoring it would hide debris.
func Records(tags []string) []Record {
	var rs []Record
	for _, tag := range tags {
		rest, ok := strings.CutPrefix(tag, prefix)
		if !ok {
			continue
		}
		verb, name, ok := strings.Cut(rest, ":")
		if !ok || verb == "" || name == "" {
			rs = append(rs, Record{Name: tag})
			continue
		}
		rs = append(rs, Record{Verb: verb, Name: name})
	}
	return rs
}

// Journal keeps the record. Both calls return once it is on the disk.
type Journal interface {
	Begin(ctx context.Context, r Record) error
	End(ctx context.Context, r Record) error
}

// Step is one effect of a transaction, named as the user reads it.
type Step struct {
	Name string
	Do   func(ctx context.Context) error
}

// Plan is a transaction that has been checked and can be run. Nothing has
// happened yet; printing its steps is a dry run.
type Plan struct {
	Record  Record
	Steps   []Step
	Flip    Step
	Flipped func(ctx context.Context) (bool, error)
	Undo    func(ctx context.Context) error
	Finish  func(ctx context.Context) error
}

// ErrPending is an unfinished transaction that could be neither finished nor
// undone. The record stays, so that recovery tries again.
var ErrPending = errors.New("transaction left unfinished")

// ErrFlipped is an error that did not stop the change: it came after the flip,
// or from a step of a plan that only goes forward. The change is finished.
var ErrFlipped = errors.New("the change was made all the same")

// ErrNotFlipped is a flip that reported success and did not hold.
var ErrNotFlipped = errors.New("the change did not take hold")

// Run carries the plan out. On an error before the flip everything is undone
// and the error returned; one after the flip is returned with the change in
// place. Ending ctx stops between or within steps and undoes as well.
// observe, if not nil, is called before each step.
func (p Plan) Run(ctx context.Context, j Journal, observe func(Step)) error {
	if err := p.begin(ctx, j); err != nil {
		return err
	}
	for _, s := range p.all() {
		err := context.Cause(ctx)
		if err == nil {
			if observe != nil {
				observe(s)
			}
			err = s.Do(ctx)
		}
		if err != nil {
			return p.settle(ctx, j, fmt.Errorf("%s: %w", s.Name, err))
		}
	}
	return p.settle(ctx, j, nil)
}

// begin writes the record. If that fails, or the user has already changed
// their mind, nothing has happened yet and only the record has to go.
func (p Plan) begin(ctx context.Context, j Journal) error {
	err := j.Begin(ctx, p.Record)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("begin %s: %w", p.Record, err)
	if end := j.End(context.WithoutCancel(ctx), p.Record); end != nil {
		return fmt.Errorf("%w; %w: %w", err, ErrPending, end)
	}
	return err
}

// all is the steps with the flip.
func (p Plan) all() []Step {
	if p.Flip.Do == nil {
		return p.Steps
	}
	return append(append([]Step(nil), p.Steps...), p.Flip)
}

// settle brings the transaction to its end after the steps, whatever became
// of them. It runs to the end even if ctx has ended: Ctrl-C undoes, it does
// not abandon.
func (p Plan) settle(ctx context.Context, j Journal, cause error) error {
	ctx = context.WithoutCancel(ctx)
	forward, err := true, error(nil)
	if cause != nil || p.Flip.Do != nil {
		forward, err = p.forward(ctx)
	}
	if err == nil {
		err = p.end(ctx, j, forward)
	}
	if cause == nil && !forward {
		cause = fmt.Errorf("%s: %w", p.Record, ErrNotFlipped)
	}
	if cause != nil && forward {
		cause = fmt.Errorf("%w; %w", cause, ErrFlipped)
	}
	switch {
	case err == nil:
		return cause
	case cause == nil:
		return fmt.Errorf("%s: %w: %w", p.Record, ErrPending, err)
	}
	return fmt.Errorf("%w; %w: %w", cause, ErrPending, err)
}

// Recover settles a transaction that an earlier run left: forward if its
// flip happened, else back. It reports which way it went.
func (p Plan) Recover(ctx context.Context, j Journal) (forward bool, err error) {
	forward, err = p.forward(ctx)
	if err == nil {
		err = p.end(ctx, j, forward)
	}
	if err != nil {
		return forward, fmt.Errorf("recover %s: %w: %w", p.Record, ErrPending, err)
	}
	return forward, nil
}

func (p Plan) forward(ctx context.Context) (bool, error) {
	if p.Flipped == nil {
		return true, nil
	}
	return p.Flipped(ctx)
}

func (p Plan) end(ctx context.Context, j Journal, forward bool) error {
	settle := p.Undo
	if forward {
		settle = p.Finish
	}
	if settle != nil {
		if err := settle(ctx); err != nil {
			return err
		}
	}
	return j.End(ctx, p.Record)
}
