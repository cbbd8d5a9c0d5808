package accounts

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

// String is the change on one line: operation, file, name, reason.
func (c Change) String() string {
	where := c.File
	if c.Name != "" {
		where += " " + escape(c.Name)
	}
	line := fmt.Sprintf("%-10s %s: %s", c.Op, where, escape(c.Why))
	if c.Conflict {
		line += " (conflict)"
	}
	return line
}

// MarshalJSON writes the change with its name escaped as in [Change.String],
// because JSON has no way to hold a name that is not UTF-8.
func (c Change) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		File     string `json:"file"`
		Name     string `json:"name,omitempty"`
		Op       Op     `json:"op"`
		Why      string `json:"why"`
		Conflict bool   `json:"conflict,omitempty"`
	}{c.File, escape(c.Name), c.Op, escape(c.Why), c.Conflict})
}

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
