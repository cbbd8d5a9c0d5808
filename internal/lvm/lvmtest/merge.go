package lvmtest

import (
	"strings"

	"imgbase/internal/lvm"
)

// lvconvert makes a thin snapshot replace its origin: at once, or, while
// either is in use, when the origin is activated next. Measured on real LVM;
// lvmthin(7), "Merging thin snapshots", says less.
func (m *Model) lvconvert(args []string) (string, *refusal) {
	c, bad := m.parse("lvconvert", args, withCommon(flags{"--mergethin": false}))
	if bad != nil {
		return "", bad
	}
	if len(c.names) != 1 || !c.has("--mergethin") {
		m.fail("lvconvert wants --mergethin and one volume")
		return "", misuse("Please give one logical volume")
	}
	if m.hidden(c.names[0]) != nil {
		return "", refuse("Command on LV %s requires LV with properties: lv_is_visible .\n  Command not permitted on LV %s.", c.names[0], c.names[0])
	}
	snap, bad := m.find(c.names[0])
	if bad != nil {
		return "", bad
	}
	switch {
	case snap.ThinPool:
		return "", refuse("Command on LV %s does not accept LV type thinpool.\n  Command not permitted on LV %s.", c.names[0], c.names[0])
	case !snap.ThinVolume:
		return "", refuse("Command on LV %s does not accept LV type linear.\n  Command not permitted on LV %s.", c.names[0], c.names[0])
	case snap.Origin == "":
		return "", refuse("%s is not a mergeable logical volume.", c.names[0])
	}
	origin := m.lv(snap.VG, snap.Origin)
	if origin.Merging {
		other := m.merging[origin.VG+"/"+origin.Name]
		return "", refuse("Cannot merge snapshot %s into the origin %s/%s with merging snapshot %s/%s.",
			c.names[0], origin.VG, origin.Name, other.VG, other.Name)
	}
	m.merge(origin, *snap)
	return "", nil
}

func (m *Model) merge(origin *lvm.LV, snap lvm.LV) {
	vg, name, delayed := origin.VG, origin.Name, origin.Open || snap.Open
	origin.Merging = true
	m.merging[vg+"/"+name] = snap
	m.drop(vg, snap.Name)
	if delayed {
		// Only LVM's metadata changes, without a flush.
		m.unflushed[vg+"/"+name], m.synced = true, nil
		return
	}
	m.exchange(vg, name)
}

// exchange makes an origin its merging snapshot, if it has one. What else was
// a snapshot of it is one of nothing then.
func (m *Model) exchange(vg, name string) {
	origin, snap := m.lv(vg, name), m.merging[vg+"/"+name]
	if origin == nil || !origin.Merging {
		return
	}
	if err := m.removeDir(*origin); err != nil {
		m.fail("%v", err)
	}
	if err := m.moveDir(snap, *origin); err != nil {
		m.fail("%v", err)
	}
	origin.Merging, origin.Size, origin.DataPercent = false, snap.Size, snap.DataPercent
	m.reorigin(vg, name, "")
	m.settle()
}

// forget makes delayed merges that LVM had not brought to the disk not have
// been asked for.
func (m *Model) forget() {
	for key := range m.unflushed {
		vg, name, _ := strings.Cut(key, "/")
		if origin := m.lv(vg, name); origin != nil {
			origin.Merging = false
			m.insert(m.merging[key])
		}
		delete(m.merging, key)
	}
	clear(m.unflushed)
}

// hidden is a volume VG/LV that only waits to replace its origin.
func (m *Model) hidden(path string) *lvm.LV {
	for _, snap := range m.merging {
		if snap.VG+"/"+snap.Name == path {
			return &snap
		}
	}
	return nil
}

// taken says whether a name cannot be given to a volume.
func (m *Model) taken(vg, name string) bool {
	return m.lv(vg, name) != nil || m.hidden(vg+"/"+name) != nil
}

// removeWithMerging removes a volume's contents, and those that wait to
// replace them.
func (m *Model) removeWithMerging(lv lvm.LV) {
	gone := []lvm.LV{lv}
	if snap, ok := m.merging[lv.VG+"/"+lv.Name]; ok {
		gone = append(gone, snap)
	}
	for _, lv := range gone {
		if err := m.removeDir(lv); err != nil {
			m.fail("%v", err)
		}
	}
}
