package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// ErrNoEntry says that a table has no line for a mount point.
var ErrNoEntry = errors.New("no entry in fstab")

// FstabEntry is one line of fstab(5), with escapes decoded.
type FstabEntry struct {
	Source  string
	Target  string
	FSType  string
	Options []string // empty means "defaults"
	Freq    int      // dump(8)
	PassNo  int      // order of fsck(8)
}

// Fstab is a file system table.
type Fstab struct{ lines []fstabLine }

// fstabLine is a line of the table.
type fstabLine struct {
	text, end string      // end is "\n", "\r\n", or at the end of the file less
	entry     *FstabEntry // nil for comments, blanks and what is not understood
	tail      string      // what follows the sixth field
}

// ParseFstab reads a file system table. Lines it does not understand are
// kept, and are no entries; a NUL byte is an error, for mount(8) would see
// another table than we.
func ParseFstab(data []byte) (*Fstab, error) {
	if at := bytes.IndexByte(data, 0); at >= 0 {
		return nil, fmt.Errorf("fstab: NUL byte at offset %d", at)
	}
	f := &Fstab{}
	for text := range strings.Lines(string(data)) {
		line := fstabLine{text: strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")}
		line.end = text[len(line.text):]
		line.entry, line.tail = parseFstabLine(line.text)
		f.lines = append(f.lines, line)
	}
	return f, nil
}

// blanks separate fields; a line end within a field is written as \012.
const blanks = " \t"

// parseFstabLine is as lenient as getmntent(3), which systemd uses: what is
// no number after the options ends the entry.
func parseFstabLine(text string) (*FstabEntry, string) {
	var fields [4]string
	rest := strings.TrimLeft(text, blanks)
	if strings.HasPrefix(rest, "#") {
		return nil, ""
	}
	for i := range fields {
		if rest == "" && i < 3 {
			return nil, ""
		}
		fields[i], rest = cutField(rest)
	}
	e := &FstabEntry{Source: unescapeFstab(fields[0]), Target: unescapeFstab(fields[1]), FSType: unescapeFstab(fields[2])}
	if fields[3] != "" {
		e.Options = strings.Split(unescapeFstab(fields[3]), ",")
	}
	for _, number := range []*int{&e.Freq, &e.PassNo} {
		field, after := cutField(rest)
		n, err := strconv.Atoi(field)
		if err != nil {
			break
		}
		*number, rest = n, after
	}
	return e, rest
}

// cutField cuts the first field off s, which does not start with a blank.
func cutField(s string) (field, rest string) {
	at := strings.IndexAny(s, blanks)
	if at < 0 {
		return s, ""
	}
	return s[:at], strings.TrimLeft(s[at:], blanks)
}

// unescapeFstab decodes \ooo, the form getmntent(3) knows; other backslashes
// stand for themselves.
func unescapeFstab(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil && c != 0 {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func escapeFstab(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(" \t\n\\", s[i]) >= 0 || s[i] == '#' && i == 0 {
			fmt.Fprintf(&b, `\%03o`, s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// Bytes is the table, with all lines that were not changed as they were.
func (f *Fstab) Bytes() []byte {
	var b bytes.Buffer
	for _, line := range f.lines {
		b.WriteString(line.text + line.end)
	}
	return b.Bytes()
}

// Entries are the table's lines, in order.
func (f *Fstab) Entries() []FstabEntry {
	var out []FstabEntry
	for _, line := range f.lines {
		if line.entry != nil {
			out = append(out, line.entry.clone())
		}
	}
	return out
}

func (e FstabEntry) clone() FstabEntry {
	e.Options = slices.Clone(e.Options)
	return e
}

// Lookup finds the line for a mount point. Of several it is the first, as in
// mount(8) and systemd-fstab-generator(8).
func (f *Fstab) Lookup(target string) (FstabEntry, bool) {
	if line := f.find(target); line != nil {
		return line.entry.clone(), true
	}
	return FstabEntry{}, false
}

func (f *Fstab) find(target string) *fstabLine {
	for i := range f.lines {
		if e := f.lines[i].entry; e != nil && path.Clean(e.Target) == path.Clean(target) {
			return &f.lines[i]
		}
	}
	return nil
}

// Replace rewrites the line that Lookup finds for target, with single
// spaces; no other byte changes. [ErrNoEntry] when there is none.
func (f *Fstab) Replace(target string, e FstabEntry) error {
	line := f.find(target)
	if line == nil {
		return fmt.Errorf("%s: %w", target, ErrNoEntry)
	}
	text, err := e.line()
	if err != nil {
		return err
	}
	if line.tail != "" {
		text += " " + line.tail
	}
	e = e.clone()
	line.text, line.entry = text, &e
	return nil
}

// Add appends a line.
func (f *Fstab) Add(e FstabEntry) error {
	text, err := e.line()
	if err != nil {
		return err
	}
	if n := len(f.lines); n > 0 && !strings.HasSuffix(f.lines[n-1].end, "\n") {
		f.lines[n-1].end += "\n"
	}
	e = e.clone()
	f.lines = append(f.lines, fstabLine{text: text, end: "\n", entry: &e})
	return nil
}

// EnsureOption adds a mount option to the line for target unless it has it.
// [ErrNoEntry] when there is no such line.
func (f *Fstab) EnsureOption(target, option string) error {
	e, ok := f.Lookup(target)
	if !ok {
		return fmt.Errorf("%s: %w", target, ErrNoEntry)
	}
	if slices.Contains(e.Options, option) {
		return nil
	}
	e.Options = append(e.Options, option)
	return f.Replace(target, e)
}

// line is the entry as a line of the table. What the table cannot hold is an
// error.
func (e FstabEntry) line() (string, error) {
	options := strings.Join(e.Options, ",")
	if options == "" {
		options = "defaults"
	}
	fields := []string{e.Source, e.Target, e.FSType, options}
	for i, field := range fields {
		if field == "" || strings.IndexByte(field, 0) >= 0 {
			return "", fmt.Errorf("fstab: field %d is %q: empty or with a NUL byte", i+1, field)
		}
		fields[i] = escapeFstab(field)
	}
	return fmt.Sprintf("%s %d %d", strings.Join(fields, " "), e.Freq, e.PassNo), nil
}
