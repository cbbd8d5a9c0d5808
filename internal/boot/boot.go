package boot

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"imgbase/internal/durable"
	"imgbase/internal/nvr"
)

// Errors that callers decide on.
var (
	ErrNoEntry   = errors.New("no such boot entry")
	ErrIsDefault = errors.New("is the default boot entry")
	ErrInUse     = errors.New("still used by a boot entry")
	ErrName      = errors.New("no name for a boot entry")
)

// Options are what [Open] needs.
type Options struct {
	Root  string // "/", or the directory of another system's tree
	UUID  string // of the file system mounted at <Root>/boot; GRUB searches it by that
	Files durable.Files
}

// Boot is /boot with its boot loader. /boot is a file system of its own:
// paths in entries are relative to it.
type Boot struct {
	dir   string // of /boot
	uuid  string
	files durable.Files
	grub  grub
}

// Open finds the boot loader and reads how it is set up; it changes nothing.
// The error is [ErrNoBootloader] with what was looked at.
func Open(o Options) (*Boot, error) {
	g, err := probe(o.Root)
	if err != nil {
		return nil, err
	}
	dir, err := resolve(o.Root, "/boot")
	if err != nil {
		return nil, err
	}
	if g.include && !validUUID(o.UUID) {
		return nil, fmt.Errorf("%s: GRUB needs the UUID of its file system, not %q", dir, o.UUID)
	}
	return &Boot{dir: dir, uuid: o.UUID, files: o.Files, grub: g}, nil
}

// validUUID accepts what GRUB's search compares: hexadecimal digits and
// dashes, as in 0a1b2c3d-… of ext4 and XFS or 1A2B-3C4D of FAT.
func validUUID(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdefABCDEF-") == ""
}

// Menu is what lies in /boot/loader/entries.
type Menu struct {
	Entries    []*Entry // ours and foreign, by id
	Unreadable []error  // one for each *.conf that is no entry; it is left alone
}

// Entries reads all entries. A missing directory is an empty menu.
func (b *Boot) Entries() (Menu, error) {
	var m Menu
	dir, err := os.ReadDir(b.entriesDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Menu{}, err
	}
	for _, d := range dir {
		id, ok := strings.CutSuffix(d.Name(), ".conf")
		if !ok || strings.HasPrefix(id, ".") {
			continue
		}
		e, err := readEntry(id, filepath.Join(b.entriesDir(), d.Name()))
		if err != nil {
			m.Unreadable = append(m.Unreadable, err)
			continue
		}
		m.Entries = append(m.Entries, e)
	}
	return m, nil
}

func readEntry(id, path string) (*Entry, error) {
	data, err := readFile(path, maxEntry)
	if err != nil {
		return nil, err
	}
	return ParseEntry(id, data)
}

// of returns the layer's entries, the one with the newest kernel first.
func (m Menu) of(layer string) []*Entry {
	var entries []*Entry
	for _, e := range m.Entries {
		if e.Layer() == layer {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b *Entry) int {
		return cmp.Or(nvr.CompareVersions(b.Version(), a.Version()), strings.Compare(a.ID, b.ID))
	})
	return entries
}

func (m Menu) find(id string) (*Entry, bool) {
	i := slices.IndexFunc(m.Entries, func(e *Entry) bool { return e.ID == id })
	if i < 0 {
		return nil, false
	}
	return m.Entries[i], true
}

// Newest returns the layer's entry with the newest kernel, or [ErrNoEntry].
func (b *Boot) Newest(layer string) (*Entry, error) {
	m, err := b.Entries()
	if err != nil {
		return nil, err
	}
	entries := m.of(layer)
	if len(entries) == 0 {
		return nil, fmt.Errorf("layer %s: %w", layer, ErrNoEntry)
	}
	return entries[0], nil
}

// EntrySpec describes an entry to add.
type EntrySpec struct {
	Layer   string
	KVer    string
	Title   string   // the image's NVR; " (<kver>)" is added unless it has a "(" already
	Linux   string   // name of a file in /boot/<layer>
	Initrds []string // names of files in /boot/<layer>
	Options Args     // img.bootid=<layer> is added, as the last
}

// Add writes the entry <layer>-<kver> and puts it in the menu, replacing one
// of that id. Its files must lie in /boot/<layer> already.
func (b *Boot) Add(ctx context.Context, s EntrySpec) (*Entry, error) {
	e, err := b.newEntry(s)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	path := filepath.Join(b.entriesDir(), e.ID+".conf")
	if err := b.files.Replace(path, 0o644, bytes.NewReader(e.raw)); err != nil {
		return nil, fmt.Errorf("boot entry %s: %w", e.ID, err)
	}
	if err := b.Refresh(); err != nil {
		return nil, err
	}
	return e, nil
}

