package durable_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imgbase/internal/durable"
	"imgbase/internal/run"
)

// fileSystem makes and mounts a file system in an image file.
func fileSystem(t *testing.T, kind string) (image, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	image, dir = filepath.Join(t.TempDir(), "image"), t.TempDir()
	write(t, image, "")
	if err := os.Truncate(image, 320<<20); err != nil {
		t.Fatal(err)
	}
	args := []string{"-q", image}
	if kind == "vfat" {
		args = []string{image}
	}
	if _, err := (run.OS{}).Run(t.Context(), run.Cmd{Name: "mkfs." + kind, Args: args}); err != nil {
		t.Skipf("no %s here: %v", kind, err)
	}
	if _, err := (run.OS{}).Run(t.Context(), run.Cmd{Name: "mount", Args: []string{"-o", "loop", image, dir}}); err != nil {
		t.Skipf("cannot mount %s here: %v", kind, err)
	}
	t.Cleanup(func() {
		if err := durable.Thaw(dir); err != nil {
			t.Error(err)
		}
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return image, dir
}

// GRUB's own drivers are the judges: they read the image without replaying
// its journal, as at boot.
func TestSettleShowsFilesToGRUB(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs", "vfat"} {
		t.Run(kind, func(t *testing.T) {
			image, dir := fileSystem(t, kind)
			path := filepath.Join(dir, "loader", "a.conf")
			for _, content := range []string{"first\n", "second\n"} {
				if err := (durable.OS{}).Replace(path, 0o644, strings.NewReader(content)); err != nil {
					t.Fatal(err)
				}
				if err := (durable.OS{}).Settle(dir); err != nil {
					t.Fatal(err)
				}
				out, err := run.OS{}.Run(t.Context(), run.Cmd{
					Name: "grub-fstest", Args: []string{image, "cat", "(loop0)/loader/a.conf"},
				})
				if err != nil {
					t.Fatal(err)
				}
				if got := string(out.Stdout); got != content {
					t.Errorf("GRUB reads %q; want %q", got, content)
				}
			}
		})
	}
}

func TestSettleOfFrozen(t *testing.T) {
	_, dir := fileSystem(t, "ext4")
	freeze(t, dir)
	start := time.Now()
	if err := (durable.OS{}).Settle(dir); err != nil {
		t.Errorf("Settle of a frozen file system = %v; want nil", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Settle of a frozen file system took %v; want it not to wait for the thaw", took)
	}
	// FIFREEZE answers EBUSY as long as the file system is frozen.
	if err := ioctl(t, dir, 0xc0045877); err != unix.EBUSY {
		t.Errorf("freeze after Settle = %v; want %v: another's freeze is not ours to end", err, unix.EBUSY)
	}
	for range 2 {
		if err := durable.Thaw(dir); err != nil {
			t.Errorf("Thaw = %v; want nil, also when not frozen", err)
		}
	}
	write(t, filepath.Join(dir, "file"), "writable again")
}

func freeze(t *testing.T, dir string) {
	t.Helper()
	if err := ioctl(t, dir, 0xc0045877); err != nil {
		t.Fatal(err)
	}
}

func ioctl(t *testing.T, dir string, req uint) error {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	return unix.IoctlSetInt(int(d.Fd()), req, 0)
}

func TestReplaceOnFAT(t *testing.T) {
	_, dir := fileSystem(t, "vfat")
	path := filepath.Join(dir, "grubenv")
	for _, content := range []string{"new", "newer"} {
		if err := (durable.OS{}).Replace(path, 0o600, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		want(t, path, content)
	}
	if err := (durable.OS{}).Link(path, path+".link"); err == nil {
		t.Error("Link on FAT = nil; want an error")
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("names = %q; want the one file", got)
	}
}

func TestReplaceKeepsACLAndLabel(t *testing.T) {
	_, dir := fileSystem(t, "ext4")
	path := filepath.Join(dir, "file")
	write(t, path, "old")
	attrs := map[string]string{
		"security.selinux":    "system_u:object_r:boot_t:s0\x00",
		"trusted.note":        "t",
		"security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	}
	for name, value := range attrs {
		if err := unix.Setxattr(path, name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := (run.OS{}).Run(t.Context(), run.Cmd{Name: "setfacl", Args: []string{"-m", "u:77:rw", path}}); err == nil {
		buf := make([]byte, 256)
		n, err := unix.Getxattr(path, "system.posix_acl_access", buf)
		if err != nil {
			t.Fatal(err)
		}
		attrs["system.posix_acl_access"] = string(buf[:n])
	}
	if err := (durable.OS{}).Replace(path, 0o644, strings.NewReader("new")); err != nil {
		t.Fatal(err)
	}
	for name, value := range attrs {
		buf := make([]byte, 256)
		n, err := unix.Getxattr(path, name, buf)
		if err != nil || string(buf[:n]) != value {
			t.Errorf("%s = %q, %v; want %q", name, buf[:max(n, 0)], err, value)
		}
	}
}
