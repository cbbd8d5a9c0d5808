// Package hooks runs the programs that a vendor or an administrator put into
// a hooks.d directory to be told what happens to bases and layers, or to stop
// it.
//
// # Which hooks run
//
// A hook is an executable file in one of three directories:
//
//	/usr/lib/imgbased/hooks.d
//	/usr/share/imgbased/hooks.d
//	/etc/imgbased/hooks.d
//
// Hooks run one after the other, sorted by base name over all directories, in
// the order of bytes. Where several directories have a name the last one
// decides: its hook takes the place of the others; anything there that is not
// a hook (an empty or a plain file, a link to /dev/null) masks them. Hidden
// names, and those that editors and package managers give to copies, count in
// no directory.
//
// Only who may become the user that runs imgbase may say what it runs: a hook
// is refused, with a warning, when it or a directory above it belongs to
// somebody else than root or that user, or may be written by the group or by
// all. A hooks.d directory like this is refused with all that is in it. A
// refused hook masks as well: what it was to replace does not run instead.
//
// # What a hook is told
//
// A hook is started in "/", with nothing on standard input, as
//
//	<hook> <event> <volume>...
//
// where a volume is the full name of an LVM volume, VG/LV:
//
//	new-layer-added            PREVIOUS LAYER       a layer was made
//	os-upgraded                PREVIOUS LAYER       it holds the host's settings and data, and gets its boot entries next
//	rpms-persisted             PREVIOUS LAYER       the administrator's packages, of whatever kind, were installed into it
//	new-base-with-tree-added   BASE                 a base was made and filled
//	base-removed               BASE                 it is gone
//	layer-removed              LAYER                it is gone
//	post-init-layout           PREVIOUS BASE LAYER  the host was taken over; PREVIOUS is the installed root
//
// Each has an event before it, with the same arguments: the name with "pre-"
// in front, and pre-init-layout. The volumes to be made do not exist then.
//
// The environment is that of imgbase, in the C locale, with PATH set to the
// system's directories. Each of these is always set, to nothing when it does
// not apply or is not known:
//
//	IMGBASE_EVENT            the event, as the first argument
//	IMGBASE_MODE             what was asked for: init, base, layer, update, remove or recover
//	IMGBASE_HOOK             the path of the hook in its hooks.d
//	IMGBASE_PREVIOUS_NVR     the layer that runs, or the root that was installed
//	IMGBASE_BASE_NVR         the base
//	IMGBASE_LAYER_NVR        the layer
//	IMGBASE_<VOLUME>_LV      its volume, VG/LV
//	IMGBASE_<VOLUME>_DEVICE  its device, /dev/VG/LV
//	IMGBASE_<VOLUME>_ROOT    the directory where its root is mounted while the hook runs
//
// # What a hook may do
//
// A hook that ends with anything but 0 from a "pre-" event stops what was
// about to happen, and no further hook runs; the error names the hook, its
// exit code and the last line it printed. From any other event it is reported
// and nothing else: what happened has happened. A hook that outstays its time
// ([DefaultLimit]) has failed. When it ends, what it left running in its
// process group is killed; of what it prints the last [MaxOutput] bytes of
// each stream are kept.
package hooks

import (
	"errors"
	"time"

	"imgbase/internal/run"
)

// ErrStopped is a hook of a "pre-" event that failed: what it was told of
// must not happen.
var ErrStopped = errors.New("stopped by a hook")

const (
	// DefaultLimit is the time that a hook has.
	DefaultLimit = 10 * time.Minute
	// MaxOutput bounds what is kept of each of a hook's two streams, in bytes.
	MaxOutput = 16 << 10
)

// Dispatcher tells the hooks of the running system what happens.
type Dispatcher struct {
	Root   string        // root directory of the running system
	Runner run.Runner    // starts the hooks
	Limit  time.Duration // of each hook; 0 is [DefaultLimit]
	// Resolve returns the path, within root, of what the path name leads to
	// when every link is resolved as if root were "/". What name leads to need
	// not exist.
	Resolve func(root, name string) (string, error)
}

// Volume is a base, a layer or an installed root as hooks are told of it.
// What is not known, or not there yet, is empty.
type Volume struct {
	NVR    string // node-4.5-2+1
	LV     string // full name of the volume, VG/LV
	Device string // /dev/VG/LV
	Root   string // directory at which it is mounted
}

// Call is one event with all that hooks are told of it.
type Call struct {
	Event    Event
	Mode     Mode
	Previous Volume // the layer that runs, or the root that was installed
	Base     Volume
	Layer    Volume
}
