package host_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"imgbase/internal/boot"
	"imgbase/internal/durable"
	"imgbase/internal/filesystem"
	"imgbase/internal/host"
	"imgbase/internal/host/hosttest"
	"imgbase/internal/image"
	"imgbase/internal/layout"
	"imgbase/internal/lvm"
	"imgbase/internal/nvr"
	"imgbase/internal/rootfs"
	"imgbase/internal/txn"
)

// do is a verb's plan, as a row of the table below asks for it.
type do func(ctx context.Context, on *host.Host) (*host.Change, error)

// refusal is a row: how the host is, what is asked, and what the answer is.
type refusal struct {
	name  string
	ready func(t testing.TB) *hosttest.Host // nil: taken over, running its first layer
	is    func(h *hosttest.Host) do         // makes the host what it is, and returns the verb
	want  error
}

func initAs(name string) do {
	return func(ctx context.Context, on *host.Host) (*host.Change, error) { return on.PlanInit(ctx, name, "") }
}

func initFrom(from string) do {
	return func(ctx context.Context, on *host.Host) (*host.Change, error) {
		return on.PlanInit(ctx, "node-1.0-1", from)
	}
}

func updateTo(path string) do {
	return func(ctx context.Context, on *host.Host) (*host.Change, error) {
		return on.PlanUpdate(ctx, host.UpdateOptions{Image: path, Keep: 2})
	}
}

func layerOn(name string) do {
	return func(ctx context.Context, on *host.Host) (*host.Change, error) { return on.PlanLayer(ctx, name) }
}

func addBase(o host.BaseOptions) do {
	return func(ctx context.Context, on *host.Host) (*host.Change, error) { return on.PlanBase(ctx, o) }
}

func removeBase(name string) do {
	return func(ctx context.Context, on *host.Host) (*host.Change, error) { return on.PlanRemove(ctx, name) }
}

func rollbackTo(name string) do {
	return func(ctx context.Context, on *host.Host) (*host.Change, error) {
		return on.PlanRollback(ctx, host.RollbackOptions{To: name})
	}
}

func bootBy(name string) do {
	return func(ctx context.Context, on *host.Host) (*host.Change, error) { return on.PlanDefault(ctx, name) }
}

// always is a verb on a host that is as it is.
func always(d do) func(*hosttest.Host) do { return func(*hosttest.Host) do { return d } }

// after is a verb on a host that something has been done to.
func after(change func(h *hosttest.Host), d do) func(*hosttest.Host) do {
	return func(h *hosttest.Host) do { change(h); return d }
}

// volume adds a volume to the host.
func volume(h *hosttest.Host, lv lvm.LV) {
	h.T.Helper()
	lv.VG, lv.Size = hosttest.VG, hosttest.GiB
	h.Must(nil, h.LVM.AddLV(lv))
}

func fresh(t testing.TB) *hosttest.Host { return hosttest.New(t) }

// updated runs its first layer; another boots next.
func updated(t testing.TB) *hosttest.Host {
	t.Helper()
	h := taken(t)
	h.Must(h.Update(h.Image("node-1.1-1", nil)))
	return h
}

func refusals() []refusal {
	var rows []refusal
	for _, some := range [][]refusal{hostRefusals(), nameRefusals(), imageRefusals(), poolRefusals(), bootRefusals(), choiceRefusals()} {
		rows = append(rows, some...)
	}
	return rows
}

