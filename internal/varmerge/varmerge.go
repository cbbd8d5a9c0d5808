// Package varmerge brings what an image has in its /var to the host's, which
// every layer shares and which is in use.
//
// Two trees meet: image, the layer's own directory that lies under the mount
// point, and host, the file system mounted there. There is no third: what
// /var was when it was made is known to nobody. So nothing is ever removed,
// and what differs is decided by what the new layer's package database says
// of the path, its [Class]. [Compare] reads both and yields a [Plan];
// [Plan.Apply] carries it out. The same plan is what a dry run prints.
//
//	host has            class            result
//	nothing             any              added, a directory with all in it
//	the same content    any              left; attributes that differ are reported
//	other content       unowned, ghost   left
//	other content       noreplace        left; the vendor's beside it as .imgnew: conflict
//	other content       config           as noreplace, unless the host never touched it
//	other content       packaged         the vendor's; the host's beside it as .imgbak
//	a link elsewhere    packaged, both   the vendor's link; the host's beside it as .imglnk
//	   links
//	a link              image: directory left, nothing is merged through it: conflict
//
// Content is type, bytes, link target and device number, never a time stamp.
// The table holds for changes of type in both directions, with the exception
// of its last line: rpm and dpkg too take a link in the place of a directory
// for the administrator's way to move it. Sockets of the image are ignored.
// What cannot be changed, being a mount point, immutable or on a read-only
// file system, is left and reported as a conflict.
//
// Owners, groups and access lists of what is new are translated from the
// image's ids to the host's. Modes, extended attributes, capabilities, times
// of modification and holes are kept; names that were one file in the image
// become one file here, also with a name that the host has already.
//
// A backup never takes the place of another: one that holds the very same
// file is used again, else the next is name~2.imgbak, and so on. A .imgnew is
// the vendor's and is replaced by his next version; deleting it settles the
// conflict until the next layer. Names with these suffixes are not taken from
// an image.
//
// What always holds: nothing outside the two trees is read or written,
// whatever links they hold, since links are leaves and every name is opened
// relative to its directory without following (openat(2), O_NOFOLLOW). Image
// is never written. Everything new is first made complete, and synced, within
// directories named [Staging], one beside each place where something is to
// appear; a full disk, or any other error until then, leaves /var as it was.
// After that each path changes by renames, so that a reader sees the old file
// or the new; only where a directory gives way to a file is there a moment
// with neither. Power may be cut at any instant: merging the same image again
// clears what was staged and ends as though there had been no cut. Another
// image's merge clears it in the directories that this image has.
//
// The cost is that of the image's tree: of the host's, only the paths that
// the image has are looked at.
package varmerge

import "imgbase/internal/owners"

// Suffixes of what lies beside a path after a merge.
const (
	BackupSuffix = ".imgbak" // the host's file, which a packaged one replaced
	LinkSuffix   = ".imglnk" // the host's link, which a packaged one replaced
	VendorSuffix = ".imgnew" // the vendor's configuration, the host's having stayed
)

// Staging is the name of the directories in which new files are made. It
// begins as the names do that package durable gives to files on their way.
const Staging = "tmp.imgbased.var"

// Class is what the package database of the new layer says of a path.
type Class int

// The classes. Only the last three let a merge change what exists.
const (
	Unowned   Class = iota // of no package
	Ghost                  // of a package that does not deliver it (rpm's %ghost)
	Config                 // configuration that a package replaces (rpm's %config)
	NoReplace              // configuration that stays (%config(noreplace), dpkg's conffiles)
	Packaged               // any other file of a package
)

func (c Class) owned() bool { return c >= Config }

// Options are what a merge has to know besides the two trees. Paths given to
// its functions are relative to /var and may hold any bytes.
type Options struct {
	Class     func(path string) Class // nil: everything is [Unowned]
	Untouched func(path string) bool  // the host's [Config] file is as a package delivered it; nil: none is known to be
	Owners    owners.Map              // the image's ids to the host's, found by name
	Rules     Rules
}

func (o Options) class(rel string) Class {
	if o.Class == nil {
		return Unowned
	}
	return o.Class(rel)
}

func (o Options) untouched(rel string) bool { return o.Untouched != nil && o.Untouched(rel) }

// Op is what a change does to the host's /var.
type Op string

// The operations. Keep leaves the host's /var as it is.
const (
	Add     Op = "add"     // the vendor's, where nothing was
	Replace Op = "replace" // the vendor's; what the host had lies beside it
	Beside  Op = "beside"  // the host's stays, the vendor's lies beside it
	Keep    Op = "keep"    // the host's stays, and differs
	Sweep   Op = "sweep"   // what a merge that was cut off had staged is removed
)

// Change is one path of the host's /var.
type Change struct {
	Path     string // relative to /var, "." for /var itself; any bytes
	Op       Op
	Why      string // one line
	Conflict bool   // somebody should look at it
	Beside   string // Replace: path of what the host had; Beside, Keep: of the vendor's; "" if none
	Files    int    // how many files and directories arrive
	Bytes    int64  // room that they take in the image, in bytes

	had   node // what the host had; Replace only
	saved bool // what the host had lies at Beside already
	dir   bool // what arrives is a directory
}

// Summary counts a plan's changes. A conflict is counted under its operation
// as well.
type Summary struct {
	Added     int   `json:"added"`
	Replaced  int   `json:"replaced"`
	Beside    int   `json:"beside"`
	Kept      int   `json:"kept"`
	Swept     int   `json:"swept"`
	Conflicts int   `json:"conflicts"`
	Files     int   `json:"files"` // that arrive
	Bytes     int64 `json:"bytes"` // that they take in the image
}

// Plan is the merge, computed and not yet applied. It stays valid as long as
// the trees it was computed from are mounted where they were.
type Plan struct {
	Changes []Change `json:"changes"` // ordered as the image's tree, a directory before what is in it

	imageDir, hostDir string
	options           Options
	anchors           map[anchorKey]anchor
}

// anchorKey is a file of the image that has more than one name, on one of the
// host's file systems: links do not reach from one to another.
type anchorKey struct {
	image inode
	dev   uint64
}

// anchor is a name of the host at which such a file lies, equal in content
// and attributes.
type anchor struct {
	rel  string
	file inode
}

// maxDepth bounds how deep directories are nested in an image, since two
// descriptors are held for each level. No path of a package comes near.
const maxDepth = 250

// maxBackups bounds how many different backups of one file are kept.
const maxBackups = 1000
