package txn_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"imgbase/internal/txn"
)

// world is a host of two named things and a default, with a power switch:
// after so many effects nothing works any more.
type world struct {
	things  map[string]bool
	def     string
	record  *txn.Record
	left    int // effects until the power is cut; negative is never
	fail    int // this effect fails once, without power cut; 0 is none
	effects int
	before  bool // the cut comes before the effect instead of after it
}

var (
	errOff  = errors.New("power off")
	errOnce = errors.New("i/o error")
)

func newWorld() *world {
	return &world{things: map[string]bool{}, def: "old", left: -1}
}

func (w *world) effect(do func()) error {
	if w.left == 0 && w.before {
		return errOff
	}
	if w.left == 0 {
		w.left = -2
		do()
		return errOff
	}
	if w.left == -2 {
		return errOff
	}
	w.effects++
	if w.effects == w.fail {
		return errOnce
	}
	if w.left > 0 {
		w.left--
	}
	do()
	return nil
}

func (w *world) Begin(_ context.Context, r txn.Record) error {
	return w.effect(func() { w.record = &r })
}

func (w *world) End(_ context.Context, _ txn.Record) error {
	return w.effect(func() { w.record = nil })
}

func (w *world) make(name string) txn.Step {
	return txn.Step{Name: "make " + name, Do: func(context.Context) error {
		return w.effect(func() { w.things[name] = true })
	}}
}

func (w *world) plan() txn.Plan {
	return txn.Plan{
		Record:  txn.Record{Verb: "update", Name: "new"},
		Steps:   []txn.Step{w.make("volume"), w.make("entry")},
		Flip:    txn.Step{Name: "flip", Do: func(context.Context) error { return w.effect(func() { w.def = "new" }) }},
		Flipped: func(context.Context) (bool, error) { return w.def == "new", nil },
		Undo: func(context.Context) error {
			for _, name := range []string{"entry", "volume"} {
				if !w.things[name] {
					continue
				}
				if err := w.effect(func() { delete(w.things, name) }); err != nil {
					return err
				}
			}
			return nil
		},
		Finish: func(context.Context) error {
			return w.effect(func() { w.things["finished"] = true })
		},
	}
}

// check holds at every instant.
func (w *world) check(t *testing.T) {
	t.Helper()
	if w.things["entry"] && !w.things["volume"] {
		t.Errorf("an entry without its volume: %v", w.things)
	}
	if w.def == "new" && !w.things["entry"] {
		t.Errorf("the default names an entry that is not there")
	}
}

func (w *world) whole(t *testing.T) {
	t.Helper()
	w.check(t)
	if w.record != nil {
		t.Errorf("the record %v is left", *w.record)
	}
	switch {
	case w.def == "new" && w.things["volume"] && w.things["entry"] && w.things["finished"]:
	case w.def == "old" && len(w.things) == 0:
	default:
		t.Errorf("neither old nor new: default %s, things %v", w.def, w.things)
	}
}

func TestEveryCutIsRecovered(t *testing.T) {
	for _, before := range []bool{true, false} {
		for cut := range 12 {
			for again := range 8 {
				t.Run(fmt.Sprintf("before=%v/%d/%d", before, cut, again), func(t *testing.T) {
					w := newWorld()
					w.left, w.before = cut, before
					_ = w.plan().Run(t.Context(), w, nil)
					w.check(t)
					for _, left := range []int{again, -1} {
						w.left = left
						if w.record != nil {
							_, _ = w.plan().Recover(t.Context(), w)
							w.check(t)
						}
					}
					w.whole(t)
				})
			}
		}
	}
}

func TestEveryErrorIsUndone(t *testing.T) {
	for n := 1; n <= 6; n++ {
		w := newWorld()
		w.fail = n
		err := w.plan().Run(t.Context(), w, nil)
		if !errors.Is(err, errOnce) {
			t.Errorf("error %d: Run() = %v; want the cause", n, err)
		}
		if pending := errors.Is(err, txn.ErrPending); pending != (w.record != nil) {
			t.Errorf("error %d: pending is %v, record is %v", n, pending, w.record)
		}
		if w.record != nil {
			if _, err := w.plan().Recover(t.Context(), w); err != nil {
				t.Errorf("error %d: Recover() = %v", n, err)
			}
		}
		w.whole(t)
	}
}

