// Package owners holds numeric owners of one system in another's terms.
//
// Two systems may give different numbers to one name. A [Map] says, for files
// that were written by the numbers of the one, what the other calls their
// owners: in the file's owner and group, and in its access lists, which are
// extended attributes that name users and groups by number
// (linux/posix_acl_xattr.h).
//
// What always holds: an id that the map does not know stays, and ids may change
// places, because every id is looked up once.
package owners

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Extended attributes that hold an access list.
const (
	AccessList  = "system.posix_acl_access"
	DefaultList = "system.posix_acl_default"
)

// Map gives ids of one system their numbers in another.
type Map struct {
	UIDs map[uint32]uint32 `json:"uids,omitempty"`
	GIDs map[uint32]uint32 `json:"gids,omitempty"`
}

// UID is what the user id is called there.
func (m Map) UID(id uint32) uint32 { return mapped(m.UIDs, id) }

// GID is what the group id is called there.
func (m Map) GID(id uint32) uint32 { return mapped(m.GIDs, id) }

func mapped(ids map[uint32]uint32, id uint32) uint32 {
	if to, ok := ids[id]; ok {
		return to
	}
	return id
}

// Empty reports that every id stays.
func (m Map) Empty() bool { return len(m.UIDs) == 0 && len(m.GIDs) == 0 }

// String counts the ids that do not stay.
func (m Map) String() string {
	return fmt.Sprintf("files of %d users and %d groups get another number", len(m.UIDs), len(m.GIDs))
}

// The form of an access list: a version, then entries of tag, permissions and
// id, all little endian.
const (
	version     = 2
	head        = 4
	entry       = 8
	user        = 0x02 // tag of a named user
	group       = 0x08 // tag of a named group
	permissions = 2    // offset in an entry
	number      = 4    // offset in an entry
)

var errForm = errors.New("not an access list of version 2")

// List maps the ids of an access list and reports whether it changed any.
// The entries stay in the order that acl_check(3) wants: by tag, then by id.
// Two ids that become one get what either had. A list of another form is an
// error.
func (m Map) List(list []byte) (mappedList []byte, changed bool, err error) {
	if len(list) < head || binary.LittleEndian.Uint32(list) != version || (len(list)-head)%entry != 0 {
		return nil, false, errForm
	}
	var entries [][]byte
	for e := range slices.Chunk(slices.Clone(list[head:]), entry) {
		to := id(e)
		switch tag(e) {
		case user:
			to = m.UID(to)
		case group:
			to = m.GID(to)
		}
		changed = changed || to != id(e)
		binary.LittleEndian.PutUint32(e[number:], to)
		entries = append(entries, e)
	}
	if !changed {
		return list, false, nil
	}
	slices.SortStableFunc(entries, func(a, b []byte) int {
		return cmp.Or(cmp.Compare(tag(a), tag(b)), cmp.Compare(id(a), id(b)))
	})
	out := slices.Clone(list[:head])
	for i, e := range entries {
		if i > 0 && same(entries[i-1], e) {
			out[len(out)-entry+permissions] |= e[permissions]
			continue
		}
		out = append(out, e...)
	}
	return out, true, nil
}

// Attributes are a file's extended attributes with its access lists mapped;
// the argument is not changed. A list of another form stays: the kernel, which
// knows every form, refuses what it does not.
func (m Map) Attributes(xattrs map[string]string) map[string]string {
	out := xattrs
	for _, key := range []string{AccessList, DefaultList} {
		list, changed, err := m.List([]byte(xattrs[key]))
		if err != nil || !changed {
			continue
		}
		if maps.Equal(out, xattrs) {
			out = maps.Clone(xattrs)
		}
		out[key] = string(list)
	}
	return out
}

func tag(e []byte) uint16 { return binary.LittleEndian.Uint16(e) }

func id(e []byte) uint32 { return binary.LittleEndian.Uint32(e[number:]) }

// same reports whether two entries name the same user or group.
func same(a, b []byte) bool {
	return (tag(a) == user || tag(a) == group) && tag(a) == tag(b) && id(a) == id(b)
}
