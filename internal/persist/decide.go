package persist

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// The three trees, in the order of the arguments of [Compare].
const (
	base = iota
	mine
	theirs
)

// entry is one path in the three trees.
type entry struct {
	rel        string
	nodes      [3]*node    // nil where it is missing
	dirs       [3]*os.File // the directories that hold it, nil where missing; open while it is decided
	unresolved bool        // mine has the vendor's version beside it, from an earlier conflict
	forced     bool        // a rule makes it the administrator's
	way        bool        // it is not merged itself, but leads to what is
	changed    [3]bool     // a side differs from base; known for a clash only
}

// name is the entry's name in its directories.
func (e *entry) name() string { return e.rel[strings.LastIndexByte(e.rel, '/')+1:] }

// clash reports that mine and theirs are of different types and one is a
// directory: their subtrees decide.
func (e *entry) clash() bool {
	m, t := e.nodes[mine], e.nodes[theirs]
	return m != nil && t != nil && m.kind != t.kind && (m.isDir() || t.isDir())
}

// nested reports that what is beneath the entry has to be merged as well: it
// is a directory wherever it exists, and not new from the vendor.
func (e *entry) nested() bool {
	b, m, t := e.nodes[base], e.nodes[mine], e.nodes[theirs]
	if m == nil {
		return t.isDir() && b.isDir()
	}
	return m.isDir() && (t == nil || t.isDir())
}

// decide merges one entry by itself, regardless of what is beneath it. The
// change has no Op when there is nothing to do.
func (c *comparer) decide(e *entry) (Change, error) {
	b, m, t := e.nodes[base], e.nodes[mine], e.nodes[theirs]
	switch {
	case m == nil && t == nil:
		return Change{}, nil
	case m == nil && b == nil:
		return Change{Op: Vendor, Why: "added by the vendor"}, nil
	case m == nil:
		return c.decideRemoved(e)
	case t == nil && b == nil:
		return carry(m, "added by the administrator"), nil
	case t == nil:
		return c.decideDropped(e)
	case m.kind == t.kind:
		return c.decideBoth(e)
	}
	return c.decideRetyped(e)
}

// carry is the change by which mine's node replaces theirs.
func carry(m *node, why string) Change {
	return Change{Op: Carry, Why: why, node: m, attrs: m.attrs}
}

// conflict turns c into one in which both sides had a part.
func (e *entry) conflict(c Change, why string) Change {
	c.Conflict, c.Why, c.Beside = true, why, beside(e.rel)
	return c
}

// unsettled keeps a conflict alive that an earlier merge left: the vendor's
// version still lies there, although he changed nothing since.
func (e *entry) unsettled(c Change) Change {
	if !e.unresolved || e.forced {
		return c
	}
	return e.conflict(c, "an earlier conflict is not settled")
}

// decideRemoved is for what the administrator removed.
func (c *comparer) decideRemoved(e *entry) (Change, error) {
	change := Change{Op: Remove, Why: "removed by the administrator"}
	same, err := c.unchanged(e, theirs)
	if err != nil || same {
		return e.unsettled(change), err
	}
	change = e.conflict(change, "removed by the administrator, changed by the vendor")
	if e.nested() {
		change.Beside = "" // its mode or owner only; what is in it is merged by itself
	}
	return change, nil
}

// decideDropped is for what the vendor no longer ships.
func (c *comparer) decideDropped(e *entry) (Change, error) {
	m := e.nodes[mine]
	same, err := c.unchanged(e, mine)
	if err != nil {
		return Change{}, err
	}
	switch {
	case !same:
		change := carry(m, "changed by the administrator, removed by the vendor")
		change.Conflict = true
		return change, nil
	case !m.isDir() && c.rules.adopted(e.rel, m):
		return carry(m, "kept: not known to be the vendor's"), nil
	}
	return Change{Op: Vendor, Why: "removed by the vendor"}, nil
}

// decideRetyped is for types that differ between mine and theirs, neither a
// directory: there is no common content or mode to merge.
func (c *comparer) decideRetyped(e *entry) (Change, error) {
	mineSame, err := c.unchanged(e, mine)
	if err != nil {
		return Change{}, err
	}
	theirsSame, err := c.unchanged(e, theirs)
	if err != nil {
		return Change{}, err
	}
	if mineSame && c.rules.adopted(e.rel, e.nodes[mine]) {
		mineSame = false
	}
	return e.whole(!mineSame, !theirsSame), nil
}

// whole merges an entry whose sides can only be taken as they are.
func (e *entry) whole(mineChanged, theirsChanged bool) Change {
	if !mineChanged {
		return Change{Op: Vendor, Why: "type changed by the vendor"}
	}
	change := carry(e.nodes[mine], "type changed by the administrator")
	if !theirsChanged {
		return e.unsettled(change)
	}
	return e.conflict(change, "changed by the administrator and by the vendor, to different types")
}

