// Package nvr reads, prints and orders the names of system images.
//
// An NVR is a name, a version and a release joined by dashes, the form rpm
// gives to packages: "ovirt-node-ng-4.5.0-0.20220307.0". Version and release
// hold no dash, so the last two dashes of a text divide it and the name may
// hold as many as it likes.
//
// The order is rpm's where rpm has an opinion (rpm-version(7)) and the text's
// where it has none: "1.0" and "1.00" are the same version to rpm but two
// images to us. Two NVRs are therefore equal exactly when their text is, and
// any set of them sorts in one way only, whatever names it mixes.
//
// A value that came from [Parse] holds no slash, no space and no control
// character. That alone does not make it fit for a volume: package layout
// decides what a new image may be called.
package nvr

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// ErrMalformed is a text that is no NVR.
var ErrMalformed = errors.New("malformed NVR")

// NVR is the name, version and release of a system image.
type NVR struct {
	Name    string
	Version string
	Release string
}

// Parse divides s at its last two dashes. The error is [ErrMalformed] with
// the reason when a part is missing or empty, or when s holds a character
// that is neither an ASCII letter or digit nor one of "_.+-~^".
func Parse(s string) (NVR, error) {
	if i := strings.IndexFunc(s, foreign); i >= 0 {
		r := []rune(s[i:])[0]
		return NVR{}, malformed(s, fmt.Sprintf("character %q", r))
	}
	beforeRelease, release, ok := cutLast(s)
	if !ok {
		return NVR{}, malformed(s, "no dash; want name-version-release")
	}
	name, version, ok := cutLast(beforeRelease)
	if !ok {
		return NVR{}, malformed(s, "only one dash; want name-version-release")
	}
	switch {
	case name == "":
		return NVR{}, malformed(s, "empty name")
	case version == "":
		return NVR{}, malformed(s, "empty version")
	case release == "":
		return NVR{}, malformed(s, "empty release")
	}
	return NVR{Name: name, Version: version, Release: release}, nil
}

// String is the text that [Parse] reads.
func (n NVR) String() string { return n.Name + "-" + n.Version + "-" + n.Release }

// Compare orders a and b: -1 when a sorts first, +1 when b does, 0 when they
// are the same text. Names compare as text, versions and releases as
// [CompareVersions] says, and what is still a tie as text.
func Compare(a, b NVR) int {
	return cmp.Or(
		strings.Compare(a.Name, b.Name),
		CompareVersions(a.Version, b.Version),
		CompareVersions(a.Release, b.Release),
		strings.Compare(a.Version, b.Version),
		strings.Compare(a.Release, b.Release),
	)
}

// maxQuoted bounds what an error repeats of a text that may be a whole file.
const maxQuoted = 80

func malformed(s, why string) error {
	if len(s) > maxQuoted {
		s = s[:maxQuoted] + "..."
	}
	return fmt.Errorf("%q: %w: %s", s, ErrMalformed, why)
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '-')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func foreign(r rune) bool {
	return r >= 0x80 || !alphanumeric(byte(r)) && !strings.ContainsRune("_.+-~^", r)
}
