package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"imgbase/internal/accounts"
	"imgbase/internal/carry"
	"imgbase/internal/layout"
	"imgbase/internal/mount"
	"imgbase/internal/owners"
	"imgbase/internal/persist"
	"imgbase/internal/rootfs"
)

// Carried is what of the running system comes into a new layer.
type Carried struct {
	// Etc is what happens to /etc of the new layer.
	Etc persist.Plan `json:"etc"`
	// Accounts are merged by entry, and files of the image re-owned.
	Accounts accounts.Plan `json:"accounts"`
	// Trees are the paths besides /etc that are configured to be carried.
	Trees persist.Plan `json:"trees"`
	// Notes are about lines of the configuration that choose nothing.
	Notes []string `json:"notes,omitempty"`
}

// Size is about how many bytes it takes in the layer.
func (c Carried) Size() uint64 { return c.Etc.Size() + c.Trees.Size() }

// accountFiles are in /etc, and merged by entry instead of as files.
var accountFiles = [...]string{"passwd", "group", "shadow", "gshadow", "subuid", "subgid"}

// elsewhere are the places that no layer has of its own, or that are merged
// by other means.
var elsewhere = [...]string{"etc", "var", "boot", "dev", "proc", "sys", "run", "tmp", "config"}

// ancestor mounts the base that the running layer was made of, the common
// ancestor of every merge, for the time of do.
func (h *Host) ancestor(ctx context.Context, s *state, do func(dir string) error) error {
	base := s.running.Base()
	lv, ok := s.lv(base.String())
	if !ok {
		return fmt.Errorf("base %s of the running layer: %w", base, ErrNoImage)
	}
	return h.inside(ctx, lv, do)
}

// merger compares three systems: base and theirs are mounted there, what runs
// is the host.
type merger struct {
	h            *Host
	base, theirs string
	accounts     accounts.Plan
	rules        persist.Rules // what /etc and the other trees have in common
	etc          persist.Rules // the exceptions of /etc
	named        carry.List    // what the administrator names to be carried
	chosen       carry.List    // that, and what is merged by lines
	byLines      carry.List
}

// newMerger reads what decides a merge: accounts and the administrator's
// lists. Adopted says that base proves nothing.
func (h *Host) newMerger(s *state, base, theirs string, adopted bool) (*merger, error) {
	m := &merger{h: h, base: base, theirs: theirs, etc: persist.DefaultRules()}
	m.rules = persist.Rules{Adopted: adopted, Merge: mergeLines}
	m.etc.Carry = append(m.etc.Carry, h.EtcMine...)
	m.etc.Drop = append(append(m.etc.Drop, h.EtcVendor...), accountFiles[:]...)
	m.etc.Drop = append(m.etc.Drop, h.carriedByUs()...)
	if !adopted {
		m.etc.Drop = append(m.etc.Drop, h.lockedByUs(base)...)
	}
	if err := m.mergeAccounts(); err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	return m, m.choose(s.mounts)
}

// mergeAccounts decides the ids of the new layer, and finds those by which
// the base was written.
func (m *merger) mergeAccounts() error {
	var trees [3]accounts.Tree
	for i, dir := range []string{m.base, m.h.Root, m.theirs} {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		trees[i], err = accounts.Read(root)
		if err = errors.Join(err, root.Close()); err != nil {
			return err
		}
	}
	written, err := accounts.Merge(accounts.Tree{}, trees[1], trees[0])
	if err != nil {
		return err
	}
	m.rules.Base = written.Owners
	if m.rules.Adopted {
		trees[0] = accounts.Tree{} // it proves nothing
	}
	m.accounts, err = accounts.Merge(trees[0], trees[1], trees[2])
	return err
}

