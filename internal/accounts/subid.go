package accounts

import (
	"cmp"
	"slices"
	"strconv"
)

// span is a range of subordinate ids; end is the first id after it.
type span struct{ start, end uint64 }

func (s span) overlaps(o span) bool { return s.start < o.end && o.start < s.end }

// parseSpan reads "name:start:count".
func parseSpan(e []string) (span, bool) {
	start, err := strconv.ParseUint(field(e, 1), 10, 32)
	if err != nil {
		return span{}, false
	}
	count, err := strconv.ParseUint(field(e, 2), 10, 32)
	if err != nil || count == 0 || start+count > 1<<32-1 {
		return span{}, false
	}
	return span{start, start + count}, true
}

// spanOf is the span of an entry that parse has checked.
func spanOf(e []string) span {
	s, _ := parseSpan(e)
	return s
}

// grant is a range that the image gives to a name new to the file.
type grant struct {
	name string // on the host
	span span
	ok   bool // it has a place
}

// mergeRanges merges subuid or subgid. Both are by the name or the id of a
// user.
func (m *merger) mergeRanges(file string, limits Range) {
	var w writer
	for _, l := range m.dbs[host][file].lines {
		w.keep(l)
	}
	grants := m.grants(file)
	m.place(file, limits, grants)
	for _, g := range grants {
		count := strconv.FormatUint(g.span.end-g.span.start, 10)
		if !g.ok {
			m.report(Change{File: file, Name: g.name, Op: Skip, Conflict: true, Why: "no free range of " + count + " ids"})
			continue
		}
		start := strconv.FormatUint(g.span.start, 10)
		m.report(Change{File: file, Name: g.name, Op: Add, Why: "added by the vendor, " + count + " ids from " + start})
		w.add([]string{g.name, start, count})
	}
	m.reportOdd(file)
	m.store(file, w.bytes())
}

// grants are the ranges of the image for names that the host has none for,
// unless the administrator took them away.
func (m *merger) grants(file string) []grant {
	mine, was, theirs := m.ranges(host, file), m.ranges(base, file), m.ranges(image, file)
	var out []grant
	reported := make(map[string]bool)
	for _, e := range m.dbs[image][file].all() {
		key := m.owner(image, e[0])
		switch {
		case len(mine[key]) > 0:
			if !reported[key] && !slices.Equal(mine[key], theirs[key]) && !slices.Equal(was[key], theirs[key]) {
				m.report(Change{File: file, Name: key, Op: Keep, Conflict: true, Why: "the host's ranges stay; the image's differ"})
			}
			reported[key] = true
		case len(was[key]) > 0 && !m.users.known[key]:
		default:
			out = append(out, grant{name: m.hostOwner(e[0]), span: spanOf(e)})
		}
	}
	return out
}

// ranges are a file's ranges by owner.
func (m *merger) ranges(side int, file string) map[string][]span {
	out := make(map[string][]span)
	for _, e := range m.dbs[side][file].all() {
		key := m.owner(side, e[0])
		out[key] = append(out[key], spanOf(e))
	}
	return out
}

// owner is what the owner of a range is called, whom the file may also give
// by id.
func (m *merger) owner(side int, text string) string {
	if _, ok := parseID(text); ok && m.dbs[side][passwd].get(text) == nil {
		return m.nameOf(side, passwd, text)
	}
	return text
}

// hostOwner is how the host calls an owner in the image's file: an id stays an
// id.
func (m *merger) hostOwner(text string) string {
	if id, ok := parseID(text); ok && m.dbs[image][passwd].get(text) == nil {
		return formatID(m.uids.target(id))
	}
	return text
}

// place finds a place for every grant: where the image has it, if that is
// free, else behind what is taken.
func (m *merger) place(file string, limits Range, grants []grant) {
	busy := m.busy(file)
	order := make([]int, len(grants))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return compareSpans(grants[a].span, grants[b].span) })
	var kept []span
	var last uint64 // end of what was kept: starts rise, so that is enough
	for _, i := range order {
		g := &grants[i]
		if g.span.start >= last && !anyOverlap(busy, g.span) {
			g.ok, last = true, g.span.end
			kept = append(kept, g.span)
		}
	}
	busy = merged(append(busy, kept...))
	next, room := uint64(limits.Min), uint64(limits.Max)+1
	for i := range grants {
		g := &grants[i]
		count := g.span.end - g.span.start
		if g.ok || next+count > room {
			continue
		}
		var start uint64
		start, busy = gap(busy, next, count)
		if start+count > room {
			return // the gaps passed are lost to the others, for the sake of one pass
		}
		g.span, g.ok = span{start, start + count}, true
		next = g.span.end
	}
}

// busy are the host's ranges, and the accounts' own ids, sorted and apart.
func (m *merger) busy(file string) []span {
	var out []span
	for _, e := range m.dbs[host][file].all() {
		out = append(out, spanOf(e))
	}
	ids := m.uids.ids
	if file == subgid {
		ids = m.gids.ids
	}
	for _, id := range ids {
		out = append(out, span{uint64(id), uint64(id) + 1})
	}
	return merged(out)
}

func compareSpans(a, b span) int {
	return cmp.Compare(a.start, b.start)
}

// merged sorts spans and joins those that overlap or touch.
func merged(spans []span) []span {
	slices.SortFunc(spans, compareSpans)
	var out []span
	for _, s := range spans {
		if n := len(out); n > 0 && s.start <= out[n-1].end {
			out[n-1].end = max(out[n-1].end, s.end)
			continue
		}
		out = append(out, s)
	}
	return out
}

// anyOverlap reports whether s meets one of the sorted spans.
func anyOverlap(spans []span, s span) bool {
	i, _ := slices.BinarySearchFunc(spans, s.start, func(o span, start uint64) int {
		if o.end <= start {
			return -1
		}
		return 1
	})
	return i < len(spans) && spans[i].overlaps(s)
}

// gap finds count free ids from next on, and returns the spans that lie
// behind them.
func gap(spans []span, next, count uint64) (uint64, []span) {
	for len(spans) > 0 && spans[0].start < next+count {
		next = max(next, spans[0].end)
		spans = spans[1:]
	}
	return next, spans
}
