package lvm

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"imgbase/internal/run"
)

// Columns of a report. Those of lvNames are LVM's own metadata; for every
// other one LVM asks the kernel about each volume.
const (
	vgColumns = "vg_name,vg_uuid,vg_tags,vg_size,vg_free,vg_extent_size"
	lvNames   = "vg_name,lv_name,lv_uuid,lv_path,lv_dm_path,lv_tags,lv_size,pool_lv,origin,lv_layout"
	lvColumns = lvNames + ",lv_attr,lv_active,lv_permissions,lv_skip_activation,lv_device_open,lv_profile,lv_health_status," +
		"data_percent,metadata_percent,lv_metadata_size,lv_check_needed,lv_when_full"
	none = ","
)

// reportArgs ask for several reports in one process. The plain json format
// has been there since 2.02.158; json_std with its numbers only since 2.03.17.
func reportArgs(lv, seg string) []string {
	return []string{
		"fullreport", "--reportformat", "json", "--units", "b", "--nosuffix", "--ignoreskippedcluster",
		"--configreport", "vg", "--options", vgColumns,
		"--configreport", "pv", "--options", "pv_name",
		"--configreport", "lv", "--options", lv,
		"--configreport", "pvseg", "--options", none,
		"--configreport", "seg", "--options", seg,
	}
}

// Report reads the state of every volume group with one LVM process. The
// chunk size of a pool is known of its segment only.
func (c *Client) Report(ctx context.Context) (Report, error) {
	return c.report(ctx, reportArgs(lvColumns, "lv_uuid,chunk_size"))
}

// Names reads what can be told without asking the kernel about each volume,
// in less time than a bare lvs takes: all of a volume group; of a volume its
// names, tags, size, pool, origin and kind. The rest is zero.
func (c *Client) Names(ctx context.Context) (Report, error) {
	return c.report(ctx, reportArgs(lvNames, none))
}

func (c *Client) report(ctx context.Context, args []string) (Report, error) {
	out, err := c.Runner.Run(ctx, run.Cmd{Name: "lvm", Args: args})
	if err != nil {
		return Report{}, classify("read volumes", err)
	}
	r, err := ParseReport(out.Stdout)
	if err != nil {
		return Report{}, fmt.Errorf("read volumes: %w", err)
	}
	return r, nil
}

// The JSON that LVM prints: one member of report for each volume group, and
// one without a volume group for the physical volumes that belong to none.
// Every value is a string.
type document struct {
	Report []section `json:"report"`
}

type section struct {
	VG  []vgRow  `json:"vg"`
	PV  []pvRow  `json:"pv"`
	LV  []lvRow  `json:"lv"`
	Seg []segRow `json:"seg"`
}

type vgRow struct {
	Name       string `json:"vg_name"`
	UUID       string `json:"vg_uuid"`
	Tags       string `json:"vg_tags"`
	Size       string `json:"vg_size"`
	Free       string `json:"vg_free"`
	ExtentSize string `json:"vg_extent_size"`
}

type pvRow struct {
	Name string `json:"pv_name"`
}

type lvRow struct {
	VG              string `json:"vg_name"`
	Name            string `json:"lv_name"`
	UUID            string `json:"lv_uuid"`
	Path            string `json:"lv_path"`
	DMPath          string `json:"lv_dm_path"`
	Tags            string `json:"lv_tags"`
	Size            string `json:"lv_size"`
	Pool            string `json:"pool_lv"`
	Origin          string `json:"origin"`
	Layout          string `json:"lv_layout"`
	Attr            string `json:"lv_attr"`
	Active          string `json:"lv_active"`
	Permissions     string `json:"lv_permissions"`
	SkipActivation  string `json:"lv_skip_activation"`
	DeviceOpen      string `json:"lv_device_open"`
	Profile         string `json:"lv_profile"`
	Health          string `json:"lv_health_status"`
	DataPercent     string `json:"data_percent"`
	MetadataPercent string `json:"metadata_percent"`
	CheckNeeded     string `json:"lv_check_needed"`
	WhenFull        string `json:"lv_when_full"`

	// MetadataSize is nil in a report of names, which has none of a pool's
	// numbers.
	MetadataSize *string `json:"lv_metadata_size"`
}

type segRow struct {
	LVUUID    string `json:"lv_uuid"`
	ChunkSize string `json:"chunk_size"`
}

