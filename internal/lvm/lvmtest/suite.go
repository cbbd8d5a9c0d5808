package lvmtest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/lvm"
	"imgbase/internal/run"
)

// Env is a machine with LVM for one test of the [Suite].
type Env struct {
	Runner run.Runner
	// VG holds nothing but the thin pool Pool, which is empty and 64 MiB
	// large with 2 MiB of metadata, and between 256 MiB and 1 TiB free.
	VG, Pool string
	// Disk is one of the volume group's physical volumes.
	Disk string
	// Hold makes a volume be in use until release is called.
	Hold func(t testing.TB, lv lvm.LV) (release func())
	// FillData makes the pool's data be used up, FillMetadata its metadata,
	// as far as LVM lets that come. Either may leave volumes in the pool.
	FillData, FillMetadata func(t testing.TB)
}

// Sizes of what the suite makes.
const (
	mib     = 1 << 20
	tooMuch = 2 << 40
)

// Suite says what package lvm relies on LVM for, refusals above all. It makes
// a fresh machine for each of its tests and uses it through its Runner only.
func Suite(t *testing.T, fresh func(t *testing.T) Env) {
	for _, part := range [][]suiteTest{createTests(), snapshotTests(), removeTests(), revertTests(), changeTests(), tagTests(), sizeTests()} {
		for _, st := range part {
			t.Run(st.name, func(t *testing.T) {
				env := fresh(t)
				st.run(s{T: t, Env: env, c: lvm.New(env.Runner)})
			})
		}
	}
}

type suiteTest struct {
	name string
	run  func(s s)
}

// s is one running test of the suite.
type s struct {
	*testing.T
	Env
	c *lvm.Client
}

func (s s) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s s) report() lvm.Report {
	s.Helper()
	r, err := s.c.Report(s.Context())
	s.must(err)
	return r
}

// ours is the report without how full the machine's own pools are, which its
// running system changes at any time.
func (s s) ours() lvm.Report {
	s.Helper()
	r := s.report()
	for i, lv := range r.LVs {
		if lv.VG != s.VG {
			r.LVs[i].DataPercent, r.LVs[i].MetadataPercent = lvm.Percent{}, lvm.Percent{}
		}
	}
	return r
}

// lv returns a volume that must be there.
func (s s) lv(name string) lvm.LV {
	s.Helper()
	lv, ok := s.report().LV(s.VG, name)
	if !ok {
		s.Fatalf("volume %s is not reported", name)
	}
	return lv
}

func (s s) gone(name string) {
	s.Helper()
	if _, ok := s.report().LV(s.VG, name); ok {
		s.Errorf("volume %s is there; want it gone", name)
	}
}

// thin makes a volume to work with.
func (s s) thin(name string, tags ...string) {
	s.Helper()
	s.must(s.c.CreateThin(s.Context(), lvm.Thin{VG: s.VG, Pool: s.Pool, Name: name, Size: 16 * mib, Tags: tags}))
}

// snap makes a writable, active snapshot.
func (s s) snap(origin, name string) {
	s.Helper()
	s.must(s.c.Snapshot(s.Context(), lvm.Snap{VG: s.VG, Origin: origin, Name: name, Active: true}))
}

// want compares what matters of a volume.
func (s s) want(name string, want state) {
	s.Helper()
	lv := s.lv(name)
	got := state{
		Size: lv.Size / mib, Pool: lv.Pool, Origin: lv.Origin, Tags: lv.Tags, Thin: lv.ThinVolume,
		Active: lv.Active, ReadOnly: lv.ReadOnly, Skip: lv.SkipActivation,
	}
	if d := cmp.Diff(want, got); d != "" {
		s.Errorf("volume %s differs (-want +got):\n%s", name, d)
	}
}

type state struct {
	Size                   uint64 // MiB
	Pool, Origin           string
	Tags                   []string
	Thin                   bool
	Active, ReadOnly, Skip bool
}

// refused wants an error that matches the sentinel (and no other; nil for
// none of them), LVM's exit code 5, and nothing changed.
func (s s) refused(want error, do func() error) {
	s.Helper()
	before := s.ours()
	err := do()
	s.failedWith(err, want, 5)
	if d := cmp.Diff(before, s.ours()); d != "" {
		s.Errorf("a refused change changed something (-before +after):\n%s", d)
	}
}

func (s s) failedWith(err, want error, code int) {
	s.Helper()
	for _, e := range []error{lvm.ErrNotFound, lvm.ErrExists, lvm.ErrNoSpace, lvm.ErrNoMetadataSpace, lvm.ErrInUse, lvm.ErrName} {
		if got := errors.Is(err, e); got != (e == want) {
			s.Errorf("errors.Is(%v, %v) = %v; want %v", err, e, got, e == want)
		}
	}
	var failed *run.Error
	if !errors.As(err, &failed) {
		s.Fatalf("error = %v; want a *run.Error in it", err)
	}
	if failed.Code != code {
		s.Errorf("exit code = %d (%v); want %d", failed.Code, err, code)
	}
}
