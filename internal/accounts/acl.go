package accounts

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
)

// The form of an access list in an extended attribute,
// linux/posix_acl_xattr.h: a version, then entries of tag, permissions, id.
const (
	aclVersion  = 2
	aclHead     = 4
	aclEntry    = 8
	aclUser     = 0x02 // tag of a named user
	aclGroup    = 0x08 // tag of a named group
	permissions = 2    // offset in an entry
	aclID       = 4    // offset in an entry
)

// rewrite maps the ids of an access list and reports whether it changed any.
// The entries stay in the order that acl_check(3) wants: by tag, then by id.
// Two ids that become one get what either had.
func (o Owners) rewrite(list []byte) ([]byte, bool, error) {
	if len(list) < aclHead || binary.LittleEndian.Uint32(list) != aclVersion || (len(list)-aclHead)%aclEntry != 0 {
		return nil, false, errors.New("not an access list of version 2")
	}
	var changed bool
	var entries [][]byte
	for e := range slices.Chunk(slices.Clone(list[aclHead:]), aclEntry) {
		id := binary.LittleEndian.Uint32(e[aclID:])
		to := id
		switch tag(e) {
		case aclUser:
			to = o.UID(id)
		case aclGroup:
			to = o.GID(id)
		}
		changed = changed || to != id
		binary.LittleEndian.PutUint32(e[aclID:], to)
		entries = append(entries, e)
	}
	if !changed {
		return nil, false, nil
	}
	slices.SortStableFunc(entries, func(a, b []byte) int {
		return cmp.Or(cmp.Compare(tag(a), tag(b)), cmp.Compare(binary.LittleEndian.Uint32(a[aclID:]), binary.LittleEndian.Uint32(b[aclID:])))
	})
	out := slices.Clone(list[:aclHead])
	for i, e := range entries {
		if i > 0 && sameSubject(entries[i-1], e) {
			out[len(out)-aclEntry+permissions] |= e[permissions]
			continue
		}
		out = append(out, e...)
	}
	return out, true, nil
}

func tag(e []byte) uint16 { return binary.LittleEndian.Uint16(e) }

func sameSubject(a, b []byte) bool {
	named := tag(a) == aclUser || tag(a) == aclGroup
	return named && tag(a) == tag(b) && binary.LittleEndian.Uint32(a[aclID:]) == binary.LittleEndian.Uint32(b[aclID:])
}
