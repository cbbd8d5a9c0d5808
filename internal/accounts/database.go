package accounts

import (
	"fmt"
	"strconv"
	"strings"
)

// kind is what a line is.
type kind uint8

const (
	entry    kind = iota
	repeated      // an entry whose name has one already: never read by getpwnam(3)
	compat        // an NIS line, nsswitch.conf(5)
	comment
	blank
	malformed
)

var kindNames = [...]string{"entry", "repeated", "NIS", "comment", "blank", "malformed"}

// line is one line of a file. Raw has its newline, if it had one.
type line struct {
	raw    string
	kind   kind
	fields []string // entries only
}

// database is one parsed file.
type database struct {
	lines  []line
	byName map[string]int // a name's first entry in lines
}

// format is the shape of a file's entries.
type format struct {
	fields   int   // the last takes all that is left
	required int   // glibc does without the rest
	ids      []int // fields that are ids
	many     bool  // a name may have several entries
}

func formatOf(file string) format {
	switch file {
	case passwd:
		return format{fields: 7, required: 4, ids: []int{2, 3}}
	case group:
		return format{fields: 4, required: 3, ids: []int{2}}
	case shadow:
		return format{fields: 9, required: 2}
	case gshadow:
		return format{fields: 4, required: 2}
	}
	return format{fields: 3, required: 3, many: true} // subuid, subgid
}

// parse reads a file. There is no text it refuses.
func parse(file string, text []byte) *database {
	shape, d := formatOf(file), &database{byName: make(map[string]int)}
	for raw := range strings.Lines(string(text)) {
		l := line{raw: raw}
		l.kind, l.fields = shape.read(strings.TrimSuffix(raw, "\n"))
		if l.kind == entry {
			name := l.fields[0]
			if _, ok := d.byName[name]; !ok {
				d.byName[name] = len(d.lines)
			} else if !shape.many {
				l.kind = repeated
			}
		}
		d.lines = append(d.lines, l)
	}
	return d
}

// read tells what a line is. As in glibc's nss_files, blanks before the name
// do not count.
func (f format) read(text string) (kind, []string) {
	text = strings.TrimLeft(text, " \t\v\f\r")
	switch {
	case text == "":
		return blank, nil
	case text[0] == '#':
		return comment, nil
	case text[0] == '+' || text[0] == '-':
		return compat, nil
	case strings.IndexByte(text, 0) >= 0:
		return malformed, nil
	}
	fields := strings.SplitN(text, ":", f.fields)
	if len(fields) < f.required || fields[0] == "" {
		return malformed, nil
	}
	for _, i := range f.ids {
		if _, ok := parseID(fields[i]); !ok {
			return malformed, nil
		}
	}
	if f.many {
		if _, ok := parseSpan(fields); !ok {
			return malformed, nil
		}
	}
	return entry, fields
}

// parseID reads a user or group id. The largest is chown(2)'s "leave as it
// is" and nobody's.
func parseID(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil && n != 1<<32-1
}

func formatID(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

// canonical is an id without leading zeros.
func canonical(id string) string {
	if text := strings.TrimLeft(id, "0"); text != "" {
		return text
	}
	return "0"
}

// get is the name's first entry, nil if there is none.
func (d *database) get(name string) []string {
	if i, ok := d.byName[name]; ok {
		return d.lines[i].fields
	}
	return nil
}

func (d *database) entries() int { return len(d.byName) }

// all are the entries that count, in the order of the file.
func (d *database) all() [][]string {
	out := make([][]string, 0, len(d.byName))
	for _, l := range d.lines {
		if l.kind == entry {
			out = append(out, l.fields)
		}
	}
	return out
}

// firstNames are the names that getpwuid(3) and getgrgid(3) give to ids.
func firstNames(d *database) map[string]string {
	out := make(map[string]string)
	for _, e := range d.all() {
		if id := canonical(e[idField]); out[id] == "" {
			out[id] = e[0]
		}
	}
	return out
}

// odd tells on one line what else than entries a file holds; line numbers
// rather than text, which may be a password.
func (d *database) odd(kinds ...kind) string {
	var parts []string
	for _, k := range kinds {
		var at []int
		for i, l := range d.lines {
			if l.kind == k {
				at = append(at, i+1)
			}
		}
		if len(at) > 0 {
			parts = append(parts, kindNames[k]+" "+lineNumbers(at))
		}
	}
	return strings.Join(parts, ", ")
}

func lineNumbers(at []int) string {
	const shown = 8
	words := make([]string, 0, shown)
	for _, n := range at[:min(len(at), shown)] {
		words = append(words, strconv.Itoa(n))
	}
	out := "line " + strings.Join(words, " ")
	if len(at) > shown {
		out += fmt.Sprintf(" and %d more", len(at)-shown)
	}
	return out
}

// field is field i of an entry that may be short.
func field(e []string, i int) string {
	if i < len(e) {
		return e[i]
	}
	return ""
}

// list splits a field of comma-separated names.
func list(text string) []string {
	var out []string
	for name := range strings.SplitSeq(text, ",") {
		if name != "" {
			out = append(out, name)
		}
	}
	return out
}

// writer puts a merged file together.
type writer struct {
	head, tail strings.Builder // tail: from the first NIS line on
	nis        bool
}

func (w *writer) keep(l line) {
	w.nis = w.nis || l.kind == compat
	if w.nis {
		w.tail.WriteString(l.raw)
		return
	}
	w.head.WriteString(l.raw)
}

// replace puts e in the place of l.
func (w *writer) replace(l line, e []string) {
	l.raw = strings.Join(e, ":") + "\n"
	w.keep(l)
}

// add appends an entry, before the first NIS line.
func (w *writer) add(e []string) {
	if text := w.head.String(); text != "" && text[len(text)-1] != '\n' {
		w.head.WriteByte('\n')
	}
	w.head.WriteString(strings.Join(e, ":"))
	w.head.WriteByte('\n')
}

func (w *writer) bytes() []byte { return []byte(w.head.String() + w.tail.String()) }
