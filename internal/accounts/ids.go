package accounts

import (
	"fmt"

	"imgbase/internal/owners"
)

// idField is where passwd and group have the entry's own id.
const idField = 2

// primaryField is where passwd has the id of the primary group.
const primaryField = 3

// solution are the ids of one kind, user or group.
type solution struct {
	ids    map[string]uint32 // of every name in host or image
	owners map[uint32]uint32 // image id to host id, where they differ
}

func (s solution) target(imageID uint32) uint32 { return owners.Map{UIDs: s.owners}.UID(imageID) }

// identity is what the image means by one id: all the names it has there, or
// none, where a user's primary group has no name.
type identity struct {
	id    uint32
	names []string
	users []string // whose primary group it is
}

// solveIDs gives out the ids: groups first, so that users can follow theirs.
func (m *merger) solveIDs() (err error) {
	taken := m.takenIDs()
	limits := m.trees[host].Limits.orDefault()
	groups := allocator{taken: taken, system: limits.SystemGID, ordinary: limits.GID}
	m.gids, err = m.solve(group, m.identities(group), &groups)
	if err != nil {
		return err
	}
	users := allocator{taken: taken, system: limits.SystemUID, ordinary: limits.UID}
	users.wanted, users.users = m.pairs(), m.userIDs()
	m.uids, err = m.solve(passwd, m.identities(passwd), &users)
	return err
}

// takenIDs are the ids that cannot be given out anew: of users and of groups
// alike, so that a user can get the id of its group, and those of an ancestor
// too, for what was removed may have left files behind.
func (m *merger) takenIDs() map[uint32]bool {
	taken := map[uint32]bool{
		65534: true, // nobody; the kernel's overflow id
		65535: true, // -1 in 16 bits
	}
	for side := range m.dbs {
		for _, e := range m.dbs[side][passwd].all() {
			taken[idOf(e, idField)], taken[idOf(e, primaryField)] = true, true
		}
		for _, e := range m.dbs[side][group].all() {
			taken[idOf(e, idField)] = true
		}
	}
	return taken
}

// userIDs are the ids of all users in all trees.
func (m *merger) userIDs() map[uint32]bool {
	out := map[uint32]bool{65534: true, 65535: true}
	for side := range m.dbs {
		for _, e := range m.dbs[side][passwd].all() {
			out[idOf(e, idField)] = true
		}
	}
	return out
}

// idOf is an id field of an entry; parse has checked it.
func idOf(e []string, i int) uint32 {
	id, _ := parseID(e[i])
	return id
}

// pairs are the users of the image that have a group of the same name and
// id, with the id that the group got.
func (m *merger) pairs() map[uint32]uint32 {
	out := make(map[uint32]uint32)
	for _, e := range m.dbs[image][passwd].all() {
		g := m.dbs[image][group].get(e[0])
		if g != nil && idOf(g, idField) == idOf(e, idField) {
			out[idOf(e, idField)] = m.gids.ids[e[0]]
		}
	}
	return out
}

func (m *merger) identities(file string) []identity {
	var out []identity
	at := make(map[uint32]int)
	find := func(id uint32) *identity {
		i, ok := at[id]
		if !ok {
			i = len(out)
			at[id] = i
			out = append(out, identity{id: id})
		}
		return &out[i]
	}
	for _, e := range m.dbs[image][file].all() {
		it := find(idOf(e, idField))
		it.names = append(it.names, e[0])
	}
	if file == group {
		for _, e := range m.dbs[image][passwd].all() {
			it := find(idOf(e, primaryField))
			it.users = append(it.users, e[0])
		}
	}
	return out
}

// solve finds the host's id of every identity of the image.
func (m *merger) solve(file string, image []identity, a *allocator) (solution, error) {
	s := solution{ids: make(map[string]uint32), owners: make(map[uint32]uint32)}
	named, nameless := make(map[uint32]bool), make(map[uint32]bool)
	for _, e := range m.dbs[host][file].all() {
		s.ids[e[0]] = idOf(e, idField)
		named[s.ids[e[0]]] = true
	}
	if file == group { // a primary group without a name is somebody's all the same
		for _, e := range m.dbs[host][passwd].all() {
			nameless[idOf(e, primaryField)] = true
		}
	}
	for _, it := range image {
		id, ok := m.onHost(it, s.ids, named)
		if !ok {
			id = it.id
			if named[id] || nameless[id] && len(it.names) > 0 {
				if id, ok = a.next(it.id); !ok {
					return s, fmt.Errorf("%s %s: no free id for it", file, escape(it.String()))
				}
			}
		}
		for _, name := range it.names {
			if _, ok := s.ids[name]; !ok {
				s.ids[name] = id
			}
		}
		if id != it.id {
			s.owners[it.id] = id
		}
	}
	return s, nil
}

// onHost is the id that the host has for the first of the names it knows. A
// group without a name is known by the users who are in it.
func (m *merger) onHost(it identity, ids map[string]uint32, named map[uint32]bool) (uint32, bool) {
	for _, name := range it.names {
		if id, ok := ids[name]; ok {
			return id, true
		}
	}
	if len(it.names) > 0 {
		return 0, false
	}
	for _, name := range it.users {
		if e := m.dbs[host][passwd].get(name); e != nil && !named[idOf(e, primaryField)] {
			return idOf(e, primaryField), true
		}
	}
	return 0, false
}

func (it identity) String() string {
	if len(it.names) == 0 {
		return formatID(it.id)
	}
	return it.names[0]
}

// allocator gives out ids that nobody has.
type allocator struct {
	taken            map[uint32]bool
	system, ordinary Range
	wanted           map[uint32]uint32 // image id to the id to try first
	users            map[uint32]bool   // with wanted: ids that users have
	below, above     int64             // ids already passed in the system and in the ordinary range
}

// next is a free id in the place of one of the image's.
func (a *allocator) next(old uint32) (uint32, bool) {
	if id, ok := a.wanted[old]; ok && !a.users[id] {
		a.users[id] = true
		return id, true
	}
	order := []func() (uint32, bool){a.down, a.up}
	if a.ordinary.holds(old) {
		order[0], order[1] = order[1], order[0]
	}
	for _, search := range order {
		if id, ok := search(); ok {
			a.taken[id] = true
			return id, true
		}
	}
	return 0, false
}

func (a *allocator) down() (uint32, bool) {
	for ; int64(a.system.Max)-a.below >= int64(a.system.Min); a.below++ {
		if id := uint32(int64(a.system.Max) - a.below); !a.taken[id] {
			return id, true
		}
	}
	return 0, false
}

func (a *allocator) up() (uint32, bool) {
	for ; int64(a.ordinary.Min)+a.above <= int64(a.ordinary.Max); a.above++ {
		if id := uint32(int64(a.ordinary.Min) + a.above); !a.taken[id] {
			return id, true
		}
	}
	return 0, false
}

// nameOf is what an id is called in one tree.
func (m *merger) nameOf(side int, file, id string) string {
	if m.names[side] == nil {
		m.names[side] = make(map[string]map[string]string)
	}
	names, ok := m.names[side][file]
	if !ok {
		names = firstNames(m.dbs[side][file])
		m.names[side][file] = names
	}
	if name, ok := names[canonical(id)]; ok {
		return name
	}
	return "#" + canonical(id) // no name starts with it: that would be a comment
}
