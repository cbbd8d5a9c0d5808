package accounts

import (
	"strconv"
	"strings"
)

// Range is a range of ids, both ends included.
type Range struct{ Min, Max uint32 }

// Limits are the ranges from which new ids are taken.
type Limits struct {
	SystemUID, UID, SubUID Range
	SystemGID, GID, SubGID Range
}

// ParseLimits reads the ranges from the text of a login.defs(5). What it does
// not say, or says in a way that makes no range, is the default: 100 to below
// UID_MIN for system ids, 1000 to 60000 for ordinary ones, 100000 to
// 600100000 for subordinate ones.
func ParseLimits(text []byte) Limits {
	said := make(map[string]uint32)
	for raw := range strings.Lines(string(text)) {
		words := strings.Fields(raw)
		if len(words) < 2 || words[0][0] == '#' {
			continue
		}
		// strtol(3) with base 0, as getdef.c reads them.
		if n, err := strconv.ParseUint(words[1], 0, 32); err == nil {
			said[words[0]] = uint32(n)
		}
	}
	get := func(prefix, id string, fallback Range) Range {
		r := fallback
		if n, ok := said[prefix+id+"_MIN"]; ok {
			r.Min = n
		}
		if n, ok := said[prefix+id+"_MAX"]; ok {
			r.Max = n
		}
		if !r.valid() {
			return fallback
		}
		return r
	}
	usual := Limits{}.orDefault()
	var l Limits
	l.UID, l.GID = get("", "UID", usual.UID), get("", "GID", usual.GID)
	l.SystemUID = get("SYS_", "UID", below(l.UID, usual.SystemUID))
	l.SystemGID = get("SYS_", "GID", below(l.GID, usual.SystemGID))
	l.SubUID, l.SubGID = get("SUB_", "UID", usual.SubUID), get("SUB_", "GID", usual.SubGID)
	return l
}

func (r Range) valid() bool { return r.Min > 0 && r.Min <= r.Max && r.Max < 1<<32-1 }

func (r Range) holds(id uint32) bool { return r.Min <= id && id <= r.Max }

// below is the usual system range, ended by the first ordinary id.
func below(ordinary, usual Range) Range {
	if r := (Range{usual.Min, ordinary.Min - 1}); r.valid() {
		return r
	}
	return usual
}

// orDefault fills the ranges that say nothing.
func (l Limits) orDefault() Limits {
	for _, r := range []struct {
		is    *Range
		usual Range
	}{
		{&l.SystemUID, Range{100, 999}},
		{&l.SystemGID, Range{100, 999}},
		{&l.UID, Range{1000, 60000}},
		{&l.GID, Range{1000, 60000}},
		{&l.SubUID, Range{100000, 600100000}},
		{&l.SubGID, Range{100000, 600100000}},
	} {
		if !r.is.valid() {
			*r.is = r.usual
		}
	}
	return l
}
