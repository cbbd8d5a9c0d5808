package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"imgbase/internal/layout"
	"imgbase/internal/persist"
	"imgbase/internal/rootfs"
)

// ancestor mounts the base that the running layer was made of, the common
// ancestor of the merge of /etc, for the time of do.
func (h *Host) ancestor(ctx context.Context, s *state, do func(dir string) error) error {
	base := s.running.Base()
	lv, ok := s.lv(base.String())
	if !ok {
		return fmt.Errorf("base %s of the running layer: %w", base, ErrNoImage)
	}
	return h.inside(ctx, lv, do)
}

// compareEtc plans the merge of /etc: what changed from the base mounted at
// base to the running system is carried into the tree mounted at theirs.
func (h *Host) compareEtc(s *state, base, theirs string) (persist.Plan, error) {
	rules := persist.DefaultRules()
	if own, err := os.ReadFile(h.path(profilePath)); err == nil && bytes.Equal(own, profile) {
		rules.Drop = append(rules.Drop, strings.TrimPrefix(profilePath, "etc/")) // ours, and refit puts it into every layer
	}
	if rules.Adopted = s.adopted(s.running.Base()); rules.Adopted {
		pristine, err := rootfs.Pristine(h.Root)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return persist.Plan{}, fmt.Errorf("packages' own files: %w", err)
		}
		rules.Pristine = pristine
	}
	plan, err := persist.Compare(filepath.Join(base, "etc"), h.path("etc"), filepath.Join(theirs, "etc"), rules)
	if err != nil {
		return plan, fmt.Errorf("compare /etc: %w", err)
	}
	return plan, nil
}

// adopted says whether a base was made from an installed root: by us, which
// the tag says, or by the original, whose first base is a snapshot of the
// volume it tagged and carries the tag of a layer.
func (s *state) adopted(base layout.Image) bool {
	lv, ok := s.lv(base.String())
	if !ok {
		return false
	}
	origin, ok := s.lv(lv.Origin)
	return lv.HasTag(TagAdopted) || lv.HasTag(TagLayer) || ok && origin.HasTag(TagInit)
}
