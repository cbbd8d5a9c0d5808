// Package boot keeps boot entries, the kernels they start and the boot
// loader's default.
package boot

import (
	"context"
	"errors"

	"imgbase/internal/durable"
)

// Errors that callers decide on.
var (
	ErrNoBootloader = errors.New("no boot loader that is understood")
	ErrEnvBlock     = errors.New("not a GRUB environment block")
	ErrNoEntry      = errors.New("no such boot entry")
	ErrIsDefault    = errors.New("is the default boot entry")
	ErrInUse        = errors.New("still used by a boot entry")
	ErrNoRoom       = errors.New("not enough room in /boot")
)

// Args are the words of a kernel command line.
type Args []string

// ParseArgs splits a kernel command line into its words.
func ParseArgs(line string) Args { return nil }

// String joins the words.
func (a Args) String() string { return "" }

// Get returns the value of the last word "key=value"; a bare "key" has the value "".
func (a Args) Get(key string) (string, bool) { return "", false }

// Set returns the words with key set to value at its first place, or last.
func (a Args) Set(key, value string) Args { return a }

// Drop returns the words without those of the key.
func (a Args) Drop(key string) Args { return a }

// Append returns the words with those added that are not among them.
func (a Args) Append(words ...string) Args { return a }

// Entry is one boot entry: a Boot Loader Specification file.
type Entry struct {
	ID string // file name without ".conf"
}

// ParseEntry parses a boot entry file.
func ParseEntry(id string, data []byte) (*Entry, error) { return nil, errors.ErrUnsupported }

// Bytes returns the file's content.
func (e *Entry) Bytes() []byte { return nil }

// Title is the text the menu shows.
func (e *Entry) Title() string { return "" }

// Version is the kernel version.
func (e *Entry) Version() string { return "" }

// Linux is the kernel's path below /boot, clean: "/layer/vmlinuz-1".
func (e *Entry) Linux() string { return "" }

// Initrds are the initrds' paths below /boot, clean.
func (e *Entry) Initrds() []string { return nil }

// Options are the kernel's arguments.
func (e *Entry) Options() Args { return nil }

// Layer is the layer the entry boots, "" when it is not one of ours.
func (e *Entry) Layer() string { return "" }

// Options are what [Open] needs.
type Options struct {
	Root    string // "/", or a directory with another system's tree
	UUID    string // of the file system mounted at /boot
	Files   durable.Files
	Compare func(a, b string) int // order of kernel versions
}

// Boot is /boot with its boot loader.
type Boot struct{}

// Open finds the boot loader. The error is [ErrNoBootloader] with what was looked at.
func Open(o Options) (*Boot, error) { return nil, errors.ErrUnsupported }

// Menu is every entry below /boot/loader/entries.
type Menu struct {
	Entries    []*Entry // ours and foreign, by ID
	Unreadable []error  // one for each file that is no entry
}

// Entries reads all entries.
func (b *Boot) Entries() (Menu, error) { return Menu{}, errors.ErrUnsupported }

// Newest returns the layer's entry with the newest kernel; [ErrNoEntry].
func (b *Boot) Newest(layer string) (*Entry, error) { return nil, errors.ErrUnsupported }

// EntrySpec describes an entry to add.
type EntrySpec struct {
	Layer   string
	KVer    string
	Title   string   // NVR of the image; " (<kver>)" is added
	Linux   string   // file name in /boot/<layer>
	Initrds []string // file names in /boot/<layer>
	Options Args     // without img.bootid, which comes last
}

// Add writes the entry <layer>-<kver>, replacing one of that name.
func (b *Boot) Add(ctx context.Context, s EntrySpec) (*Entry, error) {
	return nil, errors.ErrUnsupported
}

// Remove removes the layer's entries. [ErrIsDefault] when one is the default.
func (b *Boot) Remove(layer string) error { return errors.ErrUnsupported }

// Refresh makes the menu agree with the entries again, after a cut.
func (b *Boot) Refresh() error { return errors.ErrUnsupported }

// Default is the id of the entry that boots by default, "" when none is set.
func (b *Boot) Default() (string, error) { return "", errors.ErrUnsupported }

// SetDefault makes the entry the one that boots by default: the flip.
func (b *Boot) SetDefault(id string) error { return errors.ErrUnsupported }

// ClearDefault leaves the default to the boot loader.
func (b *Boot) ClearDefault() error { return errors.ErrUnsupported }

// Kernel is a kernel to install: for each file name in /boot/<layer>, where it comes from.
type Kernel struct {
	Version string
	Files   map[string]string
}

// InstallKernel puts the kernel's files into /boot/<layer>.
func (b *Boot) InstallKernel(ctx context.Context, layer string, k Kernel) error {
	return errors.ErrUnsupported
}

// RemoveKernels removes /boot/<layer>. [ErrInUse] while an entry starts a file in it.
func (b *Boot) RemoveKernels(layer string) error { return errors.ErrUnsupported }

// Need is how many bytes InstallKernel would take, shared files not counted.
func (b *Boot) Need(layer string, kernels ...Kernel) (int64, error) { return 0, errors.ErrUnsupported }

// Room is how many bytes are free in /boot.
func (b *Boot) Room() (int64, error) { return 0, errors.ErrUnsupported }

// CheckRoom compares Need with Room, with a margin; [ErrNoRoom] names both.
func (b *Boot) CheckRoom(layer string, kernels ...Kernel) error { return errors.ErrUnsupported }

// Size is the size in bytes of the file system that holds /boot.
func (b *Boot) Size() (int64, error) { return 0, errors.ErrUnsupported }
