package persist

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"imgbase/internal/owners"
)

// Rules are the exceptions to the merge. Patterns are those of [path.Match],
// relative to /etc; one that matches a directory holds for all beneath it.
type Rules struct {
	Carry  []string // always the administrator's: what makes this machine this machine
	Drop   []string // always the vendor's: caches and compiled policy, made anew from their sources
	Labels bool     // compare and carry SELinux labels; else the new policy's hold

	// Adopted says that base was made from an installed system, with the
	// edits its administrator had made. "Mine is as in base" then proves
	// nothing, and a file that the vendor has otherwise is kept as the
	// administrator's unless Pristine says that it is the vendor's own.
	Adopted bool
	// Select, if not nil, says which paths are merged: all others stay as
	// theirs has them. Reach says of a directory whether Select may choose
	// something in it.
	Select, Reach func(path string) bool

	// Rebase says of which files the lines are merged when both sides changed
	// them; Merge does it, and says when it cannot.
	Rebase func(path string) bool
	Merge  func(base, mine, theirs []byte) (merged []byte, conflict bool)

	// Base and Theirs give the ids in these trees mine's numbers. A plan whose
	// Theirs is not empty is for looking at: Apply takes the target's ids to be
	// mine's.
	Base, Theirs owners.Map

	// Pristine reports whether mine's file at path, relative to /etc, is as
	// a vendor shipped it. Nil is "never". Used with Adopted only.
	Pristine func(path string) bool
}

// DefaultRules are the rules for a host's /etc:
//
//	carry  the machine's identity, its disks and what it measured itself
//	drop   what names the vendor's version, LVM's own diary, caches, the compiled hardware database, compiled SELinux policy
//	       and its module store; local booleans and contexts are merged
func DefaultRules() Rules {
	return Rules{
		Carry: []string{
			"machine-id", "machine-info", "hostname", "hostid", "adjtime",
			"fstab", "crypttab", "mdadm.conf", "mdadm/mdadm.conf",
			"ssh/ssh_host_*", "iscsi/initiatorname.iscsi", "nvme/hostid", "nvme/hostnqn",
			"lvm/devices", "multipath/wwids", "multipath/bindings",
			"passwd-", "group-", "shadow-", "gshadow-", "subuid-", "subgid-",
		},
		Drop: []string{
			"os-release", "*-release", "*-release-cpe", "debian_version",
			"lvm/archive", "lvm/backup", "lvm/cache",
			"ld.so.cache", "udev/hwdb.bin", ".updated", ".pwd.lock",
			"selinux/*/policy", "selinux/*/active/modules", "selinux/*/active/policy.*",
			"selinux/*/active/commit_num", "selinux/*/contexts/files/*.bin",
		},
	}
}

// check refuses patterns that path.Match cannot read: one that silently
// never matches would lose what it is meant to keep.
func (r Rules) check() error {
	for _, p := range slices.Concat(r.Carry, r.Drop) {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("rule %q: %w", p, err)
		}
	}
	return nil
}

// passes reports whether rel is but on the way to what is merged; ok is
// false when nothing of it is.
func (r Rules) passes(rel string) (way, ok bool) {
	if r.Select == nil || r.Select(rel) {
		return false, true
	}
	return true, r.Reach(rel)
}

func (r Rules) carries(rel string) bool { return matches(r.Carry, rel) }

// vendors reports whether rel is left as the vendor has it.
func (r Rules) vendors(rel string) bool { return matches(r.Drop, rel) }

// adopted reports whether mine's file, equal to the base's, may still hold
// the administrator's edits.
func (r Rules) adopted(rel string, mine *node) bool {
	if !r.Adopted || mine == nil {
		return false
	}
	return mine.isDir() || r.Pristine == nil || !r.Pristine(rel)
}

// matches reports whether a pattern matches rel or a directory above it.
// There are as many components in a pattern as in what it matches.
func matches(patterns []string, rel string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, head(rel, strings.Count(p, "/")+1))
		return ok && err == nil
	})
}

// head is the first n components of rel.
func head(rel string, n int) string {
	end := 0
	for ; n > 0; n-- {
		slash := strings.IndexByte(rel[end:], '/')
		if slash < 0 {
			return rel
		}
		end += slash + 1
	}
	return rel[:end-1]
}
