package packages

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"imgbase/internal/durable"
	"imgbase/internal/run"
)

// Store keeps files of packages that the administrator installed, a
// directory for each format below Dir.
type Store struct {
	Dir      string // /var/imgbased
	Files    durable.Files
	Runner   run.Runner
	Excluded []string // names of packages that are never kept, as [Excluded]
}

// Excluded are the packages that are never kept: those that bring an image,
// which the next layer is made of anyway. The names are the original's.
func Excluded() []string {
	return []string{
		"redhat-virtualization-host-image-update", "ovirt-node-ng-image-update",
		"rhvm-appliance", "ovirt-engine-appliance",
	}
}

// Kept is a package file in the store.
type Kept struct {
	Package
	File string `json:"file"` // path
	Size int64  `json:"size"` // in bytes
}

func (s Store) dir(f Format) string {
	if f == Deb {
		return filepath.Join(s.Dir, "persisted-debs")
	}
	return filepath.Join(s.Dir, "persisted-rpms") // the original's
}

// Keep copies the package file at path into the store, unless the store has
// it already. The file is complete or not there at any instant. It reports
// false for a package that is not to be kept, and refuses a file that is no
// package or whose content is not what its digests say.
func (s Store) Keep(ctx context.Context, path string) (Kept, bool, error) {
	k, ok, err := s.keep(ctx, path)
	if err != nil {
		return Kept{}, false, fmt.Errorf("keep %s: %w", path, cause(err, path))
	}
	return k, ok, nil
}

// ErrNotPackage is a file that is no package that can be kept.
var ErrNotPackage = errors.New("neither an rpm nor a Debian package")

// cause leaves out a path that the caller names already.
func cause(err error, path string) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok && e.Path == path {
		return e.Err
	}
	return err
}

func (s Store) keep(ctx context.Context, path string) (Kept, bool, error) {
	info, err := os.Stat(path) // a fifo would be waited for
	if err != nil {
		return Kept{}, false, err
	}
	if !info.Mode().IsRegular() {
		return Kept{}, false, fmt.Errorf("%w: not a regular file", ErrNotPackage)
	}
	f, err := os.Open(path)
	if err != nil {
		return Kept{}, false, err
	}
	defer f.Close()
	p, err := s.identify(ctx, f)
	if err != nil || slices.Contains(s.Excluded, p.Name) {
		return Kept{}, false, err
	}
	k := Kept{Package: p, File: filepath.Join(s.dir(p.Format), p.FileName()), Size: info.Size()}
	same, err := sameContent(f, k.File)
	if err != nil || same {
		return k, err == nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Kept{}, false, err
	}
	return k, true, s.Files.Replace(k.File, 0o644, f)
}

// sameContent says whether there is a file at path that holds what f does.
func sameContent(f *os.File, path string) (bool, error) {
	kept, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer kept.Close()
	ours, err := digest(f)
	if err != nil {
		return false, err
	}
	theirs, err := digest(kept)
	return ours == theirs, err
}

func digest(f *os.File) (sum [sha256.Size]byte, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return sum, err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	return [sha256.Size]byte(h.Sum(nil)), err
}

// identify asks the package's own program what f is. It is given the content
// and not the name: rpm takes names for patterns and addresses.
func (s Store) identify(ctx context.Context, f *os.File) (Package, error) {
	var magic [8]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil {
		return Package{}, ErrNotPackage
	}
	switch {
	case bytes.HasPrefix(magic[:], []byte("\xed\xab\xee\xdb")):
		return s.identifyRPM(ctx, f)
	case string(magic[:]) == "!<arch>\n":
		return s.identifyDeb(ctx, f)
	}
	return Package{}, ErrNotPackage
}

func (s Store) identifyRPM(ctx context.Context, f *os.File) (Package, error) {
	// The signature is dnf's to check, and was when it fetched the file.
	if _, err := s.feed(ctx, f, "rpm", "-K", "--nosignature", "-"); err != nil {
		return Package{}, err
	}
	out, err := s.feed(ctx, f, "rpm", "-qp", "--nosignature", "--qf", identity, "-")
	if err != nil {
		return Package{}, err
	}
	all, err := ParseRPMs(out)
	if err == nil && len(all) != 1 {
		err = fmt.Errorf("%w: rpm sees none in it", ErrNotPackage)
	}
	if err != nil {
		return Package{}, err
	}
	return all[0], nil
}

