package lvmtest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"imgbase/internal/lvm"
)

// lvmShell is the program lvm with a verb as its first argument.
func (m *Model) lvmShell(args []string) (string, *refusal) {
	if len(args) == 0 {
		m.fail("lvm without a verb reads commands from standard input")
		return "", misuse("no command")
	}
	verb, args := args[0], args[1:]
	if verb == "fullreport" {
		return m.fullreport(args)
	}
	do, known := m.programs()[verb]
	if !known || verb == "lvm" || verb == "sync" {
		m.fail("lvm verb the model does not know: %s", verb)
		return "", &refusal{code: 2, text: "No such command '" + verb + "'.  Try 'help'."}
	}
	return do(args)
}

// columns of the five reports that fullreport joins, as asked for.
type columns map[string][]string

// fullreport prints what was asked for as LVM's json format does: a section
// for each volume group, all values strings.
func (m *Model) fullreport(args []string) (string, *refusal) {
	cols, bad := m.reportColumns(args)
	if bad != nil {
		return "", bad
	}
	sections := []map[string]any{}
	for _, vg := range m.state.VGs {
		s := map[string]any{"vg": m.rows(cols["vg"], vgFields(vg))}
		var pvs, lvs, segs []map[string]string
		for _, pv := range vg.PVs {
			pvs = append(pvs, m.row(cols["pv"], map[string]string{"pv_name": pv}))
		}
		for _, lv := range m.state.LVs {
			if lv.VG == vg.Name {
				lvs = append(lvs, m.row(cols["lv"], lvFields(lv)))
				segs = append(segs, m.row(cols["seg"], map[string]string{"lv_uuid": lv.UUID, "chunk_size": number(lv.ChunkSize)}))
			}
		}
		s["pv"], s["lv"], s["seg"], s["pvseg"] = orEmpty(pvs), orEmpty(lvs), orEmpty(segs), orEmpty(nil)
		sections = append(sections, s)
	}
	text, err := json.Marshal(map[string]any{"report": sections})
	if err != nil {
		return "", refuse("%v", err)
	}
	return string(text) + "\n", nil
}

// reportColumns reads fullreport's arguments, where each --configreport
// decides what the --options after it are about.
func (m *Model) reportColumns(args []string) (columns, *refusal) {
	cols, report := columns{}, ""
	seen := map[string]bool{}
	for i := 0; i < len(args); i++ {
		value := func() string {
			if i++; i < len(args) {
				return args[i]
			}
			return ""
		}
		switch arg := args[i]; arg {
		case "--configreport":
			report = value()
		case "--options":
			cols[report] = strings.FieldsFunc(value(), func(r rune) bool { return r == ',' })
		case "--reportformat", "--units":
			seen[arg+" "+value()] = true
		case "--nosuffix", "--ignoreskippedcluster":
			seen[arg] = true
		default:
			m.fail("fullreport: option the model does not know: %s", arg)
			return nil, misuse("lvm: unrecognized option '%s'", arg)
		}
	}
	for _, needed := range []string{"--reportformat json", "--units b", "--nosuffix"} {
		if !seen[needed] {
			m.fail("fullreport without %s is for people", needed)
		}
	}
	return cols, nil
}

func orEmpty(rows []map[string]string) []map[string]string {
	if rows == nil {
		return []map[string]string{}
	}
	return rows
}

func (m *Model) rows(cols []string, fields map[string]string) []map[string]string {
	return []map[string]string{m.row(cols, fields)}
}

func (m *Model) row(cols []string, fields map[string]string) map[string]string {
	row := map[string]string{}
	for _, c := range cols {
		v, known := fields[c]
		if !known {
			m.fail("fullreport: field the model does not know: %s", c)
		}
		row[c] = v
	}
	return row
}

func vgFields(vg lvm.VG) map[string]string {
	return map[string]string{
		"vg_name": vg.Name, "vg_uuid": vg.UUID, "vg_tags": strings.Join(vg.Tags, ","),
		"vg_size": number(vg.Size), "vg_free": number(vg.Free), "vg_extent_size": number(vg.ExtentSize),
	}
}

// lvFields are the fields of a volume, with LVM's "unknown" where it cannot
// tell without the volume being active.
func lvFields(lv lvm.LV) map[string]string {
	f := map[string]string{
		"vg_name": lv.VG, "lv_name": lv.Name, "lv_uuid": lv.UUID, "lv_path": lv.Path, "lv_dm_path": lv.DMPath,
		"lv_tags": strings.Join(lv.Tags, ","), "lv_size": number(lv.Size), "pool_lv": lv.Pool, "origin": lv.Origin,
		"lv_layout": "linear", "lv_active": word(lv.Active, "active"), "lv_permissions": "writeable",
		"lv_skip_activation": word(lv.SkipActivation, "skip activation"), "lv_device_open": word(lv.Open, "open"),
		"lv_profile": lv.Profile, "lv_health_status": lv.Health,
		"data_percent": percent(lv.DataPercent), "metadata_percent": "", "lv_metadata_size": "",
		"lv_check_needed": "unknown", "lv_when_full": lv.WhenFull, "lv_attr": "V",
	}
	if lv.Merging {
		f["lv_attr"] = "O"
	}
	switch {
	case lv.ThinPool:
		f["lv_layout"], f["lv_check_needed"] = "thin,pool", word(lv.NeedsCheck, "check needed")
		f["lv_metadata_size"], f["metadata_percent"] = number(lv.MetadataSize), percent(lv.MetadataPercent)
	case lv.ThinVolume:
		f["lv_layout"] = "thin,sparse"
	}
	if !lv.Active {
		f["lv_permissions"], f["lv_device_open"] = "unknown", "unknown"
		f["data_percent"], f["metadata_percent"] = "", ""
	}
	if lv.ReadOnly {
		f["lv_permissions"] = "read-only"
	}
	return f
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

func word(on bool, w string) string {
	if on {
		return w
	}
	return ""
}

func percent(p lvm.Percent) string {
	if !p.Known {
		return ""
	}
	return fmt.Sprintf("%.2f", p.Value)
}
