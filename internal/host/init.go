package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"imgbase/internal/filesystem"
	"imgbase/internal/layout"
	"imgbase/internal/lvm"
	"imgbase/internal/nvr"
	"imgbase/internal/rootfs"
	"imgbase/internal/txn"
)

// metadataNVR is where an image says its NVR.
const metadataNVR = "usr/share/imgbase/build/meta/nvr"

// PlanInit plans to take the host over: the volume from ("" or "/" is the
// running root; else a mount point, a device, or VG/LV) becomes the first
// base, with the first layer on it. The base is called name, or what the
// system says of itself if that is "".
func (h *Host) PlanInit(ctx context.Context, name, from string) (_ *Change, err error) {
	s, err := h.read(ctx)
	if err != nil {
		return nil, err
	}
	if s.vg.HasTag(TagVG) {
		return nil, fmt.Errorf("volume group %s: %w", s.vg.Name, ErrInitialized)
	}
	if err := h.fit(s); err != nil {
		return nil, err
	}
	n, err := h.initNVR(name)
	if err != nil {
		return nil, err
	}
	source, err := s.source(from)
	if err != nil {
		return nil, err
	}
	b := &build{h: h, s: s, c: &Change{}, origin: n.String(), base: layout.Image{NVR: n}}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.c.Close())
		}
	}()
	if b.pool, err = s.initPool(source); err != nil {
		return nil, err
	}
	if err := b.planNew(1); err != nil {
		return nil, err
	}
	system, err := b.system(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source.Name, err)
	}
	if err := b.planInitKernels(system); err != nil {
		return nil, err
	}
	extend, note, err := s.room(b.pool, 0)
	if err != nil {
		return nil, err
	}
	b.noteAll(note)
	steps := append(b.extendMetadata(extend), b.adoptBase(source), b.snapshotLayer(), b.settleLayer(), b.refitLayer(),
		b.installKernels(), b.addEntries())
	return b.c, b.complete("init", steps...)
}

func (h *Host) initNVR(name string) (nvr.NVR, error) {
	if name == "" {
		data, err := os.ReadFile(h.path(metadataNVR))
		if err != nil {
			return nvr.NVR{}, fmt.Errorf("this system: %w in /%s", ErrNoNVR, metadataNVR)
		}
		name = strings.TrimSpace(string(data))
	}
	n, err := nvr.Parse(name)
	if err != nil {
		return n, err
	}
	return n, layout.CheckNew(n)
}

// source resolves what the user names as the volume to start from.
func (s *state) source(from string) (lvm.LV, error) {
	if from == "" || from == "/" {
		return s.root, nil
	}
	lv, ok := s.volumeNamed(from)
	switch {
	case !ok:
		return lv, fmt.Errorf("%s: %w", from, ErrNotLVM)
	case lv.VG != s.vg.Name:
		return lv, fmt.Errorf("%s: %w: it is in volume group %s, the root in %s", from, ErrPool, lv.VG, s.vg.Name)
	case !lv.ThinVolume:
		return lv, fmt.Errorf("%s: %w", from, ErrNotThin)
	}
	return lv, nil
}

func (s *state) volumeNamed(from string) (lvm.LV, bool) {
	if m, ok := s.mounts.At(from); ok {
		from = m.Source
	}
	if lv, ok := s.report.Device(from); ok {
		return lv, true
	}
	vg, name, ok := strings.Cut(strings.TrimPrefix(from, "/dev/"), "/")
	if !ok {
		return lvm.LV{}, false
	}
	return s.report.LV(vg, name)
}

// initPool is the pool of the source; ours from now on, unless the volume
// group has one that somebody tagged before.
func (s *state) initPool(source lvm.LV) (lvm.LV, error) {
	pool, ok := s.lv(source.Pool)
	if !ok {
		return pool, fmt.Errorf("%s: %w", source.Name, ErrNotThin)
	}
	for _, lv := range s.report.LVsWithTag(s.vg.Name, TagPool) {
		if lv.Name != pool.Name {
			return pool, fmt.Errorf("thin pool %s: %w: %s carries %s; remove that tag if it is stale", pool.Name, ErrPool, lv.Name, TagPool)
		}
	}
	return pool, nil
}

