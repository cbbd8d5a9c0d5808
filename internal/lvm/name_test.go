package lvm_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"imgbase/internal/lvm"
)

func TestValidateName(t *testing.T) {
	for _, name := range []string{"a", "ovirt-node-ng-4.5.0-0.20220307.0+1", "_", "+1", ".a", "a..b", "vg", "Snapshot", strings.Repeat("x", lvm.MaxName)} {
		if err := lvm.ValidateName("HostVG", name); err != nil {
			t.Errorf("ValidateName(%q) = %v; want nil", name, err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "-a", "--force", "a/b", "a b", "a\n", "a\x00", "ä", "1.0~rc1", "1.0^git", "@tag", "a,b",
		"snapshot", "snapshot0", "pvmove1", "a_tdata", "x_tmeta_y", "a_mlog", "a_rimage_0", "lvol0_pmspare", "a_vorigin",
		strings.Repeat("x", lvm.MaxName+1), strings.Repeat("x", 1<<20),
	} {
		if err := lvm.ValidateName("HostVG", name); !errors.Is(err, lvm.ErrName) || len(err.Error()) > 200 {
			t.Errorf("ValidateName(%.80q) = %v; want a short ErrName", name, err)
		}
	}
	for _, vg := range []string{"", "-v", "a/b", ".."} {
		if err := lvm.ValidateName(vg, "a"); !errors.Is(err, lvm.ErrName) {
			t.Errorf("ValidateName in group %q = %v; want ErrName", vg, err)
		}
	}
	dashes := "a" + strings.Repeat("-", 54)
	if err := lvm.ValidateName(dashes, dashes); !errors.Is(err, lvm.ErrName) {
		t.Errorf("ValidateName of names that double = %v; want ErrName", err)
	}
}

func TestParseDMName(t *testing.T) {
	for _, c := range []struct {
		in, vg, lv string
		ok         bool
	}{
		{"HostVG-Node--1.0--1+1", "HostVG", "Node-1.0-1+1", true},
		{"vg-root", "vg", "root", true},
		{"my--vg-a", "my-vg", "a", true},
		{"a---b", "a-", "b", true}, // LVM doubles from the left: "a-" and "b"
		{"HostVG-pool00-tpool", "", "", false},
		{"HostVG-pool00_tdata", "HostVG", "pool00_tdata", true},
		{"mpatha", "", "", false},
		{"", "", "", false},
		{"-", "", "", false},
		{"a-", "", "", false},
		{"luks-1b2c-3d", "", "", false},
		{"a b-c", "", "", false},
	} {
		vg, lv, ok := lvm.ParseDMName(c.in)
		if vg != c.vg || lv != c.lv || ok != c.ok {
			t.Errorf("ParseDMName(%q) = %q, %q, %v; want %q, %q, %v", c.in, vg, lv, ok, c.vg, c.lv, c.ok)
		}
	}
}

// Names that neither begin nor end with a dash come back from the name that
// device mapper has for them.
func TestParseDMNameInverts(t *testing.T) {
	name := rapid.StringMatching(`[a-zA-Z0-9+_][a-zA-Z0-9+_.-]{0,30}[a-zA-Z0-9+_]`)
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	rapid.Check(t, func(t *rapid.T) {
		vg, lv := name.Draw(t, "vg"), name.Draw(t, "lv")
		gotVG, gotLV, ok := lvm.ParseDMName(double(vg) + "-" + double(lv))
		if gotVG != vg || gotLV != lv || !ok {
			t.Fatalf("ParseDMName of %q, %q = %q, %q, %v", vg, lv, gotVG, gotLV, ok)
		}
	})
}

func FuzzParseDMName(f *testing.F) {
	f.Add("HostVG-Node--1.0--1+1")
	f.Fuzz(func(t *testing.T, name string) {
		vg, lv, ok := lvm.ParseDMName(name)
		if !ok {
			return
		}
		double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
		if back := double(vg) + "-" + double(lv); back != name {
			t.Errorf("ParseDMName(%q) = %q, %q; joined again %q", name, vg, lv, back)
		}
	})
}