func (s Store) identifyDeb(ctx context.Context, f *os.File) (Package, error) {
	if err := checkArchive(f); err != nil {
		return Package{}, err
	}
	out, err := s.feed(ctx, f, "dpkg-deb", "--field", "-", "Package", "Version", "Architecture")
	if err != nil {
		return Package{}, err
	}
	var all []Package
	err = ParseStatus(bytes.NewReader(out), func(st Stanza) { all = append(all, st.Package) })
	if err == nil && len(all) != 1 {
		err = fmt.Errorf("%w: dpkg-deb sees none in it", ErrNotPackage)
	}
	if err != nil {
		return Package{}, err
	}
	return all[0], nil
}

// feed runs a program with the file as its input and returns its output.
func (s Store) feed(ctx context.Context, f *os.File, program string, args ...string) ([]byte, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	out, err := s.Runner.Run(ctx, run.Cmd{Name: program, Args: args, Stdin: f})
	return out.Stdout, err
}

// List are the kept packages, by format, name, version and architecture.
// When the error is not nil it names files that are no packages; the list is
// complete but for them.
func (s Store) List() ([]Kept, error) {
	all, problems, err := s.list()
	return all, errors.Join(append(problems, err)...)
}

// list tells files that are no packages apart from a store that cannot be
// read.
func (s Store) list() (all []Kept, problems []error, err error) {
	for _, f := range []Format{Deb, RPM} {
		entries, err := os.ReadDir(s.dir(f))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("kept packages: %w", err)
		}
		for _, e := range entries {
			// Files of other names are on their way, or not ours.
			if !strings.HasSuffix(e.Name(), "."+string(f)) {
				continue
			}
			k, err := s.kept(f, e)
			if err != nil {
				problems = append(problems, fmt.Errorf("kept packages: %w", err))
				continue
			}
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b Kept) int {
		return cmp.Or(comparePackages(a.Package, b.Package), cmp.Compare(a.File, b.File))
	})
	return all, problems, nil
}

func (s Store) kept(f Format, e fs.DirEntry) (Kept, error) {
	p, err := ParseFileName(e.Name())
	if err != nil {
		return Kept{}, err
	}
	info, err := e.Info()
	if err != nil {
		return Kept{}, err
	}
	if !info.Mode().IsRegular() {
		return Kept{}, fmt.Errorf("package file %q: not a regular file", e.Name())
	}
	return Kept{Package: p, File: filepath.Join(s.dir(f), e.Name()), Size: info.Size()}, nil
}

// Forget removes from the store what matches one of names: a package's name,
// the package as [Package.String] writes it, or its file's name. It returns
// what was removed; nothing is no error.
func (s Store) Forget(names ...string) ([]Kept, error) {
	all, _, err := s.list()
	if err != nil {
		return nil, err
	}
	var gone []Kept
	for _, k := range all {
		if !k.matches(names) {
			continue
		}
		if err := s.Files.Remove(k.File); err != nil {
			return gone, fmt.Errorf("forget %s: %w", k.Package, err)
		}
		gone = append(gone, k)
	}
	return gone, nil
}

func (k Kept) matches(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		if k.Format == RPM {
			// "name-3:1.0-2.arch" is what dnf calls it; the file has no epoch.
			if base, rest, ok := cutEpochOf(name, k.Name); ok {
				name = base + rest
			}
		}
		return name == k.Name || name == k.String() || filepath.Base(name) == filepath.Base(k.File)
	})
}

// cutEpochOf divides "name-epoch:rest" around the epoch.
func cutEpochOf(text, name string) (base, rest string, ok bool) {
	rest, ok = strings.CutPrefix(text, name+"-")
	if !ok {
		return "", "", false
	}
	_, rest = cutEpoch(rest)
	return name + "-", rest, true
}
