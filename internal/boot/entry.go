package boot

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
)

// maxEntry bounds an entry file, in bytes. Real ones have a few hundred; the
// kernel takes command lines of 2 to 4 KiB.
const maxEntry = 64 << 10

// bootID is the kernel argument that makes an entry ours and names its layer.
const bootID = "img.bootid"

// Entry is one boot entry. It is read-only: what [Entry.Bytes] returns is
// what was parsed, to the byte.
type Entry struct {
	ID    string // file name without ".conf"
	raw   []byte
	lines []entryLine
}

type entryLine struct{ key, value string }

// ParseEntry parses the content of the entry file <id>.conf. Every key is
// kept, known or not, repeated or not; lines may end in CR LF. A file without
// any key, with a NUL byte or of more than 64 KiB is refused.
func ParseEntry(id string, data []byte) (*Entry, error) {
	if len(data) > maxEntry {
		return nil, fmt.Errorf("boot entry %q: %d bytes are more than %d", id, len(data), maxEntry)
	}
	if bytes.IndexByte(data, 0) >= 0 {
		return nil, fmt.Errorf("boot entry %q: holds a NUL byte", id)
	}
	e := &Entry{ID: id, raw: bytes.Clone(data)}
	for text := range strings.Lines(string(data)) {
		text = strings.Trim(text, " \t\r\n")
		if text == "" || text[0] == '#' {
			continue
		}
		var l entryLine
		l.key = text
		if i := strings.IndexAny(text, " \t"); i >= 0 {
			l.key, l.value = text[:i], strings.TrimLeft(text[i:], " \t")
		}
		e.lines = append(e.lines, l)
	}
	if len(e.lines) == 0 {
		return nil, fmt.Errorf("boot entry %q: empty", id)
	}
	return e, nil
}

// Bytes returns the file's content.
func (e *Entry) Bytes() []byte { return bytes.Clone(e.raw) }

// Values returns the values of all lines with the key, in order.
func (e *Entry) Values(key string) []string {
	var values []string
	for _, l := range e.lines {
		if l.key == key {
			values = append(values, l.value)
		}
	}
	return values
}

// last is the value of the last line with the key, "" when there is none.
func (e *Entry) last(key string) string {
	if v := e.Values(key); len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// Title is the text the menu shows, "" when the file has none.
func (e *Entry) Title() string { return e.last("title") }

// Version is the version of the kernel: what the file says, or what follows
// "vmlinuz-" in the kernel's file name, or "".
func (e *Entry) Version() string {
	if v := e.last("version"); v != "" {
		return v
	}
	_, v, _ := strings.Cut(path.Base(e.Linux()), "vmlinuz-")
	return v
}

// Linux is the path of the kernel below /boot, clean: "/<layer>/vmlinuz-6.1",
// also where the file says "//<layer>/vmlinuz-6.1". "" when there is none.
func (e *Entry) Linux() string { return bootPath(e.last("linux")) }

// Initrds are the paths of the initrds below /boot, clean, in order. A line
// may name several; GRUB's variables ("$tuned_initrd") are no paths.
func (e *Entry) Initrds() []string {
	var paths []string
	for _, v := range e.Values("initrd") {
		for _, p := range strings.Fields(v) {
			if p[0] != '$' {
				paths = append(paths, bootPath(p))
			}
		}
	}
	return paths
}

// Options are the kernel's arguments, those of all lines in order.
func (e *Entry) Options() Args {
	var args Args
	for _, v := range e.Values("options") {
		args = append(args, ParseArgs(v)...)
	}
	return args
}

// Layer is the layer that the entry boots: the value of img.bootid. It is ""
// for a foreign entry, also for one whose value cannot be a layer's name.
func (e *Entry) Layer() string {
	layer, _ := e.Options().Get(bootID)
	if checkLayer(layer) != nil {
		return ""
	}
	return layer
}

// starts tells whether the entry starts a file of the layer's directory.
func (e *Entry) starts(layer string) bool {
	return slices.ContainsFunc(append(e.Initrds(), e.Linux()), func(p string) bool {
		return strings.HasPrefix(p, "/"+layer+"/")
	})
}

func bootPath(p string) string {
	if p == "" {
		return ""
	}
	return path.Clean("/" + p)
}

// checkLayer refuses what is no layer's name. One without "+N" is refused too:
// /boot/grub and /boot/efi would be layers' directories otherwise.
func checkLayer(name string) error {
	if err := checkName("layer", name); err != nil {
		return err
	}
	if !strings.Contains(name, "+") || name[0] == '-' {
		return fmt.Errorf("layer %q: %w: not a base's name with +N", name, ErrName)
	}
	return nil
}

// checkName refuses what cannot be part of an entry's file name: the
// specification allows letters, digits and "+-_.~"; rpm versions may hold "^".
func checkName(what, name string) error {
	const punctuation = "+-_.~^"
	for _, c := range []byte(name) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(punctuation, c) >= 0) {
			return fmt.Errorf("%s %q: %w: it holds the character %q", what, name, ErrName, c)
		}
	}
	if name == "" || name[0] == '.' || len(name) > 128 {
		return fmt.Errorf("%s %q: %w: empty, too long or hidden", what, name, ErrName)
	}
	return nil
}