// choose finds the paths besides /etc that are carried: those configured, and
// those that the Config volume lists. Other file systems are in no layer.
func (m *merger) choose(mounts mount.Table) error {
	configured, err := carry.Parse("update.carry", []byte(strings.Join(m.h.Carry, "\n")))
	if err != nil {
		return err
	}
	lists, err := carry.Load(m.h.path("config"))
	if err != nil {
		return err
	}
	var others []string
	for _, entry := range mounts {
		if target := strings.Trim(entry.Target, "/"); target != "" {
			others = append(others, target)
		}
	}
	layers := func(l carry.List) carry.List {
		return l.Except("no layer's own, or merged otherwise", elsewhere[:]...).Except("on a file system of its own", others...)
	}
	m.named, m.byLines = layers(lists.Files), lists.Rebase
	m.chosen = layers(configured.Join(lists.Files).Join(lists.Rebase))
	return nil
}

// compare plans the merge. Files of theirs that still have the image's ids
// are compared as if they had the host's.
func (m *merger) compare(theirs owners.Map) (c Carried, err error) {
	c.Accounts = m.accounts
	if c.Etc, err = m.compareEtc(theirs); err != nil {
		return c, fmt.Errorf("compare /etc: %w", err)
	}
	rules := m.rules
	rules.Theirs = theirs
	rules.Select, rules.Reach, rules.Rebase = m.chosen.Selects, m.chosen.Reaches, m.byLines.Selects
	if c.Trees, err = persist.Compare(m.base, m.h.Root, m.theirs, rules); err != nil {
		return c, fmt.Errorf("compare what is carried besides /etc: %w", err)
	}
	found, err := m.named.Expand(m.base, m.h.Root)
	for _, n := range found.Notes {
		c.Notes = append(c.Notes, n.String())
	}
	return c, err
}

func (m *merger) compareEtc(theirs owners.Map) (persist.Plan, error) {
	rules := m.rules
	rules.Theirs, rules.Carry, rules.Drop = theirs, m.etc.Carry, m.etc.Drop
	rules.Rebase = func(rel string) bool { return isLockList(rel) || m.byLines.Selects("etc/"+rel) }
	if rules.Adopted {
		pristine, err := rootfs.Pristine(m.h.Root)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return persist.Plan{}, fmt.Errorf("packages' own files: %w", err)
		}
		rules.Pristine = pristine
	}
	return persist.Compare(filepath.Join(m.base, "etc"), m.h.path("etc"), filepath.Join(m.theirs, "etc"), rules)
}

// preview plans the merge into an image that is only looked at.
func (h *Host) preview(s *state, base, theirs string) (Carried, error) {
	m, err := h.newMerger(s, base, theirs, s.adopted(s.running.Base()))
	if err != nil {
		return Carried{}, err
	}
	return m.compare(m.accounts.Owners)
}

// merge merges into the new layer mounted at dir, which is as its base.
func (h *Host) merge(ctx context.Context, s *state, base, dir string) (Carried, error) {
	m, err := h.newMerger(s, base, dir, s.adopted(s.running.Base()))
	if err != nil {
		return Carried{}, err
	}
	return m.apply(ctx, dir)
}

// apply carries the merge out in the layer mounted at dir. First its files get
// the host's ids, for what is carried has them already.
func (m *merger) apply(ctx context.Context, dir string) (c Carried, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if _, err := accounts.Reown(ctx, root, m.accounts.Owners); err != nil {
		return c, fmt.Errorf("owners of files: %w", err)
	}
	if c, err = m.compare(owners.Map{}); err != nil {
		return c, err
	}
	if err := c.Etc.Apply(ctx, filepath.Join(dir, "etc")); err != nil {
		return c, fmt.Errorf("merge /etc: %w", err)
	}
	if err := c.Trees.Apply(ctx, dir); err != nil {
		return c, fmt.Errorf("carry what is not in /etc: %w", err)
	}
	if err := c.Accounts.Apply(root); err != nil {
		return c, fmt.Errorf("accounts: %w", err)
	}
	return c, nil
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
