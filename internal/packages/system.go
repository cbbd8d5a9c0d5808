package packages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"imgbase/internal/mount"
	"imgbase/internal/run"
)

// System is the packages of one root tree. Its methods cannot tell a missing
// database from an empty one being right, so a tree without any is an error.
type System struct {
	Root   string // "/" is the running system
	Runner run.Runner
	// Open opens a file or directory of the tree root, with links resolved
	// inside it.
	Open func(root, name string) (*os.File, error)
}

var errNoDatabase = errors.New("neither an rpm nor a dpkg database")

// databases are where the tree keeps them, as directories in it; "" for one
// that it has not.
type databases struct{ rpm, dpkg string }

func (s System) databases() (databases, error) {
	var d databases
	var err error
	// Below /usr first: what lies there belongs to the tree, while /var may
	// be a volume that several layers share. /usr/share/rpm is where the
	// original's images have it.
	d.rpm, err = s.first([]string{"usr/share/rpm", "usr/lib/sysimage/rpm", "var/lib/rpm"},
		"rpmdb.sqlite", "Packages.db", "Packages")
	if err != nil {
		return d, err
	}
	d.dpkg, err = s.first([]string{"usr/lib/sysimage/dpkg", "var/lib/dpkg"}, "status", "status.d")
	if err == nil && d == (databases{}) {
		err = fmt.Errorf("%s: %w", s.Root, errNoDatabase)
	}
	return d, err
}

// first is the first of dirs that holds one of names.
func (s System) first(dirs []string, names ...string) (string, error) {
	for _, dir := range dirs {
		for _, name := range names {
			f, err := s.Open(s.Root, filepath.Join(dir, name))
			if missing(err) {
				continue
			}
			if err != nil {
				return "", err
			}
			return dir, f.Close()
		}
	}
	return "", nil
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }

// Installed are the packages whose files are in the tree, by format, name,
// version and architecture. Of rpm's the keys, which it lists as packages,
// are left out; of dpkg's those are in that were unpacked and not configured.
func (s System) Installed(ctx context.Context) ([]Package, error) {
	d, err := s.databases()
	if err != nil {
		return nil, fmt.Errorf("packages: %w", err)
	}
	var all []Package
	if d.rpm != "" {
		of, err := s.rpmInstalled(ctx, d.rpm)
		if err != nil {
			return nil, fmt.Errorf("rpm packages of %s: %w", s.Root, err)
		}
		all = append(all, of...)
	}
	if d.dpkg != "" {
		of, err := s.dpkgInstalled(d.dpkg)
		if err != nil {
			return nil, fmt.Errorf("dpkg packages of %s: %w", s.Root, err)
		}
		all = append(all, of...)
	}
	slices.SortFunc(all, comparePackages)
	return slices.Compact(all), nil
}

func comparePackages(a, b Package) int {
	return cmp.Or(
		cmp.Compare(a.Format, b.Format), cmp.Compare(a.Name, b.Name),
		a.Format.CompareVersions(a.Version, b.Version), cmp.Compare(a.Version, b.Version),
		cmp.Compare(a.Arch, b.Arch),
	)
}

// running says whether the tree is the system that we are a program of.
func (s System) running() bool { return filepath.Clean(s.Root) == "/" }

// own says whether the tree has a program of its own.
func (s System) own(program string) (bool, error) {
	f, err := s.Open(s.Root, program)
	if missing(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

// confined runs a program of the tree.
func (s System) confined(ctx context.Context, r mount.Room, argv ...string) (run.Output, error) {
	r.Root = s.Root
	p, err := r.Program(argv...)
	if err != nil {
		return run.Output{}, err
	}
	out, err := s.Runner.Run(ctx, run.Cmd{Name: p.Name, Args: p.Args, Stdin: p.Stdin})
	return out, named(err, argv[0])
}

// named makes an error speak of the program that was to run instead of the
// one that confines it.
func named(err error, program string) error {
	if e, ok := errors.AsType[*run.Error](err); ok {
		e.Cmd.Name = program
	}
	return err
}

// rpm runs rpm on the database in dir.
func (s System) rpm(ctx context.Context, dir string, args ...string) (run.Output, error) {
	if s.running() {
		return s.Runner.Run(ctx, run.Cmd{Name: "rpm", Args: append([]string{"--dbpath", "/" + dir}, args...)})
	}
	own, err := s.own("usr/bin/rpm")
	if err != nil {
		return run.Output{}, err
	}
	frozen, err := s.readOnly(dir)
	if err != nil {
		return run.Output{}, err
	}
	if !frozen {
		if own {
			return s.confined(ctx, mount.Room{}, append([]string{"rpm", "--dbpath", "/" + dir}, args...)...)
		}
		return s.Runner.Run(ctx, run.Cmd{Name: "rpm", Args: append([]string{"--root", s.Root, "--dbpath", "/" + dir}, args...)})
	}
	// rpm writes into the directory of the database even to read it: with
	// SQLite it cannot open one that it cannot write beside.
	temp, err := os.MkdirTemp("", "imgbase-rpm-")
	if err != nil {
		return run.Output{}, err
	}
	defer os.RemoveAll(temp)
	if err := s.copyDatabase(dir, temp); err != nil {
		return run.Output{}, err
	}
	if !own {
		return s.Runner.Run(ctx, run.Cmd{Name: "rpm", Args: append([]string{"--dbpath", temp}, args...)})
	}
	return s.confinedCopy(ctx, temp, args)
}

// confinedCopy queries a copy of the database. A share of a room cannot be
// written, so the copy is put where one can write.
func (s System) confinedCopy(ctx context.Context, temp string, args []string) (run.Output, error) {
	share := mount.Share{Name: "rpm", Dir: temp}
	script := `cp -r "$1" /tmp/rpm; shift; exec rpm --dbpath /tmp/rpm "$@"`
	argv := append([]string{"sh", "-ec", script, "rpm", share.Inside()}, args...)
	out, err := s.confined(ctx, mount.Room{Shares: []mount.Share{share}}, argv...)
	return out, named(err, "rpm")
}

func (s System) readOnly(dir string) (bool, error) {
	f, err := s.Open(s.Root, dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return false, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return st.Flags&unix.ST_RDONLY != 0, nil
}

// maxDatabase bounds in bytes what is copied of a database. That of a full
// desktop has 300 MB.
const maxDatabase = 2 << 30

// copyDatabase copies the regular files in dir of the tree to the directory
// temp.
func (s System) copyDatabase(dir, temp string) error {
	names, err := s.list(dir)
	if err != nil {
		return err
	}
	room := int64(maxDatabase)
	for _, name := range names {
		// Locks and Berkeley DB's shared regions are of whoever has it open.
		if name == ".rpm.lock" || strings.HasPrefix(name, "__db.") {
			continue
		}
		n, err := s.copyOut(filepath.Join(dir, name), filepath.Join(temp, name), room)
		if err != nil {
			return err
		}
		if room -= n; room <= 0 {
			return fmt.Errorf("%s: larger than %d bytes", filepath.Join(s.Root, dir), int64(maxDatabase))
		}
	}
	return nil
}

// list names the regular files in dir of the tree, sorted.
func (s System) list(dir string) ([]string, error) {
	f, err := s.Open(s.Root, dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// copyOut copies at most limit bytes of a file of the tree to a new file of
// the host, and returns how many.
func (s System) copyOut(name, to string, limit int64) (int64, error) {
	from, err := s.Open(s.Root, name)
	if err != nil {
		return 0, err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, io.LimitReader(from, limit))
	return n, errors.Join(err, f.Close())
}
