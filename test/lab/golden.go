package lab

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"imgbase/internal/run"
)

// recipe is the source of the golden host: it is built anew when any of it
// changes.
//
//go:embed tree.go disk.go sparse.go grub.go golden.go
var recipe embed.FS

// UUIDs of the golden host's file systems.
const (
	bootUUID = "6c616200-0000-4000-8000-00000000b007"
	rootUUID = "6c616200-0000-4000-8000-000000007007"
	varUUID  = "6c616200-0000-4000-8000-00000000007a"
)

// kernelArgs are those of the golden host. Page-table isolation empties the
// emulated TLB at each system call, and protects nobody here.
const kernelArgs = "console=ttyS0 loglevel=4 mitigations=off audit=0 no_timer_check tsc=reliable net.ifnames=0"

// grubDefault is /etc/default/grub as Debian has it, for a serial console.
const grubDefault = `GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="` + kernelArgs + `"
GRUB_TERMINAL=serial
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
`

const fstab = `/dev/` + VG + `/root / ext4 defaults,discard 0 1
/dev/` + VG + `/var /var ext4 defaults,discard 0 2
UUID=` + bootUUID + ` /boot ext4 defaults 0 2
`

// hostFiles are what an installer writes beyond the packages.
func hostFiles() map[string]File {
	return map[string]File{
		"/etc/fstab":        {Text: fstab},
		"/etc/default/grub": {Text: grubDefault},
		"/etc/machine-id":   {Text: "6c616200000000000000000000000001\n"},
		// Mount points, and nothing below.
		"/boot": {Dir: true},
		"/var":  {Dir: true},
	}
}

// goldenDisk returns the path of the golden host's disk, a raw image that
// nobody writes to.
func goldenDisk(ctx context.Context) (string, error) {
	source, err := recipeText()
	if err != nil {
		return "", err
	}
	agent, err := buildAgent(ctx)
	if err != nil {
		return "", err
	}
	name, err := key("golden", source, agent)
	if err != nil {
		return "", err
	}
	dir, err := cached(ctx, name, buildGolden)
	return filepath.Join(dir, "disk.raw"), err
}

func recipeText() (string, error) {
	var all strings.Builder
	entries, err := recipe.ReadDir(".")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		text, err := fs.ReadFile(recipe, e.Name())
		if err != nil {
			return "", err
		}
		all.Write(text)
	}
	return all.String(), nil
}

func buildGolden(ctx context.Context, dir string) error {
	tree, err := tree(ctx)
	if err != nil {
		return err
	}
	rootImage, varImage, bootImage := filepath.Join(dir, "root.img"), filepath.Join(dir, "var.img"), filepath.Join(dir, "boot.img")
	defer func() {
		for _, image := range []string{rootImage, varImage, bootImage} {
			os.Remove(image)
		}
	}()
	err = overlay(ctx, tree, dir, hostFiles(), func(root string) error {
		return makeExt4(ctx, ext4{tree: root, image: rootImage, size: rootSize, uuid: rootUUID, config: tree})
	})
	if err != nil {
		return err
	}
	if err := makeExt4(ctx, ext4{tree: filepath.Join(tree, "var"), image: varImage, size: varSize, uuid: varUUID, config: tree}); err != nil {
		return err
	}
	err = overlay(ctx, filepath.Join(tree, "boot"), dir, nil, func(boot string) error {
		if err := grubDir(tree, boot); err != nil {
			return err
		}
		return makeExt4(ctx, ext4{tree: boot, image: bootImage, size: bootSize, uuid: bootUUID, config: tree})
	})
	if err != nil {
		return err
	}
	disk := filepath.Join(dir, "disk.raw")
	if err := writeDisk(ctx, disk, bootImage, []thin{{"root", rootImage, rootSize}, {"var", varImage, varSize}}); err != nil {
		return err
	}
	if err := installGRUB(ctx, disk, tree); err != nil {
		return err
	}
	return firstBoot(ctx, dir, disk, tree)
}

// firstBoot boots the new disk once, without its bootloader, and lets the
// host write its own grub.cfg.
func firstBoot(ctx context.Context, dir, disk, tree string) error {
	kernel, initrd, err := kernelOf(tree)
	if err != nil {
		return err
	}
	m, err := start(ctx, spec{
		dir: dir, disk: disk, format: "raw", kernel: kernel, initrd: initrd,
		append: "root=/dev/mapper/" + VG + "-root ro " + kernelArgs,
	})
	if err != nil {
		return err
	}
	defer m.kill()
	if err := m.awaitBoot(ctx, ""); err != nil {
		return m.explain(err)
	}
	if _, err := m.settle(ctx); err != nil {
		return m.explain(err)
	}
	r, err := m.run(ctx, "update-grub && sync && systemctl --no-block poweroff")
	if err != nil || r.Code != 0 {
		return m.explain(fmt.Errorf("update-grub: exit %d: %s: %w", r.Code, r.Stderr, err))
	}
	return m.awaitEnd(ctx)
}

// kernelOf returns the kernel and the initramfs of a tree.
func kernelOf(tree string) (kernel, initrd string, err error) {
	for _, f := range []struct {
		path    *string
		pattern string
	}{{&kernel, "boot/vmlinuz-*"}, {&initrd, "boot/initrd.img-*"}} {
		found, err := filepath.Glob(filepath.Join(tree, f.pattern))
		if err != nil || len(found) != 1 {
			return "", "", fmt.Errorf("%s: %d files match %s", tree, len(found), f.pattern)
		}
		*f.path = found[0]
	}
	return kernel, initrd, nil
}

// ext4 says what file system to make. config is a tree whose mke2fs.conf
// decides the features: the building machine's may be newer than the
// guest's GRUB can read.
type ext4 struct {
	tree, image string
	size        int64
	uuid        string
	config      string
}

func makeExt4(ctx context.Context, e ext4) error {
	args := []string{"-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-d", e.tree}
	if e.uuid != "" {
		args = append(args, "-U", e.uuid)
	}
	args = append(args, e.image, fmt.Sprintf("%dk", e.size/1024))
	_, err := run.OS{}.Run(ctx, run.Cmd{
		Name: "mkfs.ext4", Args: args,
		Env: []string{"MKE2FS_CONFIG=" + filepath.Join(e.config, "etc/mke2fs.conf")},
	})
	return err
}
