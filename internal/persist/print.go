package persist

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Conflicts are the changes in which both sides had a part.
func (p Plan) Conflicts() []Change {
	var out []Change
	for _, c := range p.Changes {
		if c.Conflict {
			out = append(out, c)
		}
	}
	return out
}

// Size is how many bytes of content the plan writes.
func (p Plan) Size() uint64 {
	var n int64
	for _, c := range p.Changes {
		n += int64(len(c.content))
		if c.Op == Carry && c.node != nil {
			n += c.node.room
		}
	}
	return uint64(n)
}

// Summary counts the plan's changes.
func (p Plan) Summary() Summary {
	var s Summary
	for _, c := range p.Changes {
		switch c.Op {
		case Carry:
			s.Carried++
		case Attributes:
			s.Attributes++
		case Rebase:
			s.Rebased++
		case Remove:
			s.Removed++
		case Vendor:
			s.Vendor++
		}
		if c.Conflict {
			s.Conflicts++
		}
	}
	return s
}

// String is the summary on one line.
func (s Summary) String() string {
	text := fmt.Sprintf("%d carried, %d attributes carried, %d removed, %d from the vendor, %d conflicts",
		s.Carried, s.Attributes, s.Removed, s.Vendor, s.Conflicts)
	if s.Rebased > 0 {
		text += fmt.Sprintf(", %d merged by lines", s.Rebased)
	}
	return text
}

// String is the change on one line: operation, path, reason.
func (c Change) String() string {
	line := fmt.Sprintf("%-10s %s: %s", c.Op, escape(c.Path), c.Why)
	if c.Conflict {
		line += " (conflict)"
	}
	if c.Beside != "" {
		line += "; the vendor's is " + escape(c.Beside)
	}
	return line
}

// MarshalJSON writes the change with its paths escaped as in [Change.String],
// because JSON has no way to hold a name that is not UTF-8.
func (c Change) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Path     string `json:"path"`
		Op       Op     `json:"op"`
		Why      string `json:"why"`
		Conflict bool   `json:"conflict,omitempty"`
		Beside   string `json:"beside,omitempty"`
	}{escape(c.Path), c.Op, c.Why, c.Conflict, escape(c.Beside)})
}

// Escape is a path as the changes print it: what is not printable as \\ooo.
func Escape(path string) string { return escape(path) }

// escape writes backslashes and all that is not printable UTF-8 as \ooo, the
// way proc(5) writes paths. It loses nothing.
func escape(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		if r == '\\' || !unicode.IsPrint(r) || r == utf8.RuneError && n == 1 {
			for _, c := range []byte(name[i : i+n]) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
		} else {
			b.WriteString(name[i : i+n])
		}
		i += n
	}
	return b.String()
}
