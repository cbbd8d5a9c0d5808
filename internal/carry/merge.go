package carry

import "bytes"

// MaxMerge and MaxMergeLines are the size, in bytes, and the lines of the
// largest file that is merged. Of what a distribution ships for people to
// edit, squid.conf is the largest with 9,000 lines and 0.3 MB.
const (
	MaxMerge      = 1 << 20
	MaxMergeLines = 100_000
)

// Merge3 merges the changes of mine and theirs since base, line by line. A
// line ends with "\n"; "\r\n" is another end, and so is none. In a conflict
// out is mine. Without one, swapping mine and theirs changes nothing.
//
// A conflict is: changes that overlap or touch and are not the same, a file
// that holds a NUL (and is no text), and one larger than [MaxMerge] or
// [MaxMergeLines]. A side that changed nothing, or both the same, is never one.
// Out may share memory with the arguments.
func Merge3(base, mine, theirs []byte) (out []byte, conflict bool) {
	switch {
	case bytes.Equal(mine, theirs), bytes.Equal(base, theirs):
		return mine, false
	case bytes.Equal(base, mine):
		return theirs, false
	case !isText(base) || !isText(mine) || !isText(theirs):
		return mine, true
	}
	ids := make(map[string]int)
	b, m, t := split(base, ids), split(mine, ids), split(theirs, ids)
	out, ok := combine(side{b, nil}, side{m, diff(b.ids, m.ids, len(ids))}, side{t, diff(b.ids, t.ids, len(ids))})
	if !ok {
		return mine, true
	}
	return out, false
}

func isText(data []byte) bool {
	return len(data) <= MaxMerge && bytes.IndexByte(data, 0) < 0 && bytes.Count(data, []byte("\n")) <= MaxMergeLines
}

// text is a file by lines; equal lines have equal ids.
type text struct {
	data   []byte
	ids    []int
	starts []int // of each line, and the end of data
}

// lines are the bytes of some of its lines.
func (t text) lines(from, to int) []byte { return t.data[t.starts[from]:t.starts[to]] }

func split(data []byte, ids map[string]int) text {
	t := text{data: data}
	at := 0
	for line := range bytes.Lines(data) {
		id, ok := ids[string(line)]
		if !ok {
			id = len(ids)
			ids[string(line)] = id
		}
		t.ids, t.starts = append(t.ids, id), append(t.starts, at)
		at += len(line)
	}
	t.starts = append(t.starts, at)
	return t
}

// side is a file and what it changed of the base, from the top.
type side struct {
	text
	changes []change
}

// change replaces lines from..to of the base by lines start..end. It may as
// well be said to be elsewhere in first..last of the base.
type change struct{ from, to, start, end, first, last int }

// combine writes the base with both sides' changes; false is a conflict.
func combine(base, mine, theirs side) ([]byte, bool) {
	var out []byte
	done := 0 // lines of base
	for len(mine.changes)+len(theirs.changes) > 0 {
		from := len(base.ids)
		for _, s := range []side{mine, theirs} {
			if len(s.changes) > 0 {
				from = min(from, s.changes[0].from)
			}
		}
		// Changes that overlap or touch each other are looked at as one.
		to, ofMine, ofTheirs := from, 0, 0
		for grows := true; grows; {
			var a, b bool
			to, a = mine.reach(&ofMine, to)
			to, b = theirs.reach(&ofTheirs, to)
			grows = a || b
		}
		out = append(out, base.lines(done, from)...)
		x, y := mine.result(from, to, ofMine), theirs.result(from, to, ofTheirs)
		switch {
		case ofTheirs == 0 || bytes.Equal(x, y):
			out = append(out, x...)
		case ofMine == 0:
			out = append(out, y...)
		default:
			return nil, false
		}
		mine.changes, theirs.changes, done = mine.changes[ofMine:], theirs.changes[ofTheirs:], to
	}
	return append(out, base.lines(done, len(base.ids))...), true
}

// reach takes one more of the side's changes into a group that ends at the
// base's line to, if it begins there or before. It returns the group's end.
func (s side) reach(taken *int, to int) (int, bool) {
	if *taken == len(s.changes) || s.changes[*taken].first > to {
		return to, false
	}
	*taken++
	return max(to, s.changes[*taken-1].last), true
}

// result is what the side has in the place of the base's lines from..to,
// where the first n of its changes are.
func (s side) result(from, to, n int) []byte {
	if n == 0 {
		return nil
	}
	first, last := s.changes[0], s.changes[n-1]
	return s.lines(first.start-(first.from-from), last.end+(to-last.to))
}
