package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"imgbase/internal/accounts"
	"imgbase/internal/packages"
	"imgbase/internal/persist"
	"imgbase/internal/rootfs"
)

// Restored is a file of a new layer that granted more than its package says,
// and does so no longer.
type Restored struct {
	Path    string `json:"path"` // from the root, as [persist.Escape] writes it
	Package string `json:"package"`
	Why     string `json:"why"` // what it was and what it is, one line
}

// String is the file on one line.
func (r Restored) String() string {
	return fmt.Sprintf("%s of %s: %s", r.Path, r.Package, r.Why)
}

// restoreModes takes back what files of the layer mounted at dir grant beyond
// what rpm's database says: bits of the mode, and owners and groups other than
// root. What the administrator decided stays; so does what grants less, because
// who made the image, a script or a hook tightened it, and nobody wants it
// opened by an update. A layer that cannot be verified is not worse than
// its image, so that is a note.
func (b *build) restoreModes(ctx context.Context, dir string) error {
	b.c.Modes = nil
	system, has, err := b.h.system(dir)
	if err != nil || !has {
		return err
	}
	found, err := system.Verify(ctx)
	if err == nil && len(found) > 0 {
		err = b.restore(system, found)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		b.c.note("modes of files are as they were: %v", err)
	}
	return nil
}

func (b *build) restore(system packages.System, found []packages.Mismatch) error {
	users, groups, err := idsOf(system.Root)
	if err != nil {
		return err
	}
	v := verdict{dir: system.Root, users: users, groups: groups, decided: append(written(b.c.Carried), accountPaths()...)}
	for _, m := range found {
		m, why, err := v.on(m)
		if err == nil && why != "" {
			err = system.Restore([]packages.Mismatch{m}, func(user, group string) (int, int, error) {
				return numberIf(m, "U", users[user]), numberIf(m, "G", groups[group]), nil
			})
		}
		if err != nil {
			b.c.note("%v", err)
		} else if why != "" {
			b.c.Modes = append(b.c.Modes, Restored{Path: persist.Escape(m.Path), Package: m.Package, Why: why})
		}
	}
	return nil
}

// idsOf are the numbers of a tree's users and groups.
func idsOf(dir string) (users, groups map[string]uint32, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	tree, err := accounts.Read(root)
	users, groups = tree.IDs()
	return users, groups, errors.Join(err, root.Close())
}

// numberIf is a number where it is wrong, else chown(2)'s "leave as it is".
func numberIf(m packages.Mismatch, letter string, id uint32) int {
	if strings.Contains(m.Wrong, letter) {
		return int(id)
	}
	return -1
}

// accountPaths are files that are merged by themselves, with the host's modes.
func accountPaths() (paths []string) {
	for _, name := range accountFiles {
		paths = append(paths, "etc/"+name)
	}
	return paths
}

// verdict decides about the files of a tree that are not as rpm says.
type verdict struct {
	dir           string
	users, groups map[string]uint32
	decided       []string // by the administrator; from the root
}

// on narrows a mismatch to what is to be restored, and says why; "" is nothing.
func (v verdict) on(m packages.Mismatch) (packages.Mismatch, string, error) {
	// The same file may be known by another name, as below /lib.
	parent, err := rootfs.Resolve(v.dir, filepath.Dir(m.Path))
	if err != nil {
		return m, "", err
	}
	name := filepath.Join(parent, filepath.Base(m.Path))
	rel, err := filepath.Rel(v.dir, name)
	if err != nil || v.leaves(rel) {
		return m, "", err
	}
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return m, "", &os.PathError{Op: "lstat", Path: name, Err: err}
	}
	switch kind := st.Mode & unix.S_IFMT; { // another kind of file than the package's has another meaning
	case kind == unix.S_IFDIR && m.Mode.IsDir(), kind == unix.S_IFREG && m.Mode.IsRegular():
	default:
		return m, "", nil
	}
	m, why := v.narrow(m, st)
	return m, why, nil
}

// leaves says of a path that it is the administrator's, or in no layer.
func (v verdict) leaves(rel string) bool {
	top, _, _ := strings.Cut(rel, "/")
	return top != "etc" && slices.Contains(elsewhere[:], top) || slices.Contains(v.decided, rel)
}

// grants are the bits of a mode that let somebody do something. The sticky bit
// of a directory keeps from it.
const grants = 0o6777

func (v verdict) narrow(m packages.Mismatch, st unix.Stat_t) (packages.Mismatch, string) {
	is, should := st.Mode&0o7777, m.Bits()
	now := is&^(grants&^should) | should&unix.S_ISVTX
	if now == is && should&^is != 0 {
		return m, ""
	}
	var wrong, why []string
	if now != is {
		wrong, why = append(wrong, "M"), append(why, fmt.Sprintf("mode was %04o, is %04o", is, now))
	}
	if strings.Contains(m.Wrong, "U") && foreign(v.users, m.User, st.Uid) {
		wrong, why = append(wrong, "U"), append(why, fmt.Sprintf("owner was %d, is %s", st.Uid, m.User))
	}
	if strings.Contains(m.Wrong, "G") && foreign(v.groups, m.Group, st.Gid) {
		wrong, why = append(wrong, "G"), append(why, fmt.Sprintf("group was %d, is %s", st.Gid, m.Group))
	}
	m.Wrong = strings.Join(wrong, "")
	return m.WithBits(now), strings.Join(why, "; ")
}

// foreign says that a file is neither root's nor its whom a package names. Names
// of one number are one identity.
func foreign(ids map[string]uint32, name string, id uint32) bool {
	should, known := ids[name]
	return known && id != should && id != 0
}
