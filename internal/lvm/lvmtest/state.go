package lvmtest

import (
	"fmt"
	"slices"
	"strings"

	"imgbase/internal/lvm"
)

// What the verbs do to the state. All of it runs under the model's lock.

func (m *Model) vg(name string) *lvm.VG {
	for i := range m.state.VGs {
		if m.state.VGs[i].Name == name {
			return &m.state.VGs[i]
		}
	}
	return nil
}

func (m *Model) lv(vg, name string) *lvm.LV {
	for i := range m.state.LVs {
		if m.state.LVs[i].VG == vg && m.state.LVs[i].Name == name {
			return &m.state.LVs[i]
		}
	}
	return nil
}

// insert completes a volume and adds it.
func (m *Model) insert(lv lvm.LV) {
	lv.UUID = m.uuid(lv.UUID)
	lv.Tags = addTags(nil, lv.Tags)
	lv.Path, lv.DMPath = paths(lv)
	m.state.LVs = append(m.state.LVs, lv)
	slices.SortFunc(m.state.LVs, func(a, b lvm.LV) int { return strings.Compare(a.VG+"/"+a.Name, b.VG+"/"+b.Name) })
}

func paths(lv lvm.LV) (path, dm string) {
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	dm = "/dev/mapper/" + double(lv.VG) + "-" + double(lv.Name)
	if lv.ThinPool {
		return "", dm
	}
	return "/dev/" + lv.VG + "/" + lv.Name, dm
}

func (m *Model) delete(vg, name string) {
	m.drop(vg, name)
	m.reorigin(vg, name, "")
}

// drop takes a volume out of the report.
func (m *Model) drop(vg, name string) {
	m.state.LVs = slices.DeleteFunc(m.state.LVs, func(l lvm.LV) bool { return l.VG == vg && l.Name == name })
}

// reorigin follows the origin of snapshots through a rename or removal. One
// that waits to replace its origin goes with it.
func (m *Model) reorigin(vg, from, to string) {
	for i := range m.state.LVs {
		if l := &m.state.LVs[i]; l.VG == vg && l.Origin == from {
			l.Origin = to
		}
	}
	if snap, ok := m.merging[vg+"/"+from]; ok && to != "" {
		snap.Origin = to
		m.merging[vg+"/"+to] = snap
	}
	delete(m.merging, vg+"/"+from)
}

func (m *Model) uuid(given string) string {
	if given != "" {
		return given
	}
	m.serial++
	return fmt.Sprintf("Model0-0000-0000-0000-0000-0000-%06d", m.serial)
}

// settle notes that everything has reached the disk.
func (m *Model) settle() {
	m.synced = nil
	clear(m.flushed)
	clear(m.unflushed)
	for _, vg := range m.state.VGs {
		m.flushed[vg.Name] = slices.Clone(vg.Tags)
	}
	for _, lv := range m.state.LVs {
		m.flushed[lv.VG+"/"+lv.Name] = slices.Clone(lv.Tags)
	}
}

// sync is sync(1) of block devices. When all physical volumes have been
// synced, tags are on the disk.
func (m *Model) sync(args []string) (string, *refusal) {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	for _, dev := range args {
		if !m.device(dev) {
			return "", &refusal{code: 1, text: fmt.Sprintf("sync: error opening '%s': No such file or directory", dev)}
		}
		m.synced = append(m.synced, dev)
	}
	for _, vg := range m.state.VGs {
		if slices.ContainsFunc(vg.PVs, func(pv string) bool { return !slices.Contains(m.synced, pv) }) {
			return "", nil
		}
	}
	m.settle()
	return "", nil
}

func (m *Model) device(path string) bool {
	for _, vg := range m.state.VGs {
		if slices.Contains(vg.PVs, path) {
			return true
		}
	}
	return slices.ContainsFunc(m.state.LVs, func(l lvm.LV) bool {
		return l.Active && path != "" && (l.Path == path || l.DMPath == path)
	})
}

// addTags adds as LVM does: a tag is there once, and tags are reported sorted.
func addTags(tags, add []string) []string {
	all := slices.Concat(tags, add)
	slices.Sort(all)
	return slices.Compact(all)
}

func delTags(tags, del []string) []string {
	return slices.DeleteFunc(slices.Clone(tags), func(t string) bool { return slices.Contains(del, t) })
}

// extents rounds a size up to whole extents.
func extents(size, extent uint64) uint64 { return (size + extent - 1) / extent * extent }
