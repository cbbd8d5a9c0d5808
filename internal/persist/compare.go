package persist

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// comparer walks the three trees. It holds no more than three directories
// and two files open, and one directory's names in memory per level.
type comparer struct {
	trees [3]*tree
	rules Rules
	buf   *[2][chunk]byte
}

// Compare computes the merge of three /etc directories. It only reads. A
// pattern of the rules that cannot be read is [path.ErrBadPattern].
func Compare(baseDir, mineDir, theirsDir string, rules Rules) (Plan, error) {
	if err := rules.check(); err != nil {
		return Plan{}, err
	}
	c := comparer{rules: rules, buf: new([2][chunk]byte)}
	top := &entry{rel: "."}
	for i, dir := range []string{baseDir, mineDir, theirsDir} {
		t, err := openTree(dir)
		if err != nil {
			return Plan{}, err
		}
		defer t.close()
		c.trees[i] = t
		if top.nodes[i], err = c.lstat(i, t.root, "."); err != nil {
			return Plan{}, fmt.Errorf("%s: %w", dir, err)
		}
	}
	var self Change
	if top.way, _ = rules.passes("."); !top.way {
		var err error
		if self, err = c.decide(top); err != nil {
			return Plan{}, err
		}
	}
	changes, _, err := c.merge(top, self)
	if err != nil {
		return Plan{}, fmt.Errorf("compare %s: %w", mineDir, err)
	}
	if changes == nil {
		changes = []Change{}
	}
	return Plan{Changes: changes, mine: mineDir, theirs: theirsDir, labels: rules.Labels}, nil
}

// children merges what is in the directory e. It reports whether anything is
// left in it.
func (c *comparer) children(e *entry) (changes []Change, remains bool, err error) {
	decided, err := c.list(e, c.inspect)
	if err != nil {
		return nil, false, err
	}
	for _, d := range decided {
		sub, left, err := c.merge(d.entry, d.change)
		if err != nil {
			return nil, false, err
		}
		changes = append(changes, sub...)
		remains = remains || left
	}
	return changes, remains, nil
}

// decided is an entry with the change it asks for by itself.
type decided struct {
	entry  *entry
	change Change
}

// list inspects every entry of the directory e, by name. Its directories are
// open only meanwhile, so that depth costs no descriptors.
func (c *comparer) list(e *entry, inspect func(*entry) (Change, error)) ([]decided, error) {
	var dirs [3]*os.File
	for i, n := range e.nodes {
		if !n.isDir() {
			continue
		}
		dir, err := c.trees[i].dir(e.rel)
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		dirs[i] = dir
	}
	names, mineNames, err := union(dirs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", escape(e.rel), err)
	}
	var out []decided
	for _, name := range names {
		rel := name
		if e.rel != "." {
			rel = e.rel + "/" + name
		}
		way, selected := c.rules.passes(rel)
		if leftover(name) || c.rules.vendors(rel) || !selected {
			continue
		}
		child := &entry{rel: rel, dirs: dirs, way: way, forced: c.rules.carries(rel), unresolved: mineNames[beside(name)]}
		change, err := inspect(child)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", escape(rel), err)
		}
		child.dirs = [3]*os.File{}
		out = append(out, decided{child, change})
	}
	return out, nil
}

// union lists the names of all three directories, sorted, and those of mine.
func union(dirs [3]*os.File) ([]string, map[string]bool, error) {
	all, own := make(map[string]bool), make(map[string]bool)
	for i, d := range dirs {
		if d == nil {
			continue
		}
		names, err := d.Readdirnames(-1)
		if err != nil {
			return nil, nil, err
		}
		for _, n := range names {
			all[n] = true
			own[n] = own[n] || i == mine
		}
	}
	return slices.Sorted(maps.Keys(all)), own, nil
}

// read fills in an entry's nodes.
func (c *comparer) read(e *entry) error {
	for i := range e.nodes {
		n, err := c.lstat(i, e.dirs[i], e.name())
		if err != nil {
			return err
		}
		e.nodes[i] = n
	}
	return nil
}

// lstat describes a name in one of the trees, in mine's ids.
func (c *comparer) lstat(side int, dir *os.File, name string) (*node, error) {
	n, err := lstat(dir, name, c.rules.Labels)
	if err != nil || n == nil {
		return n, err
	}
	switch side {
	case base:
		n.attrs = n.attrs.in(c.rules.Base)
	case theirs:
		n.attrs = n.attrs.in(c.rules.Theirs)
	}
	return n, nil
}

// inspect reads an entry's nodes and decides it, unless subtrees have to.
func (c *comparer) inspect(e *entry) (Change, error) {
	if err := c.read(e); err != nil || e.way {
		return Change{}, err
	}
	if e.forced && (e.nodes[base] != nil || e.nodes[mine] != nil) {
		// As though the vendor had changed nothing: then mine's state is
		// the result, its absence too, and no conflict arises.
		e.nodes[base], e.dirs[base] = e.nodes[theirs], e.dirs[theirs]
	}
	if !e.clash() {
		return c.decide(e)
	}
	if err := c.inspectSide(e, mine); err != nil {
		return Change{}, err
	}
	return Change{}, c.inspectSide(e, theirs)
}

