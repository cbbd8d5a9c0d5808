package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"imgbase/internal/owners"
	"imgbase/internal/persist"
)

// Users of the trees are lowUser and the nine behind it. In the target the
// first three have other numbers, those from wrongUser on.
const (
	lowUser   = 901
	users     = 10
	wrongUser = 951
	moving    = 3
)

func movedUsers() owners.Map {
	m := owners.Map{UIDs: make(map[uint32]uint32), GIDs: make(map[uint32]uint32)}
	for i := range uint32(moving) {
		m.UIDs[wrongUser+i] = lowUser + i
		m.GIDs[wrongUser+i] = lowUser + i
	}
	return m
}

func inverse(m owners.Map) owners.Map {
	back := owners.Map{UIDs: make(map[uint32]uint32), GIDs: make(map[uint32]uint32)}
	for from, to := range m.UIDs {
		back.UIDs[to] = from
	}
	for from, to := range m.GIDs {
		back.GIDs[to] = from
	}
	return back
}

// file is one file of a tree, to be made.
type file struct {
	path   string
	link   string // a link to it
	name   string // a further name of it
	size   int
	seed   uint64 // of its content
	mode   uint32
	owner  int
	xattrs map[string][]byte
}

// written is when all files were last written: what nobody changed has the
// same time everywhere, as in a package.
func written() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func (f file) make() error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
		return err
	}
	switch {
	case f.name != "":
		return os.Link(f.name, f.path)
	case f.link != "":
		return errors.Join(os.Symlink(f.link, f.path), os.Lchown(f.path, f.owner, f.owner))
	}
	content := make([]byte, f.size)
	random := rand.NewChaCha8([32]byte(binary.LittleEndian.AppendUint64(make([]byte, 24), f.seed)))
	if _, err := random.Read(content); err != nil {
		return err
	}
	if err := os.WriteFile(f.path, content, 0o600); err != nil {
		return err
	}
	if err := os.Chown(f.path, f.owner, f.owner); err != nil {
		return err
	}
	if err := unix.Chmod(f.path, f.mode); err != nil {
		return err
	}
	for key, value := range f.xattrs {
		if err := unix.Setxattr(f.path, key, value, 0); err != nil {
			return fmt.Errorf("%s: %s: %w", f.path, key, err)
		}
	}
	return os.Chtimes(f.path, written(), written())
}

// accessList lets one user read a file besides its owner, and nobody else.
// The form is linux/posix_acl_xattr.h's.
func accessList(user uint32) []byte {
	const nobody = 1<<32 - 1
	list := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range [...]struct {
		tag, permissions uint16
		id               uint32
	}{{0x01, 6, nobody}, {0x02, 4, user}, {0x04, 4, nobody}, {0x10, 4, nobody}, {0x20, 0, nobody}} {
		list = binary.LittleEndian.AppendUint16(list, e.tag)
		list = binary.LittleEndian.AppendUint16(list, e.permissions)
		list = binary.LittleEndian.AppendUint32(list, e.id)
	}
	return list
}

// plain is the i-th file of a tree: what becomes of it goes by i modulo 100.
// One in 20 is a link, one in 100 a further name of the one before. Sizes are
// as many small as large ones by order of magnitude, from 200 bytes to double
// that, and on through as many doublings.
func plain(dir string, i, doublings int) file {
	at := func(i int) string {
		d := i / 20
		return fmt.Sprintf("%s/%d/%d/usual-name-%d.conf", dir, d%40, d, i)
	}
	random := rand.New(rand.NewPCG(uint64(i), 0))
	size := 200 << random.IntN(doublings)
	f := file{path: at(i), size: size + random.IntN(size), seed: uint64(i), mode: 0o644}
	switch i % 100 {
	case 60, 61, 62, 63, 64:
		f.link = fmt.Sprintf("usual-name-%d.conf", i+15)
	case 71:
		f.name = at(i - 1)
	case 72, 73, 74:
		f.mode = 0o600
	case 75, 76:
		f.mode = 0o755
	case 77:
		f.mode = 0o4755
	case 78, 79:
		f.xattrs = map[string][]byte{"user.origin": []byte("package")}
	case 80:
		f.mode = 0o640
		f.xattrs = map[string][]byte{owners.AccessList: accessList(lowUser)}
	}
	return f
}

// Who changed a file of /etc, of each hundred. Changed files keep their size,
// so that their content has to be looked at.
const (
	administrator = 5                  // up to here: the administrator
	vendor        = administrator + 10 // up to here: the vendor
	both          = vendor             // this one, in every third hundred: both
	added         = both + 1           // this one: new, of the administrator
	dropped       = added + 1          // this one: no longer shipped
)

// etcSummary is what a merge of the trees of plantEtc is.
func etcSummary() persist.Summary {
	const hundreds, conflicts = etcFiles / 100, etcFiles / 300
	return persist.Summary{
		Carried:   hundreds*(administrator+1) + conflicts,
		Vendor:    hundreds * (vendor - administrator + 1),
		Conflicts: conflicts,
	}
}

// plantEtc makes base, mine and theirs in dir.
func plantEtc(ctx context.Context, dir string) error {
	const changed = 1 << 32 // of a seed: another content
	for i := range etcFiles {
		if err := ctx.Err(); err != nil {
			return err
		}
		kind := i % 100
		for side, name := range []string{"base", "mine", "theirs"} {
			f := plain(filepath.Join(dir, name), i, 8)
			conflict := kind == both && i%300 == both
			switch {
			case side == 1 && (kind < administrator || conflict):
				f.seed += changed
			case side == 2 && (kind >= administrator && kind < vendor || conflict):
				f.seed += 2 * changed
			case kind == added && side != 1, kind == dropped && side == 2:
				continue
			}
			if err := f.make(); err != nil {
				return err
			}
		}
	}
	return nil
}

// plantTree makes a tree of n files with the right owners in dir, and returns
// how many of them have one that moves.
func plantTree(ctx context.Context, dir string, n int) (moved int, err error) {
	for i := range n {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		f := plain(filepath.Join(dir, "right"), i, 5)
		f.owner = lowUser + i%users
		if f.name == "" && i%users < moving {
			moved++
		}
		if err := f.make(); err != nil {
			return 0, err
		}
	}
	return moved, nil
}
