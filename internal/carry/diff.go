package carry

import "slices"

// maxDepth bounds how often a region is searched for lines that are unique
// in it. Configuration files need two or three.
const maxDepth = 32

// diff returns what turns the lines a into b, by the patience algorithm:
// lines that are in both once hold the two together, and within each stretch
// between them the same again. It takes n log n steps whatever the files are,
// and never lines two files up by blank lines and lone brackets, as a shortest
// edit does, which makes merges that look clean and are wrong.
func diff(a, b []int, ids int) []change {
	d := differ{a: a, b: b, inA: make([]int, ids), inB: make([]int, ids), lineB: make([]int, ids)}
	d.match(region{0, len(a), 0, len(b)}, maxDepth)
	d.pairs = append(d.pairs, pair{len(a), len(b)})
	var changes []change
	next := pair{}
	for _, p := range d.pairs {
		if p.a > next.a || p.b > next.b {
			changes = append(changes, change{from: next.a, to: p.a, start: next.b, end: p.b})
		}
		next = pair{p.a + 1, p.b + 1}
	}
	for i := range changes {
		d.slide(changes, i)
	}
	return changes
}

// slide finds where else a change can be said to be: lines put in beside one
// like them, or taken out beside one, may as well have been the ones before
// or behind it.
func (d *differ) slide(changes []change, i int) {
	c := &changes[i]
	c.first, c.last = c.from, c.to
	above, under := 0, len(d.a)
	if i > 0 {
		above = changes[i-1].to
	}
	if i+1 < len(changes) {
		under = changes[i+1].from
	}
	var lines []int // put in or taken out
	switch {
	case c.from == c.to:
		lines = d.b[c.start:c.end]
	case c.start == c.end:
		lines = d.a[c.from:c.to]
	default:
		return
	}
	n := len(lines)
	for c.first > above && d.a[c.first-1] == lines[n-1-(c.from-c.first)%n] {
		c.first--
	}
	for c.last < under && d.a[c.last] == lines[(c.last-c.to)%n] {
		c.last++
	}
}

// pair is a line of a and the line of b that it is.
type pair struct{ a, b int }

// region is a stretch of lines of both.
type region struct{ a0, a1, b0, b1 int }

type differ struct {
	a, b     []int
	inA, inB []int // by id: how often it is in the region looked at, 0 between
	lineB    []int // by id: where it is in b
	pairs    []pair
}

// match pairs the lines of a region, from its ends inwards.
func (d *differ) match(r region, depth int) {
	for r.a0 < r.a1 && r.b0 < r.b1 && d.a[r.a0] == d.b[r.b0] {
		d.pairs = append(d.pairs, pair{r.a0, r.b0})
		r.a0, r.b0 = r.a0+1, r.b0+1
	}
	whole := r
	for r.a0 < r.a1 && r.b0 < r.b1 && d.a[r.a1-1] == d.b[r.b1-1] {
		r.a1, r.b1 = r.a1-1, r.b1-1
	}
	if anchors := d.anchors(r); len(anchors) > 0 && depth > 0 {
		for _, p := range append(anchors, pair{r.a1, r.b1}) {
			d.match(region{r.a0, p.a, r.b0, p.b}, depth-1)
			r.a0, r.b0 = p.a, p.b // the anchor begins the next stretch
		}
	}
	for ; r.a1 < whole.a1; r.a1, r.b1 = r.a1+1, r.b1+1 {
		d.pairs = append(d.pairs, pair{r.a1, r.b1})
	}
}

// anchors are the lines that are in both sides of a region once, as many as
// are in the same order in both.
func (d *differ) anchors(r region) []pair {
	if r.a0 == r.a1 || r.b0 == r.b1 {
		return nil
	}
	for _, id := range d.a[r.a0:r.a1] {
		d.inA[id]++
	}
	for i, id := range d.b[r.b0:r.b1] {
		d.inB[id]++
		d.lineB[id] = r.b0 + i
	}
	var unique []pair
	for i, id := range d.a[r.a0:r.a1] {
		if d.inA[id] == 1 && d.inB[id] == 1 {
			unique = append(unique, pair{r.a0 + i, d.lineB[id]})
		}
	}
	for _, id := range d.a[r.a0:r.a1] {
		d.inA[id] = 0
	}
	for _, id := range d.b[r.b0:r.b1] {
		d.inB[id] = 0
	}
	return increasing(unique)
}

// increasing is the longest part of pairs, which ascend in a, that ascends in
// b as well.
func increasing(pairs []pair) []pair {
	var ends []int // ends[n]: the pair with the least b that ends a run of n+1
	before := make([]int, len(pairs))
	for i, p := range pairs {
		n, _ := slices.BinarySearchFunc(ends, p.b, func(end, b int) int { return pairs[end].b - b })
		before[i] = -1
		if n > 0 {
			before[i] = ends[n-1]
		}
		if n == len(ends) {
			ends = append(ends, i)
		} else {
			ends[n] = i
		}
	}
	if len(ends) == 0 {
		return nil
	}
	run := make([]pair, len(ends))
	for n, i := len(ends)-1, ends[len(ends)-1]; n >= 0; n, i = n-1, before[i] {
		run[n] = pairs[i]
	}
	return run
}
