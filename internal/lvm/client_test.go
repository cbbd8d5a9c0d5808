package lvm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"imgbase/internal/lvm"
	"imgbase/internal/lvm/lvmtest"
	"imgbase/internal/run"
)

// failing is a program that ends with a code and prints a text.
type failing struct {
	code   int
	stderr string
}

func (f failing) Run(_ context.Context, c run.Cmd) (run.Output, error) {
	return run.Output{Stderr: []byte(f.stderr)}, &run.Error{Cmd: c, Code: f.code, Stderr: f.stderr, Err: fmt.Errorf("exit status %d", f.code)}
}

// What real LVM printed (2.03.16), warnings included.
func TestRefusals(t *testing.T) {
	sentinels := []error{lvm.ErrNotFound, lvm.ErrExists, lvm.ErrNoSpace, lvm.ErrNoMetadataSpace, lvm.ErrInUse, lvm.ErrName}
	const missing = "WARNING: Couldn't find device with uuid QDdBOQ-pVpe-HIaD-rYwc-2lEo-qThF-dkpR8L.\n"
	for _, c := range []struct {
		code   int
		stderr string
		want   error
	}{
		{5, `Failed to find logical volume "vg/none"`, lvm.ErrNotFound},
		{5, missing + `  Failed to find logical volume "vg/none"`, lvm.ErrNotFound},
		{5, "Volume group \"novg\" not found\n  Cannot process volume group novg", lvm.ErrNotFound},
		{5, "Snapshot origin LV nobase not found in Volume group vg.", lvm.ErrNotFound},
		{5, "Pool nopool not found in Volume group vg.", lvm.ErrNotFound},
		{5, "Logical volume none not found in volume group vg.", lvm.ErrNotFound},
		{5, `Existing logical volume "none" not found in volume group "vg"`, lvm.ErrNotFound},
		{5, `Logical Volume "layer" already exists in volume group "vg"`, lvm.ErrExists},
		{5, "Insufficient free space: 2360 extents needed, but only 224 available", lvm.ErrNoSpace},
		{5, "Cannot create new thin volume, free space in thin pool vg/pool reached threshold.", lvm.ErrNoSpace},
		{5, "WARNING: Remaining free space in metadata of thin pool vg2/pool is too low (96.29% >= 75.00%). Resize is recommended.\n" +
			"  Cannot create new thin volume, free space in thin pool vg2/pool reached threshold.", lvm.ErrNoMetadataSpace},
		{5, "Cannot send messages to thin pool vg2-pool-tpool (254:2) with read only metadata.\n" +
			"  Failed to suspend vg2/pool with queued messages.\n  Failed to update pool vg2/pool.", lvm.ErrNoMetadataSpace},
		{5, "Logical volume vg/layer in use.", lvm.ErrInUse},
		{5, "Logical volume HostVG/Node-4.5.1-1+1 contains a filesystem in use.", lvm.ErrInUse},
		{5, "Logical volume HostVG/var is used by another device.", lvm.ErrInUse},
		{5, "/dev/vg/lvol0: not found: device not cleared\n  Aborting. Failed to wipe start of new LV.", nil},
		{5, missing + "  Refusing activation of partial LV vg2/a.  Use '--activationmode partial' to override.", nil},
		{5, "", nil},
		{3, "Logical volume vg/layer in use.", nil},
		{-1, "", nil},
	} {
		err := lvm.New(failing{c.code, c.stderr}).Remove(t.Context(), "vg", "a")
		var failed *run.Error
		if !errors.As(err, &failed) || failed.Code != c.code {
			t.Errorf("error for %q = %v; want the process's in it", c.stderr, err)
		}
		for _, s := range sentinels {
			if errors.Is(err, s) != (s == c.want) {
				t.Errorf("error for %q = %v; want %v alone", c.stderr, err, c.want)
			}
		}
	}
}

// "Is so already" is forgiven only when LVM complains of nothing else.
func TestSettledIsNoError(t *testing.T) {
	const same = "New size (25 extents) matches existing size (25 extents)."
	for _, c := range []struct {
		f    failing
		want bool
	}{
		{failing{5, same}, true},
		{failing{5, "WARNING: something.\n  " + same}, true},
		{failing{5, "New size given (1 extents) not larger than existing size (25 extents)"}, true},
		{failing{5, same + "\n  Failed to suspend vg/a."}, false},
		{failing{5, "WARNING: something."}, false},
		{failing{5, ""}, false},
		{failing{3, same}, false},
	} {
		if err := lvm.New(c.f).Extend(t.Context(), "vg", "a", 1); (err == nil) != c.want {
			t.Errorf("Extend with %+v = %v; want success %v", c.f, err, c.want)
		}
	}
}

