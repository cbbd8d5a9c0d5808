package hosttest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// grubConfig is as much of Debian's grub.cfg as decides how it is understood;
// package boot is tested on a whole one.
const grubConfig = `menuentry 'Debian GNU/Linux' { linux /vmlinuz }
if [ -f  ${config_directory}/custom.cfg ]; then
  source ${config_directory}/custom.cfg
fi
`

// system is what is installed on the host, and the ground of its images.
var system = map[string]string{
	"etc/hostname":        "installed\n",
	"etc/os-release":      "ID=node\nVERSION_ID=0\n",
	"etc/fstab":           "# made by the installer\nUUID=uuid-root / ext4 errors=remount-ro 0 1\nUUID=8f1c2a5e-0b1d-4c53-9d0a-6f3f1c9b7e11 /boot ext4 defaults 0 2\n/dev/HostVG/var /var ext4 defaults 0 2\n",
	"etc/passwd":          "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n",
	"etc/group":           "root:x:0:\ndaemon:x:1:\n",
	"etc/shadow":          "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n",
	"etc/motd":            "welcome\n",
	"etc/ssh/sshd_config": "Port 22\n",
	"etc/default/grub":    "GRUB_CMDLINE_LINUX=\"\"\nGRUB_CMDLINE_LINUX_DEFAULT=quiet\n",
	"usr/lib/modules/" + Kernel + "/modules.dep": "",
	"usr/bin/true":                         "",
	"tmp/keep":                             "",
	"etc/lvm/profile/thin-generic.profile": "allocation {\n\tthin_pool_chunk_size_policy = \"generic\"\n}\n",
}

// tree writes the files of the installed host.
func (h *Host) tree() {
	h.T.Helper()
	root := h.Root()
	h.write(root, system)
	h.write(root, map[string]string{
		"boot/vmlinuz-" + Kernel:         "kernel",
		"boot/initrd.img-" + Kernel:      "initrd",
		"boot/grub/grub.cfg":             grubConfig,
		"boot/vmlinuz-0-rescue-foreign":  "rescue",
		"proc/cmdline":                   "BOOT_IMAGE=/vmlinuz-" + Kernel + " root=/dev/mapper/HostVG-root ro console=ttyS0 quiet\n",
		"proc/sys/kernel/osrelease":      Kernel + "\n",
		"var/lib/state":                  "state",
		"run/keep":                       "",
		"sys/keep":                       "",
		"dev/disk/by-uuid/keep":          "",
		"boot/loader/entries/other.conf": "title Memory test\nlinux /memtest\n",
	})
	must(h.T, os.Symlink("../../vda2", filepath.Join(root, "dev/disk/by-uuid/8f1c2a5e-0b1d-4c53-9d0a-6f3f1c9b7e11")))
	h.executable(filepath.Join(root, InitProgram))
	h.mountTable()
}

// executable copies this test's own program: an ELF file of this machine.
func (h *Host) executable(path string) {
	self, err := os.Executable()
	must(h.T, err)
	f, err := os.Open(self)
	must(h.T, err)
	defer f.Close()
	head := make([]byte, 4096)
	_, err = f.Read(head)
	must(h.T, err)
	must(h.T, os.MkdirAll(filepath.Dir(path), 0o755))
	must(h.T, os.WriteFile(path, head, 0o755))
}

// program is a stand-in for the running imgbase.
func (h *Host) program() string {
	path := filepath.Join(h.Dir, "imgbase")
	must(h.T, os.WriteFile(path, []byte("imgbase"), 0o755))
	return path
}

// SetMount makes another device be mounted on target than the installer's;
// device "" makes it no mount of its own.
func (h *Host) SetMount(target, device, fstype string) {
	h.T.Helper()
	h.mounts[target] = [2]string{device, fstype}
	h.mountTable()
}

// mountTable writes what the kernel would say is mounted.
func (h *Host) mountTable() {
	h.T.Helper()
	table := map[string][2]string{
		"/":     {"/dev/mapper/" + VG + "-" + strings.ReplaceAll(h.root, "-", "--"), "ext4"},
		"/var":  {"/dev/mapper/" + VG + "-var", "ext4"},
		"/boot": {bootDev, "ext4"},
	}
	maps.Copy(table, h.mounts)
	var text strings.Builder
	for i, target := range slices.Sorted(maps.Keys(table)) {
		if m := table[target]; m[0] != "" {
			fmt.Fprintf(&text, "%d 1 254:%d / %s rw,relatime shared:%d - %s %s rw\n", 22+i, i, target, i+1, m[1], m[0])
		}
	}
	h.write(h.Root(), map[string]string{"proc/self/mountinfo": text.String()})
}

// write writes files below dir; content "" makes an empty file, "-" removes.
func (h *Host) write(dir string, changes map[string]string) {
	h.T.Helper()
	for name, content := range changes {
		path := filepath.Join(dir, name)
		if content == "-" {
			must(h.T, os.RemoveAll(path))
			continue
		}
		must(h.T, os.MkdirAll(filepath.Dir(path), 0o755))
		must(h.T, os.WriteFile(path, []byte(content), 0o644))
	}
}

// Write changes files of the running system.
func (h *Host) Write(changes map[string]string) {
	h.T.Helper()
	h.write(h.Root(), changes)
}

// Read is a file of the running system, "" if there is none.
func (h *Host) Read(name string) string {
	h.T.Helper()
	data, err := os.ReadFile(filepath.Join(h.Root(), name))
	if os.IsNotExist(err) {
		return ""
	}
	must(h.T, err)
	return string(data)
}
