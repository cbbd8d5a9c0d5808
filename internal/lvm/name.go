package lvm

import (
	"errors"
	"fmt"
	"strings"
)

// MaxName is the longest name, in bytes, that [ValidateName] accepts. The
// kernel's limit is 127 bytes for VG and LV together, with every dash
// doubled; 55 is the share that installers grant each.
const MaxName = 55

// ErrName is a name that LVM, or our stricter rule, does not accept.
var ErrName = errors.New("not a valid volume name")

// reservedPrefix returns how the name begins if LVM keeps such names for
// itself (lvm(8), VALID NAMES).
func reservedPrefix(name string) string {
	for _, p := range []string{"snapshot", "pvmove"} {
		if strings.HasPrefix(name, p) {
			return p
		}
	}
	return ""
}

// reservedPart returns the piece of the name by which LVM recognizes its
// internal volumes, "" if there is none.
func reservedPart(name string) string {
	for _, p := range []string{
		"_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_imeta", "_iorig", "_mimage", "_mlog",
		"_pmspare", "_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig",
	} {
		if strings.Contains(name, p) {
			return p
		}
	}
	return ""
}

// ValidateName says why a volume cannot be created with that name in volume
// group vg: the characters are those of lvm(8), VALID NAMES, the length is at
// most [MaxName], and LVM's own names are refused. The error matches
// [ErrName].
func ValidateName(vg, name string) error {
	if err := plausible(vg); err != nil {
		return fmt.Errorf("volume group %w", err)
	}
	if err := plausible(name); err != nil {
		return err
	}
	if len(name) > MaxName {
		return fmt.Errorf("%q: %w: %d bytes, at most %d", name, ErrName, len(name), MaxName)
	}
	word := reservedPrefix(name)
	if word == "" {
		word = reservedPart(name)
	}
	if word != "" {
		return fmt.Errorf("%q: %w: LVM reserves %q", name, ErrName, word)
	}
	if n := len(dmName(vg, name)); n > maxDMName {
		return fmt.Errorf("%q: %w: %d bytes as a device name, at most %d", name, ErrName, n, maxDMName)
	}
	return nil
}

// maxDMName is DM_NAME_LEN of the kernel less its final zero and less the
// longest suffix ("-tpool", "_tmeta", …) that LVM puts behind a name.
const maxDMName = 127 - 8

// plausible guards names of existing things as well: an empty one would make
// "lvremove VG/" mean every volume of the group, and one with a dash in
// front would be an option.
func plausible(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%q: %w: empty", name, ErrName)
	case name == "." || name == "..":
		return fmt.Errorf("%q: %w", name, ErrName)
	case name[0] == '-':
		return fmt.Errorf("%q: %w: begins with a dash", name, ErrName)
	case len(name) > maxDMName:
		return fmt.Errorf("%.20q…: %w: %d bytes", name, ErrName, len(name))
	}
	for _, c := range []byte(name) {
		if !nameByte(c) {
			return fmt.Errorf("%q: %w: character %q", name, ErrName, rune(c))
		}
	}
	return nil
}

func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("+_.-", c) >= 0
}

// ParseDMName splits a device-mapper name into volume group and logical
// volume. LVM joins the two with a dash and doubles every dash inside them.
// It reports false for a name that is not of that form, and for the devices
// LVM stacks below a volume, which have a third part ("vg-pool-tpool").
func ParseDMName(name string) (vg, lv string, ok bool) {
	var parts [2]strings.Builder
	part := 0
	for i := 0; i < len(name); i++ {
		if name[i] != '-' {
			parts[part].WriteByte(name[i])
			continue
		}
		if i+1 < len(name) && name[i+1] == '-' {
			parts[part].WriteByte('-')
			i++
			continue
		}
		if part++; part == len(parts) {
			return "", "", false
		}
	}
	vg, lv = parts[0].String(), parts[1].String()
	if plausible(vg) != nil || plausible(lv) != nil {
		return "", "", false
	}
	return vg, lv, true
}

func dmName(vg, lv string) string {
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	return double(vg) + "-" + double(lv)
}