// Names that would mean something else to LVM start no process.
func TestHostileNamesStartNothing(t *testing.T) {
	m := lvmtest.New(t.Errorf)
	c := lvm.New(m)
	ctx := t.Context()
	for _, name := range []string{"", "-f", "--config=x", "@tag", "a b", "..", "a/b", "a\n"} {
		for verb, err := range map[string]error{
			"CreateThin":      c.CreateThin(ctx, lvm.Thin{VG: "vg", Pool: "pool", Name: name, Size: 1}),
			"CreateThin pool": c.CreateThin(ctx, lvm.Thin{VG: "vg", Pool: name, Name: "a", Size: 1}),
			"CreateThin vg":   c.CreateThin(ctx, lvm.Thin{VG: name, Pool: "pool", Name: "a", Size: 1}),
			"Snapshot":        c.Snapshot(ctx, lvm.Snap{VG: "vg", Origin: "a", Name: name}),
			"Snapshot origin": c.Snapshot(ctx, lvm.Snap{VG: "vg", Origin: name, Name: "a"}),
			"Revert":          c.Revert(ctx, "vg", name),
			"Revert vg":       c.Revert(ctx, name, "a"),
			"Remove":          c.Remove(ctx, "vg", "a", name),
			"Remove vg":       c.Remove(ctx, name, "a"),
			"Rename from":     c.Rename(ctx, "vg", name, "a"),
			"Rename to":       c.Rename(ctx, "vg", "a", name),
			"Seal":            c.Seal(ctx, "vg", name),
			"Unseal":          c.Unseal(ctx, "vg", name),
			"ChangeVGTags":    c.ChangeVGTags(ctx, name, []string{"x"}, nil),
			"ChangeLVTags":    c.ChangeLVTags(ctx, lvm.Retag{VG: "vg", Name: name, Add: []string{"x"}}),
			"Extend":          c.Extend(ctx, "vg", name, 1),
			"ExtendMetadata":  c.ExtendMetadata(ctx, "vg", name, 1),
			"SetProfile":      c.SetProfile(ctx, "vg", "pool", name),
		} {
			if !errors.Is(err, lvm.ErrName) {
				t.Errorf("%s of %q = %v; want ErrName", verb, name, err)
			}
		}
	}
	if got := m.Started(); len(got) != 0 {
		t.Errorf("started %q; want nothing", got)
	}
}

// The number of processes is the cost of LVM.
func TestProcesses(t *testing.T) {
	m := lvmtest.New(t.Errorf)
	m.AddVG(lvm.VG{Name: "vg", PVs: []string{"/dev/vda", "/dev/vdb"}})
	for _, lv := range []lvm.LV{{VG: "vg", Name: "pool", ThinPool: true, Size: 1 << 30}, {VG: "vg", Name: "a", Pool: "pool", Size: 1 << 20, Active: true}} {
		if err := m.AddLV(lv); err != nil {
			t.Fatal(err)
		}
	}
	c, ctx := lvm.New(m), t.Context()
	for _, step := range []struct {
		name string
		want int
		do   func() error
	}{
		{"Report", 1, func() error { _, err := c.Report(ctx); return err }},
		{"Snapshot", 1, func() error {
			return c.Snapshot(ctx, lvm.Snap{VG: "vg", Origin: "a", Name: "b", Tags: []string{"x", "y"}, Active: true})
		}},
		{"ChangeVGTags", 1, func() error { return c.ChangeVGTags(ctx, "vg", []string{"x", "y"}, []string{"z"}) }},
		{"ChangeVGTags of none", 0, func() error { return c.ChangeVGTags(ctx, "vg", nil, nil) }},
		{"ChangeLVTags of none", 0, func() error { return c.ChangeLVTags(ctx, lvm.Retag{VG: "vg", Name: "a"}) }},
		{"Flush", 1, func() error { return c.Flush(ctx, "/dev/vda", "/dev/vdb") }},
		{"Flush of none", 0, func() error { return c.Flush(ctx) }},
		{"Seal", 2, func() error { return c.Seal(ctx, "vg", "a") }},
		{"Unseal", 2, func() error { return c.Unseal(ctx, "vg", "a") }},
		{"Revert", 1, func() error { return c.Revert(ctx, "vg", "b") }},
		{"Snapshot again", 1, func() error { return c.Snapshot(ctx, lvm.Snap{VG: "vg", Origin: "a", Name: "b"}) }},
		{"Remove", 1, func() error { return c.Remove(ctx, "vg", "a", "b") }},
		{"Remove of none", 0, func() error { return c.Remove(ctx, "vg") }},
	} {
		before := len(m.Started())
		if err := step.do(); err != nil {
			t.Errorf("%s = %v; want no error", step.name, err)
		}
		if got := len(m.Started()) - before; got != step.want {
			t.Errorf("%s started %d processes; want %d", step.name, got, step.want)
		}
	}
}

func TestErrorsReadWell(t *testing.T) {
	err := lvm.New(failing{5, `Logical Volume "b" already exists in volume group "vg"`}).Snapshot(t.Context(), lvm.Snap{VG: "vg", Origin: "a", Name: "b"})
	const want = `snapshot a as b: volume exists already: lvcreate: Logical Volume "b" already exists in volume group "vg"`
	if err == nil || err.Error() != want {
		t.Errorf("error = %v; want %s", err, want)
	}
	err = lvm.New(failing{5, "x"}).Remove(t.Context(), "vg", "a", "b")
	if err == nil || !strings.HasPrefix(err.Error(), "remove volume a, b: ") {
		t.Errorf("error = %v; want the volumes named", err)
	}
}
