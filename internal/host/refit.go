package host

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"imgbase/internal/rootfs"
)

// What a layer needs so that it can be left and recovered again. One binary
// is enough: it carries the unit.
const (
	programPath = "usr/sbin/imgbase"
	unitPath    = "usr/lib/systemd/system/imgbase-setup.service"
	unitWanted  = "usr/lib/systemd/system/sysinit.target.wants/imgbase-setup.service"
)

//go:embed units/imgbase-setup.service
var setupUnit []byte

// refit makes the tree mounted at dir boot as a layer on the device. It is a
// copy of the system that runs, or an image's.
func (h *Host) refit(ctx context.Context, dir, device, fstype string, ofRunning bool) error {
	if err := h.settleDatabases(ctx, dir, ofRunning); err != nil {
		return err
	}
	if err := h.refitFstab(dir, device, fstype); err != nil {
		return err
	}
	if err := installProfile(dir); err != nil {
		return err
	}
	if err := installRecorders(dir); err != nil {
		return err
	}
	return h.installSelf(dir)
}

// refitFstab points the root of the tree's fstab at its own volume, however
// it was named there, and leaves every other line as it is.
func (h *Host) refitFstab(dir, device, fstype string) error {
	data, err := rootfs.ReadFile(dir, "etc/fstab")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	table, err := rootfs.ParseFstab(data)
	if err != nil {
		return fmt.Errorf("fstab: %w", err)
	}
	root, ok := table.Lookup("/")
	if !ok {
		root = rootfs.FstabEntry{Target: "/", PassNo: 1}
	}
	root.Source, root.FSType = device, fstype
	root.Options = slices.DeleteFunc(root.Options, func(o string) bool { return o == "defaults" || o == "discard" })
	root.Options = append([]string{"defaults"}, append(root.Options, "discard")...)
	if ok {
		err = table.Replace("/", root)
	} else {
		err = table.Add(root)
	}
	if err != nil {
		return fmt.Errorf("fstab: %w", err)
	}
	return writeIn(dir, "etc/fstab", table.Bytes(), 0o644)
}

// installSelf gives a tree that has no imgbase the running one and its unit.
func (h *Host) installSelf(dir string) error {
	if has, err := within(dir, programPath); err != nil {
		return err
	} else if !has {
		data, err := os.ReadFile(h.Program)
		if err != nil {
			return fmt.Errorf("this program: %w", err)
		}
		if err := writeIn(dir, programPath, data, 0o755); err != nil {
			return err
		}
	}
	if has, err := within(dir, unitPath); has || err != nil {
		return err
	}
	if err := writeIn(dir, unitPath, setupUnit, 0o644); err != nil {
		return err
	}
	link, err := placeIn(dir, unitWanted)
	if err != nil {
		return err
	}
	return os.Symlink("../imgbase-setup.service", link)
}

// within says whether the tree has the file, wherever links inside it lead.
func within(dir, name string) (bool, error) {
	path, err := rootfs.Resolve(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, err = os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// writeIn writes a file of the tree. The tree is a layer that nobody uses
// yet, so it needs no care about cuts.
func writeIn(dir, name string, data []byte, mode fs.FileMode) error {
	path, err := placeIn(dir, name)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, mode)
}

// placeIn is where a file of the tree goes, with its directory made.
func placeIn(dir, name string) (string, error) {
	parent := filepath.Dir(name)
	made := ""
	for _, elem := range strings.Split(parent, "/") {
		made = filepath.Join(made, elem)
		path, err := rootfs.Resolve(dir, made)
		if err != nil {
			return "", err
		}
		if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	path, err := rootfs.Resolve(dir, parent)
	return filepath.Join(path, filepath.Base(name)), err
}
