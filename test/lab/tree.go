package lab

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"imgbase/internal/run"
)

// suite is the Debian release of the golden host.
const suite = "bookworm"

// packages are what the host has beyond Debian's essential ones.
var packages = [...]string{
	"systemd-sysv", "udev", "kmod", "lvm2", "thin-provisioning-tools", "e2fsprogs", "xfsprogs",
	"grub-pc-bin", "grub2-common", "linux-image-cloud-amd64", "initramfs-tools", "zstd",
	"attr", "acl", "libcap2-bin",
}

// excluded are files of packages that no case needs. Without the hardware
// database's sources, its first-boot update takes no time in emulation.
var excluded = [...]string{
	"/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*",
	"/usr/lib/udev/hwdb.d/*", "/usr/lib/udev/hwdb.bin",
}

// initramfs keeps the initramfs small: emulated guests build and unpack it
// ten times slower than real ones.
const initramfs = `mkdir -p "$1/etc/initramfs-tools/conf.d"
printf 'MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\nRESUME=none\n' > "$1/etc/initramfs-tools/conf.d/lab"
printf '%s\n' virtio_pci virtio_blk virtio_console virtio_rng ext4 xfs dm_mod dm_thin_pool dm_snapshot dm_flakey > "$1/etc/initramfs-tools/modules"
`

// masked are units that no case needs: work that starts by the clock makes
// runs differ, and each of the others costs half a second and more of an
// emulated boot.
var masked = [...]string{
	"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
	"systemd-tmpfiles-clean.timer", "e2scrub_reap.service", "getty-static.service", "systemd-binfmt.service",
	"proc-sys-fs-binfmt_misc.automount", "systemd-pstore.service", "modprobe@efi_pstore.service",
	"modprobe@configfs.service", "modprobe@fuse.service", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount",
	"sys-kernel-debug.mount", "sys-kernel-tracing.mount", "dev-hugepages.mount", "dev-mqueue.mount",
	"systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-ask-password-console.path", "systemd-ask-password-wall.path",
}

// HostNVR is the identity of the golden host's own system.
const HostNVR = "lab-1.0-1"

// nvrFile holds the identity of an image, without a line feed at its end.
const nvrFile = "/usr/share/imgbase/build/meta/nvr"

const agentPath = "/usr/lib/imgbase-lab/agent"

// agentUnit starts the agent as early as it can and keeps it through
// isolation and shutdown, so that it answers on a host that boots sick. It is
// a vendor unit: nothing of the lab lies in the administrator's /etc.
const agentUnit = `[Unit]
Description=Agent of the imgbase lab
DefaultDependencies=no
IgnoreOnIsolate=yes

[Service]
ExecStart=` + agentPath + `
Environment=HOME=/root LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
Restart=always
KillMode=process
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
`

// treeFiles are the changes that make a minimal system a lab system. They are
// the same on the host and in the images.
func treeFiles() map[string]File {
	files := map[string]File{
		"/usr/lib/systemd/system/imgbase-lab-agent.service":                         {Text: agentUnit},
		"/usr/lib/systemd/system/multi-user.target.wants/imgbase-lab-agent.service": {Link: "../imgbase-lab-agent.service"},
		"/etc/hostname": {Text: "lab\n"},
		"/etc/hosts":    {Text: "127.0.0.1 localhost\n127.0.1.1 lab\n"},
		nvrFile:         {Text: HostNVR},
		// A console nobody sits at: it belongs to the kernel's log.
		"/etc/systemd/system-generators/systemd-getty-generator":    {Link: "/dev/null"},
		"/etc/systemd/system/getty.target.wants/getty@tty1.service": {Removed: true},
		"/etc/machine-id": {Text: ""},
		// Under emulation on a busy computer 90 s for a disk to appear were too
		// few once in some hundred boots.
		"/etc/systemd/system.conf.d/lab.conf": {Text: "[Manager]\nDefaultDeviceTimeoutSec=15min\nDefaultTimeoutStartSec=15min\n"},
	}
	for _, unit := range masked {
		files["/etc/systemd/system/"+unit] = File{Link: "/dev/null"}
		files["/etc/systemd/system/timers.target.wants/"+unit] = File{Removed: true}
	}
	return files
}

