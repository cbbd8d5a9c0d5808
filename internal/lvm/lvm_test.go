package lvm_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/lvm"
)

func capture(t testing.TB, name string) lvm.Report {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := lvm.ParseReport(data)
	if err != nil {
		t.Fatalf("ParseReport(%s) = %v; want a report", name, err)
	}
	return r
}

func lvOf(t *testing.T, r lvm.Report, vg, name string) lvm.LV {
	t.Helper()
	lv, ok := r.LV(vg, name)
	if !ok {
		t.Fatalf("LV(%s, %s) is missing", vg, name)
	}
	lv.UUID = "" // random
	return lv
}

func names[T any](all []T, name func(T) string) []string {
	var got []string
	for _, v := range all {
		got = append(got, name(v))
	}
	return got
}

func TestReportOfHost(t *testing.T) {
	r := capture(t, "host")
	if got, want := names(r.VGs, func(v lvm.VG) string { return v.Name }), []string{"HostVG", "other"}; !cmp.Equal(got, want) {
		t.Errorf("VGs = %v; want %v", got, want)
	}
	vg, _ := r.VG("HostVG")
	vg.UUID = ""
	want := lvm.VG{
		Name: "HostVG", Tags: []string{"imgbased:txn:update:Node-4.5.1-1", "imgbased:vg"},
		Size: 532676608, Free: 167772160, ExtentSize: 4 << 20, PVs: []string{"/dev/ubda"},
	}
	if d := cmp.Diff(want, vg); d != "" {
		t.Errorf("VG(HostVG) differs (-want +got):\n%s", d)
	}
	for _, want := range []lvm.LV{
		{
			VG: "HostVG", Name: "root", Path: "/dev/HostVG/root", DMPath: "/dev/mapper/HostVG-root", Tags: []string{"imgbased:init"},
			Size: 100 << 20, Pool: "pool00", ThinVolume: true, Active: true, Open: true, DataPercent: lvm.Percent{Value: 30, Known: true},
		},
		{
			VG: "HostVG", Name: "Node-4.5.1-1", Path: "/dev/HostVG/Node-4.5.1-1", DMPath: "/dev/mapper/HostVG-Node--4.5.1--1",
			Tags: []string{"imgbased:base", "x/=!:&#"}, Size: 100 << 20, Pool: "pool00", Origin: "root",
			ThinVolume: true, ReadOnly: true, SkipActivation: true,
		},
		{
			VG: "HostVG", Name: "Node-4.5.1-1+1", Path: "/dev/HostVG/Node-4.5.1-1+1", DMPath: "/dev/mapper/HostVG-Node--4.5.1--1+1",
			Tags: []string{"imgbased:layer"}, Size: 100 << 20, Pool: "pool00", Origin: "Node-4.5.1-1",
			ThinVolume: true, Active: true, DataPercent: lvm.Percent{Value: 30, Known: true},
		},
		{
			VG: "HostVG", Name: "pool00", DMPath: "/dev/mapper/HostVG-pool00", Tags: []string{"imgbased:pool"}, Size: 300 << 20,
			ThinPool: true, Active: true, Open: true, Profile: "imgbased-pool", WhenFull: "queue", MetadataSize: 4 << 20, ChunkSize: 64 << 10,
			DataPercent: lvm.Percent{Value: 10, Known: true}, MetadataPercent: lvm.Percent{Value: 11.23, Known: true},
		},
		{
			VG: "HostVG", Name: "swap", Path: "/dev/HostVG/swap", DMPath: "/dev/mapper/HostVG-swap", Size: 32 << 20, Active: true, Open: true,
		},
	} {
		if d := cmp.Diff(want, lvOf(t, r, want.VG, want.Name)); d != "" {
			t.Errorf("LV(%s) differs (-want +got):\n%s", want.Name, d)
		}
	}
}

func TestReportOfTroubledMachines(t *testing.T) {
	for name, want := range map[string]int{"empty": 0, "orphan": 0, "novolumes": 1} {
		if r := capture(t, name); len(r.VGs) != want || len(r.LVs) != 0 {
			t.Errorf("%s: %d volume groups, %d volumes; want %d, 0", name, len(r.VGs), len(r.LVs), want)
		}
	}
	mounted := lvOf(t, capture(t, "mounted"), "HostVG", "Node-4.5.1-1+1")
	if !mounted.Open || !mounted.Active || !mounted.ReadOnly || !mounted.SkipActivation {
		t.Errorf("mounted volume = %+v; want open, active, read-only, skipped", mounted)
	}
	full := lvOf(t, capture(t, "metadata-full"), "vg2", "pool")
	if full.Health != "metadata_read_only" || full.MetadataPercent != (lvm.Percent{Value: 100, Known: true}) || full.DataPercent.Value != 86.21 {
		t.Errorf("full pool = %+v; want read-only metadata, 100 %%, 86.21 %%", full)
	}
	missing := capture(t, "disk-missing")
	if vg, _ := missing.VG("vg2"); !cmp.Equal(vg.PVs, []string{"/dev/ubda", "[unknown]"}) {
		t.Errorf("PVs = %v; want one unknown", vg.PVs)
	}
	if p := lvOf(t, missing, "vg2", "pool"); p.Health != "partial" || p.DataPercent.Known || p.Active {
		t.Errorf("pool = %+v; want partial, inactive, its use unknown", p)
	}
}

func TestReportLookups(t *testing.T) {
	r := capture(t, "host")
	lvName := func(l lvm.LV) string { return l.Name }
	for _, c := range []struct {
		about     string
		got, want []string
	}{
		{
			"LVsWithTag", names(r.LVsWithTag("HostVG", "imgbased:base", "imgbased:layer"), lvName),
			[]string{"Node-4.5.0-0.2022", "Node-4.5.0-0.2022+1", "Node-4.5.1-1", "Node-4.5.1-1+1"},
		},
		{"LVsWithTag elsewhere", names(r.LVsWithTag("other", "imgbased:base"), lvName), nil},
		{"LVsIn", names(r.LVsIn("other"), lvName), []string{"data"}},
		{"VGsWithTag", names(r.VGsWithTag("imgbased:vg"), func(v lvm.VG) string { return v.Name }), []string{"HostVG"}},
	} {
		if !cmp.Equal(c.got, c.want) {
			t.Errorf("%s = %v; want %v", c.about, c.got, c.want)
		}
	}
	for _, lv := range r.LVs {
		if got, ok := r.Device(lv.DMPath); !ok || got.UUID != lv.UUID {
			t.Errorf("Device(%q) = %q, %v; want %q", lv.DMPath, got.Name, ok, lv.Name)
		}
	}
	for _, name := range []string{"", "HostVG", "HostVG-pool00-tpool", "HostVG-none", "sda1"} {
		if lv, ok := r.Device(name); ok {
			t.Errorf("Device(%q) = %q; want none", name, lv.Name)
		}
	}
}
