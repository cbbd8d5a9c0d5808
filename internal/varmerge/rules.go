package varmerge

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Rules are the exceptions to the merge. Patterns are those of [path.Match],
// relative to /var; one that matches a directory holds for all beneath it.
type Rules struct {
	Skip     []string // not looked at: other machines', this machine's secrets, a layer's own
	DirsOnly []string // of these, and beneath them, only directories are merged: caches
	Labels   bool     // SELinux labels go with what is new; else the host's policy labels it
}

// DefaultRules are the rules for a host's /var:
//
//	skip  imgbase's own state, other systems kept here, what the machine on which the
//	      image was built left of itself, and the databases of rpm and dpkg: half of
//	      the image's among the host's would be the database of neither
//	dirs  caches of packages and of programs that make them anew
func DefaultRules() Rules {
	return Rules{
		Skip: []string{
			"imgbased", "lib/machines", "lib/portables", "lost+found",
			".updated", "tmp/*", "log/journal/*",
			"lib/systemd/random-seed", "lib/systemd/credential.secret",
			"lib/dbus/machine-id", "lib/NetworkManager/secret_key",
			"lib/dpkg/*", "lib/rpm/*",
		},
		DirsOnly: []string{
			"cache/apt", "cache/dnf", "cache/libdnf5", "cache/yum", "cache/zypp", "cache/PackageKit",
			"cache/libvirt", "cache/man", "cache/fontconfig", "cache/ldconfig", "lib/apt/lists",
		},
	}
}

// check refuses patterns that path.Match cannot read: one that silently
// never matches would bring what it is meant to keep out.
func (r Rules) check() error {
	for _, p := range slices.Concat(r.Skip, r.DirsOnly) {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("rule %q: %w", p, err)
		}
	}
	return nil
}

// skips reports whether the image's n, called name at rel, is no part of the
// merge.
func (r Rules) skips(rel string, n *node) bool {
	return ours(path.Base(rel)) || n.kind == unix.S_IFSOCK || matches(r.Skip, rel) || !n.isDir() && matches(r.DirsOnly, rel)
}

// matches reports whether a pattern matches rel or a directory above it.
// There are as many components in a pattern as in what it matches.
func matches(patterns []string, rel string) bool {
	for _, p := range patterns {
		if head, ok := head(rel, strings.Count(p, "/")+1); ok {
			if ok, err := path.Match(p, head); ok && err == nil {
				return true
			}
		}
	}
	return false
}

// head is the first n components of rel, false when there are fewer.
func head(rel string, n int) (string, bool) {
	at := -1
	for ; n > 0; n-- {
		next := strings.IndexByte(rel[at+1:], '/')
		if next < 0 {
			return rel, n == 1
		}
		at += 1 + next
	}
	return rel[:at], true
}
