package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"imgbase/internal/layout"
	"imgbase/internal/lvm"
	"imgbase/internal/mount"
	"imgbase/internal/packages"
	"imgbase/internal/persist"
	"imgbase/internal/rootfs"
	"imgbase/internal/varmerge"
)

// firstBoot is the file by which a new layer knows that it has not booted yet.
const firstBoot = "usr/lib/imgbased/first-boot"

// Started is what the first boot of a layer did.
type Started struct {
	Layer string            `json:"layer"`
	Var   []varmerge.Change `json:"var"` // what came into /var, and what is to be looked at
	Saved string            `json:"saved,omitempty"`
	// Late are changes of /etc that were made after the update and did not
	// arrive, because the host was not shut down in order.
	Late  []persist.Change `json:"late,omitempty"`
	Notes []string         `json:"notes,omitempty"`
}

// Start is what every boot of a layer does first, early: on the layer's first
// boot it keeps /var as it was and merges the image's into it. It may be cut
// at any instant and done again. Nil is a layer that booted before.
func (h *Host) Start(ctx context.Context) (*Started, error) {
	s, err := h.read(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(h.path(firstBoot)); errors.Is(err, fs.ErrNotExist) || !s.isLayer {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	done := &Started{Layer: s.running.String()}
	if done.Late, err = h.late(ctx, s); err != nil {
		done.Notes = append(done.Notes, fmt.Sprintf("changes of /etc after the update: %v", err))
	}
	if done.Saved, err = h.saveVar(ctx, s); err != nil {
		done.Notes = append(done.Notes, fmt.Sprintf("/var is not kept as it was: %v", err))
	}
	if done.Var, err = h.mergeVar(ctx, s); err != nil {
		return done, fmt.Errorf("merge /var: %w", err)
	}
	if err := h.forgetSync(ctx, s, s.running); err != nil {
		done.Notes = append(done.Notes, err.Error())
	}
	return done, h.Files.Remove(h.path(firstBoot))
}

// saveVar keeps /var as it is before the image's comes in. What exists is of
// a run that was cut off, and older: it stays.
func (h *Host) saveVar(ctx context.Context, s *state) (string, error) {
	lv, err := h.varVolume(s)
	if err != nil {
		return "", err
	}
	name := s.running.String() + suffixVar
	kept, ok := s.lv(name)
	if ok && kept.Origin == lv.Name {
		return name, nil
	}
	if ok { // /var went back to an older one since; LVM cannot go back to this
		if err := h.lvm.Remove(ctx, lv.VG, name); err != nil {
			return "", err
		}
	}
	return name, h.keep(ctx, lv.VG, lv.Name, name)
}

// varVolume is the thin volume of our volume group that /var is on.
func (h *Host) varVolume(s *state) (lvm.LV, error) {
	m, ok := s.mounts.At("/var")
	if !ok {
		return lvm.LV{}, ErrVarNotSeparate
	}
	lv, ok := h.volume(s.report, m)
	if !ok || lv.VG != s.vg.Name || !lv.ThinVolume {
		return lv, fmt.Errorf("%s: %w", m.Source, ErrNotThin)
	}
	return lv, nil
}

// mergeVar brings in what the layer's image has in its /var, which lies under
// the mount point.
func (h *Host) mergeVar(ctx context.Context, s *state) (changes []varmerge.Change, err error) {
	root, ok := s.mounts.At("/")
	if !ok {
		return nil, ErrNotLVM
	}
	m, err := h.Mounter.Mount(ctx, mount.Spec{Source: s.root.Path, FSType: root.FSType})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	system := packages.System{Root: h.Root, Runner: h.Runner, Open: rootfs.Open}
	classes, err := system.Classes(ctx, "/var")
	if err != nil {
		// Then nothing that exists is touched.
		h.Log.WarnContext(ctx, fmt.Sprintf("package database of %s: %v", s.running, err))
	}
	options := varmerge.Options{Rules: varmerge.DefaultRules(), Class: func(path string) varmerge.Class { return classOf(classes["/var/"+path]) }}
	err = h.withUntouched(ctx, s, func(untouched func(path string) bool) error {
		options.Untouched = untouched
		changes, err = bringVar(ctx, filepath.Join(m.Dir(), "var"), h.path("var"), options)
		return err
	})
	return changes, err
}

// bringVar merges an image's /var into the host's. What a running service
// changes meanwhile is left out, and decided anew.
func bringVar(ctx context.Context, image, host string, o varmerge.Options) (changes []varmerge.Change, err error) {
	for range 3 {
		plan, err := varmerge.Compare(ctx, image, host, o)
		if err != nil {
			return changes, err
		}
		changes = append(changes, plan.Changes...)
		left, err := plan.Apply(ctx)
		if err != nil || len(left) == 0 {
			return changes, err
		}
	}
	return changes, nil
}

func classOf(c packages.Class) varmerge.Class {
	return map[packages.Class]varmerge.Class{
		packages.Ghost: varmerge.Ghost, packages.Packaged: varmerge.Packaged,
		packages.Config: varmerge.Config, packages.NoReplace: varmerge.NoReplace,
	}[c]
}

// late compares /etc of the layer that ran before with what was merged of it.
func (h *Host) late(ctx context.Context, s *state) (changes []persist.Change, err error) {
	synced, ok := s.lv(s.running.String() + suffixSync)
	before, known := s.before(s.running)
	if !ok || !known {
		return nil, nil
	}
	lv, ok := s.lv(before.String())
	if !ok {
		return nil, nil
	}
	err = h.inside(ctx, synced, func(base string) error {
		return h.inside(ctx, lv, func(mine string) error {
			plan, err := persist.Compare(filepath.Join(base, "etc"), filepath.Join(mine, "etc"), h.path("etc"), persist.Rules{Drop: persist.DefaultRules().Drop})
			changes = edits(plan)
			return err
		})
	})
	return changes, err
}

// edits are the changes of a plan that are the administrator's.
func edits(p persist.Plan) []persist.Change {
	var found []persist.Change
	for _, c := range p.Changes {
		if c.Op != persist.Vendor {
			found = append(found, c)
		}
	}
	return found
}

// forgetSync removes the companion by which late changes are told.
func (h *Host) forgetSync(ctx context.Context, s *state, layer layout.Image) error {
	if _, ok := s.lv(layer.String() + suffixSync); !ok {
		return nil
	}
	return h.lvm.Remove(ctx, s.vg.Name, layer.String()+suffixSync)
}

// Stop is what every shutdown does: when another layer boots next for the
// first time, what was changed in /etc since it was made is merged into it.
func (h *Host) Stop(ctx context.Context) (*Carried, error) {
	s, err := h.read(ctx)
	if err != nil || !s.isLayer || len(s.pending) > 0 {
		return nil, err
	}
	b, err := h.loader(s)
	if err != nil {
		return nil, err
	}
	name, err := h.next(b)
	if err != nil || name == "" || name == s.running.String() {
		return nil, err
	}
	next, lv, err := s.find(name)
	if err != nil {
		return nil, err
	}
	synced, ok := s.lv(name + suffixSync)
	if before, known := s.before(next); !ok || lv.Open || !known || before != s.running {
		return nil, nil
	}
	carried, err := h.mergeLate(ctx, s, synced, lv)
	if err != nil {
		return nil, fmt.Errorf("merge /etc into %s: %w", next, err)
	}
	return &carried, h.forgetSync(ctx, s, next)
}

// mergeLate merges what changed since synced into the layer on lv. Done again
// after a cut it changes nothing that it did before.
func (h *Host) mergeLate(ctx context.Context, s *state, synced, lv lvm.LV) (c Carried, err error) {
	err = h.inside(ctx, synced, func(base string) error {
		return h.mounted(ctx, lv.Path, false, func(dir, fstype string) error {
			m, err := h.newMerger(s, base, dir, false)
			if err != nil {
				return err
			}
			// The layer's fstab names another root than the one merged then.
			m.etc.Carry = []string{"fstab"}
			if c, err = m.apply(ctx, dir); err != nil {
				return err
			}
			// What the image has otherwise than the layer it was merged into is
			// no news any more.
			c.Etc.Changes, c.Trees.Changes = edits(c.Etc), edits(c.Trees)
			if err := h.noteOutdated(lv.Name, dir, &c); err != nil {
				return err
			}
			return h.refitFstab(dir, lv.Path, fstype)
		})
	})
	return c, err
}

// summary is one line of what came in.
func (s Started) String() string {
	var words []string
	for _, c := range s.Var {
		if c.Conflict {
			words = append(words, c.Path)
		}
	}
	if len(words) == 0 {
		return fmt.Sprintf("first boot of %s: %d changes in /var", s.Layer, len(s.Var))
	}
	return fmt.Sprintf("first boot of %s: %d changes in /var, to be looked at: %s", s.Layer, len(s.Var), strings.Join(words, ", "))
}
