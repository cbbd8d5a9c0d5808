package host

import (
	"context"
	"fmt"
	"strings"

	"imgbase/internal/hooks"
	"imgbase/internal/layout"
	"imgbase/internal/lvm"
	"imgbase/internal/rootfs"
	"imgbase/internal/txn"
)

// teller tells the hooks what a change does.
type teller struct {
	h    *Host
	s    *state
	c    *Change
	call hooks.Call // all but the event
}

func (h *Host) teller(s *state, c *Change, mode hooks.Mode) *teller {
	previous := hooks.Volume{NVR: s.root.Name, LV: s.root.VG + "/" + s.root.Name, Device: s.root.Path, Root: h.Root}
	return &teller{h: h, s: s, c: c, call: hooks.Call{Mode: mode, Previous: previous}}
}

func (h *Host) hooks() hooks.Dispatcher {
	return hooks.Dispatcher{Root: h.Root, Runner: h.Runner, Resolve: rootfs.Resolve}
}

// volume is an image as hooks are told of it.
func (s *state) volume(i layout.Image) hooks.Volume {
	return hooks.Volume{NVR: i.String(), LV: s.vg.Name + "/" + i.String(), Device: lvm.Path(s.vg.Name, i.String())}
}

// about is the teller for a base and a layer on it; either may be the zero
// Image.
func (t *teller) about(base, layer layout.Image) *teller {
	if base != (layout.Image{}) {
		t.call.Base = t.s.volume(base)
	}
	if layer != (layout.Image{}) {
		t.call.Layer = t.s.volume(layer)
	}
	return t
}

// ask has the hooks asked of the events before the change begins, if there are
// any.
func (t *teller) ask(events ...hooks.Event) error {
	set, err := t.h.hooks().Find()
	if err != nil {
		return err
	}
	for _, w := range set.Warnings() {
		t.c.note("%s", w)
	}
	if len(set.Hooks) == 0 {
		return nil
	}
	t.c.before = append(t.c.before, txn.Step{
		Name: fmt.Sprintf("ask hooks: %s", join(events)),
		Do: func(ctx context.Context) error {
			for _, e := range events {
				if err := t.tell(ctx, e, ""); err != nil {
					return err
				}
			}
			return nil
		},
	})
	return nil
}

func join(events []hooks.Event) string {
	words := make([]string, len(events))
	for i, e := range events {
		words[i] = string(e)
	}
	return strings.Join(words, ", ")
}

// tell tells the hooks of an event. With the layer mounted, dir is where. A
// hook that fails is noted, unless it may stop what is about to happen.
func (t *teller) tell(ctx context.Context, event hooks.Event, dir string) error {
	call := t.call
	call.Event, call.Layer.Root = event, dir
	report, err := t.h.hooks().Emit(ctx, call)
	if err != nil {
		return err
	}
	for _, failed := range report.Failed() {
		t.c.note("%s: %s", event, failed)
	}
	return nil
}

// told are the events of a change that makes something: those before its
// first effect, and those after it.
func told(mode hooks.Mode) (pre, post []hooks.Event) {
	switch mode {
	case hooks.Init:
		return []hooks.Event{hooks.PreInitLayout, hooks.PreNewLayerAdded}, []hooks.Event{hooks.NewLayerAdded, hooks.PostInitLayout}
	case hooks.Update:
		return []hooks.Event{hooks.PreNewBaseAdded, hooks.PreNewLayerAdded}, []hooks.Event{hooks.NewBaseAdded, hooks.NewLayerAdded}
	case hooks.Layer:
		return []hooks.Event{hooks.PreNewLayerAdded}, []hooks.Event{hooks.NewLayerAdded}
	case hooks.Base:
		return []hooks.Event{hooks.PreNewBaseAdded}, []hooks.Event{hooks.NewBaseAdded}
	}
	return nil, nil
}

// tellRemoval has hooks asked before images are removed, and told afterwards.
func (h *Host) tellRemoval(s *state, c *Change, mode hooks.Mode, images []layout.Image) error {
	for _, i := range images {
		t, pre, post := h.teller(s, c, mode).about(i, layout.Image{}), hooks.PreBaseRemoved, hooks.BaseRemoved
		if i.IsLayer {
			t, pre, post = h.teller(s, c, mode).about(layout.Image{}, i), hooks.PreLayerRemoved, hooks.LayerRemoved
		}
		if err := t.ask(pre); err != nil {
			return err
		}
		c.after = append(c.after, func(ctx context.Context) error { return t.tell(ctx, post, "") })
	}
	return nil
}
