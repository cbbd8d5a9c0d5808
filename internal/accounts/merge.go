package accounts

import (
	"fmt"
	"slices"
	"strings"
)

// Fields with a part in the merge, besides the name and the ids.
const (
	passwordField = 1
	adminsField   = 2 // gshadow
	membersField  = 3 // group and gshadow
)

// rules are how the entries of one file are merged.
type rules struct {
	file string
	add  []string // the new names, in order
	// both merges an entry that host and image have; nil keeps the host's.
	both func(e three) []string
	// fresh is the entry of a new name; theirs may be nil.
	fresh   func(name string, theirs []string) []string
	stale   bool // what the vendor dropped is worth a report
	orphans bool // both wants to see the entries that the image does not have as well
}

// three is one name's entry in the three files. Base's may be nil.
type three struct {
	file               string
	base, host, image  []string
	changed, conflicts []string // fields
}

// merge writes one file.
func (m *merger) merge(r rules) {
	mine, theirs := m.dbs[host][r.file], m.dbs[image][r.file]
	var w writer
	for _, l := range mine.lines {
		if l.kind != entry {
			w.keep(l)
			continue
		}
		name := l.fields[0]
		e := three{file: r.file, base: m.dbs[base][r.file].get(name), host: l.fields, image: theirs.get(name)}
		if e.image == nil && e.base != nil && r.stale {
			m.report(Change{File: r.file, Name: name, Op: Stale, Why: "dropped by the vendor; kept, as files may be its own"})
		}
		var merged []string
		if e.image != nil || r.orphans {
			merged = r.both(e)
		}
		if merged == nil || slices.Equal(merged, l.fields) {
			w.keep(l)
			continue
		}
		w.replace(l, merged)
	}
	for _, name := range r.add {
		w.add(r.fresh(name, theirs.get(name)))
	}
	m.reportOdd(r.file)
	m.store(r.file, w.bytes())
}

func (m *merger) reportOdd(file string) {
	if odd := m.dbs[host][file].odd(comment, blank, compat, repeated, malformed); odd != "" {
		m.report(Change{File: file, Op: Verbatim, Why: "no entries, kept as they are: " + odd})
	}
	if odd := m.dbs[image][file].odd(repeated, malformed); odd != "" {
		m.report(Change{File: file, Op: Skip, Why: "no entries of the image, left out: " + odd})
	}
}

// store makes text the new file, with the host's attributes. A file that
// neither side has stays missing.
func (m *merger) store(file string, text []byte) {
	f, ok := m.trees[host].Files[file]
	if !ok {
		if f, ok = m.trees[image].Files[file]; !ok && len(text) == 0 {
			return
		}
		f.UID, f.GID = m.plan.Owners.UID(f.UID), m.plan.Owners.GID(f.GID)
	}
	f.Text = text
	m.plan.Files[file] = f
}

func (m *merger) mergeUsers() {
	m.merge(rules{
		file: passwd, add: m.users.order, stale: true,
		both: func(e three) []string {
			out := pad(e.host, 7)
			m.reportID(e, m.uids)
			if e.merge(out, primaryField, "group", m.primaryGroups(e)) {
				out[primaryField] = formatID(m.gids.target(idOf(e.image, primaryField)))
			}
			for i, what := range []string{"gecos", "home", "shell"} {
				e.merge(out, 4+i, what, e.values(4+i))
			}
			m.reportFields(e)
			return trim(out, e.host)
		},
		fresh: func(name string, theirs []string) []string {
			m.reportNew(passwd, theirs, m.users, m.uids)
			out := pad(theirs, 7)
			out[passwordField] = m.placeholder(shadow)
			out[idField] = formatID(m.uids.ids[name])
			out[primaryField] = formatID(m.gids.target(idOf(theirs, primaryField)))
			return out
		},
	})
}

func (m *merger) mergeGroups() {
	m.reportNameless()
	m.merge(rules{
		file: group, add: m.groups.order, stale: true,
		both: func(e three) []string {
			out := pad(e.host, 4)
			m.reportID(e, m.gids)
			e.mergeList(out, membersField, "members", m.users.restored)
			m.reportFields(e)
			return trim(out, e.host)
		},
		fresh: func(name string, theirs []string) []string {
			m.reportNew(group, theirs, m.groups, m.gids)
			out := pad(theirs, 4)
			out[passwordField] = m.placeholder(gshadow)
			out[idField] = formatID(m.gids.ids[name])
			return out
		},
	})
}

// reportNameless tells of primary groups of the image that have no name and
// whose id is another group's on the host.
func (m *merger) reportNameless() {
	seen := make(map[uint32]bool)
	for _, e := range m.dbs[image][passwd].all() {
		was := idOf(e, primaryField)
		name, id := m.nameOf(image, group, e[primaryField]), m.gids.target(was)
		if id == was || name[0] != '#' || seen[was] {
			continue
		}
		seen[was] = true
		m.report(Change{
			File: group, Name: name, Op: Reid,
			Why: fmt.Sprintf("a primary group without a name; files of the image's %d are re-owned to %d", was, id),
		})
	}
}

