package persist

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// capability is the attribute that holds a program's capabilities
// (capabilities(7)).
const capability = "security.capability"

// inert is what a vendor's file has of attributes when it lies beside another:
// nobody runs it, and it gives nobody rights. Programs that run all that is
// executable in a directory do not know what our suffix means, and an older
// set-id program that stays forgotten beside the newer one is a way in.
// Directories can be entered as before.
func (a attributes) inert(kind uint32) attributes {
	if kind != unix.S_IFREG {
		return a
	}
	a.mode &^= unix.S_ISUID | unix.S_ISGID | 0o111
	a.xattrs = maps.Clone(a.xattrs)
	delete(a.xattrs, capability)
	if list, ok := a.xattrs[accessList]; ok {
		a.xattrs[accessList] = withoutExecute(list)
	}
	return a
}

// withoutExecute takes the execute bit from each entry of an access list,
// because the kernel makes the file's mode of it (linux/posix_acl_xattr.h: a
// version of 4 bytes, then entries of tag, permissions and id, little endian).
func withoutExecute(list string) string {
	const head, entry, permissions, execute = 4, 8, 2, 1
	out := []byte(list)
	for e := range slices.Chunk(out[min(head, len(out)):], entry) {
		if len(e) > permissions {
			e[permissions] &^= execute
		}
	}
	return string(out)
}
