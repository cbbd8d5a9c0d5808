package host

import (
	"context"
	"fmt"
	"slices"

	"imgbase/internal/boot"
	"imgbase/internal/hooks"
	"imgbase/internal/image"
	"imgbase/internal/layout"
	"imgbase/internal/lvm"
	"imgbase/internal/mount"
	"imgbase/internal/rootfs"
	"imgbase/internal/txn"
)

// build makes a layer, and the base under it where the verb asks for one. It
// is a verb's plan in values; its methods are the steps.
type build struct {
	h       *Host
	s       *state
	c       *Change
	b       *boot.Boot
	pool    lvm.LV
	base    layout.Image
	layer   layout.Image
	origin  string            // what the layer is a snapshot of
	kernels []rootfs.Kernel   // oldest first
	prefer  string            // version of the kernel to boot; "" is the newest
	args    boot.Args         // the machine's, see compose
	merge   bool              // carry the running /etc into the layer
	entries map[string]string // id of the boot entry, by kernel version
	tell    *teller
	// image is where the tree of the new base is mounted; "" when the base was
	// there before.
	image string
	// added are kernels that packages brought into the layer; installed are
	// the versions of those in /boot already.
	added     []rootfs.Kernel
	installed map[string]bool
	// skipPackages leaves packages out that cannot be installed.
	skipPackages bool
}

// device is where the volume of an image appears.
func (b *build) device(i layout.Image) string { return lvm.Path(b.s.vg.Name, i.String()) }

// pick is the kernel that the layer boots by default.
func (b *build) pick() rootfs.Kernel {
	for _, k := range b.kernels {
		if k.Version == b.prefer {
			return k
		}
	}
	return b.kernels[len(b.kernels)-1]
}

// extendMetadata is the step that gives the pool room for its metadata; none
// when extend is 0. It is not undone: it took nothing from anyone.
func (b *build) extendMetadata(extend uint64) []txn.Step {
	if extend == 0 {
		return nil
	}
	return []txn.Step{{
		Name: fmt.Sprintf("extend metadata of thin pool %s by %s", b.pool.Name, size(extend)),
		Do: func(ctx context.Context) error {
			return b.h.lvm.ExtendMetadata(ctx, b.s.vg.Name, b.pool.Name, extend)
		},
	}}
}

func (b *build) createBase(bytes uint64) txn.Step {
	return txn.Step{
		Name: fmt.Sprintf("create base %s, %s", b.base, size(bytes)),
		Do: func(ctx context.Context) error {
			return b.h.lvm.CreateThin(ctx, lvm.Thin{
				VG: b.s.vg.Name, Pool: b.pool.Name, Name: b.base.String(), Size: bytes, Tags: []string{TagBase},
			})
		},
	}
}

func (b *build) writeBase(src image.Source) txn.Step {
	name := "write base " + b.base.String()
	return txn.Step{
		Name: name,
		Do: func(ctx context.Context) error {
			return src.Write(ctx, b.device(b.base), image.WriteOptions{
				ChunkSize: int64(b.pool.ChunkSize),
				Progress:  func(done, total int64) { b.h.Observe(Event{Step: name, Done: done, Total: total}) },
			})
		},
	}
}

func (b *build) sealBase() txn.Step {
	return txn.Step{
		Name: "seal base " + b.base.String(),
		Do:   func(ctx context.Context) error { return b.h.lvm.Seal(ctx, b.s.vg.Name, b.base.String()) },
	}
}

// snapshotLayer makes the layer. Its tags tell what ran when it was made,
// which is where a rollback goes.
func (b *build) snapshotLayer() txn.Step {
	tags := []string{TagLayer}
	if b.s.isLayer {
		tags = append(tags, tagBefore+b.s.running.String())
	}
	return txn.Step{
		Name: fmt.Sprintf("snapshot layer %s of %s", b.layer, b.origin),
		Do: func(ctx context.Context) error {
			return b.h.lvm.Snapshot(ctx, lvm.Snap{
				VG: b.s.vg.Name, Origin: b.origin, Name: b.layer.String(), Tags: tags, Active: true,
			})
		},
	}
}