// hostRefusals are hosts that cannot be worked on at all.
func hostRefusals() []refusal {
	plain := func(h *hosttest.Host) { volume(h, lvm.LV{Name: "plain"}) }
	noLVM := func(h *hosttest.Host) { h.SetMount("/", "/dev/sda1", "ext4") }
	noVar := func(h *hosttest.Host) { h.SetMount("/var", "", "") }
	noBoot := func(h *hosttest.Host) { h.SetMount("/boot", "", "") }
	image := func(h *hosttest.Host) string { return h.Image("node-1.1-1", nil) }
	return []refusal{
		{"no LVM", fresh, after(noLVM, initAs("node-1.0-1")), host.ErrNotLVM},
		{"no root at all", fresh, after(func(h *hosttest.Host) { h.SetMount("/", "", "") }, initAs("node-1.0-1")), host.ErrNotLVM},
		{"root not thin", fresh, after(func(h *hosttest.Host) {
			plain(h)
			h.SetMount("/", "/dev/mapper/HostVG-plain", "ext4")
		}, initAs("node-1.0-1")), host.ErrNotThin},
		{"root on btrfs", fresh, after(func(h *hosttest.Host) {
			h.SetMount("/", "/dev/mapper/HostVG-root", "btrfs")
		}, initAs("node-1.0-1")), filesystem.ErrUnsupported},
		{"/var on the root, init", fresh, after(noVar, initAs("node-1.0-1")), host.ErrVarNotSeparate},
		{"/var on the root, update", nil, func(h *hosttest.Host) do { noVar(h); return updateTo(image(h)) }, host.ErrVarNotSeparate},
		{"/boot on the root", fresh, after(noBoot, initAs("node-1.0-1")), host.ErrBoot},
		{"/boot on the root, layer", nil, after(noBoot, layerOn("")), host.ErrBoot},
		{"taken over before", nil, always(initAs("node-2.0-1")), host.ErrInitialized},
		{"source missing", fresh, always(initFrom("HostVG/nothing")), host.ErrNotLVM},
		{"source a directory", fresh, always(initFrom("/etc")), host.ErrNotLVM},
		{"source a plain volume", fresh, after(plain, initFrom("HostVG/plain")), host.ErrNotThin},
		{"source without a file system", fresh, after(func(h *hosttest.Host) {
			volume(h, lvm.LV{Name: "data", Pool: hosttest.Pool, Active: true})
		}, initFrom("HostVG/data")), filesystem.ErrUnknown},
		{"source without a file system, not active", fresh, after(func(h *hosttest.Host) {
			volume(h, lvm.LV{Name: "data", Pool: hosttest.Pool})
		}, initFrom("HostVG/data")), filesystem.ErrUnknown},
		{"source without a system", fresh, func(h *hosttest.Host) do {
			h.Install("data", h.T.TempDir(), false)
			return initFrom("HostVG/data")
		}, rootfs.ErrNoSystem},
		{"source mounted, without a system", fresh, after(func(h *hosttest.Host) {}, initFrom("/var")), rootfs.ErrNoSystem},
		{"source of another machine", fresh, func(h *hosttest.Host) do {
			h.Install("data", h.Image("data-1.0-1", map[string]string{hosttest.InitProgram: h.ForeignProgram()}), true)
			return initFrom("/dev/HostVG/data")
		}, host.ErrArch},
		{"source without modules for the kernels", fresh, func(h *hosttest.Host) do {
			dir := h.Image("data-1.0-1", nil)
			h.Must(nil, os.RemoveAll(dir+"/usr/lib/modules"))
			h.Install("data", dir, true)
			return initFrom("HostVG/data")
		}, host.ErrNoKernel},
		{"source in another group", fresh, after(func(h *hosttest.Host) {
			h.LVM.AddVG(lvm.VG{Name: "OtherVG", PVs: []string{"/dev/vdb1"}})
			h.Must(nil, h.LVM.AddLV(lvm.LV{VG: "OtherVG", Name: "data", Size: hosttest.GiB}))
		}, initFrom("OtherVG/data")), host.ErrPool},
		{"update before init", fresh, func(h *hosttest.Host) do { return updateTo(image(h)) }, host.ErrNoLayout},
		{"layer before init", fresh, always(layerOn("")), host.ErrNoLayout},
		{"base before init", fresh, always(addBase(host.BaseOptions{NVR: "node-1.0-1", Size: hosttest.GiB})), host.ErrNoLayout},
		{"remove before init", fresh, always(removeBase("node-1.0-1")), host.ErrNoLayout},
		{"rollback before init", fresh, always(rollbackTo("")), host.ErrNoLayout},
		{"tags in another group only", fresh, after(func(h *hosttest.Host) {
			h.LVM.AddVG(lvm.VG{Name: "OtherVG", PVs: []string{"/dev/vdb1"}, Tags: []string{host.TagVG}})
		}, layerOn("")), host.ErrNoLayout},
		{"no layer running, update", func(t testing.TB) *hosttest.Host {
			h := hosttest.New(t)
			h.Must(h.Init("node-1.0-1"))
			return h
		}, func(h *hosttest.Host) do { return updateTo(image(h)) }, host.ErrNotLayer},
		{"another run", nil, func(h *hosttest.Host) do {
			lock, err := h.Host().Lock()
			h.Must(nil, err)
			h.T.Cleanup(func() { h.Must(nil, lock.Close()) })
			return func(_ context.Context, on *host.Host) (*host.Change, error) { _, err := on.Lock(); return nil, err }
		}, durable.ErrLocked},
		{"a record of a later version", nil, func(h *hosttest.Host) do {
			h.Must(nil, lvm.New(h.LVM).ChangeVGTags(h.T.Context(), hosttest.VG, []string{"imgbased:txn:teleport:node-1.0-1"}, nil))
			return func(ctx context.Context, on *host.Host) (*host.Change, error) {
				_, err := on.Settle(ctx)
				return nil, err
			}
		}, txn.ErrPending},
	}
}

