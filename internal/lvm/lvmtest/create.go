package lvmtest

import (
	"fmt"
	"strings"

	"imgbase/internal/lvm"
)

// lvcreate makes a thin volume or a thin snapshot.
func (m *Model) lvcreate(args []string) (string, *refusal) {
	c, bad := m.parse("lvcreate", args, withCommon(flags{
		"--type": true, "--thinpool": true, "--virtualsize": true, "--name": true, "--addtag": true, "--permission": true,
		"--setactivationskip": true, "--activate": true, "--wipesignatures": true, "--snapshot": false, "--ignoreactivationskip": false,
	}))
	if bad != nil {
		return "", bad
	}
	if len(c.names) != 1 {
		return "", misuse("Please provide a volume group name")
	}
	lv, bad := newVolume(c)
	if bad != nil {
		return "", bad
	}
	if c.has("--snapshot") {
		bad = m.createSnapshot(c, lv)
	} else {
		bad = m.createThin(c, lv)
	}
	if bad != nil {
		return "", bad
	}
	m.settle()
	return fmt.Sprintf("  Logical volume %q created.\n", lv.Name), nil
}

// newVolume reads what is common to new volumes of either kind.
func newVolume(c command) (lvm.LV, *refusal) {
	lv := lvm.LV{Name: c.value("--name"), Tags: c.values["--addtag"], ThinVolume: true}
	if bad := reservedName(lv.Name); bad != nil {
		return lv, bad
	}
	writable, bad := c.choice("--permission", "rw", "r")
	if bad != nil {
		return lv, bad
	}
	skip, bad := c.choice("--setactivationskip", "y", "n")
	if bad != nil {
		return lv, bad
	}
	active, bad := c.choice("--activate", "y", "n")
	if bad != nil {
		return lv, bad
	}
	lv.ReadOnly, lv.SkipActivation = !writable, skip
	lv.Active = active && (!skip || c.has("--ignoreactivationskip"))
	lv.DataPercent = lvm.Percent{Known: true}
	return lv, nil
}

func (m *Model) createThin(c command, lv lvm.LV) *refusal {
	if bad := m.only(c, "--type", "--thinpool", "--virtualsize", "--name", "--addtag", "--permission",
		"--setactivationskip", "--activate", "--wipesignatures", "--ignoreactivationskip"); bad != nil {
		return bad
	}
	size, bad := c.size("--virtualsize")
	if bad != nil {
		return bad
	}
	lv.VG, lv.Pool = c.names[0], c.value("--thinpool")
	vg := m.vg(lv.VG)
	if vg == nil {
		return noVG(lv.VG)
	}
	pool := m.lv(lv.VG, lv.Pool)
	switch {
	case pool == nil:
		return refuse("Pool %s not found in Volume group %s.", lv.Pool, lv.VG)
	case !pool.ThinPool:
		return refuse("Logical volume %s/%s is not a thin pool.", lv.VG, lv.Pool)
	}
	if limit := vg.ExtentSize * (1<<32 - 1); size > limit {
		return refuse("Volume too large (%d) for extent size %d. Upper limit is less than %d.", size, vg.ExtentSize, limit)
	}
	lv.Size = extents(size, vg.ExtentSize)
	return m.addThin(lv, *pool)
}

func (m *Model) createSnapshot(c command, lv lvm.LV) *refusal {
	if bad := m.only(c, "--snapshot", "--name", "--addtag", "--permission",
		"--setactivationskip", "--activate", "--ignoreactivationskip"); bad != nil {
		return bad
	}
	var name string
	lv.VG, name, _ = strings.Cut(c.names[0], "/")
	if m.vg(lv.VG) == nil {
		return noVG(lv.VG)
	}
	origin := m.lv(lv.VG, name)
	if origin == nil {
		return refuse("Snapshot origin LV %s not found in Volume group %s.", name, lv.VG)
	}
	if !origin.ThinVolume {
		return refuse("Please specify either size or extents with snapshots.")
	}
	lv.Origin, lv.Pool, lv.Size, lv.DataPercent = origin.Name, origin.Pool, origin.Size, origin.DataPercent
	return m.addThin(lv, *m.lv(lv.VG, lv.Pool))
}

// addThin adds a thin volume to its pool. A pool without free data blocks is
// no reason to refuse; one at its threshold is, and so is one whose metadata
// has less than a quarter left (pool_metadata_min_threshold in lvm2's
// thin_manip.c).
func (m *Model) addThin(lv, pool lvm.LV) *refusal {
	const metadataLimit = 75
	if m.taken(lv.VG, lv.Name) {
		return refuse("Logical Volume %q already exists in volume group %q", lv.Name, lv.VG)
	}
	full := fmt.Sprintf("Cannot create new thin volume, free space in thin pool %s/%s reached threshold.", pool.VG, pool.Name)
	if used := pool.MetadataPercent.Value; used >= metadataLimit {
		return refuse("WARNING: Remaining free space in metadata of thin pool %s/%s is too low (%.2f%% >= %.2f%%). Resize is recommended.\n  %s",
			pool.VG, pool.Name, used, float64(metadataLimit), full)
	}
	if limit, on := threshold(pool); on && pool.DataPercent.Value > limit {
		return refuse("%s", full)
	}
	if err := m.makeDir(lv); err != nil {
		m.fail("%v", err)
		return refuse("%v", err)
	}
	m.insert(lv)
	return nil
}

// threshold is activation/thin_pool_autoextend_threshold: off by default, 70
// in the profile that our pools get.
func threshold(pool lvm.LV) (percent float64, on bool) {
	const profile, limit = "imgbased-pool", 70
	return limit, pool.Profile == profile
}

func noVG(name string) *refusal {
	return refuse("Volume group %q not found\n  Cannot process volume group %s", name, name)
}
