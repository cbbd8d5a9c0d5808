package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"imgbase/internal/derive"
	"imgbase/internal/packages"
	"imgbase/internal/persist"
	"imgbase/internal/rootfs"

	"golang.org/x/sys/unix"
)

// workDir is a directory of ours in a layer. An initramfs is put there on its
// way to /boot.
const workDir = "usr/lib/imgbased"

// initramfsRoom is what making an initramfs takes in the pool for a while, in
// bytes. One with every driver and firmware is unpacked and packed.
const initramfsRoom = 1 << 30

// derived makes trees anew.
func (h *Host) derived(dir string) derive.Tree {
	return derive.Tree{Root: dir, Runner: h.Runner, Resolve: rootfs.Resolve, Ours: []string{profilePath}}
}

// expectDerived says what will be made anew in a layer of the image at theirs,
// as far as that can be told before it is there.
func (b *build) expectDerived(theirs string) error {
	paths := written(b.c.Carried)
	changes, err := b.h.derived(theirs).ExpectInitramfs(paths, deriveKernels(b.kernels)...)
	b.c.Derived = changes
	return err
}

// derivedRoom is how much more of the pool the expected changes take.
func (b *build) derivedRoom() uint64 {
	for _, c := range b.c.Derived {
		if c.Op == derive.Make {
			return initramfsRoom
		}
	}
	return 0
}

func deriveKernels(kernels []rootfs.Kernel) []derive.Kernel {
	var all []derive.Kernel
	for _, k := range kernels {
		all = append(all, derive.Kernel{Version: k.Version, Initramfs: k.Initrd != ""})
	}
	return all
}

// derive makes anew, in the layer mounted at dir, what its other files no
// longer agree with. Pristine is the tree of its base.
func (b *build) derive(ctx context.Context, dir, pristine string) error {
	tree := b.h.derived(dir)
	b.c.Derived = nil
	paths := append(written(b.c.Carried), ourFiles()...)
	if b.c.Packages != nil && len(b.c.Packages.Of(packages.Install)) > 0 {
		paths = append(paths, "etc", "opt", "usr") // written by programs of the layer, unseen
	}
	chrony, err := tree.PlanChrony(b.h.Root)
	if err != nil {
		return err
	}
	made, err := tree.MakeChrony(chrony)
	if err != nil {
		return err
	}
	if chrony.Op != derive.Keep {
		b.c.Derived = append(b.c.Derived, chrony.Change)
		for _, line := range chrony.Lost {
			b.c.note("%s: chrony has no words for %q", chrony.Path, line)
		}
	}
	linker, err := b.deriveLdCache(ctx, tree, pristine)
	if err != nil {
		return err
	}
	if err := b.deriveInitramfs(ctx, tree, pristine); err != nil {
		return err
	}
	return b.deriveLabels(ctx, tree, append(append(paths, made...), linker...))
}

func (b *build) deriveLdCache(ctx context.Context, tree derive.Tree, pristine string) ([]string, error) {
	c, err := tree.PlanLdCache(pristine)
	if err != nil || c.Op == derive.Keep {
		return nil, err
	}
	b.c.Derived = append(b.c.Derived, c)
	if c.Op == derive.Lack {
		return nil, nil
	}
	return []string{c.Name}, tree.MakeLdCache(ctx)
}

// deriveInitramfs installs, for each kernel of the layer that needs one, an
// initramfs of the layer's own, and the kernels that packages added. The
// others are installed by the step for that.
func (b *build) deriveInitramfs(ctx context.Context, tree derive.Tree, pristine string) error {
	all := append(b.kernels[:len(b.kernels):len(b.kernels)], b.added...)
	changes, err := tree.PlanInitramfs(pristine, deriveKernels(all)...)
	if err != nil {
		return err
	}
	unlock, err := b.unlocked()
	if err != nil {
		return err
	}
	b.c.Derived = append(b.c.Derived, changes...)
	b.added, b.installed = nil, map[string]bool{}
	for i, c := range changes {
		k, isAdded := all[i], i >= len(b.kernels)
		switch {
		case c.Op == derive.Make:
			k, err = b.makeInitramfs(ctx, tree, k, unlock)
		case k.Initrd == "": // of a package, and nothing can make it one
			continue
		case isAdded:
			err = b.b.InstallKernel(ctx, b.layer.String(), bootKernel(k))
		default:
			continue
		}
		if err != nil {
			return err
		}
		b.installed[k.Version] = true
		if isAdded {
			b.added = append(b.added, k)
		}
	}
	return nil
}

