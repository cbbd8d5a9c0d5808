// Package lvmtest stands in for LVM in tests, and says what LVM does.
//
// A [Model] is an imaginary machine: it interprets the command lines of LVM's
// programs, keeps the state they would leave, and refuses what LVM refuses,
// with its words and its exit codes. It is strict: a program, an option or a
// combination that it does not know is reported as a failure of the test.
// Tests thereby speak of the resulting volumes ([Model.String]), not of
// command lines.
//
// [Suite] is the contract between the model, real LVM and package lvm. Both
// pass it: the model in this package's own tests, real LVM wherever a
// [run.Runner] reaches a machine with device mapper and an empty disk
// ([Real]).
//
// Volumes may have contents: with [Model.Store] set, each thin volume is a
// directory, a snapshot a copy of it.
package lvmtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"imgbase/internal/lvm"
	"imgbase/internal/run"
)

// Model is a machine with LVM, held in memory. It implements [run.Runner].
// The exported fields are set before its first use.
type Model struct {
	// Fail is told of what no test should do: start an unknown program, use
	// an option the model does not know. Usually (*testing.T).Errorf.
	Fail func(format string, args ...any)
	// Fallback runs the programs that are not LVM's; without it they fail.
	Fallback run.Runner
	// Store is a directory where every thin volume is a directory VG/LV;
	// empty for volumes without contents.
	Store string
	// Profiles are the metadata profiles installed on the machine.
	Profiles []string

	mu      sync.Mutex
	state   lvm.Report
	flushed map[string][]string // tags on the disk by "VG" or "VG/LV", see PowerCut
	synced  []string            // devices flushed since the last change of tags
	// merging are the snapshots that become their origins when those are
	// activated next, by "VG/ORIGIN"; nobody else sees them.
	merging   map[string]lvm.LV
	unflushed map[string]bool // those of them that a cut of the power would forget
	started   []string
	serial    int
}

// New returns a machine without volume groups.
func New(fail func(format string, args ...any)) *Model {
	return &Model{Fail: fail, flushed: map[string][]string{}, merging: map[string]lvm.LV{}, unflushed: map[string]bool{}}
}

// AddVG puts a volume group on the machine, as if it had always been there.
// What is zero gets a usual value.
func (m *Model) AddVG(vg lvm.VG) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if vg.ExtentSize == 0 {
		vg.ExtentSize = 4 << 20
	}
	if vg.Size == 0 {
		vg.Size = 64 << 30
	}
	if vg.Free == 0 {
		vg.Free = vg.Size
	}
	if vg.PVs == nil {
		vg.PVs = []string{"/dev/vda3"}
	}
	vg.UUID = m.uuid(vg.UUID)
	vg.Tags = addTags(nil, vg.Tags)
	m.state.VGs = append(m.state.VGs, vg)
	m.settle()
}

// AddLV puts a volume on the machine, as if it had always been there: a thin
// pool if ThinPool is set, a thin volume if Pool is, else a linear one. Names
// and sizes are needed, the rest gets usual values. With a store, a thin
// volume gets an empty directory.
func (m *Model) AddLV(lv lvm.LV) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	vg := m.vg(lv.VG)
	if vg == nil {
		return fmt.Errorf("volume group %q: %w", lv.VG, lvm.ErrNotFound)
	}
	lv.ThinVolume = lv.Pool != ""
	if lv.ThinPool {
		lv = usualPool(lv)
		vg.Free -= min(vg.Free, lv.Size+2*lv.MetadataSize) // the spare metadata volume is as large
	} else if !lv.ThinVolume {
		vg.Free -= min(vg.Free, lv.Size)
	}
	m.insert(lv)
	m.settle()
	return m.makeDir(lv)
}

func usualPool(lv lvm.LV) lvm.LV {
	lv.Active, lv.Open = true, true
	if lv.MetadataSize == 0 {
		lv.MetadataSize = 64 << 20
	}
	if lv.ChunkSize == 0 {
		lv.ChunkSize = 64 << 10
	}
	if lv.WhenFull == "" {
		lv.WhenFull = "queue"
	}
	if !lv.DataPercent.Known {
		lv.DataPercent = lvm.Percent{Known: true}
	}
	if !lv.MetadataPercent.Known {
		lv.MetadataPercent = lvm.Percent{Value: 10, Known: true}
	}
	return lv
}

// SetOpen makes a volume be in use, as a mount does, or ends that.
func (m *Model) SetOpen(vg, name string, open bool) {
	m.change(vg, name, func(lv *lvm.LV) { lv.Open = open })
}

// Hold makes a volume be in use until release is called, whatever its name
// is by then.
func (m *Model) Hold(vg, name string) (release func()) {
	var uuid string
	m.change(vg, name, func(lv *lvm.LV) { lv.Open, uuid = true, lv.UUID })
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		for i := range m.state.LVs {
			if m.state.LVs[i].UUID == uuid {
				m.state.LVs[i].Open = false
			}
		}
	}
}

// SetUsage makes a volume or pool be full to that share, in percent.
func (m *Model) SetUsage(vg, name string, data, metadata float64) {
	m.change(vg, name, func(lv *lvm.LV) {
		lv.DataPercent = lvm.Percent{Value: data, Known: true}
		if lv.ThinPool {
			lv.MetadataPercent = lvm.Percent{Value: metadata, Known: true}
		}
	})
}

func (m *Model) change(vg, name string, f func(*lvm.LV)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lv := m.lv(vg, name)
	if lv == nil {
		m.fail("no volume %s/%s in the model", vg, name)
		return
	}
	f(lv)
}

