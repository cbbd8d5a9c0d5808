package carry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// maxPaths bounds what globs may choose. Who wants more lists the directory.
const maxPaths = 10_000

// Expansion is what a list chooses of some trees.
type Expansion struct {
	Paths []string // relative to the root, sorted, none below another; any bytes
	Notes []Note   // the lines that choose nothing
}

// Note is a line of a list that has no effect, which may be a mistake.
type Note struct {
	Origin string `json:"origin"` // file and line
	Line   string `json:"line"`   // what it says, printable
	Why    string `json:"why"`
}

// String is the note on one line.
func (n Note) String() string { return fmt.Sprintf("%s: %s: %s", n.Origin, n.Line, n.Why) }

// MarshalJSON writes the paths as reports print them, because JSON has no way
// to hold a name that is not UTF-8.
func (e Expansion) MarshalJSON() ([]byte, error) {
	shown := struct {
		Paths []string `json:"paths"`
		Notes []Note   `json:"notes,omitempty"`
	}{make([]string, 0, len(e.Paths)), e.Notes}
	for _, p := range e.Paths {
		shown.Paths = append(shown.Paths, printable(p))
	}
	return json.Marshal(shown)
}

// Expand returns the paths that exist in one of the root directories and that
// the list chooses: the old base and what runs, for what the administrator
// removed is in the first only. Below a path in it [List.Selects] decides.
func (l List) Expand(roots ...string) (Expansion, error) {
	found := make(map[string]bool)
	notes := make(map[int]string) // by line: why it chose nothing yet
	for i, line := range l.lines {
		if !line.not {
			notes[i] = "nothing is there"
		}
	}
	for _, dir := range roots {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return Expansion{}, err
		}
		err = l.expandIn(root, found, notes)
		root.Close()
		if err != nil {
			return Expansion{}, fmt.Errorf("%s: %w", dir, err)
		}
	}
	var e Expansion
	for name := range found {
		if !below(name, found) {
			e.Paths = append(e.Paths, name)
		}
	}
	slices.Sort(e.Paths)
	for i, line := range l.lines {
		if why, ok := notes[i]; ok && why != "" {
			e.Notes = append(e.Notes, Note{Origin: line.origin, Line: printable(line.text), Why: why})
		}
	}
	return e, nil
}

// expandIn adds what the lines choose of one tree to found. The note of a
// line that chooses something is emptied.
func (l List) expandIn(root *os.Root, found map[string]bool, notes map[int]string) error {
	for i, line := range l.lines {
		if line.not {
			continue
		}
		w := walk{root: root, parts: line.parts, visit: func(name string) error {
			by := l.decides(strings.Split(name, "/"))
			if by == nil {
				return nil
			}
			if by.not {
				if notes[i] != "" {
					notes[i] = by.reason()
				}
				return nil
			}
			notes[i] = ""
			if found[name] = true; len(found) > maxPaths {
				return fmt.Errorf("%s: chooses more than %d paths", line.origin, maxPaths)
			}
			return nil
		}}
		if err := w.from(".", 0); err != nil {
			return err
		}
		if notes[i] != "" && w.obstacle != "" {
			notes[i] = w.obstacle
		}
	}
	return nil
}

// reason is why a line takes something out.
func (l *line) reason() string {
	if l.why != "" {
		return l.why
	}
	return "taken out by " + l.origin
}

// below reports whether something above name is found too.
func below(name string, found map[string]bool) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if found[dir] {
			return true
		}
	}
	return false
}

// walk looks for the paths that parts match.
type walk struct {
	root     *os.Root
	parts    []component
	visit    func(name string) error
	obstacle string // what was in the way of a name that was given in full
}

// from goes on below dir, which the first depth parts led to.
func (w *walk) from(dir string, depth int) error {
	part := w.parts[depth]
	if part.literal {
		return w.step(path.Join(dir, part.name), depth)
	}
	names, err := w.names(dir, part)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := w.step(path.Join(dir, name), depth); err != nil {
			return err
		}
	}
	return nil
}

// step looks at what one more part led to.
func (w *walk) step(name string, depth int) error {
	info, err := w.root.Lstat(name)
	if gone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", printable(name), bare(err))
	}
	switch {
	case depth == len(w.parts)-1:
		return w.visit(name)
	case info.IsDir():
		return w.from(name, depth+1)
	case !w.parts[depth].literal:
		return nil
	case info.Mode()&fs.ModeSymlink != 0:
		w.obstacle = fmt.Sprintf("/%s is a link: list where it leads", printable(name))
	default:
		w.obstacle = fmt.Sprintf("/%s is no directory", printable(name))
	}
	return nil
}

// names are the names in dir that part matches, sorted.
func (w *walk) names(dir string, part component) ([]string, error) {
	f, err := w.root.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", printable(dir), bare(err))
	}
	defer f.Close()
	var names []string
	for {
		some, err := f.Readdirnames(1024)
		for _, name := range some {
			if part.matches(name) {
				names = append(names, name)
			}
		}
		if len(names) > maxPaths {
			return nil, fmt.Errorf("%s: %s matches more than %d names", printable(dir), printable(part.pattern), maxPaths)
		}
		if errors.Is(err, io.EOF) {
			slices.Sort(names)
			return names, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", printable(dir), err)
		}
	}
}

// gone reports a name that is not there, or not any more: the tree may be
// live. A name too long for the file system is not there either.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG)
}

// printable writes backslashes and all that is not printable UTF-8 as \ooo,
// which a list reads back.
func printable(name string) string {
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
