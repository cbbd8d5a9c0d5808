package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"imgbase/internal/filesystem"
)

// Diff is what the merge of the running layer into an image would do, computed
// as an update to it computes that. The image is the name of a base or a
// layer, or else the path of an image file. With "" it is the running layer's
// own base: what is left then is what was changed in the layer.
//
// It only reads, and takes no lock: what is being changed at the same time may
// be seen halfway. An image of another product is compared all the same. The
// error is [ErrNotLayer] on a root that is no layer, [ErrSame] for the running
// layer itself, [ErrNoImage] for what is neither a name nor a file.
func (h *Host) Diff(ctx context.Context, image string) (c Carried, err error) {
	s, err := h.onLayer(ctx)
	if err != nil {
		return c, err
	}
	if image == "" {
		return h.changed(ctx, s)
	}
	merge := func(base, theirs string) (err error) {
		if err := h.checkMachine(theirs); err != nil {
			return fmt.Errorf("%s: %w", image, err)
		}
		c, err = h.preview(s, base, theirs)
		return err
	}
	against := func(theirs string) error {
		return h.ancestor(ctx, s, func(base string) error { return merge(base, theirs) })
	}
	i, lv, unknown := s.find(image)
	switch {
	case unknown != nil:
		err = h.insideFile(ctx, image, against)
	case i == s.running:
		err = fmt.Errorf("%s: %w: it is what runs; without a name its changes are shown", i, ErrSame)
	case i == s.running.Base(): // mounted once: it could not be released twice
		err = h.ancestor(ctx, s, func(base string) error { return merge(base, base) })
	default:
		if err = h.inside(ctx, lv, against); errors.Is(err, filesystem.ErrUnknown) {
			err = fmt.Errorf("%s: %w: %w", i, ErrEmptyBase, err)
		}
	}
	return c, err
}

// onLayer reads the host, which has to run a layer.
func (h *Host) onLayer(ctx context.Context) (*state, error) {
	s, err := h.read(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.taken(); err != nil {
		return nil, err
	}
	if !s.isLayer {
		return nil, fmt.Errorf("root %s: %w", s.root.Path, ErrNotLayer)
	}
	return s, nil
}

// changed compares the running layer with its own base. That this may have
// been made from an installed root is no matter: nothing of another image
// could be taken for the administrator's.
func (h *Host) changed(ctx context.Context, s *state) (c Carried, err error) {
	err = h.ancestor(ctx, s, func(base string) error {
		m, err := h.newMerger(s, base, base, false)
		if err != nil {
			return err
		}
		c, err = m.compare(m.accounts.Owners)
		return err
	})
	return c, err
}

// insideFile opens an image file for the time of do.
func (h *Host) insideFile(ctx context.Context, path string, do func(dir string) error) (err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w, and no such file", path, ErrNoImage)
	}
	src, err := h.OpenImage(ctx, path)
	if err != nil {
		return err // it names the image
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	return do(src.Root())
}
