package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// DriveDevice is the guest's device node of an attached drive.
func DriveDevice(name string) string { return "/dev/disk/by-id/virtio-" + name }

// Attach plugs a file of this machine into the running guest as a read-only
// disk, and waits for its device node. The name has at most 20 characters,
// the length of a virtio serial number.
func (vm *VM) Attach(t testing.TB, name, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	if err := vm.m.attach(ctx, name, path); err != nil {
		t.Fatalf("lab: %v", vm.m.explain(err))
	}
}

// Share brings files of this machine into the guest, read-only, and returns
// the directory that holds them under their own names. After a reboot the
// disk is still there, but has to be mounted again: [VM.Mount].
func (vm *VM) Share(t testing.TB, name string, files ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	image := vm.scratch(name + ".img")
	if err := fileImage(ctx, image, files); err != nil {
		t.Fatalf("lab: share %s: %v", name, err)
	}
	vm.Attach(t, name, image)
	return vm.Mount(t, name)
}

// Mount mounts a disk made by [VM.Share] and returns its directory.
func (vm *VM) Mount(t testing.TB, name string) string {
	t.Helper()
	dir := "/run/lab/" + name
	vm.Must(t, "mkdir -p "+dir+" && mount -o ro "+DriveDevice(name)+" "+dir)
	return dir
}

// fileImage makes a file system that holds the files.
func fileImage(ctx context.Context, image string, files []string) error {
	dir := image + ".d"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	size := int64(16 * mib)
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return err
		}
		size += info.Size() + info.Size()/20 // inodes and maps
		if err := os.Link(f, filepath.Join(dir, filepath.Base(f))); err != nil {
			// Another file system.
			if err := command(ctx, "cp", "--sparse=always", f, dir); err != nil {
				return err
			}
		}
	}
	return command(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", "-d", dir, image, fmt.Sprintf("%dk", size/1024))
}