// settleLayer makes the copy a file system of its own, as large as its volume.
func (b *build) settleLayer() txn.Step {
	return txn.Step{
		Name: "new file system UUID for " + b.layer.String(),
		Do: func(ctx context.Context) error {
			dev := b.device(b.layer)
			info, err := b.h.Filesystems.Probe(ctx, dev)
			if err != nil {
				return err
			}
			if err := b.h.Filesystems.NewUUID(ctx, dev, info.Type); err != nil {
				return err
			}
			return b.h.Filesystems.Grow(ctx, dev, info.Type)
		},
	}
}

// refitLayer carries /etc over and makes the layer boot as itself. It also
// decides the kernel arguments, which /etc has a say in.
func (b *build) refitLayer() txn.Step {
	name := "refit layer " + b.layer.String()
	if b.merge {
		name = "merge /etc into layer " + b.layer.String()
	}
	return txn.Step{Name: name, Do: func(ctx context.Context) error {
		return b.h.mounted(ctx, b.device(b.layer), false, func(dir, fstype string) error {
			if !b.merge {
				return b.refit(ctx, dir, fstype)
			}
			if err := b.tell.tell(ctx, hooks.PreOSUpgraded, dir); err != nil {
				return err
			}
			if err := b.carry(ctx, dir, fstype); err != nil {
				return err
			}
			return b.tell.tell(ctx, hooks.OSUpgraded, dir)
		})
	}}
}

func (b *build) refit(ctx context.Context, dir, fstype string) error {
	if err := b.h.refit(ctx, dir, b.device(b.layer), fstype, !b.merge || b.s.adopted(b.base)); err != nil {
		return err
	}
	if !b.merge {
		return nil
	}
	return writeIn(dir, firstBoot, nil, 0o644)
}

// syncPoint keeps the running layer as it is before it is merged, so that what
// its administrator changes from now on can be told.
func (b *build) syncPoint() txn.Step {
	return txn.Step{
		Name: "keep " + b.s.running.String() + " as it is",
		Do: func(ctx context.Context) error {
			return b.h.keep(ctx, b.s.vg.Name, b.s.running.String(), b.layer.String()+suffixSync)
		},
	}
}

// carry brings what the administrator did into the layer mounted at dir, and
// makes anew what is made of it.
func (b *build) carry(ctx context.Context, dir, fstype string) error {
	return b.h.ancestor(ctx, b.s, func(base string) error {
		if err := b.mergeInto(ctx, base, dir); err != nil {
			return err
		}
		if err := b.installPackages(ctx, dir); err != nil {
			return err
		}
		if err := b.restoreModes(ctx, dir); err != nil {
			return err
		}
		if err := b.refit(ctx, dir, fstype); err != nil {
			return err
		}
		return b.pristine(ctx, base, func(tree string) error { return b.derive(ctx, dir, tree) })
	})
}

// mergeInto computes the merge anew, so that what the administrator did since
// the plan was made counts, and applies it to the layer mounted at dir. Base
// is the ancestor.
func (b *build) mergeInto(ctx context.Context, base, dir string) error {
	carried, err := b.h.merge(ctx, b.s, base, dir)
	if err != nil {
		return err
	}
	b.c.Carried = &carried
	b.args = rebase(b.args, configured(base), configured(dir))
	return nil
}

// pristine shows the tree of the layer's base, which may be the ancestor.
func (b *build) pristine(ctx context.Context, ancestor string, do func(dir string) error) error {
	switch {
	case b.image != "":
		return do(b.image)
	case b.base == b.s.running.Base():
		return do(ancestor)
	}
	lv, ok := b.s.lv(b.base.String())
	if !ok {
		return fmt.Errorf("base %s: %w", b.base, ErrNoImage)
	}
	return b.h.inside(ctx, lv, do)
}

