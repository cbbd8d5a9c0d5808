package hosttest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"imgbase/internal/durable"
	"imgbase/internal/filesystem"
	"imgbase/internal/run"
)

// ErrOff is what everything answers once the power is off.
var ErrOff = errors.New("the power is off")

// ErrIO is the answer of the effect that was made to fail.
var ErrIO = errors.New("input/output error")

// Cut says when the power goes, or what fails.
type Cut struct {
	At     int  // number of the effect, from 1; 0 is never
	Before bool // before the effect takes place, else right after it
	Torn   int  // 1 or 2: only that half of an in-place write reaches the disk
	Fail   bool // the effect fails and the power stays
}

// Power counts effects and cuts them off. An effect is a program that
// changes something, a durable change of a file, or the writing of an image.
type Power struct {
	Cut     Cut
	Effects []string // what happened so far, by name
	off     bool
}

// Off says whether the power is off.
func (p *Power) Off() bool { return p.off }

// effect lets one effect happen, or not.
func (p *Power) effect(name string, do func() error) error {
	if p.off {
		return ErrOff
	}
	p.Effects = append(p.Effects, name)
	hit := len(p.Effects) == p.Cut.At
	switch {
	case hit && p.Cut.Fail:
		return ErrIO
	case hit && p.Cut.Before:
		p.off = true
		return ErrOff
	}
	err := do()
	if hit {
		p.off = true
		return ErrOff
	}
	return err
}

// powered is a runner on a machine that may lose power.
type powered struct {
	run.Runner
	power *Power
}

func (r powered) Run(ctx context.Context, c run.Cmd) (out run.Output, err error) {
	if r.power.off {
		return run.Output{}, ErrOff
	}
	switch c.Name {
	case "lvs", "vgs", "pvs", "lvm", "blkid":
		return r.Runner.Run(ctx, c)
	}
	err = r.power.effect(c.String(), func() error {
		out, err = r.Runner.Run(ctx, c)
		return err
	})
	return out, err
}

// files are durable changes on a machine that may lose power.
type files struct {
	durable.OS
	power *Power
}

func (f files) Replace(path string, mode fs.FileMode, r io.Reader) error {
	return f.power.effect("replace "+path, func() error { return f.OS.Replace(path, mode, r) })
}

func (f files) Overwrite(path string, data []byte) error {
	return f.power.effect("overwrite "+path, func() error {
		if len(f.power.Effects) == f.power.Cut.At && f.power.Cut.Torn > 0 {
			return f.torn(path, data)
		}
		return f.OS.Overwrite(path, data)
	})
}

// torn writes one sector of a change and leaves the other.
func (f files) torn(path string, data []byte) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const sector = 512
	mix := append([]byte(nil), data...)
	if f.power.Cut.Torn == 1 {
		copy(mix[sector:], old[sector:])
	} else {
		copy(mix[:sector], old[:sector])
	}
	return f.OS.Overwrite(path, mix)
}

func (f files) Link(old, path string) error {
	return f.power.effect("link "+path, func() error { return f.OS.Link(old, path) })
}

// Remove of a tree is not atomic: a cut after it leaves nothing, one before
// it all; what lies between is the business of package durable's own tests.
func (f files) Remove(path string) error {
	return f.power.effect("remove "+path, func() error { return f.OS.Remove(path) })
}

// Settle changes nothing that a reader of this machine's files could see.
func (f files) Settle(dir string) error {
	return f.power.effect("settle "+dir, func() error { return nil })
}

// filesystems are those on the volumes of the model.
type filesystems struct{ h *Host }

func (f filesystems) Probe(_ context.Context, dev string) (filesystem.Info, error) {
	if f.h.Power.off {
		return filesystem.Info{}, ErrOff
	}
	return f.h.disk(dev)
}

func (f filesystems) NewUUID(_ context.Context, dev, _ string) error {
	return f.h.Power.effect("new uuid "+dev, func() error { return f.h.renew(dev) })
}

func (f filesystems) Grow(_ context.Context, dev, _ string) error {
	return f.h.Power.effect("grow "+dev, func() error { _, err := f.h.disk(dev); return err })
}
