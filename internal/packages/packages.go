// Package packages carries the packages that the administrator added to a
// host into its next layer.
//
// A [Package] is one package of rpm or of dpkg; its files' owners and flags
// are a [Class] each. A [Store] keeps the package files that the
// administrator installed, under the names that the original gave them. A
// [System] is the packages of one root tree: what is installed there
// ([System.Installed]), what the database says of paths ([System.Classes]),
// which files have another mode or owner than it says ([System.Verify]).
// [Compare] decides which of the kept packages the next layer gets, and
// [System.Install] installs them there.
//
// What always holds: a tree is changed by Install and [System.Restore] alone.
// Programs of a tree run in a [mount.Room], without network, so that no script of a
// package reaches the running host. A database is read with the tree's own
// rpm, because another release may not know its format. Files are opened
// through [System.Open], which resolves links inside the tree.
//
// Followed: rpm(8), rpm-queryformat(7), deb-version(7), deb-control(5) and
// the files below /var/lib/dpkg that dpkg(1) describes.
package packages

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"imgbase/internal/nvr"
)

// Format is the package system a package belongs to.
type Format string

// The formats. Each is also how names of its package files end.
const (
	RPM Format = "rpm"
	Deb Format = "deb"
)

// Package is a package by name. Two are the same package when they are equal.
type Package struct {
	Format  Format `json:"format"`
	Name    string `json:"name"`
	Version string `json:"version"` // "epoch:version-release"; an epoch of 0 is left out
	Arch    string `json:"arch"`    // "x86_64", "amd64", "noarch", "all"
}

// String is the package as its system writes it: name-version.arch for rpm,
// name_version_arch for dpkg.
func (p Package) String() string {
	if p.Format == Deb {
		return p.Name + "_" + p.Version + "_" + p.Arch
	}
	return p.Name + "-" + p.Version + "." + p.Arch
}

// nevra is the package without an epoch, which names of rpm files leave out.
func (p Package) nevra() Package {
	if p.Format == RPM {
		_, p.Version = cutEpoch(p.Version)
	}
	return p
}

// FileName is the name of the package's file: of an rpm that of the
// original, name-version-release.arch.rpm, of a Debian package that of apt,
// which escapes the colon after an epoch.
func (p Package) FileName() string {
	if p.Format == Deb {
		return strings.ReplaceAll(p.String(), ":", "%3a") + ".deb"
	}
	return p.nevra().String() + ".rpm"
}

// ParseFileName is the package that a name of a package file tells. An rpm
// has no epoch then.
func ParseFileName(name string) (Package, error) {
	p, err := parseFileName(name)
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return Package{}, fmt.Errorf("package file %q: %w", name, err)
	}
	return p, nil
}

func parseFileName(name string) (Package, error) {
	switch filepath.Ext(name) {
	case ".rpm":
		full, arch, ok := cutLast(strings.TrimSuffix(name, ".rpm"), ".")
		rest, release, ok2 := cutLast(full, "-")
		base, version, ok3 := cutLast(rest, "-")
		if !ok || !ok2 || !ok3 || release == "" || version == "" {
			return Package{}, errors.New("not name-version-release.arch.rpm")
		}
		return Package{RPM, base, version + "-" + release, arch}, nil
	case ".deb":
		parts := strings.Split(strings.TrimSuffix(name, ".deb"), "_")
		if len(parts) != 3 {
			return Package{}, errors.New("not name_version_arch.deb")
		}
		return Package{Deb, parts[0], strings.ReplaceAll(parts[1], "%3a", ":"), parts[2]}, nil
	}
	return Package{}, errors.New("ends neither in .rpm nor in .deb")
}

// maxName bounds each part of a package's name, so that a file name made of
// it is one that a file system takes.
const maxName = 200

// check refuses parts that cannot be a file name, an argument or a word on a
// line, whatever a database or a file says.
func (p Package) check() error {
	for _, part := range []struct{ what, text, more string }{
		{"name", p.Name, "+-._"},
		{"version", p.Version, "+-._~^:"},
		{"architecture", p.Arch, "-_"},
	} {
		bad := strings.IndexFunc(part.text, func(r rune) bool {
			return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune(part.more, r)
		})
		switch {
		case part.text == "":
			return fmt.Errorf("empty %s", part.what)
		case len(part.text) > maxName:
			return fmt.Errorf("%s of %d bytes", part.what, len(part.text))
		case bad >= 0 || strings.ContainsRune("+-.", rune(part.text[0])):
			return fmt.Errorf("%s %q", part.what, part.text)
		}
	}
	return nil
}

// CompareVersions orders two versions of packages of the format: -1 when a
// is older, +1 when it is newer, 0 when the format sees no difference.
func (f Format) CompareVersions(a, b string) int {
	epochA, a := cutEpoch(a)
	epochB, b := cutEpoch(b)
	compare := compareDeb
	if f == RPM {
		compare = nvr.CompareVersions
	}
	if c := compare(epochA, epochB); c != 0 {
		return c
	}
	// A missing Debian revision is as "0" (deb-version(7)); an rpm has one.
	versionA, revisionA, _ := cutLast(a, "-")
	versionB, revisionB, _ := cutLast(b, "-")
	return cmp.Or(compare(versionA, versionB), compare(revisionA, revisionB))
}

// cutEpoch divides a version at its first colon. No epoch is "0".
func cutEpoch(version string) (epoch, rest string) {
	if epoch, rest, ok := strings.Cut(version, ":"); ok {
		return epoch, rest
	}
	return "0", version
}

// cutLast is [strings.Cut] at the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// compareDeb orders two parts of a Debian version (deb-version(7)): runs of
// what are no digits, in which '~' comes before the end and letters before
// the rest, and numbers of any size take turns.
func compareDeb(a, b string) int {
	for a != "" || b != "" {
		for (a != "" && !isDigit(a[0])) || (b != "" && !isDigit(b[0])) {
			if c := cmp.Compare(rank(a), rank(b)); c != 0 {
				return c
			}
			// Equal ranks are equal bytes, so neither is at its end.
			a, b = a[1:], b[1:]
		}
		var numberA, numberB string
		numberA, a = number(a)
		numberB, b = number(b)
		if c := cmp.Or(cmp.Compare(len(numberA), len(numberB)), cmp.Compare(numberA, numberB)); c != 0 {
			return c
		}
	}
	return 0
}

// rank is the place of the first byte of s in dpkg's order.
func rank(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case 'a' <= s[0]|0x20 && s[0]|0x20 <= 'z':
		return int(s[0])
	}
	return int(s[0]) + 256
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number cuts the digits off s, without leading zeros.
func number(s string) (digits, rest string) {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return strings.TrimLeft(s[:n], "0"), s[n:]
}