// tree returns the directory with the system that host and images are made
// from. It is read-only by agreement.
func tree(ctx context.Context) (string, error) {
	agent, err := buildAgent(ctx)
	if err != nil {
		return "", err
	}
	files := treeFiles()
	files[agentPath] = File{Text: string(agent), Mode: 0o755}
	name, err := key("tree", suite, packages, excluded, initramfs, files)
	if err != nil {
		return "", err
	}
	return cached(ctx, name, func(ctx context.Context, dir string) error {
		tarball, err := tarball(ctx)
		if err != nil {
			return err
		}
		if err := command(ctx, "tar", "-C", dir, "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", tarball); err != nil {
			return err
		}
		return apply(dir, files)
	})
}

// tarball returns the system as the package manager leaves it.
func tarball(ctx context.Context) (string, error) {
	name, err := key("packages", suite, packages, excluded, initramfs)
	if err != nil {
		return "", err
	}
	dir, err := cached(ctx, name, func(ctx context.Context, dir string) error {
		args := []string{
			"--mode=root", "--variant=minbase", "--format=tar", "--include=" + strings.Join(packages[:], ","),
			"--essential-hook=" + initramfs,
		}
		for _, pattern := range excluded {
			args = append(args, "--dpkgopt=path-exclude="+pattern)
		}
		return command(ctx, "mmdebstrap", append(args, suite, filepath.Join(dir, "system.tar"))...)
	})
	return filepath.Join(dir, "system.tar"), err
}

// buildAgent builds the agent, the same bytes for the same source.
func buildAgent(ctx context.Context) ([]byte, error) {
	return goBuild(ctx, "./test/agent")
}

// goBuild builds a static program of this module and returns it.
func goBuild(ctx context.Context, pkg string) ([]byte, error) {
	out, err := run.OS{}.Run(ctx, run.Cmd{Name: "go", Args: []string{"list", "-m", "-f", "{{.Dir}}"}})
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "imgbase-lab-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	bin := filepath.Join(tmp, "bin")
	_, err = run.OS{}.Run(ctx, run.Cmd{
		Name: "go",
		Args: []string{"-C", strings.TrimSpace(string(out.Stdout)), "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", bin, pkg},
		Env:  []string{"CGO_ENABLED=0"},
	})
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", pkg, err)
	}
	return os.ReadFile(bin)
}

// File is one difference between an image and the system it is derived from.
type File struct {
	Text    string      // content of a regular file
	Mode    fs.FileMode // permission and set-id bits; 0 is 0644
	UID     int
	GID     int
	Link    string // makes it a symbolic link to this instead
	Dir     bool   // makes it an empty directory instead
	Removed bool   // removes what is there, with all below
}

// apply brings the differences into the tree at root, in path order, so that
// a directory can be emptied before something new is put into it.
func apply(root string, files map[string]File) error {
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := files[path].apply(filepath.Join(root, path)); err != nil {
			return err
		}
	}
	return nil
}

func (f File) apply(path string) error {
	if err := os.RemoveAll(path); err != nil || f.Removed {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	mode := f.Mode
	switch {
	case f.Link != "":
		if err := os.Symlink(f.Link, path); err != nil {
			return err
		}
		return os.Lchown(path, f.UID, f.GID)
	case f.Dir:
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		if mode == 0 {
			mode = 0o755
		}
	default:
		if err := os.WriteFile(path, []byte(f.Text), 0o644); err != nil {
			return err
		}
		if mode == 0 {
			mode = 0o644
		}
	}
	if err := os.Lchown(path, f.UID, f.GID); err != nil {
		return err
	}
	// After the owner: a change of owner clears set-id bits.
	return os.Chmod(path, mode)
}

// merged is the directory in which [overlay] shows its result.
const merged = "merged"

// overlay shows a copy of the tree at base with the differences, without
// copying, calls use with it and takes it away again. dir is scratch space.
func overlay(ctx context.Context, base, dir string, files map[string]File, use func(root string) error) (err error) {
	for _, d := range []string{"upper", "work", merged} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	root := filepath.Join(dir, merged)
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", base, filepath.Join(dir, "upper"), filepath.Join(dir, "work"))
	if err := command(ctx, "mount", "-t", "overlay", "-o", opts, "lab", root); err != nil {
		return err
	}
	defer func() {
		uerr := command(context.WithoutCancel(ctx), "umount", root)
		if err == nil {
			err = uerr
		}
		for _, d := range []string{"upper", "work", merged} {
			os.RemoveAll(filepath.Join(dir, d))
		}
	}()
	if err := apply(root, files); err != nil {
		return err
	}
	return use(root)
}
