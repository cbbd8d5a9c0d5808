// Package rootfs reads and edits the root tree of a system that is not the
// running one: a base or a layer that is mounted somewhere.
//
// Paths in such a tree are resolved as chroot(2) would resolve them: an
// absolute link starts again at the tree's root, and no ".." leads out of it.
// Nothing here follows a link out of the tree, whatever the tree holds.
//
// The editors ([Fstab], [ShellVars]) keep every byte that they were not asked
// to change: comments, odd spacing and lines they do not understand stay.
// Formats followed: fstab(5), os-release(5), POSIX shell assignments, ELF.
package rootfs

import (
	"errors"
	"os"
)

// ErrNoSystem says that a tree holds no operating system we can recognise.
var ErrNoSystem = errors.New("no operating system in this tree")

// Open opens the file name of the tree root for reading. Links are resolved
// inside root. Opening never blocks on a fifo and never opens a device.
func Open(root, name string) (*os.File, error) { return nil, errors.ErrUnsupported }

// ReadFile reads the regular file name of the tree root, of at most 16 MiB.
func ReadFile(root, name string) ([]byte, error) { return nil, errors.ErrUnsupported }

// Resolve returns the path of name with every link resolved inside root, as
// an absolute path of this host. The last component need not exist.
func Resolve(root, name string) (string, error) { return "", errors.ErrUnsupported }

// Release is what a tree says about itself, os-release(5). Missing values
// are empty, ID is "linux" then.
type Release struct{ ID, VersionID, PrettyName string }

// OSRelease reads etc/os-release of the tree, or usr/lib/os-release.
// [ErrNoSystem] when neither exists.
func OSRelease(root string) (Release, error) { return Release{}, errors.ErrUnsupported }

// Machine is a processor architecture.
type Machine struct {
	GOARCH string // "amd64", as OCI images name it
	Uname  string // "x86_64", as uname -m and packages name it
}

// Arch reads the architecture of the tree from the ELF header of its init
// program or shell. [ErrNoSystem] when it has none.
func Arch(root string) (Machine, error) { return Machine{}, errors.ErrUnsupported }

// File is one file of a kernel.
type File struct {
	Name string // its name in the layer's directory under /boot
	Path string // where it is now, absolute
}

// Kernel is a kernel that a tree ships, with what belongs to it.
type Kernel struct {
	Version string // as uname -r says it
	Image   string // name of the kernel image among Files
	Initrd  string // name of the initial ramdisk among Files, "" when there is none
	Files   []File // by name
}

// Kernels lists the kernels of the tree root, oldest first: those in /boot,
// and those in usr/lib/modules that /boot does not have. Rescue kernels are
// not listed. No kernel is no error.
func Kernels(root string) ([]Kernel, error) { return nil, errors.ErrUnsupported }

// KernelsIn lists the kernels in a /boot directory, oldest first.
func KernelsIn(dir string) ([]Kernel, error) { return nil, errors.ErrUnsupported }

// Pristine returns an oracle for the files below /etc of the tree root: it
// reports whether the file at a path relative to /etc is what a package
// shipped, going by usr/share/factory/etc or by dpkg's digests of
// configuration files. Where it does not know it says no.
func Pristine(root string) (func(path string) bool, error) { return nil, errors.ErrUnsupported }

// FstabEntry is one line of fstab(5), with escapes decoded.
type FstabEntry struct {
	Source  string
	Target  string
	FSType  string
	Options []string
	Freq    int // dump(8)
	PassNo  int // order of fsck(8)
}

// Fstab is a file system table.
type Fstab struct{}

// ParseFstab reads a file system table. Lines it does not understand are
// kept; a NUL byte is an error, fstab cannot hold one.
func ParseFstab(data []byte) (*Fstab, error) { return nil, errors.ErrUnsupported }

// Bytes is the table, with all lines that were not changed as they were.
func (f *Fstab) Bytes() []byte { return nil }

// Entries are the table's lines, in order.
func (f *Fstab) Entries() []FstabEntry { return nil }

// Lookup finds the last line for a mount point, the one that is mounted on
// top.
func (f *Fstab) Lookup(target string) (FstabEntry, bool) { return FstabEntry{}, false }

// Replace rewrites the line that Lookup finds for target. [ErrNoEntry] when there is none.
func (f *Fstab) Replace(target string, e FstabEntry) error { return errors.ErrUnsupported }

// Add appends a line.
func (f *Fstab) Add(e FstabEntry) error { return errors.ErrUnsupported }

// EnsureOption adds a mount option to the line for target unless it has it.
func (f *Fstab) EnsureOption(target, option string) error { return errors.ErrUnsupported }

// ErrNoEntry says that a table has no line for a mount point.
var ErrNoEntry = errors.New("no such entry")

// ShellVars is a file of shell assignments, such as /etc/default/grub.
type ShellVars struct{}

// ParseShellVars reads a file of shell assignments.
func ParseShellVars(data []byte) (*ShellVars, error) { return nil, errors.ErrUnsupported }

// Get is the value of a variable, quotes removed and earlier variables of
// the file expanded; ok is false when the file does not set it. A value that
// only a shell can compute, as $(…), is an error.
func (v *ShellVars) Get(name string) (value string, ok bool, err error) {
	return "", false, errors.ErrUnsupported
}

// Set makes the file give the variable this value: only the bytes of its
// last value change, or a line is added at the end.
func (v *ShellVars) Set(name, value string) error { return errors.ErrUnsupported }

// Bytes is the file.
func (v *ShellVars) Bytes() []byte { return nil }
