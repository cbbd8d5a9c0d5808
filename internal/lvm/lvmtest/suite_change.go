package lvmtest

import (
	"slices"

	"imgbase/internal/lvm"
)

func removeTests() []suiteTest {
	return []suiteTest{
		{"RemoveOrigin", func(s s) {
			s.thin("a")
			s.snap("a", "b")
			s.must(s.c.Remove(s.Context(), s.VG, "a"))
			s.gone("a")
			s.want("b", state{Size: 16, Pool: s.Pool, Thin: true, Active: true})
		}},
		{"RemoveSealed", func(s s) {
			s.thin("a")
			s.must(s.c.Seal(s.Context(), s.VG, "a"))
			s.must(s.c.Remove(s.Context(), s.VG, "a"))
			s.gone("a")
		}},
		{"RemoveMissing", func(s s) {
			s.refused(lvm.ErrNotFound, func() error { return s.c.Remove(s.Context(), s.VG, "a") })
			s.refused(lvm.ErrNotFound, func() error { return s.c.Remove(s.Context(), "no-such-group", "a") })
		}},
		{"RemoveSomeMissing", func(s s) {
			s.thin("a")
			s.thin("c")
			s.failedWith(s.c.Remove(s.Context(), s.VG, "a", "b", "c"), lvm.ErrNotFound, 5)
			s.gone("a")
			s.gone("c")
		}},
		{"RemoveOpen", func(s s) {
			s.thin("a")
			release := s.Hold(s, s.lv("a"))
			s.refused(lvm.ErrInUse, func() error { return s.c.Remove(s.Context(), s.VG, "a") })
			release()
			s.must(s.c.Remove(s.Context(), s.VG, "a"))
			s.gone("a")
		}},
		{"RemovePoolKeepsAll", func(s s) {
			s.thin("a")
			s.must(s.c.Remove(s.Context(), s.VG, s.Pool))
			s.lv(s.Pool)
			s.lv("a")
		}},
		{"Rename", func(s s) {
			s.thin("a", "x")
			s.snap("a", "b")
			defer s.Hold(s, s.lv("a"))()
			s.must(s.c.Rename(s.Context(), s.VG, "a", "a-old"))
			s.gone("a")
			s.want("a-old", state{Size: 16, Pool: s.Pool, Thin: true, Active: true, Tags: []string{"x"}})
			s.want("b", state{Size: 16, Pool: s.Pool, Origin: "a-old", Thin: true, Active: true})
			if lv := s.lv("a-old"); lv.Path != "/dev/"+s.VG+"/a-old" {
				s.Errorf("path = %q; want it to follow the name", lv.Path)
			}
		}},
		{"RenameRefused", func(s s) {
			s.thin("a")
			s.thin("b")
			s.refused(lvm.ErrExists, func() error { return s.c.Rename(s.Context(), s.VG, "a", "b") })
			s.refused(lvm.ErrNotFound, func() error { return s.c.Rename(s.Context(), s.VG, "c", "d") })
			s.refused(lvm.ErrNotFound, func() error { return s.c.Rename(s.Context(), "no-such-group", "c", "d") })
		}},
	}
}

func changeTests() []suiteTest {
	return []suiteTest{
		{"Seal", func(s s) {
			s.thin("a")
			sealed := state{Size: 16, Pool: s.Pool, Thin: true, ReadOnly: true, Skip: true}
			s.must(s.c.Seal(s.Context(), s.VG, "a"))
			s.want("a", sealed)
			if lv := s.lv("a"); lv.DataPercent.Known || lv.Open {
				s.Errorf("LV = %+v; want use unknown while inactive, not open", lv)
			}
			s.must(s.c.Activate(s.Context(), s.VG, "a"))
			s.want("a", state{Size: 16, Pool: s.Pool, Thin: true, ReadOnly: true, Skip: true, Active: true})
			s.must(s.c.Seal(s.Context(), s.VG, "a"))
			s.want("a", sealed)
			s.must(s.c.Seal(s.Context(), s.VG, "a"))
			s.want("a", sealed)
		}},
		{"Unseal", func(s s) {
			s.thin("a")
			s.must(s.c.Seal(s.Context(), s.VG, "a"))
			for range 2 {
				s.must(s.c.Unseal(s.Context(), s.VG, "a"))
				s.want("a", state{Size: 16, Pool: s.Pool, Thin: true, Active: true})
			}
		}},
		{"SealOpen", func(s s) {
			s.thin("a")
			release := s.Hold(s, s.lv("a"))
			s.refused(lvm.ErrInUse, func() error { return s.c.Seal(s.Context(), s.VG, "a") })
			s.refused(lvm.ErrInUse, func() error { return s.c.Deactivate(s.Context(), s.VG, "a") })
			release()
			s.must(s.c.Seal(s.Context(), s.VG, "a"))
		}},
		{"ActivateTwice", func(s s) {
			s.thin("a")
			for range 2 {
				s.must(s.c.Deactivate(s.Context(), s.VG, "a"))
				s.want("a", state{Size: 16, Pool: s.Pool, Thin: true})
			}
			for range 2 {
				s.must(s.c.Activate(s.Context(), s.VG, "a"))
				s.want("a", state{Size: 16, Pool: s.Pool, Thin: true, Active: true})
			}
		}},
	}
}