// Reboot closes every volume and activates those that are not skipped.
func (m *Model) Reboot() {
	m.mu.Lock()
	defer m.mu.Unlock()
	var origins []string
	for i := range m.state.LVs {
		lv := &m.state.LVs[i]
		lv.Active = !lv.SkipActivation
		lv.Open = lv.ThinPool
		if lv.Active && lv.Merging {
			origins = append(origins, lv.Name)
		}
	}
	for _, vg := range m.state.VGs {
		for _, name := range origins {
			m.exchange(vg.Name, name)
		}
	}
}

// PowerCut is [Model.Reboot] after losing what LVM had not brought to the
// disk. Measured: creating, removing, renaming and changing the permission of
// a volume flush the disk, because device mapper does; a change of tags alone
// does not, and is lost unless its physical volumes were synced. Nor is a
// delayed merge: LVM only notes it.
func (m *Model) PowerCut() {
	m.mu.Lock()
	m.forget()
	for i, vg := range m.state.VGs {
		m.state.VGs[i].Tags = slices.Clone(m.flushed[vg.Name])
	}
	for i, lv := range m.state.LVs {
		m.state.LVs[i].Tags = slices.Clone(m.flushed[lv.VG+"/"+lv.Name])
	}
	m.mu.Unlock()
	m.Reboot()
}

// State returns what [lvm.Client.Report] would.
func (m *Model) State() lvm.Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := lvm.Report{VGs: slices.Clone(m.state.VGs), LVs: slices.Clone(m.state.LVs)}
	for i := range r.LVs {
		r.LVs[i].Tags = slices.Clone(r.LVs[i].Tags)
	}
	for i := range r.VGs {
		r.VGs[i].Tags, r.VGs[i].PVs = slices.Clone(r.VGs[i].Tags), slices.Clone(r.VGs[i].PVs)
	}
	return r
}

// Started returns the command lines of all programs started so far, those of
// the fallback included.
func (m *Model) Started() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.started)
}

// String is the state as text, a line each for volume groups and volumes,
// sorted: the same state is the same text. Identifiers and the room taken are
// left out.
func (m *Model) String() string {
	r := m.State()
	var lines []string
	for _, vg := range r.VGs {
		lines = append(lines, vg.Name+" vg"+tagText(vg.Tags))
	}
	for _, lv := range r.LVs {
		lines = append(lines, lvText(lv))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

func lvText(lv lvm.LV) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%s %d", lv.VG, lv.Name, lv.Size)
	for _, f := range []struct {
		text string
		on   bool
	}{
		{"pool", lv.ThinPool},
		{fmt.Sprintf("metadata=%d", lv.MetadataSize), lv.ThinPool},
		{"thin=" + lv.Pool, lv.ThinVolume},
		{"origin=" + lv.Origin, lv.Origin != ""},
		{"profile=" + lv.Profile, lv.Profile != ""},
		{"ro", lv.ReadOnly},
		{"skip", lv.SkipActivation},
		{"active", lv.Active},
		{"open", lv.Open && !lv.ThinPool},
		{"merging", lv.Merging},
	} {
		if f.on {
			b.WriteString(" " + f.text)
		}
	}
	return b.String() + tagText(lv.Tags)
}

func tagText(tags []string) string {
	if len(tags) == 0 {
		return ""
	}
	return " [" + strings.Join(tags, " ") + "]"
}

// Run implements [run.Runner].
func (m *Model) Run(ctx context.Context, c run.Cmd) (run.Output, error) {
	m.mu.Lock()
	m.started = append(m.started, c.String())
	if ctx.Err() != nil {
		m.mu.Unlock()
		return run.Output{}, &run.Error{Cmd: c, Code: -1, Err: context.Cause(ctx)}
	}
	do, known := m.programs()[c.Name]
	if !known {
		m.mu.Unlock()
		return m.fallback(ctx, c)
	}
	defer m.mu.Unlock()
	out, refused := do(c.Args)
	if refused == nil {
		return run.Output{Stdout: []byte(out)}, nil
	}
	stderr := []byte("  " + refused.text + "\n")
	return run.Output{Stdout: []byte(out), Stderr: stderr}, &run.Error{
		Cmd: c, Code: refused.code, Stderr: refused.text, Err: fmt.Errorf("exit status %d", refused.code),
	}
}

func (m *Model) fallback(ctx context.Context, c run.Cmd) (run.Output, error) {
	if m.Fallback != nil {
		return m.Fallback.Run(ctx, c)
	}
	m.fail("program the model does not know: %s", c)
	return run.Output{}, &run.Error{Cmd: c, Code: -1, Err: fmt.Errorf("executable file not found in $PATH")}
}

func (m *Model) programs() map[string]func([]string) (string, *refusal) {
	return map[string]func([]string) (string, *refusal){
		"lvm": m.lvmShell, "lvcreate": m.lvcreate, "lvremove": m.lvremove, "lvrename": m.lvrename,
		"lvchange": m.lvchange, "lvextend": m.lvextend, "vgchange": m.vgchange, "sync": m.sync,
		"lvconvert": m.lvconvert,
	}
}

// refusal is a program's failure: its exit code and what it says.
type refusal struct {
	code int
	text string
}

func refuse(format string, args ...any) *refusal {
	return &refusal{code: 5, text: fmt.Sprintf(format, args...)}
}

// misuse is a command line that LVM does not understand.
func misuse(format string, args ...any) *refusal {
	return &refusal{code: 3, text: fmt.Sprintf(format, args...)}
}

func (m *Model) fail(format string, args ...any) {
	if m.Fail != nil {
		m.Fail("lvmtest: "+format, args...)
	}
}
