package lvmtest

import (
	"fmt"
	"slices"
	"strings"

	"imgbase/internal/lvm"
)

// lvremove removes volumes. Missing ones and those in use are refused, the
// others removed all the same.
func (m *Model) lvremove(args []string) (string, *refusal) {
	c, bad := m.parse("lvremove", args, withCommon(flags{"--select": true}))
	if bad != nil {
		return "", bad
	}
	const thinOnly = `pool_lv!=""`
	if s := c.value("--select"); s != thinOnly {
		m.fail("lvremove without --select '%s' would remove a pool with all it holds", thinOnly)
		return "", misuse("the model removes thin volumes only")
	}
	var out string
	var refused []string
	for _, name := range c.names {
		lv, bad := m.find(name)
		switch {
		case bad != nil && m.hidden(name) != nil:
			refused = append(refused, fmt.Sprintf("Unable to remove %s, volume is merged to %s/%s.", name, m.hidden(name).VG, m.hidden(name).Origin))
		case bad != nil:
			refused = append(refused, bad.text)
		case !lv.ThinVolume:
		case lv.Open:
			refused = append(refused, inUse(lv))
		default:
			m.removeWithMerging(*lv)
			out += fmt.Sprintf("  Logical volume %q successfully removed.\n", lv.Name)
			m.delete(lv.VG, lv.Name)
			m.settle()
		}
	}
	if refused != nil {
		return out, refuse("%s", strings.Join(refused, "\n  "))
	}
	return out, nil
}

// find returns the volume that VG/LV names.
func (m *Model) find(name string) (*lvm.LV, *refusal) {
	vg, lv, ok := strings.Cut(name, "/")
	if !ok || lv == "" {
		m.fail("%q means every volume of a group", name)
		return nil, misuse("Please specify a logical volume.")
	}
	if m.vg(vg) == nil {
		return nil, noVG(vg)
	}
	if m.hidden(name) != nil {
		return nil, refuse("Operation not permitted on hidden LV %s.", name)
	}
	found := m.lv(vg, lv)
	if found == nil {
		return nil, refuse("Failed to find logical volume %q", name)
	}
	return found, nil
}

func inUse(lv *lvm.LV) string {
	return fmt.Sprintf("Logical volume %s/%s contains a filesystem in use.", lv.VG, lv.Name)
}

// lvrename renames a volume, one in use as well.
func (m *Model) lvrename(args []string) (string, *refusal) {
	c, bad := m.parse("lvrename", args, withCommon(flags{}))
	if bad != nil {
		return "", bad
	}
	if len(c.names) != 3 {
		return "", misuse("Old and new logical volume names required.")
	}
	vg, from, to := c.names[0], c.names[1], c.names[2]
	if from == to {
		return "", misuse("Old and new logical volume names must differ\n  Run `lvrename --help' for more information.")
	}
	if bad := reservedName(to); bad != nil {
		return "", bad
	}
	if m.vg(vg) == nil {
		return "", noVG(vg)
	}
	if m.hidden(vg+"/"+from) != nil {
		return "", refuse("Cannot rename internal LV %q.", from)
	}
	lv := m.lv(vg, from)
	if lv == nil {
		return "", refuse("Existing logical volume %q not found in volume group %q", from, vg)
	}
	if m.taken(vg, to) {
		return "", refuse("Logical Volume %q already exists in volume group %q", to, vg)
	}
	renamed := *lv
	renamed.Name = to
	if err := m.moveDir(*lv, renamed); err != nil {
		m.fail("%v", err)
	}
	m.reorigin(vg, from, to)
	m.drop(vg, from)
	m.insert(renamed)
	m.settle()
	return fmt.Sprintf("  Renamed %q to %q in volume group %q\n", from, to, vg), nil
}

// lvchange changes properties of a volume, or its activation.
func (m *Model) lvchange(args []string) (string, *refusal) {
	c, bad := m.parse("lvchange", args, withCommon(flags{
		"--permission": true, "--setactivationskip": true, "--activate": true, "--ignoreactivationskip": false,
		"--addtag": true, "--deltag": true, "--metadataprofile": true,
	}))
	if bad != nil {
		return "", bad
	}
	if len(c.names) != 1 {
		return "", misuse("Please give one logical volume")
	}
	if p := c.value("--metadataprofile"); p != "" && !slices.Contains(m.Profiles, p) {
		return "", refuse("/etc/lvm/profile/%s.profile: stat failed: No such file or directory\n  Failed to apply metadata profile %s.", p, p)
	}
	lv, bad := m.find(c.names[0])
	if bad != nil {
		return "", bad
	}
	if c.has("--activate") {
		if bad := m.only(c, "--activate", "--ignoreactivationskip"); bad != nil {
			return "", bad
		}
		return "", m.activate(c, lv)
	}
	if bad := m.only(c, "--permission", "--setactivationskip", "--addtag", "--deltag", "--metadataprofile"); bad != nil {
		return "", bad
	}
	bad = m.properties(c, lv)
	return fmt.Sprintf("  Logical volume %s/%s changed.\n", lv.VG, lv.Name), bad
}

