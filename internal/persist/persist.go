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
// Directories are merged by what is in them: one is there when something is
// left in it. Where a directory meets another type, the administrator's side
// stays, if he changed anything in it, and the vendor's whole subtree lies
// beside it.
//
// A name ending in [Suffix] is the vendor's, left by an earlier merge: it is
// no change of the administrator and is not carried on. As long as it lies
// there the conflict counts as unresolved, and is reported and written again
// by the next merge even if the vendor changed nothing since; deleting it
// settles the matter.
//
// What always holds: nothing outside the trees is read or written, whatever
// links they hold, since links are leaves and every name is opened relative
// to its directory without following (openat(2), O_NOFOLLOW). Sockets are
// ignored. Base, mine and theirs are never written.
package persist

import (
	"context"
	"errors"
)

// Suffix ends the name of the vendor's version that lies beside the
// administrator's.
const Suffix = ".imgnew"

// Op is what a change does to the new layer's /etc.
type Op string

// The operations. Only Vendor leaves the new layer as it is.
const (
	Carry      Op = "carry"      // the administrator's file takes the vendor's place
	Attributes Op = "attributes" // the vendor's content stays, with attributes of the administrator
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

	attrs attributes // of the result; Carry and Attributes
	node  *node      // mine's node; Carry only
}

// Summary counts a plan's changes. A conflict is counted under its operation
// as well.
type Summary struct {
	Carried    int `json:"carried"`
	Attributes int `json:"attributes"`
	Removed    int `json:"removed"`
	Vendor     int `json:"vendor"`
	Conflicts  int `json:"conflicts"`
}

// Plan is the merge, computed and not yet applied. It stays valid as long as
// the trees it was computed from are mounted where they were.
type Plan struct {
	Changes []Change `json:"changes"` // ordered by path, a directory before what is in it

	mine, theirs string
}

type attributes struct{}
type node struct{}

// Rules are the exceptions to the merge. Patterns are those of [path.Match],
// relative to /etc; one that matches a directory holds for all beneath it.
type Rules struct {
	Carry   []string // always the administrator's: what makes this machine this machine
	Drop    []string // always the vendor's: caches and compiled policy, made anew from their sources
	ByEntry []string // left as the vendor's here: merged line by line by another step
	Labels  bool     // compare and carry SELinux labels; else the new policy's hold

	// Adopted says that base was made from an installed system, with the
	// edits its administrator had made. "mine is as in base" then proves
	// nothing, and a file that the vendor has otherwise is kept as the
	// administrator's unless Pristine says that it is the vendor's own.
	Adopted bool
	// Pristine reports whether mine's file at path, relative to /etc, is as
	// a vendor shipped it. Nil is "never". Used with Adopted only.
	Pristine func(path string) bool
}

// Compare computes the merge of three /etc directories. It only reads.
func Compare(base, mine, theirs string, rules Rules) (Plan, error) {
	return Plan{}, errors.ErrUnsupported
}

// Apply carries the plan out on the /etc directory target, which holds what
// theirs held, or what an earlier Apply of this plan made of it. A canceled
// context ends it between two files; each file is replaced whole or not at
// all.
func (p Plan) Apply(ctx context.Context, target string) error {
	return errors.ErrUnsupported
}

// Conflicts are the changes in which both sides had a part.
func (p Plan) Conflicts() []Change { return nil }

// Summary counts the plan's changes.
func (p Plan) Summary() Summary { return Summary{} }

// DefaultRules are the rules for a host's /etc. See rules.go for the table.
func DefaultRules() Rules { return Rules{} }

// String is the change on one line.
func (c Change) String() string { return "" }

// String is the summary on one line.
func (s Summary) String() string { return "" }
