// Package lvm is the binding to LVM: one report in, a small set of verbs
// out, each of them one LVM process started through [run.Runner].
//
// Words are those of lvm(8) and lvmthin(7): a volume group (VG) is made of
// physical volumes (PVs) and holds logical volumes (LVs); a thin pool is an
// LV that stores the blocks of thin volumes; a thin snapshot is a thin
// volume that began as another one, its origin. A volume whose activation is
// skipped stays inactive at boot.
//
// What always holds:
//   - No verb prompts, wipes a signature or touches a volume it was not given.
//   - A new volume has its tags from the moment it exists: they are part of
//     the lvcreate that makes it.
//   - LVM switches a volume group's metadata atomically but does not flush
//     it; [Client.Flush] does.
//   - Device paths come from the report; [Path] is for a volume made since.
//   - A failed verb is an error that matches at most one of the sentinels
//     below and carries the [run.Error] of the process.
package lvm

import (
	"slices"
	"strings"
)

// VG is a volume group. Sizes are in bytes.
type VG struct {
	Name, UUID string
	Tags       []string
	Size, Free uint64
	ExtentSize uint64
	PVs        []string // device paths, "[unknown]" for a missing one
}

// LV is a logical volume. Sizes are in bytes.
type LV struct {
	VG, Name, UUID string
	Path           string // /dev/VG/LV; a symbolic link, there while active; "" for a thin pool
	DMPath         string // /dev/mapper/…; the name the kernel knows
	Tags           []string
	Size           uint64
	Pool           string // thin pool of a thin volume
	Origin         string // origin of a snapshot, "" once that was removed
	ThinPool       bool
	ThinVolume     bool
	Active         bool
	ReadOnly       bool
	SkipActivation bool
	Open           bool // mounted or otherwise in use
	Merging        bool // becomes one of its snapshots when it is activated next, see [Client.Revert]
	Profile        string
	Health         string // "" when healthy, else LVM's word: "out_of_data", "metadata_read_only", "failed", …

	DataPercent     Percent // of Size, in a thin volume what it maps
	MetadataPercent Percent // thin pools only
	MetadataSize    uint64  // thin pools only
	ChunkSize       uint64  // thin pools only
	NeedsCheck      bool    // the pool's metadata must be repaired first
	WhenFull        string  // thin pools only: "queue" or "error"
}

// Percent is a share from 0 to 100. It is known only of an active volume.
type Percent struct {
	Value float64
	Known bool
}

// HasTag says whether the volume carries the tag.
func (l LV) HasTag(tag string) bool { return slices.Contains(l.Tags, tag) }

// HasTag says whether the volume group carries the tag.
func (v VG) HasTag(tag string) bool { return slices.Contains(v.Tags, tag) }

// Report is the state of every volume group on the machine, as one LVM
// process saw it. LVM's internal volumes are left out.
type Report struct {
	VGs []VG
	LVs []LV
}

// VG returns the volume group of that name.
func (r Report) VG(name string) (VG, bool) {
	i := slices.IndexFunc(r.VGs, func(v VG) bool { return v.Name == name })
	if i < 0 {
		return VG{}, false
	}
	return r.VGs[i], true
}

// LV returns the logical volume of that name in volume group vg.
func (r Report) LV(vg, name string) (LV, bool) {
	i := slices.IndexFunc(r.LVs, func(l LV) bool { return l.VG == vg && l.Name == name })
	if i < 0 {
		return LV{}, false
	}
	return r.LVs[i], true
}

// Device returns the logical volume behind a device-mapper name such as
// "HostVG-Node--1.0--1+1", with or without /dev/mapper/ before it. It is what
// /proc/self/mountinfo and /sys/dev/block/*/dm/name say of a mounted volume.
func (r Report) Device(name string) (LV, bool) {
	vg, lv, ok := ParseDMName(strings.TrimPrefix(name, "/dev/mapper/"))
	if !ok {
		return LV{}, false
	}
	return r.LV(vg, lv)
}

// VGsWithTag returns the volume groups that carry the tag.
func (r Report) VGsWithTag(tag string) []VG {
	return filter(r.VGs, func(v VG) bool { return v.HasTag(tag) })
}

// LVsIn returns the logical volumes of volume group vg.
func (r Report) LVsIn(vg string) []LV {
	return filter(r.LVs, func(l LV) bool { return l.VG == vg })
}

// LVsWithTag returns the logical volumes of vg that carry any of the tags.
func (r Report) LVsWithTag(vg string, tags ...string) []LV {
	return filter(r.LVs, func(l LV) bool { return l.VG == vg && slices.ContainsFunc(tags, l.HasTag) })
}

func filter[T any](all []T, keep func(T) bool) []T {
	var some []T
	for _, v := range all {
		if keep(v) {
			some = append(some, v)
		}
	}
	return some
}