func (m *Model) activate(c command, lv *lvm.LV) *refusal {
	on, bad := c.choice("--activate", "y", "n")
	if bad != nil {
		return bad
	}
	switch {
	case on:
		was := lv.Active
		lv.Active = lv.Active || !lv.SkipActivation || c.has("--ignoreactivationskip")
		if lv.Active && !was {
			m.exchange(lv.VG, lv.Name)
		}
	case lv.ThinPool:
	case lv.Open:
		return refuse("%s", inUse(lv))
	default:
		lv.Active = false
	}
	return nil
}

// properties changes what it can; a permission that is so already is refused
// after the rest was done.
func (m *Model) properties(c command, lv *lvm.LV) (late *refusal) {
	if c.has("--setactivationskip") {
		skip, bad := c.choice("--setactivationskip", "y", "n")
		if bad != nil {
			return bad
		}
		lv.SkipActivation = skip
	}
	lv.Tags = addTags(delTags(lv.Tags, c.values["--deltag"]), c.values["--addtag"])
	if p := c.value("--metadataprofile"); p != "" {
		lv.Profile = p
	}
	m.synced = nil
	if !c.has("--permission") {
		return nil
	}
	writable, bad := c.choice("--permission", "rw", "r")
	switch {
	case bad != nil:
		return bad
	case writable && !lv.ReadOnly:
		return refuse("Logical volume %s/%s is already writable.", lv.VG, lv.Name)
	case !writable && lv.ReadOnly:
		return refuse("Logical volume \"%s/%s\" is already read only.", lv.VG, lv.Name)
	}
	lv.ReadOnly = !writable
	m.settle()
	return nil
}

// vgchange changes tags of a volume group.
func (m *Model) vgchange(args []string) (string, *refusal) {
	c, bad := m.parse("vgchange", args, withCommon(flags{"--addtag": true, "--deltag": true}))
	if bad != nil {
		return "", bad
	}
	if len(c.names) != 1 {
		m.fail("vgchange without a name changes every volume group")
		return "", misuse("Please give one volume group")
	}
	vg := m.vg(c.names[0])
	if vg == nil {
		return "", noVG(c.names[0])
	}
	vg.Tags = addTags(delTags(vg.Tags, c.values["--deltag"]), c.values["--addtag"])
	m.synced = nil
	return fmt.Sprintf("  Volume group %q successfully changed\n", vg.Name), nil
}

// lvextend makes a volume or a pool's metadata larger.
func (m *Model) lvextend(args []string) (string, *refusal) {
	c, bad := m.parse("lvextend", args, withCommon(flags{"--size": true, "--poolmetadatasize": true}))
	if bad != nil {
		return "", bad
	}
	if len(c.names) != 1 || c.has("--size") == c.has("--poolmetadatasize") {
		m.fail("lvextend wants one volume and one size")
		return "", misuse("Please give one logical volume and one size")
	}
	vgName, name, _ := strings.Cut(c.names[0], "/")
	vg := m.vg(vgName)
	if vg == nil {
		return "", noVG(vgName)
	}
	lv := m.lv(vgName, name)
	if lv == nil {
		return "", refuse("Logical volume %s not found in volume group %s.", name, vgName)
	}
	if c.has("--size") {
		bad = extendSize(c, vg, lv)
	} else {
		bad = extendMetadata(c, vg, lv)
	}
	if bad != nil {
		return "", bad
	}
	m.settle()
	return fmt.Sprintf("  Logical volume %s/%s successfully resized.\n", vgName, name), nil
}

func extendSize(c command, vg *lvm.VG, lv *lvm.LV) *refusal {
	size, bad := c.size("--size")
	if bad != nil {
		return bad
	}
	size = extents(size, vg.ExtentSize)
	switch {
	case size == lv.Size:
		return refuse("New size (%d extents) matches existing size (%d extents).", size/vg.ExtentSize, lv.Size/vg.ExtentSize)
	case size < lv.Size:
		return refuse("New size given (%d extents) not larger than existing size (%d extents)", size/vg.ExtentSize, lv.Size/vg.ExtentSize)
	}
	if !lv.ThinVolume {
		if bad := take(vg, size-lv.Size); bad != nil {
			return bad
		}
	}
	if lv.DataPercent.Known {
		lv.DataPercent.Value *= float64(lv.Size) / float64(size)
	}
	lv.Size = size
	return nil
}

func extendMetadata(c command, vg *lvm.VG, lv *lvm.LV) *refusal {
	if !strings.HasPrefix(c.value("--poolmetadatasize"), "+") {
		return misuse("Invalid argument for --poolmetadatasize: %s", c.value("--poolmetadatasize"))
	}
	by, bad := c.size("--poolmetadatasize")
	if bad != nil {
		return bad
	}
	if !lv.ThinPool {
		return refuse("--poolmetadatasize can be used only with thin pools.")
	}
	by = extents(by, vg.ExtentSize)
	// LVM grows the spare metadata volume along, when there is room.
	if bad := take(vg, by); bad != nil {
		return bad
	}
	vg.Free -= min(vg.Free, by)
	lv.MetadataPercent.Value *= float64(lv.MetadataSize) / float64(lv.MetadataSize+by)
	lv.MetadataSize += by
	return nil
}

func take(vg *lvm.VG, size uint64) *refusal {
	if size > vg.Free {
		return refuse("Insufficient free space: %d extents needed, but only %d available", size/vg.ExtentSize, vg.Free/vg.ExtentSize)
	}
	vg.Free -= size
	return nil
}