// makeInitramfs makes an initramfs for the kernel and installs both. It
// returns the kernel with it.
func (b *build) makeInitramfs(ctx context.Context, tree derive.Tree, k rootfs.Kernel, unlock []string) (_ rootfs.Kernel, err error) {
	name := k.Initrd
	if name == "" {
		name = "initramfs-" + k.Version + ".img"
	}
	file, err := placeIn(tree.Root, filepath.Join(workDir, name))
	if err != nil {
		return k, err
	}
	b.h.Observe(Event{Step: "make initramfs of " + k.Version})
	if err := tree.MakeInitramfs(ctx, derive.Initramfs{Kernel: k.Version, File: file, Unlock: unlock}); err != nil {
		return k, err
	}
	defer func() { err = errors.Join(err, os.Remove(file)) }()
	k.Files = slices.DeleteFunc(slices.Clone(k.Files), func(f rootfs.File) bool { return f.Name == k.Initrd })
	k.Files, k.Initrd = append(k.Files, rootfs.File{Name: name, Path: file}), name
	return k, b.b.InstallKernel(ctx, b.layer.String(), bootKernel(k))
}

// unlocked names the crypt mappings below the running root, which the new one
// lies on as well.
func (b *build) unlocked() ([]string, error) {
	var st unix.Stat_t
	if err := unix.Stat(b.h.Root, &st); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	device := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	return derive.Encrypted(os.DirFS(b.h.path("sys")), device)
}

func (b *build) deriveLabels(ctx context.Context, tree derive.Tree, paths []string) error {
	c, err := tree.PlanLabels(paths)
	if err != nil || c.Op == derive.Keep {
		return err
	}
	b.c.Derived = append(b.c.Derived, c)
	if c.Op == derive.Lack {
		return nil
	}
	return tree.SetLabels(ctx, paths)
}

// written are the paths that a merge writes, relative to the root.
func written(c *Carried) (paths []string) {
	if c == nil {
		return nil
	}
	for dir, plan := range map[string]persist.Plan{"etc": c.Etc, ".": c.Trees} {
		for _, change := range plan.Changes {
			if change.Op == persist.Vendor || change.Op == persist.Remove {
				continue
			}
			paths = append(paths, filepath.Join(dir, change.Path))
			if change.Beside != "" {
				paths = append(paths, filepath.Join(dir, change.Beside))
			}
		}
	}
	return paths
}

// ourFiles are what refit writes into a layer, where it does.
func ourFiles() []string {
	names := append([]string{"etc/fstab", profilePath, programPath, unitPath, unitWanted, firstBoot}, lockLists[:]...)
	for name := range recorders() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// noteOutdated notes which initramfs of a layer, whose tree is mounted at dir,
// was made before what is carried now. At shutdown there is no time for
// another, and the boot loader must not meet a half of one.
func (h *Host) noteOutdated(layer, dir string, c *Carried) error {
	kernels, err := rootfs.KernelsIn(h.path("boot", layer))
	if err != nil {
		return err
	}
	changes, err := h.derived(dir).ExpectInitramfs(written(c), deriveKernels(kernels)...)
	for _, change := range changes {
		if change.Op == derive.Make {
			c.Notes = append(c.Notes, fmt.Sprintf("%s of %s was made before: %s", change.Name, layer, strings.Join(change.Why, ", ")))
		}
	}
	return err
}