// ParseReport reads what LVM printed for [Client.Report] or [Client.Names],
// sorted by name; LVM's own order of volume groups is that of the disks.
// Fields it does not know are passed over; a value that cannot be read is an
// error.
func ParseReport(data []byte) (Report, error) {
	var doc document
	if err := json.Unmarshal(data, &doc); err != nil {
		return Report{}, fmt.Errorf("lvm report: %w", err)
	}
	if doc.Report == nil {
		return Report{}, fmt.Errorf("lvm report: no member \"report\"")
	}
	var r Report
	for _, s := range doc.Report {
		if err := r.add(s); err != nil {
			return Report{}, fmt.Errorf("lvm report: %w", err)
		}
	}
	slices.SortFunc(r.VGs, func(a, b VG) int { return strings.Compare(a.Name, b.Name) })
	slices.SortStableFunc(r.LVs, func(a, b LV) int {
		return cmp.Or(strings.Compare(a.VG, b.VG), strings.Compare(a.Name, b.Name))
	})
	return r, nil
}

func (r *Report) add(s section) error {
	if len(s.VG) == 0 {
		return nil // physical volumes outside any volume group
	}
	if len(s.VG) > 1 {
		return fmt.Errorf("%d volume groups in one section", len(s.VG))
	}
	vg, err := s.VG[0].value()
	if err != nil {
		return err
	}
	for _, p := range s.PV {
		vg.PVs = append(vg.PVs, p.Name)
	}
	r.VGs = append(r.VGs, vg)

	chunks := make(map[string]string, len(s.Seg))
	for _, seg := range s.Seg {
		chunks[seg.LVUUID] = seg.ChunkSize
	}
	for _, row := range s.LV {
		lv, err := row.value(chunks[row.UUID])
		if err != nil {
			return err
		}
		if lv.VG != vg.Name {
			return fmt.Errorf("volume %q of %q reported with volume group %q", lv.Name, lv.VG, vg.Name)
		}
		r.LVs = append(r.LVs, lv)
	}
	return nil
}

func (v vgRow) value() (VG, error) {
	p := parser{subject: fmt.Sprintf("volume group %q", v.Name)}
	vg := VG{
		Name: p.name(v.Name), UUID: v.UUID, Tags: tags(v.Tags),
		Size: p.size("vg_size", v.Size), Free: p.size("vg_free", v.Free),
		ExtentSize: p.size("vg_extent_size", v.ExtentSize),
	}
	return vg, p.err
}

func (l lvRow) value(chunkSize string) (LV, error) {
	p := parser{subject: fmt.Sprintf("volume %q", l.Name)}
	lv := LV{
		VG: l.VG, Name: p.name(l.Name), UUID: l.UUID, Path: l.Path, DMPath: l.DMPath,
		Tags: tags(l.Tags), Size: p.size("lv_size", l.Size),
		Pool: l.Pool, Origin: l.Origin,
		Active: isSet(l.Active), SkipActivation: isSet(l.SkipActivation), Open: isSet(l.DeviceOpen),
		// lvs(8): O is an origin with a merging snapshot, and no other field of
		// the origin tells.
		Merging: strings.HasPrefix(l.Attr, "O"),
		// "unknown" is what LVM says of a writable volume that is inactive.
		ReadOnly: strings.HasPrefix(l.Permissions, "read-only"),
		Profile:  l.Profile, Health: l.Health,
		DataPercent: p.percent("data_percent", l.DataPercent),
	}
	layout := tags(l.Layout)
	switch thin := slices.Contains(layout, "thin"); {
	case thin && slices.Contains(layout, "pool"):
		lv.ThinPool = true
		if l.MetadataSize == nil {
			break
		}
		lv.MetadataPercent = p.percent("metadata_percent", l.MetadataPercent)
		lv.MetadataSize = p.size("lv_metadata_size", *l.MetadataSize)
		lv.ChunkSize = p.size("chunk_size", chunkSize)
		lv.NeedsCheck, lv.WhenFull = isSet(l.CheckNeeded), l.WhenFull
	case thin:
		lv.ThinVolume = true
	}
	return lv, p.err
}

// parser reads values of one row and keeps the first error.
type parser struct {
	subject string
	err     error
}

func (p *parser) fail(field, value, why string) {
	if p.err == nil {
		p.err = fmt.Errorf("%s: %s %.40q: %s", p.subject, field, value, why)
	}
}

func (p *parser) name(s string) string {
	if s == "" {
		p.fail("name", s, "empty")
	}
	return s
}

func (p *parser) size(field, s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		p.fail(field, s, "not a number of bytes")
	}
	return n
}

func (p *parser) percent(field, s string) Percent {
	if s == "" {
		return Percent{}
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(0 <= v && v <= 100) {
		p.fail(field, s, "not a percentage")
	}
	return Percent{Value: v, Known: true}
}

// isSet reads LVM's yes-or-no fields, which hold a word of their own or
// nothing, or numbers with report/binary_values_as_numeric in lvm.conf(5).
func isSet(s string) bool {
	return s != "" && s != "0" && s != "-1" && s != "unknown"
}

func tags(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