// nameRefusals are names that cannot be given.
func nameRefusals() []refusal {
	base := func(name string) do { return addBase(host.BaseOptions{NVR: name, Size: hosttest.GiB}) }
	rows := []refusal{
		{"no name", fresh, always(initAs("")), host.ErrNoNVR},
		{"a name that the system says and is none", fresh, after(func(h *hosttest.Host) {
			h.Write(map[string]string{"usr/share/imgbase/build/meta/nvr": strings.Repeat("long\n", 100)})
		}, initAs("")), nvr.ErrMalformed},
		{"base exists", nil, always(base("node-1.0-1")), host.ErrExists},
		{"update to what runs", nil, func(h *hosttest.Host) do { return updateTo(h.Image("node-1.0-1", nil)) }, host.ErrExists},
		{"the layer's name is taken", fresh, after(func(h *hosttest.Host) {
			volume(h, lvm.LV{Name: "node-1.0-1+1", Pool: hosttest.Pool})
		}, initAs("node-1.0-1")), host.ErrExists},
		{"the layer's directory is left", fresh, after(func(h *hosttest.Host) {
			h.Write(map[string]string{"boot/node-1.0-1+1/mine": "kept"})
		}, initAs("node-1.0-1")), host.ErrExists},
		{"update, and its directory is left", nil, func(h *hosttest.Host) do {
			h.Write(map[string]string{"boot/node-1.1-1+1/mine": "kept"})
			return updateTo(h.Image("node-1.1-1", nil))
		}, host.ErrExists},
	}
	for name, want := range map[string]error{
		"":                                   host.ErrNoNVR,
		"node":                               nvr.ErrMalformed,
		"node-1":                             nvr.ErrMalformed,
		"node--1":                            nvr.ErrMalformed,
		"no de-1-1":                          nvr.ErrMalformed,
		"node-1-1\n":                         nvr.ErrMalformed,
		"nöde-1-1":                           nvr.ErrMalformed,
		"../node-1-1":                        nvr.ErrMalformed,
		"node-1.0~rc1-1":                     layout.ErrNameInvalid,
		"node-1.0^git1-1":                    layout.ErrNameInvalid,
		"-node-1.0-1":                        layout.ErrNameInvalid,
		"node-1.0-1+1":                       layout.ErrNameInvalid,
		"snapshot-1.0-1":                     lvm.ErrName,
		"pvmove0-1.0-1":                      lvm.ErrName,
		"no_tdata-1.0-1":                     lvm.ErrName,
		strings.Repeat("n", 50) + "-1-1":     layout.ErrNameTooLong,
		strings.Repeat("n", 1<<20) + "-1-1":  layout.ErrNameTooLong,
		strings.Repeat("no-dash ", 1<<17):    nvr.ErrMalformed,
		strings.Repeat("-", 1<<20) + "1-1-1": layout.ErrNameInvalid,
	} {
		short := name[:min(len(name), 20)]
		rows = append(rows, refusal{"init as " + short, fresh, always(initAs(name)), want})
		if want == host.ErrNoNVR {
			want = nvr.ErrMalformed
		}
		rows = append(rows, refusal{"base " + short, nil, always(base(name)), want})
	}
	return rows
}

