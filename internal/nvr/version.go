package nvr

import "strings"

// CompareVersions orders two versions, or two releases, as rpm does
// (rpm-version(7)): -1 when a is older, +1 when it is newer, 0 when rpm sees
// no difference, which does not make the texts the same.
//
// A version is a row of segments, each the longest run of digits or of
// letters; every other character only divides. Digits compare as numbers of
// any size and are newer than letters. '~' is older than the end of the
// text, so that 1.0~rc1 comes before 1.0; '^' is newer than the end but older
// than any segment, so that 1.0^git1 lies between 1.0 and 1.0.1.
func CompareVersions(a, b string) int {
	for a != "" || b != "" {
		a, b = strings.TrimLeftFunc(a, divides), strings.TrimLeftFunc(b, divides)
		var sa, sb segment
		sa, a = next(a)
		sb, b = next(b)
		if c := sa.compare(sb); c != 0 {
			return c
		}
	}
	return 0
}

// kind is what a segment is; the constants are in rpm's order.
type kind int

const (
	tilde kind = iota
	end
	caret
	letters
	digits
)

type segment struct {
	kind kind
	text string // digits carry no leading zeros
}

func (s segment) compare(t segment) int {
	switch {
	case s.kind != t.kind:
		return sign(int(s.kind) - int(t.kind))
	case s.kind == digits && len(s.text) != len(t.text):
		return sign(len(s.text) - len(t.text))
	default:
		return strings.Compare(s.text, t.text)
	}
}

// next cuts the first segment off s, which starts with no divider.
func next(s string) (segment, string) {
	switch {
	case s == "":
		return segment{kind: end}, ""
	case s[0] == '~':
		return segment{kind: tilde}, s[1:]
	case s[0] == '^':
		return segment{kind: caret}, s[1:]
	case digit(s[0]):
		n := run(s, digit)
		return segment{digits, strings.TrimLeft(s[:n], "0")}, s[n:]
	default:
		n := run(s, letter)
		return segment{letters, s[:n]}, s[n:]
	}
}

func run(s string, belongs func(byte) bool) int {
	n := 0
	for n < len(s) && belongs(s[n]) {
		n++
	}
	return n
}

func divides(r rune) bool {
	return r >= 0x80 || !alphanumeric(byte(r)) && r != '~' && r != '^'
}

func alphanumeric(c byte) bool { return digit(c) || letter(c) }
func digit(c byte) bool        { return '0' <= c && c <= '9' }
func letter(c byte) bool       { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
