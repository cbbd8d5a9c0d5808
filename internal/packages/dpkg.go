package packages

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxLine bounds a line of dpkg's files, in bytes. The longest are lists of
// dependencies, of some kilobytes.
const maxLine = 1 << 20

// Stanza is what dpkg's status file says of one package.
type Stanza struct {
	Package   Package
	Status    string   // the last word of the status: "installed", "config-files", …; "" where the file has none
	Conffiles []string // paths of configuration files, absolute
}

// unpacked says whether the package's files are in the tree (dpkg(1),
// "Package states"). "half-installed" is a package of which nobody knows.
func (s Stanza) unpacked() bool {
	switch s.Status {
	case "not-installed", "config-files", "half-installed":
		return false
	}
	return true
}

func (s System) dpkgInstalled(dir string) ([]Package, error) {
	var all []Package
	err := s.stanzas(dir, func(st Stanza) {
		if st.unpacked() {
			all = append(all, st.Package)
		}
	})
	return all, err
}

// stanzas calls each for every package in status and, as images without dpkg
// have them, in the files of status.d.
func (s System) stanzas(dir string, each func(Stanza)) error {
	err := s.read(filepath.Join(dir, "status"), func(r io.Reader) error { return ParseStatus(r, each) })
	if err != nil && !missing(err) {
		return err
	}
	parts := filepath.Join(dir, "status.d")
	names, err := s.list(parts)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".md5sums") {
			continue
		}
		if err := s.read(filepath.Join(parts, name), func(r io.Reader) error { return ParseStatus(r, each) }); err != nil {
			return err
		}
	}
	return nil
}

// read calls do with the content of a file of the tree.
func (s System) read(name string, do func(io.Reader) error) error {
	f, err := s.Open(s.Root, name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := do(f); err != nil {
		if e, ok := errors.AsType[*os.PathError](err); ok && e.Path == f.Name() {
			err = e.Err
		}
		return fmt.Errorf("%s: %w", filepath.Join(s.Root, name), err)
	}
	return nil
}

// ParseStatus reads a file such as /var/lib/dpkg/status and calls each for
// every stanza (deb-control(5)). It never holds more than one stanza.
func ParseStatus(r io.Reader, each func(Stanza)) error {
	p := statusParser{each: each}
	return lines(r, func(n int, line []byte) error {
		if n == 0 {
			return p.end()
		}
		if err := p.line(string(line)); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		return nil
	})
}

// lines calls each for every line of r, numbered from 1, and a last time
// with number 0. A line is valid until each returns.
func lines(r io.Reader, each func(n int, line []byte) error) error {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, maxLine)
	scanner.Split(untilNewline)
	n := 1
	for ; scanner.Scan(); n++ {
		if err := each(n, scanner.Bytes()); err != nil {
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("line %d: %w", n, err)
	}
	return each(0, nil)
}

// untilNewline is [bufio.ScanLines] without its taking away a carriage return,
// which may end a file's name.
func untilNewline(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

type statusParser struct {
	each   func(Stanza)
	fields map[string]string // of those in wanted
	files  []string
	field  string // whose continuation lines come
}

func wanted(field string) bool {
	switch field {
	case "package", "status", "version", "architecture", "conffiles":
		return true
	}
	return false
}

func (p *statusParser) line(line string) error {
	switch {
	case strings.Trim(line, " \t") == "":
		return p.end()
	case line[0] == ' ' || line[0] == '\t':
		if p.field == "" {
			return fmt.Errorf("%.100q continues nothing", line)
		}
		if p.field != "conffiles" {
			return nil
		}
		path, err := conffile(line)
		p.files = append(p.files, path)
		return err
	}
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" || strings.ContainsAny(name, " \t") {
		return fmt.Errorf("no field in %.100q", line)
	}
	p.field = strings.ToLower(name)
	if p.fields == nil {
		p.fields = make(map[string]string)
	}
	if !wanted(p.field) {
		p.fields[""] = "" // the stanza has begun
		return nil
	}
	if _, twice := p.fields[p.field]; twice {
		return fmt.Errorf("second %s of a package", name)
	}
	p.fields[p.field] = strings.TrimSpace(value)
	return nil
}

// conffile reads " /etc/name digest", after which words such as "obsolete"
// may follow. Names may hold blanks.
func conffile(line string) (string, error) {
	rest := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSpace(line), " remove-on-upgrade"), " obsolete")
	path, _, ok := cutLast(rest, " ")
	if !ok || !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf("no configuration file in %.100q", line)
	}
	return path, nil
}

// end reports the stanza read, if there is one.
func (p *statusParser) end() error {
	if p.fields == nil {
		return nil
	}
	st := Stanza{Conffiles: p.files}
	if status, ok := p.fields["status"]; ok {
		words := strings.Fields(status)
		if len(words) != 3 {
			return fmt.Errorf("status %.100q; want three words", status)
		}
		st.Status = words[2]
	}
	st.Package = Package{Deb, p.fields["package"], p.fields["version"], p.fields["architecture"]}
	p.fields, p.files, p.field = nil, nil, ""
	// A package that is known of and is not here may have no version.
	if err := st.Package.check(); err != nil && st.unpacked() {
		return fmt.Errorf("package %.100q: %w", st.Package.Name, err)
	}
	p.each(st)
	return nil
}

// dpkgClasses calls add for every path in the lists of packages' files.
func (s System) dpkgClasses(dir string, add func(path []byte, c Class)) error {
	err := s.stanzas(dir, func(st Stanza) {
		for _, path := range st.Conffiles {
			add([]byte(path), NoReplace)
		}
	})
	if err != nil {
		return err
	}
	// Images without dpkg have sums instead of lists.
	if err := s.lists(filepath.Join(dir, "status.d"), ".md5sums", func(line []byte) {
		if _, path, ok := bytes.Cut(line, []byte("  ")); ok {
			path = bytes.TrimPrefix(bytes.TrimPrefix(path, []byte("./")), []byte("/"))
			add(append([]byte("/"), path...), Packaged)
		}
	}); err != nil {
		return err
	}
	return s.lists(filepath.Join(dir, "info"), ".list", func(line []byte) { add(line, Packaged) })
}

// lists calls each for every line of the files in dir whose names end so.
func (s System) lists(dir, suffix string, each func(line []byte)) error {
	names, err := s.list(dir)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		err := s.read(filepath.Join(dir, name), func(r io.Reader) error {
			return lines(r, func(n int, line []byte) error {
				if n > 0 {
					each(line)
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}