func TestRunSucceeds(t *testing.T) {
	w := newWorld()
	var seen []string
	if err := w.plan().Run(t.Context(), w, func(s txn.Step) { seen = append(seen, s.Name) }); err != nil {
		t.Fatal(err)
	}
	w.whole(t)
	if w.def != "new" {
		t.Error("the flip did not happen")
	}
	if want := []string{"make volume", "make entry", "flip"}; !slices.Equal(seen, want) {
		t.Errorf("observed %q; want %q", seen, want)
	}
}

func TestInterruptUndoes(t *testing.T) {
	w := newWorld()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("interrupted")
	err := w.plan().Run(ctx, w, func(s txn.Step) {
		if s.Name == "make entry" {
			cancel(stop)
		}
	})
	// The step that was under way is allowed to end; the next is not begun.
	if !errors.Is(err, stop) {
		t.Errorf("Run() = %v; want the interrupt", err)
	}
	w.whole(t)
	if w.def != "old" {
		t.Error("interrupted and flipped")
	}
}

func TestFlipThatDoesNotHold(t *testing.T) {
	w := newWorld()
	p := w.plan()
	p.Flip.Do = func(context.Context) error { return nil }
	if err := p.Run(t.Context(), w, nil); !errors.Is(err, txn.ErrNotFlipped) {
		t.Errorf("Run() = %v; want ErrNotFlipped", err)
	}
	w.whole(t)
}

func TestErrorAfterTheFlip(t *testing.T) {
	w := newWorld()
	p := w.plan()
	p.Flip.Do = func(context.Context) error { w.def = "new"; return errOnce }
	if err := p.Run(t.Context(), w, nil); !errors.Is(err, errOnce) || !errors.Is(err, txn.ErrFlipped) {
		t.Errorf("Run() = %v; want the cause and ErrFlipped", err)
	}
	w.whole(t)
	if w.def != "new" {
		t.Error("undone after the flip")
	}
}

func TestForwardOnlyFinishes(t *testing.T) {
	w := newWorld()
	w.things["volume"] = true
	remove := func(context.Context) error { return w.effect(func() { delete(w.things, "volume") }) }
	p := txn.Plan{
		Record: txn.Record{Verb: "remove", Name: "old"},
		Steps:  []txn.Step{{Name: "remove", Do: remove}},
		Finish: remove,
	}
	w.fail = 2 // the step, after the record
	if err := p.Run(t.Context(), w, nil); !errors.Is(err, errOnce) || errors.Is(err, txn.ErrPending) {
		t.Errorf("Run() = %v; want the cause, not pending", err)
	}
	if w.things["volume"] || w.record != nil {
		t.Errorf("not finished: %v, record %v", w.things, w.record)
	}
}

func TestForwardOnlyDoesNothingWithoutRecord(t *testing.T) {
	w := newWorld()
	w.things["volume"], w.fail = true, 1
	p := txn.Plan{
		Record: txn.Record{Verb: "remove", Name: "old"},
		Finish: func(context.Context) error { delete(w.things, "volume"); return nil },
	}
	if err := p.Run(t.Context(), w, nil); !errors.Is(err, errOnce) {
		t.Errorf("Run() = %v; want the cause", err)
	}
	if !w.things["volume"] {
		t.Error("removed although the journal could not be written")
	}
}

func TestRecords(t *testing.T) {
	r := txn.Record{Verb: "update", Name: "node-1.0-1+1"}
	tags := []string{"imgbased:vg", "foreign", r.Tag(), "imgbased:txn:", "imgbased:txn:x", "imgbased:txn::y"}
	want := []txn.Record{r, {Name: "imgbased:txn:"}, {Name: "imgbased:txn:x"}, {Name: "imgbased:txn::y"}}
	if got := txn.Records(tags); !slices.Equal(got, want) {
		t.Errorf("Records(%q) = %v; want %v", tags, got, want)
	}
}

func FuzzRecords(f *testing.F) {
	f.Add("imgbased:txn:update:a-1-1")
	f.Fuzz(func(t *testing.T, tag string) {
		for _, r := range txn.Records([]string{tag}) {
			if r.Verb != "" && r.Tag() != tag {
				t.Errorf("Records(%q) gave %v, whose tag is %q", tag, r, r.Tag())
			}
		}
	})
}
