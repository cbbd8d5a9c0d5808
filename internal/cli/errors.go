package cli

import (
	"errors"

	"imgbase/internal/boot"
	"imgbase/internal/config"
	"imgbase/internal/durable"
	"imgbase/internal/filesystem"
	"imgbase/internal/hooks"
	"imgbase/internal/host"
	"imgbase/internal/image"
	"imgbase/internal/layout"
	"imgbase/internal/lvm"
	"imgbase/internal/nvr"
	"imgbase/internal/packages"
	"imgbase/internal/rootfs"
	"imgbase/internal/run"
	"imgbase/internal/txn"
)

// Exit codes that are no refusal.
const (
	exitFailure = 1 // anything that has no row below
	exitUsage   = 2 // the command line makes no sense
)

// The command line's own refusals.
var (
	errUsage   = errors.New("usage")
	errNotRoot = errors.New("must be run as root")
	errFormat  = errors.New("format not known")
	errNoFile  = errors.New("no such file")
	// ErrStopped is the cause that a signal ends the context with.
	ErrStopped = errors.New("interrupted")
)

// Row is one kind of failure: its exit code, and what the user can do.
type Row struct {
	Err  error
	Code int
	Hint string
}

// Rows are all failures with an exit code of their own. The first that an
// error matches decides, so those that come with others stand first.
func Rows() []Row {
	return []Row{
		{errUsage, exitUsage, "see `imgbase --help`"},
		{errNotRoot, 3, "try `sudo imgbase`"},
		{txn.ErrPending, 4, "run `imgbase recover`; nothing else is changed until that succeeds"},
		{durable.ErrLocked, 5, "wait until it has ended"},
		{run.ErrNoProgram, 6, "install it: imgbase needs lvm2, util-linux and the file system's tools"},
		{txn.ErrFlipped, 9, "the new default stands; see `imgbase status`"},
		{ErrStopped, 7, "everything was undone"},
		{txn.ErrNotFlipped, 8, "everything was undone; see whether /boot can be written"},

		{host.ErrNotLVM, 10, "imgbase keeps hosts whose root is a thin volume"},
		{host.ErrNotThin, 11, "install with thin provisioning (kickstart: `autopart --type=thinp`)"},
		{host.ErrVarNotSeparate, 12, "give /var a volume of its own: all layers share it"},
		{host.ErrBoot, 13, "make /boot a partition of its own of at least 1.1 GB"},
		{host.ErrPool, 14, "see `lvs -a` and lvmthin(7)"},
		{host.ErrPoolRoom, 15, "extend the pool with `lvextend`, or remove a base with `imgbase base --remove`"},
		{boot.ErrNoRoom, 16, "remove a base with `imgbase base --remove`, or kernels that are not used"},
		{host.ErrInitialized, 17, "see `imgbase layout`"},
		{host.ErrNoLayout, 18, "take the host over with `imgbase layout --init`"},
		{host.ErrNotLayer, 19, "reboot into a layer; `imgbase boot --list` shows them"},
		{host.ErrNoNVR, 20, "name it: `imgbase layout --init NAME-VERSION-RELEASE`"},
		{boot.ErrNoBootloader, 21, "imgbase needs GRUB with BLS entries, or with a grub.cfg that sources custom.cfg"},
		{boot.ErrFixedDefault, 23, "let GRUB's configuration take its default from the environment block"},
		{boot.ErrEnvBlock, 22, "make it anew with `grub-editenv FILE create`"},

		{layout.ErrNameTooLong, 30, "use a shorter name, version or release"},
		{layout.ErrNameInvalid, 31, "use letters, digits and _ . - only"},
		{boot.ErrName, 31, "on GRUB without BLS a name starts with a letter"},
		{lvm.ErrName, 31, "use letters, digits and _ . - only"},
		{nvr.ErrMalformed, 32, "a name is NAME-VERSION-RELEASE, a layer's has +N behind it"},
		{host.ErrExists, 33, "see `imgbase layout`; `imgbase recover` shows what nothing uses"},
		{lvm.ErrExists, 33, "see `imgbase layout`; `imgbase recover` shows what nothing uses"},
		{host.ErrNoImage, 34, "see `imgbase layout`"},
		{lvm.ErrNotFound, 34, "see `imgbase layout`"},
		{host.ErrOutOfOrder, 35, "name the image: `imgbase layer --add IMAGE`"},
		{host.ErrRunning, 36, "boot another layer first"},
		{lvm.ErrInUse, 36, "boot another layer first, or unmount it"},
		{boot.ErrIsDefault, 36, "boot another layer first"},
		{boot.ErrInUse, 36, "boot another layer first"},
		{host.ErrNothingBefore, 37, "name a layer: `imgbase rollback --to NVR`"},
		{host.ErrNoVar, 46, "without --with-volumes /var stays as it is, and only the layer goes back"},
		{host.ErrSame, 38, "see `imgbase status`"},
		{host.ErrSize, 39, "give a larger --size"},
		{host.ErrEmptyBase, 40, "add the base with an image"},
		{host.ErrNoKernel, 41, "the image must hold vmlinuz-VERSION and its initramfs"},
		{host.ErrNoDefault, 45, "choose one with `imgbase boot --set-default`"},
		{boot.ErrNoEntry, 42, "see `imgbase boot --list`"},
		{layout.ErrNoBases, 43, "see `imgbase layout`"},
		{layout.ErrNoLayers, 44, "see `imgbase layout`"},

		{image.ErrTruncated, 50, "fetch the image again"},
		{image.ErrNoNVR, 51, "the image must say its NVR in usr/share/imgbase/build/meta/nvr"},
		{host.ErrArch, 52, "get the image for this machine"},
		{host.ErrProduct, 53, "if that is meant: `imgbase update --allow-product-change`"},
		{image.ErrNotClean, 54, "build the image anew"},
		{image.ErrTooSmall, 39, "give a larger --size"},
		{rootfs.ErrNoSystem, 55, "the image must hold an operating system"},
		{filesystem.ErrUnsupported, 56, "imgbase keeps ext4 and xfs"},
		{filesystem.ErrDamaged, 57, "check it with fsck, or fetch the image again"},
		{image.ErrNotImage, 58, "give a liveimg: a squashfs that holds LiveOS/rootfs.img"},
		{filesystem.ErrUnknown, 59, "there is no file system where one should be"},
		{errFormat, 60, "the format is liveimg"},
		{host.ErrNVR, 63, "call the base what its image says it is"},
		{host.ErrPackages, 65, "remove it with `imgbase pkg --forget`, or leave it out with `imgbase update --skip-packages`"},
		{packages.ErrNotPackage, 66, "give a file that rpm or dpkg can install"},
		{hooks.ErrStopped, 64, "see what it printed; an empty file of its name in /etc/imgbased/hooks.d masks it"},
		{errNoFile, 62, "give the path of a file that is there"},

		{lvm.ErrNoMetadataSpace, 15, "extend the pool's metadata with `lvextend --poolmetadatasize`"},
		{lvm.ErrNoSpace, 15, "extend the pool with `lvextend`, or remove a base"},
		{config.ErrInvalid, 61, "correct the file"},
	}
}

// outcome is the exit code of err, and its hint.
func outcome(err error) (int, string) {
	if err == nil {
		return 0, ""
	}
	for _, r := range Rows() {
		if errors.Is(err, r.Err) {
			return r.Code, r.Hint
		}
	}
	return exitFailure, ""
}
