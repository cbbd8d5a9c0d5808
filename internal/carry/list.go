package carry

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// List is lines that choose paths. The zero List chooses nothing.
type List struct{ lines []line }

// line is one line of a list.
type line struct {
	origin string      // "files.d/agent:3"
	text   string      // as it was written, without "!"
	parts  []component // at least one
	not    bool        // takes out
	why    string      // of a line that no list holds
}

// component is what one name of a path must be.
type component struct {
	pattern string // of path.Match
	name    string // the only name it matches, when literal
	literal bool
}

const (
	maxLine  = 4096  // bytes; PATH_MAX of Linux
	maxLines = 10000 // of all lists together
)

var (
	errNotAbsolute = errors.New("is no path from the root")
	errRoot        = errors.New("is the whole system")
	errDotDot      = errors.New("leads up")
	errByte        = errors.New("stands for a byte that no name holds")
	errNul         = errors.New("holds a NUL")
	errLong        = fmt.Errorf("is longer than %d bytes", maxLine)
	errMany        = fmt.Errorf("more than %d lines", maxLines)
)

// Parse reads the text of a list; origin names it in errors and notes.
func Parse(origin string, text []byte) (List, error) {
	if len(text) > maxText {
		return List{}, fmt.Errorf("%s: larger than %d bytes", origin, maxText)
	}
	var l List
	number := 0
	for raw := range strings.SplitSeq(string(text), "\n") {
		number++
		words := trim(raw)
		if words == "" || words[0] == '#' {
			continue
		}
		at := fmt.Sprintf("%s:%d", origin, number)
		parsed, err := parseLine(words)
		if err != nil {
			return List{}, fmt.Errorf("%s: %s: %w", at, printable(words[:min(len(words), maxLine)]), err)
		}
		parsed.origin = at
		if l.lines = append(l.lines, parsed); len(l.lines) > maxLines {
			return List{}, fmt.Errorf("%s: %w", origin, errMany)
		}
	}
	return l, nil
}

// trim takes blanks off both ends, but not an escaped one.
func trim(raw string) string {
	words := strings.Trim(raw, " \t\r")
	slashes := len(words) - len(strings.TrimRight(words, `\`))
	if end := strings.Index(raw, words) + len(words); slashes%2 == 1 && end < len(raw) && raw[end] != '\r' {
		words = raw[end-len(words) : end+1]
	}
	return words
}

func parseLine(words string) (line, error) {
	var l line
	if rest, ok := strings.CutPrefix(words, "!"); ok {
		l.not, words = true, strings.TrimLeft(rest, " \t")
	}
	l.text = words
	switch {
	case len(words) > maxLine:
		return l, errLong
	case strings.ContainsRune(words, 0):
		return l, errNul
	case !strings.HasPrefix(words, "/"):
		return l, errNotAbsolute
	}
	for text := range strings.SplitSeq(words, "/") {
		if text == "" || text == "." {
			continue
		}
		part, err := parseComponent(text)
		if err != nil {
			return l, err
		}
		l.parts = append(l.parts, part)
	}
	if len(l.parts) == 0 {
		return l, errRoot
	}
	return l, nil
}

// parseComponent reads a component, octal bytes replaced.
func parseComponent(text string) (component, error) {
	var pattern, name strings.Builder
	literal := true
	for i := 0; i < len(text); i++ {
		b := text[i]
		switch {
		case b == '\\' && octal(text[i+1:]):
			value := int(text[i+1]-'0')<<6 | int(text[i+2]-'0')<<3 | int(text[i+3]-'0')
			if value == 0 || value == '/' || value > 255 {
				return component{}, errByte
			}
			b, i = byte(value), i+3
			if strings.IndexByte(`*?[]\-^`, b) >= 0 {
				pattern.WriteByte('\\')
			}
		case b == '\\' && i+1 < len(text):
			pattern.WriteByte('\\')
			i++
			b = text[i]
		case strings.IndexByte(`*?[\`, b) >= 0:
			literal = false
		}
		pattern.WriteByte(b)
		name.WriteByte(b)
	}
	c := component{pattern: pattern.String(), name: name.String(), literal: literal}
	if literal && c.name == "." || literal && c.name == ".." {
		return c, errDotDot
	}
	_, err := path.Match(c.pattern, "")
	return c, err
}

// octal reports three octal digits at the beginning of text.
func octal(text string) bool {
	return len(text) >= 3 && strings.Trim(text[:3], "01234567") == ""
}

func (c component) matches(name string) bool {
	if c.literal {
		return c.name == name
	}
	ok, err := path.Match(c.pattern, name)
	return ok && err == nil
}

// about reports whether the line has to do with the path: with it itself, or
// with what it lies in.
func (l line) about(names []string) bool {
	if len(l.parts) > len(names) {
		return false
	}
	for i, part := range l.parts {
		if !part.matches(names[i]) {
			return false
		}
	}
	return true
}

// decides returns the line that decides about a path, nil if none does.
func (l List) decides(names []string) *line {
	for i := len(l.lines) - 1; i >= 0; i-- {
		if l.lines[i].about(names) {
			return &l.lines[i]
		}
	}
	return nil
}

// Selects reports whether the list chooses a path, relative to the root:
// "opt/agent".
func (l List) Selects(name string) bool {
	by := l.decides(strings.Split(name, "/"))
	return by != nil && !by.not
}

// Reaches reports whether the list may choose something at or below the
// directory dir, relative to the root and "." for it. A walk of a tree can
// leave out what it does not reach.
func (l List) Reaches(dir string) bool {
	if dir == "." {
		return slices.ContainsFunc(l.lines, func(l line) bool { return !l.not })
	}
	names := strings.Split(dir, "/")
	for _, l := range l.lines {
		if l.not {
			continue
		}
		shorter := l
		shorter.parts = l.parts[:min(len(l.parts), len(names))]
		if shorter.about(names) {
			return true
		}
	}
	return false
}

// Except is the list without what lies at or below the given paths, relative
// to the root: other file systems, or what is merged by other means. Why is
// said of lines that choose nothing then.
func (l List) Except(why string, names ...string) List {
	lines := slices.Clone(l.lines)
	for _, name := range names {
		out := line{origin: "imgbase", text: "/" + name, not: true, why: why}
		for part := range strings.SplitSeq(name, "/") {
			out.parts = append(out.parts, component{name: part, literal: true})
		}
		lines = append(lines, out)
	}
	return List{lines}
}

// join is both lists, the lines of more last.
func (l List) join(more List) (List, error) {
	if len(l.lines)+len(more.lines) > maxLines {
		return List{}, errMany
	}
	return List{slices.Concat(l.lines, more.lines)}, nil
}

// Join is the list with the lines of more behind its own.
func (l List) Join(more List) List {
	return List{lines: slices.Concat(l.lines, more.lines)}
}