// imageRefusals are images that are none, or not for this host.
func imageRefusals() []refusal {
	to := func(name string, changes map[string]string) func(*hosttest.Host) do {
		return func(h *hosttest.Host) do { return updateTo(h.Image(name, changes)) }
	}
	rubbish := func(name string, squashfs bool, size int) func(*hosttest.Host) do {
		return func(h *hosttest.Host) do { return updateTo(h.Rubbish(name, squashfs, size)) }
	}
	return []refusal{
		{"missing", nil, always(updateTo("/no/such/file.img")), os.ErrNotExist},
		{"empty", nil, rubbish("empty.img", false, 0), image.ErrNotImage},
		{"random bytes", nil, rubbish("random.img", false, 1<<20), image.ErrNotImage},
		{"truncated", nil, rubbish("cut.img", true, 1<<16), image.ErrTruncated},
		{"a device", nil, always(updateTo("/dev/null")), image.ErrNotImage},
		{"base from rubbish", nil, func(h *hosttest.Host) do {
			return addBase(host.BaseOptions{NVR: "node-1.1-1", Size: hosttest.GiB, Image: h.Rubbish("random.img", false, 4096)})
		}, image.ErrNotImage},
		{"no NVR", nil, to("node-1.1-1", map[string]string{"usr/share/imgbase/build/meta/nvr": "-"}), image.ErrNoNVR},
		{"NVR malformed", nil, to("node-1.1-1", map[string]string{"usr/share/imgbase/build/meta/nvr": "a b\x1b"}), image.ErrNoNVR},
		{"NVR with a tilde", nil, to("node-1.1-1", map[string]string{"usr/share/imgbase/build/meta/nvr": "node-1~1-1"}), layout.ErrNameInvalid},
		{"NVR too long", nil, to("node-1.1-1", map[string]string{
			"usr/share/imgbase/build/meta/nvr": "node-1-" + strings.Repeat("1", 50),
		}), layout.ErrNameTooLong},
		{"another architecture", nil, func(h *hosttest.Host) do {
			return updateTo(h.Image("node-1.1-1", map[string]string{hosttest.InitProgram: h.ForeignProgram()}))
		}, host.ErrArch},
		{"another product", nil, to("other-1.1-1", nil), host.ErrProduct},
		{"no system", nil, to("node-1.1-1", map[string]string{hosttest.InitProgram: "-"}), rootfs.ErrNoSystem},
		{"no kernel", nil, to("node-1.1-1", map[string]string{"boot/vmlinuz-6.1.0-1-amd64": "-"}), host.ErrNoKernel},
		{"no initramfs", nil, to("node-1.1-1", map[string]string{"boot/initrd.img-6.1.0-1-amd64": "-"}), host.ErrNoKernel},
		{"base of another name", nil, func(h *hosttest.Host) do {
			return addBase(host.BaseOptions{NVR: "node-2.0-1", Size: 9 * hosttest.GiB, Image: h.Image("node-1.1-1", nil)})
		}, host.ErrNVR},
		{"base too small", nil, func(h *hosttest.Host) do {
			return addBase(host.BaseOptions{NVR: "node-1.1-1", Size: hosttest.GiB, Image: h.Image("node-1.1-1", nil)})
		}, host.ErrSize},
		{"base of no size", nil, always(addBase(host.BaseOptions{NVR: "node-1.1-1"})), host.ErrSize},
	}
}

