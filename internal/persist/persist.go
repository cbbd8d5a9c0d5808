// Package persist carries the administrator's /etc into a new layer.
//
// Three trees meet: base, the pristine system that the running layer was made
// from; mine, the /etc that runs now; theirs, the /etc of the new base.
// [Compare] reads them and yields a [Plan], the list of what will be
// different from theirs and why. [Plan.Apply] carries it out on the new
// layer's /etc, which starts as theirs. The same plan is what a dry run
// prints.
//
// Per path, by content (type, bytes, link target, device number):
//
//	base → mine     base → theirs   result
//	same            any             theirs
//	changed, added  same            mine
//	changed, added  changed         mine; theirs beside it as .imgnew: conflict
//	removed         same            removed
//	removed         changed         removed; theirs beside as .imgnew: conflict
//	same            removed         removed
//	changed         removed         mine: conflict
//
// Where both made the same change there is nothing to do. Mode, owner, group
// and each extended attribute (access lists and capabilities are such) are
// merged by the same table, each for itself, as long as mine and theirs are
// of one type; where both differ mine's stays and the conflict is reported,
// without a file beside it. Time stamps are never compared.
//
// Files that a rule names are merged by lines instead of being a conflict,
// when the changes of both sides can be told apart.
//
// Directories are merged by what is in them: one is there when something is
// left in it. Where a directory meets another type, the administrator's side
// stays, if he changed anything in it, and the vendor's whole subtree lies
// beside it.
//
// A name ending in [Suffix] is the vendor's, left by an earlier merge: it is
// no change of the administrator and is not carried on. As long as it lies
// there the conflict counts as unresolved, and is reported and written again
// by the next merge even if the vendor changed nothing since; deleting it
// settles the matter. Nobody can run it: a file that lies beside another, or in
// a directory that does, has neither execute nor set-id bits nor capabilities,
// whatever the vendor gave it.
//
// What always holds: nothing outside the trees is read or written, whatever
// links they hold, since links are leaves and every name is opened relative
// to its directory without following (openat(2), O_NOFOLLOW). Sockets are
// ignored. Base, mine and theirs are never written.
package persist

// Suffix ends the name of the vendor's version that lies beside the
// administrator's.
const Suffix = ".imgnew"

// Op is what a change does to the new layer's /etc.
type Op string

// The operations. Only Vendor leaves the new layer as it is.
const (
	Carry      Op = "carry"      // the administrator's file takes the vendor's place
	Attributes Op = "attributes" // the vendor's content stays, with attributes of the administrator
	Rebase     Op = "rebase"     // the lines of both: the vendor's file with the administrator's changes
	Remove     Op = "remove"     // removed, with all beneath it, as the administrator did
	Vendor     Op = "vendor"     // what the vendor changed arrives; nothing to do
)

// Change is one path at which the new layer's /etc differs from the vendor's
// ([Vendor]: from the old base's).
type Change struct {
	Path     string // relative to /etc, "." for /etc itself; any bytes
	Op       Op
	Why      string // who changed what, one line
	Conflict bool   // both sides changed it; the administrator's stayed
	Beside   string // path of the vendor's version written beside it, "" if none

	node    *node      // what comes from mine; Carry only
	attrs   attributes // of the result; Carry, Rebase and Attributes only
	content []byte     // of the result; Rebase only
}

// Summary counts a plan's changes. A conflict is counted under its operation
// as well.
type Summary struct {
	Carried    int `json:"carried"`
	Attributes int `json:"attributes"`
	Rebased    int `json:"rebased,omitempty"`
	Removed    int `json:"removed"`
	Vendor     int `json:"vendor"`
	Conflicts  int `json:"conflicts"`
}

// Plan is the merge, computed and not yet applied. It stays valid as long as
// the trees it was computed from are mounted where they were.
type Plan struct {
	Changes []Change `json:"changes"` // ordered by path, a directory before what is in it

	mine, theirs string // directories
	labels       bool
}
