package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"imgbase/internal/hooks"
	"imgbase/internal/packages"
	"imgbase/internal/rootfs"
)

// stateDir is where the original keeps what is neither a volume nor an entry.
const stateDir = "var/imgbased"

// Store are the package files that the administrator installed.
func (h *Host) Store() packages.Store {
	return packages.Store{Dir: h.path(stateDir), Files: h.Files, Runner: h.Runner, Excluded: packages.Excluded()}
}

// system is the one whose root is dir. False is a system that has no package
// database.
func (h *Host) system(dir string) (system packages.System, has bool, err error) {
	system = packages.System{Root: dir, Runner: h.Runner, Open: rootfs.Open}
	for _, name := range [...]string{
		"var/lib/dpkg/status", "usr/lib/sysimage/dpkg/status", "usr/lib/sysimage/rpm", "usr/share/rpm",
		"var/lib/rpm/rpmdb.sqlite", "var/lib/rpm/Packages",
	} {
		there, err := within(dir, name)
		if err != nil {
			return system, false, err
		}
		has = has || there
	}
	return system, has, nil
}

// packagesOf are the packages of the system whose root is dir, if it has a
// package database.
func (h *Host) packagesOf(ctx context.Context, dir string) ([]packages.Package, bool, error) {
	system, has, err := h.system(dir)
	if err != nil || !has {
		return nil, has, err
	}
	installed, err := system.Installed(ctx)
	return installed, true, err
}

// planPackages decides what becomes of the kept packages in a system that
// begins as the tree at dir.
func (h *Host) planPackages(ctx context.Context, dir string) (*packages.Plan, error) {
	kept, err := h.Store().List()
	if err != nil || len(kept) == 0 {
		return nil, err
	}
	running, has, err := h.packagesOf(ctx, h.Root)
	if err != nil || !has {
		return nil, err
	}
	image, _, err := h.packagesOf(ctx, dir)
	if err != nil {
		return nil, err
	}
	plan := packages.Compare(kept, running, image)
	return &plan, nil
}

// installPackages installs the kept packages into the layer mounted at dir, and
// locks the others.
func (b *build) installPackages(ctx context.Context, dir string) error {
	if err := b.installKept(ctx, dir); err != nil {
		return err
	}
	return b.lockVersions(ctx, dir)
}

func (b *build) installKept(ctx context.Context, dir string) error {
	plan, err := b.h.planPackages(ctx, dir)
	if err != nil {
		return err
	}
	b.c.Packages = plan
	if plan == nil || len(plan.Of(packages.Install)) == 0 {
		return nil
	}
	known, err := rootfs.Kernels(dir)
	if err != nil {
		return err
	}
	if err := b.tell.tell(ctx, hooks.PreRPMsPersisted, dir); err != nil {
		return err
	}
	if err := b.install(ctx, dir, plan.Of(packages.Install)); err != nil {
		return err
	}
	if err := b.tell.tell(ctx, hooks.RPMsPersisted, dir); err != nil {
		return err
	}
	return b.findAdded(dir, known)
}

// install installs packages; when told so, without those that cannot be.
func (b *build) install(ctx context.Context, dir string, kept []packages.Kept) error {
	system := packages.System{Root: dir, Runner: b.h.Runner, Open: rootfs.Open}
	for len(kept) > 0 {
		err := system.Install(ctx, kept)
		var failed *packages.FailedError
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &failed):
			return err
		case !b.skipPackages:
			return fmt.Errorf("%w: %w", ErrPackages, err)
		}
		b.c.note("%v", err)
		left := slices.DeleteFunc(slices.Clone(kept), func(k packages.Kept) bool { return slices.Contains(failed.Packages, k.Package) })
		if len(left) == len(kept) {
			return fmt.Errorf("%w: %w", ErrPackages, err) // it would fail for ever
		}
		kept = left
	}
	return nil
}

// findAdded finds the kernels that packages brought into the layer mounted at
// dir.
func (b *build) findAdded(dir string, known []rootfs.Kernel) error {
	kernels, err := rootfs.Kernels(dir)
	if err != nil {
		return err
	}
	for _, k := range kernels {
		if slices.ContainsFunc(known, func(o rootfs.Kernel) bool { return o.Version == k.Version }) {
			continue
		}
		if err := b.b.CheckName(b.layer.String(), k.Version); err != nil {
			return err
		}
		b.added = append(b.added, k)
	}
	return nil
}

// dropStale removes packages from the store that are not installed any more.
func (b *build) dropStale(context.Context) error {
	if b.c.Packages == nil {
		return nil
	}
	var names []string
	for _, k := range b.c.Packages.Of(packages.Drop) {
		names = append(names, filepath.Base(k.File))
	}
	if len(names) == 0 {
		return nil
	}
	_, err := b.h.Store().Forget(names...)
	return err
}

// carriedByUs are files in /etc that refit puts into every layer: nobody's
// edits, unless somebody edited them.
func (h *Host) carriedByUs() (names []string) {
	ours := map[string][]byte{profilePath: profile}
	for name, data := range recorders() {
		ours[name] = data
	}
	for name, data := range ours {
		rel, inEtc := strings.CutPrefix(name, "etc/")
		if own, err := os.ReadFile(h.path(name)); inEtc && err == nil && bytes.Equal(own, data) {
			names = append(names, rel)
		}
	}
	slices.Sort(names)
	return names
}

// recorders are the files by which dnf and apt tell us what was installed and
// removed, by their place in a system.
func recorders() map[string][]byte {
	files := map[string][]byte{}
	_ = fs.WalkDir(packages.Dist, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := packages.Dist.ReadFile(name)
		files[strings.TrimPrefix(name, "dist/")] = data
		return err
	})
	return files
}

// installRecorders gives a tree those of its package manager.
func installRecorders(dir string) error {
	for name, data := range recorders() {
		place, err := recorderPlace(dir, name)
		if err != nil {
			return err
		}
		if place == "" {
			continue
		}
		if has, err := within(dir, place); err != nil {
			return err
		} else if has {
			continue
		}
		mode := fs.FileMode(0o644)
		if bytes.HasPrefix(data, []byte("#!")) {
			mode = 0o755
		}
		if err := writeIn(dir, place, data, mode); err != nil {
			return err
		}
	}
	return nil
}

// recorderPlace is where a recorder goes, "" where its package manager is not.
// The plug-in of dnf belongs to the python that dnf runs with.
func recorderPlace(dir, name string) (string, error) {
	const plugins = "site-packages/dnf-plugins/"
	_, file, isPlugin := strings.Cut(name, plugins)
	manager := "usr/bin/apt-get"
	if isPlugin || strings.HasPrefix(name, "etc/dnf/") {
		manager = "etc/dnf/dnf.conf"
	}
	if has, err := within(dir, manager); err != nil || !has {
		return "", err
	}
	if !isPlugin {
		return name, nil
	}
	lib, err := rootfs.Resolve(dir, "usr/lib")
	if err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(lib, "python3*", "site-packages", "dnf-plugins"))
	if err != nil || len(found) == 0 {
		return "", err
	}
	python := filepath.Base(filepath.Dir(filepath.Dir(found[len(found)-1])))
	return path.Join("usr/lib", python, plugins, file), nil
}