// poolRefusals are pools that have no room, or are no pools.
func poolRefusals() []refusal {
	usage := func(data, metadata float64) func(h *hosttest.Host) {
		return func(h *hosttest.Host) { h.LVM.SetUsage(hosttest.VG, hosttest.Pool, data, metadata) }
	}
	update := func(change func(h *hosttest.Host)) func(*hosttest.Host) do {
		return func(h *hosttest.Host) do { change(h); return updateTo(h.Image("node-1.1-1", nil)) }
	}
	base := addBase(host.BaseOptions{NVR: "node-1.1-1", Size: hosttest.GiB})
	untag := func(h *hosttest.Host) {
		h.Must(nil, lvm.New(h.LVM).ChangeLVTags(h.T.Context(), lvm.Retag{VG: hosttest.VG, Name: hosttest.Pool, Del: []string{host.TagPool}}))
	}
	second := func(h *hosttest.Host) {
		volume(h, lvm.LV{Name: "pool01", ThinPool: true, Tags: []string{host.TagPool}})
	}
	return []refusal{
		{"data full, init", fresh, after(usage(99, 10), initAs("node-1.0-1")), host.ErrPoolRoom},
		{"data full, update", nil, update(usage(99, 10)), host.ErrPoolRoom},
		{"data full, layer", nil, after(usage(99, 10), layerOn("")), host.ErrPoolRoom},
		{"data full, base", nil, after(usage(99, 10), base), host.ErrPoolRoom},
		{"metadata full, init", fresh, after(usage(10, 99), initAs("node-1.0-1")), host.ErrPoolRoom},
		{"metadata full, update", nil, update(usage(10, 99)), host.ErrPoolRoom},
		{"metadata full, layer", nil, after(usage(10, 99), layerOn("")), host.ErrPoolRoom},
		{"metadata above what LVM allows", nil, after(usage(10, 76), layerOn("")), host.ErrPoolRoom},
		{"pool not tagged, update", nil, update(untag), host.ErrPool},
		{"pool not tagged, layer", nil, after(untag, layerOn("")), host.ErrPool},
		{"another pool tagged, init", fresh, after(second, initAs("node-1.0-1")), host.ErrPool},
	}
}