// decideBoth is for one type on both sides: content and attributes are
// merged apart.
func (c *comparer) decideBoth(e *entry) (Change, error) {
	b, m, t := e.nodes[base], e.nodes[mine], e.nodes[theirs]
	equal, err := c.sameContent(e, mine, theirs)
	if err != nil {
		return Change{}, err
	}
	var ancestor *attributes
	mineChanged, theirsChanged := true, true
	if b != nil && b.kind == m.kind {
		ancestor = &b.attrs
	}
	if !equal {
		if mineChanged, theirsChanged, err = c.contentChanges(e); err != nil {
			return Change{}, err
		}
	}
	adopted := ancestor != nil && !(equal && m.attrs.equal(t.attrs)) && c.rules.adopted(e.rel, m)
	attrs, clashing := mergeAttributes(ancestor, m.attrs, t.attrs, adopted)

	change := Change{Op: Carry, node: m, attrs: attrs}
	switch {
	case equal || !mineChanged && !adopted:
		return e.vendorContent(attrs, clashing, equal), nil
	case !theirsChanged:
		change.Why = "changed by the administrator"
		change = e.unsettled(change)
	case mineChanged && c.rebase(e, &change):
	case b == nil:
		change = e.conflict(change, "added by the administrator and by the vendor")
	case !mineChanged:
		change = e.conflict(change, "changed by the vendor, not known to be his before")
	default:
		change = e.conflict(change, "changed by the administrator and by the vendor")
	}
	if len(clashing) > 0 {
		change.Conflict = true
		change.Why += "; so is " + strings.Join(clashing, ", ")
	}
	return change, nil
}

// contentChanges tells which sides changed the content since base.
func (c *comparer) contentChanges(e *entry) (mineChanged, theirsChanged bool, err error) {
	same, err := c.sameContent(e, base, mine)
	if err != nil {
		return false, false, err
	}
	if same {
		return false, true, nil // they differ, so theirs is the one that changed
	}
	same, err = c.sameContent(e, base, theirs)
	return true, !same, err
}

// vendorContent is the change when theirs' content stays.
func (e *entry) vendorContent(attrs attributes, clashing []string, equal bool) Change {
	m, t := e.nodes[mine], e.nodes[theirs]
	switch {
	case len(clashing) > 0:
		return Change{
			Op: Attributes, attrs: attrs, Conflict: true,
			Why: strings.Join(clashing, ", ") + " changed by the administrator and by the vendor",
		}
	case !attrs.equal(t.attrs):
		return Change{
			Op: Attributes, attrs: attrs,
			Why: strings.Join(differing(attrs, t.attrs), ", ") + " changed by the administrator",
		}
	case !equal || !m.attrs.equal(t.attrs):
		return Change{Op: Vendor, Why: "changed by the vendor"}
	}
	return Change{}
}

// mergeAttributes merges mode (with the access list, which holds a part of
// it), owner, group and every other extended attribute, each for itself. It
// returns the result and the names of those that both sides changed. A nil
// ancestor knows of none; with adopted, mine is never the ancestor's.
func mergeAttributes(ancestor *attributes, m, t attributes, adopted bool) (attributes, []string) {
	out := t
	out.xattrs = maps.Clone(t.xattrs)
	var clashing []string
	for _, key := range differing(m, t) {
		fromMine, clash := true, true
		if ancestor != nil {
			mineSame := m.get(key) == ancestor.get(key)
			fromMine = !mineSame || adopted
			clash = fromMine && t.get(key) != ancestor.get(key)
		}
		if fromMine {
			out.set(key, m)
		}
		if clash {
			clashing = append(clashing, key)
		}
	}
	return out, clashing
}

// differing names the attributes in which a and b differ, in fixed order.
func differing(a, b attributes) []string {
	keys := slices.Collect(maps.Keys(a.xattrs))
	keys = slices.AppendSeq(keys, maps.Keys(b.xattrs))
	slices.Sort(keys)
	keys = append([]string{"mode", "owner", "group"}, slices.Compact(keys)...)
	return slices.DeleteFunc(keys, func(k string) bool { return k == accessList || a.get(k) == b.get(k) })
}

// get is the value of one attribute in a form that can be compared.
func (a attributes) get(key string) string {
	switch key {
	case "mode":
		return fmt.Sprintf("%o %s", a.mode, a.xattrs[accessList])
	case "owner":
		return fmt.Sprint(a.uid)
	case "group":
		return fmt.Sprint(a.gid)
	}
	if v, ok := a.xattrs[key]; ok {
		return "=" + v
	}
	return ""
}

// set takes one attribute over from another file.
func (a *attributes) set(key string, from attributes) {
	switch key {
	case "mode":
		a.mode = from.mode
		a.setXattr(accessList, from)
	case "owner":
		a.uid = from.uid
	case "group":
		a.gid = from.gid
	default:
		a.setXattr(key, from)
	}
}

func (a *attributes) setXattr(key string, from attributes) {
	value, ok := from.xattrs[key]
	if !ok {
		delete(a.xattrs, key)
		return
	}
	if a.xattrs == nil {
		a.xattrs = make(map[string]string)
	}
	a.xattrs[key] = value
}