func (b *Boot) newEntry(s EntrySpec) (*Entry, error) {
	if err := b.checkSpec(s); err != nil {
		return nil, err
	}
	title := s.Title
	if !strings.Contains(title, "(") {
		title += " (" + s.KVer + ")"
	}
	var t strings.Builder
	fmt.Fprintf(&t, "title %s\nversion %s\nlinux /%s/%s\n", title, s.KVer, s.Layer, s.Linux)
	for _, initrd := range s.Initrds {
		fmt.Fprintf(&t, "initrd /%s/%s\n", s.Layer, initrd)
	}
	options := append(s.Options.Drop(bootID), bootID+"="+s.Layer)
	fmt.Fprintf(&t, "options %s\n", options)
	// Fedora's GRUB asks for a password before it starts an entry without
	// this one, where one is set; a host must boot unattended.
	t.WriteString("grub_users $grub_users\ngrub_arg --unrestricted\n")
	return ParseEntry(s.Layer+"-"+s.KVer, []byte(t.String()))
}

// CheckName says whether a layer with a kernel of that version can have an
// entry: the error is [ErrName].
func (b *Boot) CheckName(layer, kver string) error {
	if err := errors.Join(checkLayer(layer), checkName("kernel version", kver)); err != nil {
		return err
	}
	// systemd-boot would read "+1-5" at a name's end as tries left and done.
	if strings.Trim(kver, "0123456789") == "" {
		return fmt.Errorf("kernel version %q: %w: nothing but digits", kver, ErrName)
	}
	// GRUB before 2.12 takes a default that begins with a digit as a position
	// in the menu (get_entry_number in normal/menu.c).
	if b.grub.include && '0' <= layer[0] && layer[0] <= '9' {
		return fmt.Errorf("layer %q: %w: GRUB takes one with a digit first as a number", layer, ErrName)
	}
	return nil
}

func (b *Boot) checkSpec(s EntrySpec) error {
	if err := b.CheckName(s.Layer, s.KVer); err != nil {
		return err
	}
	for _, text := range append(Args{s.Title}, s.Options...) {
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("boot entry of %s: %q holds a control character", s.Layer, text)
		}
	}
	for _, name := range append([]string{s.Linux}, s.Initrds...) {
		if err := checkFileName(name); err != nil {
			return err
		}
		info, err := os.Lstat(filepath.Join(b.dir, s.Layer, name))
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s/%s: no regular file", s.Layer, name)
		}
	}
	return nil
}

// Fixed are the layers that entries in grub.cfg itself boot, as the original
// made them where there was no BLS. They are not on the menu of this package.
func (b *Boot) Fixed() []string { return slices.Clone(b.grub.layers) }

// Remove takes the layer's entries off the menu, then removes their files,
// and leaves the kernels. It refuses with [ErrIsDefault] when one of them is
// the default. A layer without entries is no error.
func (b *Boot) Remove(layer string) error {
	if err := checkLayer(layer); err != nil {
		return err
	}
	m, err := b.Entries()
	if err != nil {
		return err
	}
	id, err := b.Default()
	if err != nil {
		return err
	}
	if e, ok := m.find(id); ok && e.Layer() == layer {
		return fmt.Errorf("%s: %w", id, ErrIsDefault)
	}
	gone := m.of(layer)
	m.Entries = slices.DeleteFunc(m.Entries, func(e *Entry) bool { return e.Layer() == layer })
	if err := b.publish(m); err != nil {
		return err
	}
	for _, e := range gone {
		if err := b.files.Remove(filepath.Join(b.entriesDir(), e.ID+".conf")); err != nil {
			return fmt.Errorf("boot entry %s: %w", e.ID, err)
		}
	}
	return b.files.Settle(b.dir)
}

// Refresh makes the menu agree with the entry files. It is for after a cut or
// a hand-made change; without either it writes nothing.
func (b *Boot) Refresh() error {
	m, err := b.Entries()
	if err != nil {
		return err
	}
	if err := b.publish(m); err != nil {
		return err
	}
	return b.files.Settle(b.dir)
}

// RemoveTemporary removes the temporary files that a process killed in the
// middle of a change left where this package writes.
func (b *Boot) RemoveTemporary() error {
	dirs := []string{b.dir, b.entriesDir(), b.grub.dir, filepath.Dir(b.grub.env)}
	all, err := os.ReadDir(b.dir)
	if err != nil {
		return err
	}
	for _, d := range all {
		if d.IsDir() && checkLayer(d.Name()) == nil {
			dirs = append(dirs, filepath.Join(b.dir, d.Name()))
		}
	}
	for _, dir := range dirs {
		if err := durable.RemoveTemporary(dir); err != nil {
			return err
		}
	}
	return nil
}

func (b *Boot) entriesDir() string { return filepath.Join(b.dir, "loader", "entries") }
