package host_test

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"imgbase/internal/boot"
	"imgbase/internal/host"
	"imgbase/internal/host/hosttest"
)

// bootRefusals are boot loaders and /boot that would not do.
func bootRefusals() []refusal {
	files := func(changes map[string]string) func(h *hosttest.Host) {
		return func(h *hosttest.Host) { h.Write(changes) }
	}
	noGRUB := files(map[string]string{"boot/grub/grub.cfg": "-"})
	noInclude := files(map[string]string{"boot/grub/grub.cfg": "menuentry 'Debian' { linux /vmlinuz }\n"})
	fixed := files(map[string]string{"boot/grub/grub.cfg": "set default=\"0\"\nblscfg\n"})
	block := files(map[string]string{"boot/grub/grubenv": "short"})
	return []refusal{
		{"no grub.cfg", fresh, after(noGRUB, initAs("node-1.0-1")), boot.ErrNoBootloader},
		{"grub.cfg without include", fresh, after(noInclude, initAs("node-1.0-1")), boot.ErrNoBootloader},
		{"grub.cfg with a fixed default", fresh, after(fixed, initAs("node-1.0-1")), boot.ErrFixedDefault},
		{"grub.cfg with a fixed default, rollback", updated, after(fixed, rollbackTo("")), boot.ErrFixedDefault},
		{"environment block of others, init", fresh, after(block, initAs("node-1.0-1")), boot.ErrEnvBlock},
		{"environment block damaged, rollback", updated, after(block, rollbackTo("")), boot.ErrEnvBlock},
		{"environment block damaged, remove", updated, after(block, removeBase("node-1.0-1")), boot.ErrEnvBlock},
		{"kernel larger than /boot", nil, func(h *hosttest.Host) do {
			dir := h.Image("node-1.1-1", nil)
			h.Must(nil, os.Truncate(filepath.Join(dir, "boot/initrd.img-6.1.0-1-amd64"), 1<<41))
			return updateTo(dir)
		}, boot.ErrNoRoom},
		{"name that GRUB would take for a number", fresh, always(initAs("7node-1.0-1")), boot.ErrName},
		{"kernel version that no entry can have", nil, func(h *hosttest.Host) do {
			dir := h.Image("node-1.1-1", nil)
			for _, file := range []string{"vmlinuz-", "initrd.img-"} {
				h.Must(nil, os.Rename(filepath.Join(dir, "boot", file+"6.1.0-1-amd64"), filepath.Join(dir, "boot", file+"61")))
			}
			h.Must(nil, os.Rename(filepath.Join(dir, "usr/lib/modules/6.1.0-1-amd64"), filepath.Join(dir, "usr/lib/modules/61")))
			return updateTo(dir)
		}, boot.ErrName},
		{"/boot too small", fresh, func(h *hosttest.Host) do { smallBoot(h); return initAs("node-1.0-1") }, host.ErrBoot},
		{"no kernel installed", fresh, after(files(map[string]string{"boot/vmlinuz-" + hosttest.Kernel: "-"}), initAs("node-1.0-1")), host.ErrNoKernel},
		{"no modules for the kernel", fresh, after(files(map[string]string{"usr/lib/modules/" + hosttest.Kernel: "-"}), initAs("node-1.0-1")), host.ErrNoKernel},
	}
}

// smallBoot makes /boot a file system of its own that is too small.
func smallBoot(h *hosttest.Host) {
	h.T.Helper()
	dir := filepath.Join(h.Root(), "boot")
	kept := os.DirFS(dir + ".kept")
	h.Must(nil, os.CopyFS(dir+".kept", os.DirFS(dir)))
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		h.T.Skipf("mount a small /boot: %v", err)
	}
	h.T.Cleanup(func() { h.Must(nil, unix.Unmount(dir, 0)) })
	h.Must(nil, os.CopyFS(dir, kept))
}
