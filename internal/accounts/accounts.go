// Package accounts merges the account files of three systems by entry: base,
// the pristine system that the running one was made from; host, what runs;
// image, the new base. [Merge] reads nothing and yields a [Plan]: six new
// files, what changed and why, and whose files of the new layer's tree have
// to get another owner.
//
// Ids of the host win. A name of both keeps the host's id, and what the image
// gave to its own id is re-owned ([Reown]). A name only of the image keeps
// its id when no account of the host has it, else it gets a free one: from
// the system range of login.defs(5), counted down as useradd(8) does, or from
// the ordinary range, counted up, for an id that was ordinary. An id that
// base or image know is not given out anew, because files may still have it.
// Names that share an id in the image (toor is root) are one identity and go
// on sharing. All moves of ids are one map, from the image's ids, so that two
// can change places.
//
// By entry, the ancestor deciding who changed what:
//
//	passwd           uid, password: host's; group, gecos, home, shell: three-way, each for itself
//	group, gshadow   gid, password: host's; members, administrators: three-way by element
//	shadow           the host's line; a locked one for a new account
//	subuid, subgid   the host's ranges; a new name gets ranges that overlap nothing
//
// Where both sides changed a field the host's stays and the conflict is
// reported. A new account can never be logged into with the image's password.
//
//	only on the host            stays
//	dropped by the vendor       stays, as files in /var may be its own: reported as stale
//	removed by the administrator, still in the image: comes back, locked, and is reported,
//	                            because files and units of the image refer to it
//
// An ancestor that proves nothing, since it is gone or was made from a system
// with unknown edits, is the zero [Tree]: then no difference is the vendor's
// change, and members are united.
//
// No line of the host is lost. What is no entry (comments, blank lines, NIS
// lines that start with "+" or "-", malformed lines, a name's second entry)
// stays verbatim in its place and is reported; new entries go before the
// first NIS line, which may end a search. Formats followed: passwd(5),
// group(5), shadow(5), gshadow(5), subuid(5), subgid(5), login.defs(5). Names
// known to other sources than these files, such as LDAP, are not seen.
//
// The order of a layer's making: [Read] the three trees, [Merge], [Reown] the
// image's tree as it came, then anything of the host's, these files
// ([Plan.Apply]) among it. The image's /var lies in that tree and is done with
// it; the host's own /var needs nothing, as its ids win. When the host changes
// before the layer is booted, the merge is done again with
// [Tree.Reowned] in the image's place.
//
// What always holds: the same trees give the same plan; merging the result
// with the same image again changes nothing; no passwords are in what is
// printed; nothing outside a tree is read or written, whatever links it holds.
package accounts

import (
	"fmt"
	"io/fs"

	"imgbase/internal/owners"
)

// Tree is what one system says of its accounts: [Read] from its root, or put
// together. The zero Tree knows of none.
type Tree struct {
	Files  map[string]File // by base name, passwd to subgid; a missing file is missing here
	Limits Limits          // of the host's tree only; a zero range is the default
}

// File is one account file: text, permissions, numeric owner and group.
type File struct {
	Text     []byte
	Mode     fs.FileMode
	UID, GID uint32
}

// Names of the account files, in the order in which they are merged.
const (
	passwd  = "passwd"
	group   = "group"
	shadow  = "shadow"
	gshadow = "gshadow"
	subuid  = "subuid"
	subgid  = "subgid"
)

func names() []string { return []string{passwd, group, shadow, gshadow, subuid, subgid} }

// Op is what became of an entry.
type Op string

// The operations.
const (
	Add      Op = "add"      // a new name of the image
	Reassign Op = "reassign" // a new name of the image, whose id had to change
	Restore  Op = "restore"  // removed by the administrator, needed by the image
	Reid     Op = "reid"     // the host's id stays, the image's files are re-owned
	Update   Op = "update"   // fields or members that the vendor changed
	Keep     Op = "keep"     // the host's stays where the vendor's differs
	Stale    Op = "stale"    // dropped by the vendor, kept
	Verbatim Op = "verbatim" // lines of the host that are no entries, kept
	Skip     Op = "skip"     // lines of the image that are no entries, left out
)

// Change is one thing worth knowing about one entry.
type Change struct {
	File     string // base name
	Name     string // of the account or group, any bytes; "" for a file's lines
	Op       Op
	Why      string // one line
	Conflict bool   // both sides had a part, or something could not be had; the host's stayed
}

// Plan is the merge, computed and not yet applied. Files, which hold
// passwords, are not part of its JSON.
type Plan struct {
	Changes []Change        `json:"changes"` // by file, then by line
	Owners  owners.Map      `json:"owners"`  // of the image's files: its id to the host's
	Files   map[string]File `json:"-"`       // the merged files
}

// The three trees, in the order of the arguments of [Merge].
const (
	base = iota
	host
	image
)

// merger holds what the merge of one file needs to know of the others.
type merger struct {
	dbs        [3]map[string]*database         // every file is there, at least empty
	names      [3]map[string]map[string]string // file, id: the name, once asked for
	trees      [3]Tree
	uids, gids solution
	users      newNames
	groups     newNames
	plan       Plan
}

// newNames are the names that the host does not have and gets.
type newNames struct {
	order    []string // as in the image
	known    map[string]bool
	restored map[string]bool // those that base has, so that the administrator removed them
}

// Merge merges the account files of three trees. A host or an image whose
// passwd or group holds no entry is refused: it is cut short, and a system
// without accounts would be made of it. So is an image that needs more ids
// than there are. An image without the files brings none.
func Merge(ancestor, running, next Tree) (Plan, error) {
	m := merger{trees: [3]Tree{ancestor, running, next}}
	m.plan = Plan{Changes: []Change{}, Files: make(map[string]File)}
	for side, tree := range m.trees {
		m.dbs[side] = make(map[string]*database)
		for _, name := range names() {
			m.dbs[side][name] = parse(name, tree.Files[name].Text)
		}
	}
	if err := m.check(); err != nil {
		return Plan{}, err
	}
	m.users, m.groups = m.newNames(passwd), m.newNames(group)
	if err := m.solveIDs(); err != nil {
		return Plan{}, err
	}
	m.plan.Owners = owners.Map{UIDs: m.uids.owners, GIDs: m.gids.owners}

	m.mergeUsers()
	m.mergeGroups()
	m.mergeShadow()
	m.mergeGroupShadow()
	limits := m.trees[host].Limits.orDefault()
	m.mergeRanges(subuid, limits.SubUID)
	m.mergeRanges(subgid, limits.SubGID)
	return m.plan, nil
}

func (m *merger) check() error {
	for _, name := range []string{passwd, group} {
		if m.dbs[host][name].entries() == 0 {
			return fmt.Errorf("the host's %s: no entry in it", name)
		}
		if m.has(image, name) && m.dbs[image][name].entries() == 0 {
			return fmt.Errorf("the image's %s: no entry in it", name)
		}
	}
	return nil
}

func (m *merger) has(side int, file string) bool {
	_, ok := m.trees[side].Files[file]
	return ok
}

func (m *merger) newNames(file string) newNames {
	n := newNames{known: make(map[string]bool), restored: make(map[string]bool)}
	for _, e := range m.dbs[image][file].all() {
		name := e[0]
		if m.dbs[host][file].get(name) != nil {
			continue
		}
		n.order = append(n.order, name)
		n.known[name] = true
		if m.dbs[base][file].get(name) != nil {
			n.restored[name] = true
		}
	}
	return n
}

func (m *merger) report(c Change) { m.plan.Changes = append(m.plan.Changes, c) }
