package lvm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/lvm"
)

const okVG = `"vg":[{"vg_name":"v","vg_tags":"","vg_size":"1","vg_free":"1","vg_extent_size":"1"}]`

func TestParseReportRefuses(t *testing.T) {
	section := func(s string) string { return `{"report":[{` + s + `}]}` }
	lv := func(fields string) string {
		return section(okVG + `,"lv":[{"vg_name":"v","lv_name":"a",` + fields + `}]`)
	}
	for _, c := range []struct{ name, in, want string }{
		{"nothing", "", "unexpected end"},
		{"truncated", `{"report":[{` + okVG, "unexpected end"},
		{"not JSON", "  WARNING: Running as a non-root user.", "invalid character"},
		{"two documents", `{"report":[]}{"report":[]}`, "after top-level value"},
		{"no report", `{}`, "no member"},
		{"null", `null`, "no member"},
		{"numbers", section(`"vg":[{"vg_name":"v","vg_size":1}]`), "cannot unmarshal number"},
		{"two groups", section(`"vg":[{},{}]`), "2 volume groups"},
		{"nameless group", section(`"vg":[{"vg_size":"1","vg_free":"1","vg_extent_size":"1"}]`), "name"},
		{"size with unit", section(`"vg":[{"vg_name":"v","vg_size":"1.00g","vg_free":"1","vg_extent_size":"1"}]`), "not a number of bytes"},
		{"negative size", lv(`"lv_size":"-1"`), "not a number of bytes"},
		{"enormous size", lv(`"lv_size":"18446744073709551616"`), "not a number of bytes"},
		{"no size", lv(`"lv_layout":"linear"`), "not a number of bytes"},
		{"comma decimal", lv(`"lv_size":"1","data_percent":"1,5"`), "not a percentage"},
		{"not a number", lv(`"lv_size":"1","data_percent":"NaN"`), "not a percentage"},
		{"negative", lv(`"lv_size":"1","data_percent":"-1"`), "not a percentage"},
		{"too full", lv(`"lv_size":"1","data_percent":"100.01"`), "not a percentage"},
		{"pool without chunk size", lv(`"lv_size":"1","lv_layout":"thin,pool","lv_metadata_size":"1"`), "chunk_size"},
		{"pool without metadata size", lv(`"lv_size":"1","lv_layout":"thin,pool","lv_metadata_size":""`), "lv_metadata_size"},
		{"foreign volume", section(okVG + `,"lv":[{"vg_name":"w","lv_name":"a","lv_size":"1"}]`), `of "w"`},
		{"deep", strings.Repeat("[", 1<<20), "exceeded max depth"},
	} {
		if r, err := lvm.ParseReport([]byte(c.in)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ParseReport(%s) = %+v, %v; want an error with %q", c.name, r, err, c.want)
		}
	}
}

// report/binary_values_as_numeric in lvm.conf(5) turns words into numbers.
func TestParseReportNumericBinaries(t *testing.T) {
	in := `{"report":[{` + okVG + `,"lv":[
		{"vg_name":"v","lv_name":"a","lv_size":"1","lv_skip_activation":"1","lv_device_open":"0"},
		{"vg_name":"v","lv_name":"b","lv_size":"1","lv_skip_activation":"0","lv_device_open":"-1"}]}],"log":[]}`
	r, err := lvm.ParseReport([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	a, b := r.LVs[0], r.LVs[1]
	if !a.SkipActivation || a.Open || b.SkipActivation || b.Open {
		t.Errorf("ParseReport = %+v; want a skipped, none open", r.LVs)
	}
}

func FuzzParseReport(f *testing.F) {
	captures, err := filepath.Glob("testdata/*.json")
	if err != nil || len(captures) == 0 {
		f.Fatal("no captures to start from")
	}
	for _, c := range captures {
		data, err := os.ReadFile(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := lvm.ParseReport(data)
		if err != nil && (len(r.VGs) > 0 || len(r.LVs) > 0) {
			t.Errorf("ParseReport = %+v with error %v; want one of them", r, err)
		}
		for _, lv := range r.LVs {
			if _, ok := r.VG(lv.VG); !ok || lv.Name == "" || lv.ThinPool && lv.ThinVolume {
				t.Errorf("volume %+v; want a name, a group that is reported, one kind", lv)
			}
			if p := lv.DataPercent; !(0 <= p.Value && p.Value <= 100) || !p.Known && p.Value != 0 {
				t.Errorf("data percent %+v; want 0 to 100", p)
			}
		}
	})
}