// placeholder is the password field of a new entry: "x" where the shadow
// file has it, else nothing that crypt(3) yields.
func (m *merger) placeholder(shadowFile string) string {
	if m.has(host, shadowFile) || m.has(image, shadowFile) {
		return "x"
	}
	return "*"
}

// primaryGroups are the names of a user's primary group in the three trees.
// Ids differ between trees; what the group is called does not, and groups
// without a name cannot be told apart.
func (m *merger) primaryGroups(e three) [3]string {
	var out [3]string
	for side, fields := range [3][]string{e.base, e.host, e.image} {
		if fields != nil {
			out[side] = m.nameOf(side, group, fields[primaryField])
			if out[side][0] == '#' {
				out[side] = "#"
			}
		}
	}
	return out
}

// pad is a copy of an entry with all its fields.
func pad(e []string, n int) []string {
	out := make([]string, n)
	copy(out, e)
	return out
}

// trim takes the fields away again that the host's entry did not have.
func trim(e, like []string) []string {
	for len(e) > len(like) && e[len(e)-1] == "" {
		e = e[:len(e)-1]
	}
	return e
}

func (e *three) values(i int) [3]string {
	return [3]string{field(e.base, i), field(e.host, i), field(e.image, i)}
}

// merge merges one field, out being the host's entry, and reports whether the
// image's was taken. Value is what is compared, for a reference other than
// the text.
func (e *three) merge(out []string, i int, what string, value [3]string) bool {
	switch {
	case value[host] == value[image]:
	case e.base != nil && value[host] == value[base]:
		out[i] = field(e.image, i)
		e.changed = append(e.changed, what)
		return true
	case e.base != nil && value[image] == value[base]:
	default:
		e.conflicts = append(e.conflicts, what)
	}
	return false
}

// mergeList merges a list by element: what one side added is in, what one
// side removed is out. What the image lists of restored names is as new.
func (e *three) mergeList(out []string, i int, what string, restored map[string]bool) {
	was, mine, theirs := set(field(e.base, i)), set(field(e.host, i)), set(field(e.image, i))
	var merged, notes []string
	for _, name := range list(field(e.host, i)) {
		if was[name] && !theirs[name] {
			notes = append(notes, "-"+name)
			continue
		}
		merged = append(merged, name)
	}
	for _, name := range list(field(e.image, i)) {
		if mine[name] || was[name] && !restored[name] {
			continue
		}
		mine[name] = true
		merged = append(merged, name)
		notes = append(notes, "+"+name)
	}
	if len(notes) == 0 {
		return
	}
	out[i] = strings.Join(merged, ",")
	e.changed = append(e.changed, what+" "+shorten(notes))
}

func set(text string) map[string]bool {
	out := make(map[string]bool)
	for _, name := range list(text) {
		out[name] = true
	}
	return out
}

func shorten(notes []string) string {
	const shown = 8
	if more := len(notes) - shown; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(notes[:shown], " "), more)
	}
	return strings.Join(notes, " ")
}

func (m *merger) reportFields(e three) {
	c := Change{File: e.file, Name: e.host[0]}
	if len(e.changed) > 0 {
		c.Op, c.Why = Update, strings.Join(e.changed, ", ")+" changed by the vendor"
		m.report(c)
	}
	if len(e.conflicts) > 0 {
		c.Op, c.Conflict = Keep, true
		c.Why = strings.Join(e.conflicts, ", ") + " changed by the administrator and by the vendor"
		if e.base == nil {
			c.Why = strings.Join(e.conflicts, ", ") + " of the administrator and of the vendor differ"
		}
		m.report(c)
	}
}

// reportID tells that the host's id of a name is not the image's.
func (m *merger) reportID(e three, s solution) {
	mine, theirs := idOf(e.host, idField), idOf(e.image, idField)
	c := Change{File: e.file, Name: e.host[0]}
	switch {
	case s.target(theirs) != mine:
		c.Op, c.Conflict = Keep, true
		c.Why = fmt.Sprintf("the host's id %d stays; the image's %d is shared there, its files go to %d", mine, theirs, s.target(theirs))
	case mine != theirs:
		c.Op, c.Why = Reid, fmt.Sprintf("the host's id %d stays; files of the image's %d are re-owned", mine, theirs)
	default:
		return
	}
	m.report(c)
}

func (m *merger) reportNew(file string, theirs []string, names newNames, s solution) {
	name, was := theirs[0], idOf(theirs, idField)
	id := s.ids[name]
	c := Change{File: file, Name: name, Op: Add, Why: fmt.Sprintf("added by the vendor, id %d", id)}
	if names.restored[name] {
		c.Op, c.Why = Restore, fmt.Sprintf("removed by the administrator, but the image needs it, id %d", id)
	}
	if id != was {
		c.Why += fmt.Sprintf(" as the image's %d is taken", was)
		if c.Op == Add {
			c.Op = Reassign
		}
	}
	m.report(c)
}