// choiceRefusals are images that cannot be what the user chose them for.
func choiceRefusals() []refusal {
	entry := func(h *hosttest.Host) {
		h.Write(map[string]string{"boot/loader/entries/node-1.0-1+1-" + hosttest.Kernel + ".conf": "-"})
	}
	orphan := func(h *hosttest.Host) { h.Must(nil, lvm.New(h.LVM).Remove(h.T.Context(), hosttest.VG, "node-1.0-1")) }
	newerBase := func(h *hosttest.Host) {
		volume(h, lvm.LV{Name: "node-1.1-1", Pool: hosttest.Pool, ReadOnly: true, SkipActivation: true, Tags: []string{host.TagBase}})
	}
	return []refusal{
		{"remove the running base", nil, always(removeBase("node-1.0-1")), host.ErrRunning},
		{"remove what boots next", updated, always(removeBase("node-1.1-1")), host.ErrRunning},
		{"remove what is mounted", nil, after(func(h *hosttest.Host) {
			volume(h, lvm.LV{Name: "node-1.1-1", Pool: hosttest.Pool, Active: true, Open: true, Tags: []string{host.TagBase}})
		}, removeBase("node-1.1-1")), host.ErrRunning},
		{"remove a layer", nil, always(removeBase("node-1.0-1+1")), host.ErrNoImage},
		{"remove what is not there", nil, always(removeBase("node-9.9-9")), host.ErrNoImage},
		{"remove what is no image", nil, always(removeBase("root")), nvr.ErrMalformed},
		{"remove a volume of others", nil, after(func(h *hosttest.Host) {
			volume(h, lvm.LV{Name: "data-1.0-1", Pool: hosttest.Pool})
		}, removeBase("data-1.0-1")), host.ErrNoImage},
		{"discard the running layer", nil, always(func(ctx context.Context, on *host.Host) (*host.Change, error) {
			return on.PlanDiscard(ctx, "node-1.0-1+1")
		}), host.ErrRunning},
		{"layer on what is not there", nil, always(layerOn("node-9.9-9")), host.ErrNoImage},
		{"layer out of order", nil, after(newerBase, layerOn("")), host.ErrOutOfOrder},
		{"layer on an empty base", nil, after(newerBase, layerOn("node-1.1-1")), host.ErrEmptyBase},
		{"update of an orphan", nil, func(h *hosttest.Host) do { orphan(h); return updateTo(h.Image("node-1.1-1", nil)) }, host.ErrNoImage},
		{"rollback from the first", nil, always(rollbackTo("")), host.ErrNothingBefore},
		{"rollback to what boots", updated, always(rollbackTo("node-1.1-1+1")), host.ErrSame},
		{"rollback to a base", updated, always(rollbackTo("node-1.0-1")), host.ErrNoImage},
		{"rollback to what is not there", nil, always(rollbackTo("node-9.9-9+1")), host.ErrNoImage},
		{"rollback to nonsense", nil, always(rollbackTo("\x1b[2J")), nvr.ErrMalformed},
		{"rollback to a layer without an entry", updated, after(entry, rollbackTo("")), boot.ErrNoEntry},
		{"rollback to a layer without its kernel", updated, after(func(h *hosttest.Host) {
			h.Write(map[string]string{"boot/node-1.0-1+1/vmlinuz-" + hosttest.Kernel: "-"})
		}, rollbackTo("")), host.ErrNoKernel},
		{"boot what boots", nil, always(bootBy("node-1.0-1+1")), host.ErrSame},
		{"boot what is not there", nil, always(bootBy("node-9.9-9+1")), host.ErrNoImage},
		{"boot a base", nil, always(bootBy("node-1.0-1")), host.ErrNoImage},
	}
}

// TestRefusals: every bad input gets its own answer, in one line, and the
// host is what it was to the byte.
func TestRefusals(t *testing.T) {
	for _, r := range refusals() {
		t.Run(r.name, func(t *testing.T) {
			ready := r.ready
			if ready == nil {
				ready = taken
			}
			h := ready(t)
			verb := r.is(h)
			before := h.String()
			c, err := verb(t.Context(), h.Host())
			if c != nil && err == nil {
				err = c.Close()
				t.Errorf("planned %q; want %v", c.Steps(), r.want)
			}
			if !errors.Is(err, r.want) {
				t.Errorf("error = %v; want %v", err, r.want)
			}
			if err != nil {
				readable(t, err.Error())
			}
			h.Unchanged(before)
		})
	}
}

// maxMessage is the longest message that still is one clear line, in bytes.
const maxMessage = 400

// readable wants one line that says nothing twice.
func readable(t *testing.T, message string) {
	t.Helper()
	if strings.ContainsAny(message, "\n\r\x1b\x00") || len(message) > maxMessage {
		t.Errorf("message of %d bytes is not one line for people: %.500q", len(message), message)
	}
	parts := strings.Split(message, ": ")
	seen := map[string]bool{}
	for _, p := range parts {
		if seen[p] {
			t.Errorf("message says %q twice: %s", p, message)
		}
		seen[p] = true
	}
}
