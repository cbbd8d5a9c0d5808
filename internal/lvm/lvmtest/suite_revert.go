package lvmtest

import (
	"time"

	"imgbase/internal/lvm"
)

func revertTests() []suiteTest {
	var (
		origin = state{Size: 16, Tags: []string{"o"}, Thin: true, Active: true}
		kept   = state{Size: 16, Tags: []string{"k"}, Thin: true, ReadOnly: true, Skip: true}
	)
	start := func(s s) {
		origin.Pool, kept.Pool = s.Pool, s.Pool
		s.thin("a", "o")
		for _, name := range []string{"old", "new"} {
			s.must(s.c.Snapshot(s.Context(), lvm.Snap{VG: s.VG, Origin: "a", Name: name, Tags: []string{"k"}, ReadOnly: true, SkipActivation: true}))
		}
	}
	return []suiteTest{
		// The origin stays what it is but for its content, and other snapshots
		// have no origin any more.
		{"Revert", func(s s) {
			start(s)
			uuid := s.lv("a").UUID
			s.must(s.c.Revert(s.Context(), s.VG, "new"))
			s.gone("new")
			s.want("a", origin)
			s.want("old", kept)
			if lv := s.lv("a"); lv.UUID != uuid || lv.Merging {
				s.Errorf("LV = %+v; want the origin's identity %s, not merging", lv, uuid)
			}
			s.refused(nil, s.revert("old"))
		}},
		{"RevertInactive", func(s s) {
			start(s)
			s.must(s.c.Deactivate(s.Context(), s.VG, "a"))
			s.must(s.c.Revert(s.Context(), s.VG, "new"))
			s.gone("new")
			// Real LVM sometimes leaves the origin active, in a pool that has
			// just been made.
			if lv := s.lv("a"); lv.Merging || lv.ReadOnly || lv.SkipActivation || !lv.HasTag("o") {
				s.Errorf("LV = %+v; want the origin's properties, not merging", lv)
			}
		}},
		// While the origin is held nothing happens but that the snapshot is out
		// of reach; its name stays taken. Others keep their origin until then.
		{"RevertOpen", func(s s) {
			start(s)
			release := s.Hold(s, s.lv("a"))
			s.must(s.c.Revert(s.Context(), s.VG, "new"))
			s.gone("new")
			s.want("a", origin)
			if !s.lv("a").Merging || s.lv("old").Origin != "a" || s.lv("old").Merging {
				s.Errorf("a = %+v, old = %+v; want a merging, and old still its snapshot", s.lv("a"), s.lv("old"))
			}
			s.refused(nil, s.revert("new"))
			s.refused(nil, s.revert("old"))
			s.refused(nil, func() error { return s.c.Remove(s.Context(), s.VG, "new") })
			s.refused(nil, func() error { return s.c.Activate(s.Context(), s.VG, "new") })
			s.refused(nil, func() error { return s.c.Rename(s.Context(), s.VG, "new", "b") })
			s.refused(lvm.ErrExists, s.snapshot(s.VG, "a", "new"))
			s.must(s.c.Snapshot(s.Context(), lvm.Snap{VG: s.VG, Origin: "a", Name: "now"}))
			release()
			s.must(s.c.Deactivate(s.Context(), s.VG, "a"))
			s.must(s.c.Activate(s.Context(), s.VG, "a"))
			s.merged("a")
			s.want("a", origin)
			s.want("old", kept)
			s.snap("a", "new")
		}},
		{"RevertOpenRenamed", func(s s) {
			start(s)
			defer s.Hold(s, s.lv("a"))()
			s.must(s.c.Revert(s.Context(), s.VG, "new"))
			s.must(s.c.Rename(s.Context(), s.VG, "a", "b"))
			if !s.lv("b").Merging {
				s.Errorf("b = %+v; want it merging", s.lv("b"))
			}
		}},
		{"RevertHeldSnapshot", func(s s) {
			start(s)
			s.snap("a", "rw")
			release := s.Hold(s, s.lv("rw"))
			s.must(s.c.Revert(s.Context(), s.VG, "rw"))
			s.gone("rw")
			if !s.lv("a").Merging {
				s.Errorf("a = %+v; want it merging", s.lv("a"))
			}
			release()
		}},
		{"RevertRemoved", func(s s) {
			start(s)
			release := s.Hold(s, s.lv("a"))
			s.must(s.c.Revert(s.Context(), s.VG, "new"))
			release()
			s.must(s.c.Remove(s.Context(), s.VG, "a"))
			s.gone("a")
			s.gone("new")
			s.thin("new")
		}},
		{"RevertNoSnapshot", func(s s) {
			start(s)
			s.refused(lvm.ErrNotFound, s.revert("none"))
			s.refused(lvm.ErrNotFound, func() error { return s.c.Revert(s.Context(), "no-such-group", "new") })
			s.refused(nil, s.revert("a"))
			s.refused(nil, s.revert(s.Pool))
		}},
	}
}

// merged waits until LVM's poller has brought the metadata in line with what
// the activated device shows at once.
func (s s) merged(name string) {
	s.Helper()
	for range 100 {
		if !s.lv(name).Merging {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.Errorf("%s is still merging after it was activated", name)
}

func (s s) revert(name string) func() error {
	return func() error { return s.c.Revert(s.Context(), s.VG, name) }
}
