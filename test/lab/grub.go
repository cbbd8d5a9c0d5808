package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// coreModules are what GRUB needs to reach its own directory; it loads the
// rest from there.
var coreModules = [...]string{"biosdisk", "part_gpt", "ext2", "normal"}

// installGRUB writes what grub-install would write into the boot record and
// the BIOS boot partition, which it only does on a disk it sees as a device.
// The offsets are those of GRUB's boot.S and diskboot.S.
func installGRUB(ctx context.Context, disk, tree string) error {
	// The tree's own grub-mkimage fits its modules. It syncs its output, so
	// that must be a file.
	image := disk + ".core"
	defer os.Remove(image)
	script := "exec chroot " + shellQuote(tree) + " grub-mkimage -O i386-pc -p '(hd0,gpt2)/grub' " +
		strings.Join(coreModules[:], " ") + " > " + shellQuote(image)
	if err := command(ctx, "sh", "-c", script); err != nil {
		return err
	}
	core, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	boot, err := os.ReadFile(filepath.Join(tree, "usr/lib/grub/i386-pc/boot.img"))
	if err != nil {
		return err
	}
	sectors := (len(core) + sector - 1) / sector
	if len(boot) != sector || sectors < 2 || sectors*sector > bootAt-biosAt {
		return fmt.Errorf("grub: boot.img of %d bytes, core of %d bytes", len(boot), len(core))
	}
	const first = biosAt / sector
	binary.LittleEndian.PutUint64(boot[0x5c:], first) // kernel_sector
	copy(boot[0x66:], []byte{0x90, 0x90})             // believe the BIOS about the drive
	binary.LittleEndian.PutUint64(core[0x1f4:], first+1)
	binary.LittleEndian.PutUint16(core[0x1fc:], uint16(sectors-1))
	binary.LittleEndian.PutUint16(core[0x1fe:], 0x820)

	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// The disk signature and the partition table begin at 440.
	if _, err := f.WriteAt(boot[:440], 0); err != nil {
		return err
	}
	_, err = f.WriteAt(core, biosAt)
	return err
}

// grubDir fills /boot/grub as grub-install does: the modules, and an empty
// environment block. grub.cfg is left to update-grub on the booted host.
func grubDir(tree, boot string) error {
	to := filepath.Join(boot, "grub/i386-pc")
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	from := filepath.Join(tree, "usr/lib/grub/i386-pc")
	for _, pattern := range []string{"*.mod", "*.lst"} {
		names, err := filepath.Glob(filepath.Join(from, pattern))
		if err != nil {
			return err
		}
		for _, n := range names {
			data, err := os.ReadFile(n)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(to, filepath.Base(n)), data, 0o644); err != nil {
				return err
			}
		}
	}
	const header = "# GRUB Environment Block\n"
	env := append([]byte(header), bytes.Repeat([]byte{'#'}, 1024-len(header))...)
	return os.WriteFile(filepath.Join(boot, "grub/grubenv"), env, 0o644)
}
