package lvmtest_test

import (
	"os"
	"testing"

	"imgbase/internal/lvm"
	"imgbase/internal/lvm/lvmtest"
	"imgbase/internal/run"
)

func TestSuiteOnModel(t *testing.T) {
	lvmtest.Suite(t, func(t *testing.T) lvmtest.Env {
		const vg, pool, disk = "test-vg", "pool", "/dev/vda"
		m := lvmtest.New(t.Errorf)
		m.AddVG(lvm.VG{Name: vg, Size: 1 << 30, ExtentSize: 1 << 20, PVs: []string{disk}})
		if err := m.AddLV(lvm.LV{VG: vg, Name: pool, ThinPool: true, Size: 64 << 20, MetadataSize: 2 << 20}); err != nil {
			t.Fatal(err)
		}
		return lvmtest.Env{
			Runner: m, VG: vg, Pool: pool, Disk: disk,
			Hold:         func(_ testing.TB, lv lvm.LV) func() { return m.Hold(vg, lv.Name) },
			FillData:     func(testing.TB) { m.SetUsage(vg, pool, 100, 10) },
			FillMetadata: func(testing.TB) { m.SetUsage(vg, pool, 0, 96) },
		}
	})
}

// TestSuiteOnThisMachine needs device mapper and a disk that may be lost.
func TestSuiteOnThisMachine(t *testing.T) {
	disk := os.Getenv("IMGBASE_TEST_DISK")
	if disk == "" {
		t.Skip("needs IMGBASE_TEST_DISK, an empty disk on a machine with device mapper and LVM")
	}
	lvmtest.Suite(t, func(t *testing.T) lvmtest.Env { return lvmtest.Real(t, run.OS{}, disk) })
}
