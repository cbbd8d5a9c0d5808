package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"imgbase/internal/nvr"
)

// File is one file of a kernel.
type File struct {
	Name string // its name in the layer's directory under /boot
	Path string // where it is now, absolute when the tree's root is
}

// Kernel is a kernel that a tree ships, with what belongs to it.
type Kernel struct {
	Version string // as uname -r says it
	Image   string // name of the kernel image among Files
	Initrd  string // name of the initial ramdisk among Files, "" when there is none
	Files   []File // by name
}

// A name that a kernel's files have: before and after the version in /boot,
// and in usr/lib/modules/<version>/.
type kernelFile struct {
	prefix, suffix string
	module         string
	role           role
}

type role int

const (
	other role = iota
	image
	initrd
)

// kernelFiles are the names under which distributions ship a kernel. Of
// several of one role the first counts. The digest is for boot in FIPS mode
// (fipscheck(8)).
var kernelFiles = [...]kernelFile{
	{"vmlinuz-", "", "vmlinuz", image},
	{"initramfs-", ".img", "initramfs.img", initrd}, // Fedora, EL, ostree
	{"initrd.img-", "", "", initrd},                 // Debian, Ubuntu
	{"initrd-", "", "initrd", initrd},               // openSUSE
	{"config-", "", "config", other},
	{"System.map-", "", "System.map", other},
	{"symvers-", "", "symvers", other},
	{"symvers-", ".gz", "symvers.gz", other},
	{"symvers-", ".xz", "symvers.xz", other},
	{".vmlinuz-", ".hmac", ".vmlinuz.hmac", other},
}

// version is what uname -r can be and a file name may hold. Rescue kernels
// (vmlinuz-0-rescue-<machine-id>) belong to the machine, and copies that
// package managers leave are no kernels.
var (
	version = regexp.MustCompile(`^[0-9][0-9A-Za-z.+_~-]*$`)
	copies  = regexp.MustCompile(`\.(old|bak|hmac|rpmnew|rpmsave|rpmorig|dpkg-[a-z]+)$`)
)

// Kernels lists the kernels of the tree root, oldest first: those in /boot,
// completed by and added to from usr/lib/modules. No kernel is no error.
func Kernels(root string) ([]Kernel, error) {
	s := kernelSearch{root: root, found: make(map[string]*Kernel)}
	if err := s.boot("boot"); err != nil {
		return nil, err
	}
	dirs, err := list(root, "usr/lib/modules")
	if err != nil {
		return nil, err
	}
	for _, v := range dirs {
		if err := s.modules(v); err != nil {
			return nil, err
		}
	}
	return s.sorted(), nil
}

// KernelsIn lists the kernels in a /boot directory of this host, oldest
// first. Links in it lead where they do on this host.
func KernelsIn(dir string) ([]Kernel, error) {
	s := kernelSearch{root: "/", found: make(map[string]*Kernel)}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := s.boot(dir); err != nil {
		return nil, err
	}
	return s.sorted(), nil
}

// kernelSearch collects kernels by version.
type kernelSearch struct {
	root  string
	found map[string]*Kernel
}

// boot looks for kernels in a directory as /boot is.
func (s *kernelSearch) boot(dir string) error {
	names, err := list(s.root, dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		v, ok := strings.CutPrefix(name, "vmlinuz-")
		if !ok || !isVersion(v) {
			continue
		}
		k := &Kernel{Version: v}
		for _, f := range kernelFiles {
			own := f.prefix + v + f.suffix
			if _, present := slices.BinarySearch(names, own); present {
				if err := s.add(k, f, path.Join(dir, own)); err != nil {
					return err
				}
			}
		}
		if k.Image != "" {
			s.found[v] = k
		}
	}
	return nil
}

// modules looks for a kernel in usr/lib/modules/<version>.
func (s *kernelSearch) modules(v string) error {
	if !isVersion(v) {
		return nil
	}
	dir := path.Join("usr/lib/modules", v)
	names, err := list(s.root, dir)
	if err != nil {
		return err
	}
	k := s.found[v]
	if k == nil {
		k = &Kernel{Version: v}
	}
	for _, f := range kernelFiles {
		if _, present := slices.BinarySearch(names, f.module); present && f.module != "" {
			if err := s.add(k, f, path.Join(dir, f.module)); err != nil {
				return err
			}
		}
	}
	if k.Image != "" {
		s.found[v] = k
	}
	return nil
}

// add gives k a file, unless it has one for that role already or it is no
// regular file.
func (s *kernelSearch) add(k *Kernel, f kernelFile, where string) error {
	name := f.prefix + k.Version + f.suffix
	switch {
	case f.role == image && k.Image != "", f.role == initrd && k.Initrd != "":
		return nil
	case slices.ContainsFunc(k.Files, func(have File) bool { return have.Name == name }):
		return nil
	}
	resolved, err := Resolve(s.root, where)
	var st fs.FileInfo
	if err == nil {
		st, err = os.Lstat(resolved)
	}
	if errors.Is(err, fs.ErrNotExist) || err == nil && !st.Mode().IsRegular() {
		return nil // a dangling link, a directory
	}
	if err != nil {
		return err
	}
	switch f.role {
	case image:
		k.Image = name
	case initrd:
		k.Initrd = name
	}
	k.Files = append(k.Files, File{Name: name, Path: resolved})
	return nil
}

func (s *kernelSearch) sorted() []Kernel {
	var out []Kernel
	for _, k := range s.found {
		slices.SortFunc(k.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
		out = append(out, *k)
	}
	slices.SortFunc(out, func(a, b Kernel) int {
		if c := nvr.CompareVersions(a.Version, b.Version); c != 0 {
			return c
		}
		return strings.Compare(a.Version, b.Version)
	})
	return out
}

func isVersion(v string) bool {
	return version.MatchString(v) && !strings.HasPrefix(v, "0-rescue-") && !copies.MatchString(v)
}

// list names what is in a directory of the tree root, sorted; a missing
// directory holds nothing.
func list(root, dir string) ([]string, error) {
	f, err := Open(root, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.IsDir() {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}