// merge completes an entry's own change with what is beneath it.
func (c *comparer) merge(e *entry, self Change) (changes []Change, remains bool, err error) {
	if e.way {
		return c.mergeOnTheWay(e)
	}
	if e.clash() {
		return c.mergeClash(e)
	}
	if e.nested() {
		return c.mergeNested(e, self)
	}
	return e.done(self), e.remains(self), nil
}

// done is the change of e as a list, empty when it does nothing.
func (e *entry) done(self Change) []Change {
	if self.Op == "" {
		return nil
	}
	self.Path = e.rel
	return []Change{self}
}

// remains reports whether something lies at e, or beside it, after self.
func (e *entry) remains(self Change) bool {
	switch self.Op {
	case Carry, Rebase, Attributes:
		return true
	case Remove:
		return self.Beside != ""
	}
	return e.nodes[theirs] != nil
}

// mergeNested merges a directory with what is in it: it stays as long as
// something is left there, and goes as one.
func (c *comparer) mergeNested(e *entry, self Change) ([]Change, bool, error) {
	m, t := e.nodes[mine], e.nodes[theirs]
	sub, left, err := c.children(e)
	if err != nil {
		return nil, false, err
	}
	switch {
	case m != nil && t != nil || self.Op == Carry:
		return append(e.done(self), sub...), true, nil
	case !left:
		return e.done(self), e.remains(self), nil
	case t != nil: // removed here, but the vendor has news in it
		return sub, true, nil
	}
	return append(e.done(carry(m, "holds files of the administrator")), sub...), true, nil
}

// mergeOnTheWay merges what is selected beneath a directory that is not. It
// comes along where theirs has none; what is no directory leads nowhere.
func (c *comparer) mergeOnTheWay(e *entry) ([]Change, bool, error) {
	m, t := e.nodes[mine], e.nodes[theirs]
	if e.clash() || m != nil && !m.isDir() || t != nil && !t.isDir() {
		return nil, t != nil, nil
	}
	sub, left, err := c.children(e)
	if err == nil && left && t == nil {
		sub = append(e.done(carry(m, "holds files that are carried")), sub...)
	}
	return sub, left || t != nil, err
}

// mergeClash merges a directory with what is none: one side is taken whole,
// and the other lies beside it when both changed theirs.
func (c *comparer) mergeClash(e *entry) ([]Change, bool, error) {
	mineChanged, err := c.subtreeChanged(e, mine)
	if err != nil {
		return nil, false, err
	}
	theirsChanged, err := c.subtreeChanged(e, theirs)
	if err != nil {
		return nil, false, err
	}
	self := e.whole(mineChanged, theirsChanged)
	if self.Op != Carry || !e.nodes[mine].isDir() {
		return e.done(self), true, nil
	}
	alone := &entry{rel: e.rel}
	alone.nodes[mine] = e.nodes[mine]
	sub, _, err := c.children(alone)
	return append(e.done(self), sub...), true, err
}

// subtreeChanged reports whether a side differs from base at e or beneath.
func (c *comparer) subtreeChanged(e *entry, side int) (bool, error) {
	if e.changed[side] || !e.nodes[side].isDir() {
		return e.changed[side], nil
	}
	pair := &entry{rel: e.rel}
	pair.nodes[base], pair.nodes[side] = e.nodes[base], e.nodes[side]
	below, err := c.list(pair, func(child *entry) (Change, error) {
		return Change{}, c.inspectSide(child, side)
	})
	if err != nil {
		return false, err
	}
	for _, d := range below {
		if changed, err := c.subtreeChanged(d.entry, side); err != nil || changed {
			return changed, err
		}
	}
	return false, nil
}

// inspectSide reads an entry's nodes and notes whether a side differs from
// base there.
func (c *comparer) inspectSide(e *entry, side int) error {
	if err := c.read(e); err != nil {
		return err
	}
	b, n := e.nodes[base], e.nodes[side]
	same, err := c.unchanged(e, side)
	if side == mine && same && !n.isDir() && c.rules.adopted(e.rel, n) {
		same = false
	}
	e.changed[side] = !same && (b != nil || n != nil) || side == mine && n != nil && e.forced
	return err
}

// sameContent reports whether an entry's content is one in two trees.
func (c *comparer) sameContent(e *entry, i, j int) (bool, error) {
	a, b := e.nodes[i], e.nodes[j]
	if a == nil || b == nil || a.kind != b.kind {
		return a == b, nil
	}
	switch {
	case a.kind == unix.S_IFLNK:
		return a.target == b.target, nil
	case a.kind != unix.S_IFREG:
		return a.rdev == b.rdev, nil
	case a.size != b.size:
		return false, nil
	case a.file == b.file:
		return true, nil
	}
	f, err := openRegular(e.dirs[i], e.name(), a)
	if err != nil {
		return false, err
	}
	defer f.Close()
	g, err := openRegular(e.dirs[j], e.name(), b)
	if err != nil {
		return false, err
	}
	defer g.Close()
	return sameFile(f, g, a.size, c.buf)
}

// unchanged reports whether a side's entry is as in base, content and
// attributes, regardless of what is beneath it.
func (c *comparer) unchanged(e *entry, side int) (bool, error) {
	b, n := e.nodes[base], e.nodes[side]
	if b == nil || n == nil || b.kind != n.kind || !b.attrs.equal(n.attrs) {
		return false, nil
	}
	return c.sameContent(e, base, side)
}
