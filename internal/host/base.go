package host

import (
	"context"
	"fmt"

	"imgbase/internal/hooks"
	"imgbase/internal/image"
	"imgbase/internal/layout"
	"imgbase/internal/nvr"
	"imgbase/internal/txn"
)

// BaseOptions say which base to add. Size is in bytes.
type BaseOptions struct {
	NVR   string
	Size  uint64
	Image string // path of an image to fill it with; "" leaves it empty
}

// PlanBase plans a new base: an empty volume, or one that holds an image. No
// layer is made and nothing about booting changes.
func (h *Host) PlanBase(ctx context.Context, o BaseOptions) (_ *Change, err error) {
	b, err := h.planBase(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("base %s: %w", o.NVR, err)
			_ = b.c.Close()
		}
	}()
	var src image.Source
	var used uint64
	if o.Image != "" {
		if src, err = b.open(ctx, o.Image); err != nil {
			return nil, err
		}
		if err := b.checkBaseImage(src, o); err != nil {
			return nil, err
		}
		used = uint64(src.Info().Used)
	}
	extend, note, err := b.s.room(b.pool, used)
	if err != nil {
		return nil, err
	}
	b.noteAll(note)
	steps := append(b.extendMetadata(extend), b.createBase(o.Size))
	if src != nil {
		steps = append(steps, b.writeBase(src))
	}
	steps = append(steps, b.sealBase())
	b.c.Verb, b.c.Base = "base", b.base.String()
	b.c.journal = h.journal(b.s)
	b.c.tx = h.transaction(b.s, txn.Record{Verb: "base", Name: b.base.String()})
	b.c.tx.Steps = steps
	if src == nil {
		return b.c, nil
	}
	b.tell = h.teller(b.s, b.c, hooks.Base).about(b.base, layout.Image{})
	pre, post := told(hooks.Base)
	b.c.after = append(b.c.after, func(ctx context.Context) error { return b.tell.tell(ctx, post[0], "") })
	return b.c, b.tell.ask(pre...)
}

func (h *Host) planBase(ctx context.Context, o BaseOptions) (*build, error) {
	n, err := nvr.Parse(o.NVR)
	if err != nil {
		return nil, err
	}
	if err := layout.CheckNew(n); err != nil {
		return nil, err
	}
	if o.Size == 0 {
		return nil, fmt.Errorf("base %s: %w: 0 bytes", n, ErrSize)
	}
	s, err := h.read(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.taken(); err != nil {
		return nil, err
	}
	b := &build{h: h, s: s, c: &Change{}, base: layout.Image{NVR: n}}
	if b.pool, err = s.pool(); err != nil {
		return nil, err
	}
	return b, h.free(s, b.base)
}

func (b *build) checkBaseImage(src image.Source, o BaseOptions) error {
	info := src.Info()
	if info.NVR.String() != o.NVR {
		return fmt.Errorf("%w: %s", ErrNVR, info.NVR)
	}
	if uint64(info.Size) > o.Size {
		return fmt.Errorf("%w: the image takes %s, %s were given", ErrSize, size(uint64(info.Size)), size(o.Size))
	}
	return b.h.checkMachine(src.Root())
}
