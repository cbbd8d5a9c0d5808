package lvmtest

import (
	"fmt"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/lvm"
)

func createTests() []suiteTest {
	return []suiteTest{
		{"ReportPool", func(s s) {
			vg, ok := s.report().VG(s.VG)
			if !ok || vg.UUID == "" || vg.Size < vg.Free || vg.Free < 256*mib || vg.ExtentSize == 0 || len(vg.PVs) == 0 {
				s.Errorf("VG(%s) = %+v, %v; want identity, sizes and physical volumes", s.VG, vg, ok)
			}
			p := s.lv(s.Pool)
			if !p.ThinPool || p.ThinVolume || p.Size != 64*mib || p.MetadataSize != 2*mib || p.ChunkSize == 0 || p.WhenFull != "queue" || p.NeedsCheck || p.Path != "" {
				s.Errorf("LV(%s) = %+v; want an empty thin pool", s.Pool, p)
			}
			if !p.Active || !p.DataPercent.Known || p.DataPercent.Value != 0 || !p.MetadataPercent.Known || p.MetadataPercent.Value == 0 {
				s.Errorf("use of the pool = %+v, %+v; want 0 %% of data and some metadata", p.DataPercent, p.MetadataPercent)
			}
		}},
		{"NamesAreOfTheReport", func(s s) {
			s.thin("Node-1.0-1", "imgbased:base")
			s.snap("Node-1.0-1", "Node-1.0-1+1")
			s.must(s.c.Deactivate(s.Context(), s.VG, "Node-1.0-1"))
			got, err := s.c.Names(s.Context())
			s.must(err)
			want := s.report()
			for i, lv := range want.LVs {
				want.LVs[i] = lvm.LV{
					VG: lv.VG, Name: lv.Name, UUID: lv.UUID, Path: lv.Path, DMPath: lv.DMPath, Tags: lv.Tags,
					Size: lv.Size, Pool: lv.Pool, Origin: lv.Origin, ThinPool: lv.ThinPool, ThinVolume: lv.ThinVolume,
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				s.Errorf("names differ from the report (-report +names):\n%s", d)
			}
		}},
		{"CreateThin", func(s s) {
			s.thin("Node-1.0-1", "imgbased:base", "imgbased:txn:update:Node-1.0-1+1")
			s.want("Node-1.0-1", state{
				Size: 16, Pool: s.Pool, Thin: true, Active: true, Tags: []string{"imgbased:base", "imgbased:txn:update:Node-1.0-1+1"},
			})
			lv := s.lv("Node-1.0-1")
			if lv.Path != "/dev/"+s.VG+"/Node-1.0-1" || lv.UUID == "" || lv.Open {
				s.Errorf("LV = %+v; want path, identity, not open", lv)
			}
			if byDM, ok := s.report().Device(lv.DMPath); !ok || byDM.Name != lv.Name {
				s.Errorf("Device(%q) = %q, %v; want %q", lv.DMPath, byDM.Name, ok, lv.Name)
			}
		}},
		{"CreateRoundsSizeUp", func(s s) {
			s.must(s.c.CreateThin(s.Context(), lvm.Thin{VG: s.VG, Pool: s.Pool, Name: "odd", Size: 16*mib + 1}))
			extent := s.extent()
			if got := s.lv("odd").Size; got <= 16*mib || got > 16*mib+extent || got%extent != 0 {
				s.Errorf("size = %d; want the next multiple of %d", got, extent)
			}
		}},
		{"CreateBeyondPool", func(s s) {
			s.must(s.c.CreateThin(s.Context(), lvm.Thin{VG: s.VG, Pool: s.Pool, Name: "big", Size: tooMuch}))
		}},
		{"CreateNameTaken", func(s s) {
			s.thin("a", "x")
			s.refused(lvm.ErrExists, s.create(s.VG, s.Pool, "a"))
		}},
		{"CreateNoVG", func(s s) { s.refused(lvm.ErrNotFound, s.create("no-such-group", s.Pool, "a")) }},
		{"CreateNoPool", func(s s) { s.refused(lvm.ErrNotFound, s.create(s.VG, "nopool", "a")) }},
		{"CreateInNoPool", func(s s) {
			s.thin("a")
			s.refused(nil, s.create(s.VG, "a", "b"))
		}},
		{"CreateTooLarge", func(s s) {
			s.refused(nil, func() error {
				return s.c.CreateThin(s.Context(), lvm.Thin{VG: s.VG, Pool: s.Pool, Name: "a", Size: 1<<64 - 1<<20})
			})
		}},
		{"CreateBadTag", func(s s) {
			err := s.c.CreateThin(s.Context(), lvm.Thin{VG: s.VG, Pool: s.Pool, Name: "a", Size: mib, Tags: []string{"not a tag"}})
			s.failedWith(err, nil, 3)
			s.gone("a")
		}},
		{"CreateMetadataFull", func(s s) {
			s.FillMetadata(s)
			s.refused(lvm.ErrNoMetadataSpace, s.create(s.VG, s.Pool, "a"))
		}},
		{"CreateDataFull", func(s s) {
			s.FillData(s)
			if p := s.lv(s.Pool); p.DataPercent.Value != 100 {
				s.Errorf("pool is %v %% full; want 100", p.DataPercent.Value)
			}
			s.thin("a") // what cannot be written can still be created
		}},
	}
}

func (s s) create(vg, pool, name string) func() error {
	return func() error {
		return s.c.CreateThin(s.Context(), lvm.Thin{VG: vg, Pool: pool, Name: name, Size: mib})
	}
}

func (s s) extent() uint64 {
	vg, _ := s.report().VG(s.VG)
	return vg.ExtentSize
}

func snapshotTests() []suiteTest {
	return []suiteTest{
		{"SnapshotLayer", func(s s) {
			s.thin("base", "imgbased:base")
			s.must(s.c.Seal(s.Context(), s.VG, "base"))
			s.must(s.c.Snapshot(s.Context(), lvm.Snap{VG: s.VG, Origin: "base", Name: "base+1", Tags: []string{"imgbased:layer"}, Active: true}))
			s.want("base+1", state{Size: 16, Pool: s.Pool, Origin: "base", Thin: true, Active: true, Tags: []string{"imgbased:layer"}})
			s.want("base", state{Size: 16, Pool: s.Pool, Thin: true, ReadOnly: true, Skip: true, Tags: []string{"imgbased:base"}})
		}},
		{"SnapshotBase", func(s s) {
			s.thin("root")
			s.must(s.c.Snapshot(s.Context(), lvm.Snap{VG: s.VG, Origin: "root", Name: "base", Tags: []string{"b", "a"}, ReadOnly: true, SkipActivation: true}))
			s.want("base", state{Size: 16, Pool: s.Pool, Origin: "root", Thin: true, ReadOnly: true, Skip: true, Tags: []string{"a", "b"}})
		}},
		{"SnapshotSkippedActive", func(s s) {
			s.thin("root")
			s.must(s.c.Snapshot(s.Context(), lvm.Snap{VG: s.VG, Origin: "root", Name: "base", SkipActivation: true, Active: true}))
			s.want("base", state{Size: 16, Pool: s.Pool, Origin: "root", Thin: true, Skip: true, Active: true})
		}},
		{"SnapshotOfOpen", func(s s) {
			s.thin("root")
			defer s.Hold(s, s.lv("root"))()
			s.snap("root", "layer")
			if !s.lv("root").Open || s.lv("layer").Open {
				s.Errorf("open = %v, %v; want the origin alone", s.lv("root").Open, s.lv("layer").Open)
			}
		}},
		{"SnapshotNoOrigin", func(s s) { s.refused(lvm.ErrNotFound, s.snapshot(s.VG, "none", "a")) }},
		{"SnapshotNoVG", func(s s) { s.refused(lvm.ErrNotFound, s.snapshot("no-such-group", "none", "a")) }},
		{"SnapshotNameTaken", func(s s) {
			s.thin("a")
			s.thin("b")
			s.refused(lvm.ErrExists, s.snapshot(s.VG, "a", "b"))
		}},
		{"SnapshotOfPool", func(s s) {
			if err := s.snapshot(s.VG, s.Pool, "a")(); err == nil {
				s.Error("a snapshot of a thin pool was made")
			}
			s.gone("a")
		}},
		{"SnapshotMetadataFull", func(s s) {
			s.thin("a")
			s.FillMetadata(s)
			s.refused(lvm.ErrNoMetadataSpace, s.snapshot(s.VG, "a", "b"))
		}},
		{"SnapshotDataFull", func(s s) {
			s.thin("a")
			s.FillData(s)
			s.snap("a", "b")
		}},
		{"ManySnapshots", func(s s) {
			s.thin("a")
			for i := range 8 {
				s.must(s.c.Snapshot(s.Context(), lvm.Snap{VG: s.VG, Origin: "a", Name: fmt.Sprintf("a+%d", i), SkipActivation: true}))
			}
			if n := len(s.report().LVsIn(s.VG)); n != 10 {
				s.Errorf("%d volumes; want 10", n)
			}
		}},
	}
}

func (s s) snapshot(vg, origin, name string) func() error {
	return func() error {
		return s.c.Snapshot(s.Context(), lvm.Snap{VG: vg, Origin: origin, Name: name, Active: true})
	}
}
