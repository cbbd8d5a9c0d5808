package host

import "errors"

// Refusals. Each is one decision that the user can act on; package cli maps
// them to an exit code and a hint.
var (
	ErrNoLayout       = errors.New("no valid layout found")
	ErrInitialized    = errors.New("already taken over")
	ErrNoNVR          = errors.New("no NVR")
	ErrNotLVM         = errors.New("not on a logical volume")
	ErrNotThin        = errors.New("not a thin volume")
	ErrNotLayer       = errors.New("no layer is running")
	ErrVarNotSeparate = errors.New("/var is not a mount of its own")
	ErrBoot           = errors.New("/boot is not fit")
	ErrPool           = errors.New("thin pool is not fit")
	ErrPoolRoom       = errors.New("not enough room in the thin pool")
	ErrNoImage        = errors.New("no such base or layer")
	ErrExists         = errors.New("exists already")
	ErrOutOfOrder     = errors.New("newest layer is not on the newest base")
	ErrRunning        = errors.New("is in use")
	ErrArch           = errors.New("made for another architecture")
	ErrProduct        = errors.New("another product")
	ErrNVR            = errors.New("the image has another NVR")
	ErrNoKernel       = errors.New("no kernel to boot")
	ErrNothingBefore  = errors.New("no layer to go back to")
	ErrNoVar          = errors.New("no /var to go back to")
	ErrSame           = errors.New("nothing to change")
	ErrSize           = errors.New("size does not fit")
	ErrNoDefault      = errors.New("no boot entry is the default")
	ErrPackages       = errors.New("a package that was added cannot be installed")
	ErrEmptyBase      = errors.New("base holds no system")
)
