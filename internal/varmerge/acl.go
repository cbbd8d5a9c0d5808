package varmerge

import (
	"bytes"
	"encoding/binary"
)

// The form in which an access list is an extended attribute
// (linux/posix_acl_xattr.h): a version, then entries of tag, permissions and
// id, all little endian.
const (
	aclVersion = 2
	aclHeader  = 4
	aclEntry   = 8
	aclUser    = 0x02
	aclGroup   = 0x08
)

// translateACL gives the users and groups that an access list names their
// numbers on the host. What is no such list stays as it is: the kernel, which
// knows every form, refuses what it does not.
func translateACL(list []byte, o Owners) []byte {
	if len(list) < aclHeader || (len(list)-aclHeader)%aclEntry != 0 || binary.LittleEndian.Uint32(list) != aclVersion {
		return list
	}
	out := bytes.Clone(list)
	for at := aclHeader; at < len(out); at += aclEntry {
		id := out[at+4 : at+8]
		old := binary.LittleEndian.Uint32(id)
		switch binary.LittleEndian.Uint16(out[at:]) {
		case aclUser:
			binary.LittleEndian.PutUint32(id, o.uid(old))
		case aclGroup:
			binary.LittleEndian.PutUint32(id, o.gid(old))
		}
	}
	return out
}