func tagTests() []suiteTest {
	return []suiteTest{
		{"ChangeMissing", func(s s) {
			for _, do := range []func() error{
				func() error { return s.c.Activate(s.Context(), s.VG, "a") },
				func() error { return s.c.Deactivate(s.Context(), s.VG, "a") },
				func() error { return s.c.Seal(s.Context(), s.VG, "a") },
				func() error { return s.c.Unseal(s.Context(), s.VG, "a") },
				func() error { return s.c.Extend(s.Context(), s.VG, "a", mib) },
				func() error { return s.c.ExtendMetadata(s.Context(), s.VG, "a", mib) },
				func() error {
					return s.c.ChangeLVTags(s.Context(), lvm.Retag{VG: s.VG, Name: "a", Add: []string{"x"}})
				},
				func() error { return s.c.ChangeVGTags(s.Context(), "no-such-group", []string{"x"}, nil) },
			} {
				s.refused(lvm.ErrNotFound, do)
			}
		}},
		{"VGTags", func(s s) {
			before, _ := s.report().VG(s.VG)
			for _, step := range []struct{ add, del, want []string }{
				{[]string{"imgbased:txn:update:a-1-1"}, nil, []string{"imgbased:txn:update:a-1-1"}},
				{[]string{"imgbased:txn:update:a-1-1"}, nil, []string{"imgbased:txn:update:a-1-1"}},
				{[]string{"z", "b"}, []string{"imgbased:txn:update:a-1-1"}, []string{"b", "z"}},
				{nil, []string{"not-there", "z"}, []string{"b"}},
				{nil, []string{"b"}, nil},
			} {
				s.must(s.c.ChangeVGTags(s.Context(), s.VG, step.add, step.del))
				vg, _ := s.report().VG(s.VG)
				if got := vg.Tags; !slices.Equal(got, slices.Concat(before.Tags, step.want)) {
					s.Errorf("tags after +%v -%v = %v; want %v", step.add, step.del, got, step.want)
				}
			}
		}},
		{"LVTags", func(s s) {
			s.thin("a", "x")
			s.must(s.c.ChangeLVTags(s.Context(), lvm.Retag{VG: s.VG, Name: "a", Add: []string{"c", "b"}, Del: []string{"x", "y"}}))
			s.want("a", state{Size: 16, Pool: s.Pool, Thin: true, Active: true, Tags: []string{"b", "c"}})
		}},
		{"ProfileMissing", func(s s) {
			s.refused(nil, func() error { return s.c.SetProfile(s.Context(), s.VG, s.Pool, "no-such-profile") })
		}},
		{"Flush", func(s s) {
			s.thin("a")
			s.must(s.c.Flush(s.Context(), s.Disk, s.lv("a").Path))
			s.failedWith(s.c.Flush(s.Context(), s.Disk, "/dev/no-such-disk"), nil, 1)
		}},
	}
}

func sizeTests() []suiteTest {
	return []suiteTest{
		{"Extend", func(s s) {
			s.thin("a")
			for _, step := range []struct{ to, want uint64 }{{32, 32}, {32, 32}, {8, 32}, {33, 33}} {
				s.must(s.c.Extend(s.Context(), s.VG, "a", step.to*mib))
				if got := s.lv("a").Size; got != step.want*mib {
					s.Errorf("size after Extend to %d MiB = %d MiB; want %d", step.to, got/mib, step.want)
				}
			}
		}},
		{"ExtendPool", func(s s) {
			before, _ := s.report().VG(s.VG)
			s.must(s.c.Extend(s.Context(), s.VG, s.Pool, 128*mib))
			after, _ := s.report().VG(s.VG)
			if got := before.Free - after.Free; got != 64*mib || s.lv(s.Pool).Size != 128*mib {
				s.Errorf("took %d MiB, pool is %d MiB; want 64, 128", got/mib, s.lv(s.Pool).Size/mib)
			}
		}},
		{"ExtendPoolNoSpace", func(s s) {
			s.failedWith(s.c.Extend(s.Context(), s.VG, s.Pool, tooMuch), lvm.ErrNoSpace, 5)
			if got := s.lv(s.Pool).Size; got != 64*mib {
				s.Errorf("pool size = %d MiB; want 64", got/mib)
			}
		}},
		{"ExtendMetadata", func(s s) {
			s.must(s.c.ExtendMetadata(s.Context(), s.VG, s.Pool, 4*mib))
			if got := s.lv(s.Pool).MetadataSize; got != 6*mib {
				s.Errorf("metadata size = %d MiB; want 6", got/mib)
			}
		}},
		{"ExtendMetadataMakesRoom", func(s s) {
			s.FillMetadata(s)
			s.must(s.c.ExtendMetadata(s.Context(), s.VG, s.Pool, 4*mib))
			s.thin("a")
		}},
		{"ExtendMetadataNoSpace", func(s s) {
			s.refused(lvm.ErrNoSpace, func() error { return s.c.ExtendMetadata(s.Context(), s.VG, s.Pool, 8<<30) })
		}},
		{"ExtendMetadataOfNoPool", func(s s) {
			s.thin("a")
			s.refused(nil, func() error { return s.c.ExtendMetadata(s.Context(), s.VG, "a", mib) })
		}},
	}
}