// planNew names the layer of a new base and refuses names that are taken.
func (b *build) planNew(index int) error {
	b.layer = layout.Image{NVR: b.base.NVR, IsLayer: true, Index: index}
	for _, i := range []layout.Image{b.base, b.layer} {
		if err := b.h.free(b.s, i); err != nil {
			return err
		}
	}
	var err error
	b.b, err = b.h.fitBoot(b.s)
	return err
}

// free says whether an image's name can be given to a new volume.
func (h *Host) free(s *state, i layout.Image) error {
	if err := lvm.ValidateName(s.vg.Name, i.String()); err != nil {
		return err
	}
	if _, ok := s.lv(i.String()); ok {
		return fmt.Errorf("%s: %w", i, ErrExists)
	}
	if _, err := os.Lstat(h.path("boot", i.String())); err == nil {
		return fmt.Errorf("/boot/%s: %w", i, ErrExists)
	}
	return nil
}

// system is the directory of the source's system, which must be one for this
// machine: where it is mounted, or mounted for the plan.
func (b *build) system(ctx context.Context, source lvm.LV) (dir string, err error) {
	switch mounts := slices.Concat(b.s.mounts.Of(source.Path), b.s.mounts.Of(source.DMPath)); {
	case source.Name == b.s.root.Name:
		dir = b.h.Root
	case len(mounts) > 0:
		if err := filesystem.Supported(mounts[0].FSType); err != nil {
			return "", err
		}
		dir = b.h.path(mounts[0].Target)
	default:
		if dir, err = b.hold(ctx, source); err != nil {
			return "", err
		}
	}
	return dir, b.h.checkMachine(dir)
}

// planInitKernels finds the kernels of the installed system: those in /boot
// whose modules it has. The one that runs is known to boot here.
func (b *build) planInitKernels(system string) error {
	kernels, err := rootfs.KernelsIn(b.h.path("boot"))
	if err != nil {
		return err
	}
	for _, k := range kernels {
		if has, err := within(system, filepath.Join("usr/lib/modules", k.Version)); err != nil {
			return err
		} else if !has {
			continue
		}
		b.kernels = append(b.kernels, k)
	}
	release, err := os.ReadFile(b.h.path("proc/sys/kernel/osrelease"))
	if err != nil {
		return err
	}
	b.prefer = strings.TrimSpace(string(release))
	if b.args, err = b.h.machineArgs(b.s, b.b); err != nil {
		return err
	}
	return b.checkKernels()
}

// adoptBase makes the first base, protected like every other from the moment
// it exists.
func (b *build) adoptBase(source lvm.LV) txn.Step {
	return txn.Step{
		Name: fmt.Sprintf("snapshot base %s of %s", b.base, source.Name),
		Do: func(ctx context.Context) error {
			return b.h.lvm.Snapshot(ctx, lvm.Snap{
				VG: b.s.vg.Name, Origin: source.Name, Name: b.base.String(), ReadOnly: true, SkipActivation: true,
				Tags: []string{TagBase, TagAdopted},
			})
		},
	}
}

// claim marks what a take-over made ours: the pool of the first base, the
// volume it is a copy of, and last the volume group.
func (h *Host) claim(ctx context.Context, s *state, base layout.Image) error {
	report, err := h.lvm.Report(ctx)
	if err != nil {
		return err
	}
	lv, ok := report.LV(s.vg.Name, base.String())
	if !ok {
		return fmt.Errorf("%s: %w", base, ErrNoImage)
	}
	tags := map[string]string{lv.Pool: TagPool, lv.Origin: TagInit}
	for _, lv := range report.LVsIn(s.vg.Name) {
		tag := tags[lv.Name]
		if tag == "" || lv.HasTag(tag) {
			continue
		}
		if err := h.lvm.ChangeLVTags(ctx, lvm.Retag{VG: lv.VG, Name: lv.Name, Add: []string{tag}}); err != nil {
			return err
		}
	}
	return h.lvm.ChangeVGTags(ctx, s.vg.Name, []string{TagVG}, nil)
}

func (b *build) noteAll(notes ...string) {
	for _, n := range notes {
		if n != "" {
			b.c.note("%s", n)
		}
	}
	for _, vg := range b.s.foreign {
		b.c.note("volume group %s carries %s as well and is left alone", vg, TagVG)
	}
}