func (b *build) installKernels() txn.Step {
	return txn.Step{
		Name: "install kernels into /boot/" + b.layer.String(),
		Do: func(ctx context.Context) error {
			for _, k := range b.kernels {
				if b.installed[k.Version] {
					continue // with an initramfs of the layer's own
				}
				if err := b.b.InstallKernel(ctx, b.layer.String(), bootKernel(k)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (b *build) addEntries() txn.Step {
	return txn.Step{
		Name: "add boot entries for " + b.layer.String(),
		Do: func(ctx context.Context) error {
			b.entries = map[string]string{}
			for _, k := range append(slices.Clone(b.kernels), b.added...) {
				e, err := b.b.Add(ctx, boot.EntrySpec{
					Layer: b.layer.String(), KVer: k.Version, Title: b.layer.String(),
					Linux: k.Image, Initrds: []string{k.Initrd},
					Options: compose(b.args, b.s.vg.Name, b.layer.String(), b.s.bootUUID),
				})
				if err != nil {
					return err
				}
				b.entries[k.Version] = e.ID
			}
			return nil
		},
	}
}

// flip makes the layer what boots. What LVM wrote is brought to the disk
// first: it does not do so itself.
func (b *build) flip() txn.Step {
	return txn.Step{
		Name: "boot " + b.layer.String() + " by default",
		Do: func(ctx context.Context) error {
			if err := b.h.lvm.Flush(ctx, b.s.vg.PVs...); err != nil {
				return err
			}
			return b.b.SetDefault(b.entries[b.pick().Version])
		},
	}
}

// complete turns the steps into the change's transaction, which hooks may stop
// before its first effect and are told of when it is done.
func (b *build) complete(verb string, steps ...txn.Step) error {
	b.c.Verb, b.c.Base, b.c.Layer = verb, b.base.String(), b.layer.String()
	b.c.journal = b.h.journal(b.s)
	b.c.tx = b.h.transaction(b.s, txn.Record{Verb: verb, Name: b.layer.String()})
	b.tell = b.h.teller(b.s, b.c, hooks.Mode(verb)).about(b.base, b.layer)
	pre, post := told(hooks.Mode(verb))
	b.c.tx.Steps, b.c.tx.Flip = steps, b.flip()
	for _, event := range post {
		b.c.after = append(b.c.after, func(ctx context.Context) error { return b.tell.tell(ctx, event, "") })
	}
	return b.tell.ask(pre...)
}

// checkKernels refuses a layer that could not boot, or that /boot has no room
// for.
func (b *build) checkKernels() error {
	b.kernels = slices.DeleteFunc(b.kernels, func(k rootfs.Kernel) bool { return k.Initrd == "" })
	if len(b.kernels) == 0 {
		return fmt.Errorf("%s: %w: none with an initramfs in /boot or /usr/lib/modules", b.base, ErrNoKernel)
	}
	var all []boot.Kernel
	for _, k := range b.kernels {
		if err := b.b.CheckName(b.layer.String(), k.Version); err != nil {
			return err
		}
		all = append(all, bootKernel(k))
	}
	need, err := b.b.Need(b.layer.String(), all...)
	if err != nil {
		return err
	}
	return b.b.CheckRoom(need)
}

func bootKernel(k rootfs.Kernel) boot.Kernel {
	files := map[string]string{}
	for _, f := range k.Files {
		files[f.Name] = f.Path
	}
	return boot.Kernel{Version: k.Version, Files: files}
}

// mounted mounts a volume's file system for the time of do.
func (h *Host) mounted(ctx context.Context, device string, readOnly bool, do func(dir, fstype string) error) (err error) {
	info, err := h.Filesystems.Probe(ctx, device)
	if err != nil {
		return err
	}
	m, err := h.Mounter.Mount(ctx, mount.Spec{Source: device, FSType: info.Type, ReadOnly: readOnly})
	if err != nil {
		return err
	}
	defer func() {
		if cerr := m.Close(); err == nil {
			err = cerr
		}
	}()
	return do(m.Dir(), info.Type)
}

// inside mounts a volume read-only for the time of do, activating one that is
// not active for that time too.
func (h *Host) inside(ctx context.Context, lv lvm.LV, do func(dir string) error) error {
	if !lv.Active {
		if err := h.lvm.Activate(ctx, lv.VG, lv.Name); err != nil {
			return err
		}
		defer func() {
			// A base that stays active until the next boot is no reason to
			// fail an update.
			if derr := h.lvm.Deactivate(context.WithoutCancel(ctx), lv.VG, lv.Name); derr != nil {
				h.Log.WarnContext(ctx, derr.Error())
			}
		}()
	}
	return h.mounted(ctx, lv.Path, true, func(dir, _ string) error { return do(dir) })
}
