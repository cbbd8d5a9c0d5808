package boot_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imgbase/internal/boot"
	"imgbase/internal/durable"
)

func (h *host) inode(path string) uint64 {
	h.Helper()
	var st unix.Stat_t
	h.must(unix.Lstat(filepath.Join(h.root, path), &st))
	return st.Ino
}

func TestInstallKernelShares(t *testing.T) {
	h := newHost(t, "debian12")
	h.must(h.boot.InstallKernel(t.Context(), layerA, h.kernel(kver)))
	k := h.kernel(kver)
	// Same name and size, one byte differs.
	h.write("/tmp/initrd", "initrd of 6.1.0-14")
	k.Files["initrd.img-"+kver] = filepath.Join(h.root, "tmp/initrd")
	h.must(h.boot.InstallKernel(t.Context(), layerB, k))
	if a, b := h.inode("/boot/"+layerA+"/vmlinuz-"+kver), h.inode("/boot/"+layerB+"/vmlinuz-"+kver); a != b {
		t.Error("equal kernels of two layers are two files; want one")
	}
	if got := h.read("/boot/" + layerB + "/initrd.img-" + kver); got != "initrd of 6.1.0-14" {
		t.Errorf("initrd = %q; want that of its own layer", got)
	}
	if h.inode("/boot/"+layerA+"/vmlinuz-"+kver) == h.inode("/usr/share/kernels/vmlinuz-"+kver) {
		t.Error("the kernel is a link to its source; want a copy")
	}
	h.must(h.boot.RemoveKernels(layerA))
	if got := h.read("/boot/" + layerB + "/vmlinuz-" + kver); got != "kernel 6.1.0-13" {
		t.Errorf("kernel of the other layer = %q after RemoveKernels", got)
	}
}

func TestInstallKernelKeepsModeApart(t *testing.T) {
	h := newHost(t, "debian12")
	h.must(h.boot.InstallKernel(t.Context(), layerA, h.kernel(kver)))
	h.must(os.Chmod(filepath.Join(h.root, "usr/share/kernels/initrd.img-"+kver), 0o600))
	h.must(h.boot.InstallKernel(t.Context(), layerB, h.kernel(kver)))
	info, err := os.Stat(filepath.Join(h.root, "boot", layerB, "initrd.img-"+kver))
	h.must(err)
	if info.Mode() != 0o600 {
		t.Errorf("mode = %v; want that of the source, 0600", info.Mode())
	}
}

// noLinks is a file system like FAT.
type noLinks struct{ *disk }

func (noLinks) Link(old, path string) error {
	return &os.LinkError{Op: "link", Old: old, New: path, Err: unix.EPERM}
}

func TestInstallKernelCopiesWithoutLinks(t *testing.T) {
	h := newHost(t, "debian12")
	b, err := boot.Open(boot.Options{Root: h.root, UUID: uuid, Files: noLinks{h.disk}})
	h.must(err)
	h.must(b.InstallKernel(t.Context(), layerA, h.kernel(kver)))
	h.must(b.InstallKernel(t.Context(), layerB, h.kernel(kver)))
	if got := h.read("/boot/" + layerB + "/vmlinuz-" + kver); got != "kernel 6.1.0-13" {
		t.Errorf("kernel = %q; want a copy", got)
	}
}

func TestInstallKernelLeavesNothingOnError(t *testing.T) {
	h := newHost(t, "debian12")
	h.must(h.boot.InstallKernel(t.Context(), layerB, h.kernel(kverOld)))
	h.symlink("/etc/shadow", "/tmp/link")
	files := map[string]string{
		"missing source": filepath.Join(h.root, "none"),
		"directory":      h.root,
		"link":           filepath.Join(h.root, "tmp/link"),
	}
	for name, source := range files {
		for _, layer := range []string{layerA, layerB} {
			k := h.kernel(kver)
			k.Files["z-last"] = source
			if err := h.boot.InstallKernel(t.Context(), layer, k); err == nil {
				t.Errorf("InstallKernel with %s = nil; want an error", name)
			}
		}
	}
	for _, bad := range []string{"", ".", "..", "a/b", "../x", "a b", "a\nb", "$x", strings.Repeat("x", 256)} {
		k := h.kernel(kver)
		k.Files[bad] = k.Files["vmlinuz-"+kver]
		if err := h.boot.InstallKernel(t.Context(), layerA, k); err == nil {
			t.Errorf("InstallKernel of a file %q = nil; want an error", bad)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.boot.InstallKernel(ctx, layerA, h.kernel(kver)); !errors.Is(err, context.Canceled) {
		t.Errorf("InstallKernel after the context's end = %v; want %v", err, context.Canceled)
	}
	if h.exists("/boot/" + layerA) {
		t.Error("a directory is left of a kernel that was not installed")
	}
	names, err := os.ReadDir(filepath.Join(h.root, "boot", layerB))
	if err != nil || len(names) != 2 {
		t.Errorf("the other kernel's directory holds %v, %v; want its two files", names, err)
	}
}

func TestNeed(t *testing.T) {
	h := newHost(t, "debian12")
	var st unix.Statfs_t
	h.must(unix.Statfs(h.root, &st))
	block := int64(st.Bsize)
	h.write("/usr/share/kernels/initrd.img-"+kver, strings.Repeat("x", int(block)+1))
	need := func() int64 {
		t.Helper()
		n, err := h.boot.Need(layerB, h.kernel(kver), h.kernel(kverOld))
		h.must(err)
		return n
	}
	if got := need(); got != 5*block {
		t.Errorf("Need of four files = %d; want %d, 2 blocks and 3 of one", got, 5*block)
	}
	h.must(h.boot.InstallKernel(t.Context(), layerA, h.kernel(kver)))
	if got := need(); got != 2*block {
		t.Errorf("Need with one kernel in another layer = %d; want %d", got, 2*block)
	}
	h.must(h.boot.InstallKernel(t.Context(), layerB, h.kernel(kverOld)))
	if got := need(); got != 0 {
		t.Errorf("Need with one shared and one in place = %d; want 0", got)
	}
	if _, err := h.boot.Need(layerB, boot.Kernel{Version: "1.0", Files: map[string]string{"vmlinuz-1.0": "/none"}}); err == nil {
		t.Error("Need of a missing source = nil; want an error")
	}
}

func TestCheckRoom(t *testing.T) {
	h := newHost(t, "debian12")
	room, err := h.boot.Room()
	h.must(err)
	size, err := h.boot.Size()
	h.must(err)
	if room <= 0 || size < room {
		t.Errorf("Room, Size = %d, %d; want some, and no more than all", room, size)
	}
	for _, need := range []int64{0, 4096} {
		if err := h.boot.CheckRoom(need); err != nil {
			t.Errorf("CheckRoom(%d) = %v; want nil", need, err)
		}
	}
	err = h.boot.CheckRoom(size)
	if !errors.Is(err, boot.ErrNoRoom) || !strings.Contains(err.Error(), "bytes free") {
		t.Errorf("CheckRoom(%d) = %v; want %v and the numbers", size, err, boot.ErrNoRoom)
	}
}

var _ durable.Files = (*disk)(nil)
