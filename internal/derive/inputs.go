package derive

import (
	"path"
	"slices"
	"strings"
)

// tool is a set of programs that make an initramfs.
type tool uint8

const (
	dracut tool = 1 << iota
	initramfsTools
	either = dracut | initramfsTools
)

func (t tool) String() string {
	if t == dracut {
		return "dracut"
	}
	return "mkinitramfs"
}

// reading is how an input is read: what about it makes a difference.
type reading uint8

const (
	text    reading = iota // bytes, but for blank lines and comments
	program                // bytes, and whether it can be executed
	names                  // names and sizes, because there is too much to read
	usrType                // type of /usr in fstab
)

// input is something that an initramfs is made of: a file, a directory with
// all beneath it, or a pattern of [path.Match] in the last component.
type input struct {
	path string
	by   tool // who reads it
	as   reading
	// give says that dracut is told to take it along. Without, it leaves the
	// administrator's out of an initramfs that is not made for one machine.
	give bool
}

// kernelDir stands for the version of the kernel in an input's path.
const kernelDir = "KERNEL"

// inputs are what dracut 049 to 106 and initramfs-tools 0.137 to 0.148 with
// the hooks of lvm2, mdadm, multipath-tools, cryptsetup, udev, open-iscsi,
// dropbear and console-setup read.
var inputs = [...]input{
	// Storage below the root.
	{path: "etc/multipath.conf", by: either},
	{path: "etc/multipath", by: either},
	{path: "etc/lvm/lvm.conf", by: either},
	{path: "etc/lvm/lvmlocal.conf", by: either},
	{path: "etc/lvm/devices/*.devices", by: either, give: true},
	{path: "etc/lvm/profile", by: initramfsTools},
	{path: "etc/crypttab", by: either}, // given as [Tree.crypttab] makes it
	{path: "etc/cryptsetup-initramfs", by: initramfsTools},
	{path: "etc/mdadm.conf", by: either},
	{path: "etc/mdadm/mdadm.conf", by: either},
	{path: "etc/iscsi/iscsi.initramfs", by: initramfsTools},
	{path: "etc/fstab", by: initramfsTools, as: usrType},

	// Drivers, and the names of devices.
	{path: "etc/modprobe.d/*.conf", by: either, give: true},
	{path: "etc/modules-load.d/*.conf", by: dracut, give: true},
	{path: "etc/udev/rules.d/*.rules", by: either, give: true},
	{path: "etc/udev/udev.conf", by: either},
	{path: "etc/systemd/network/*.link", by: either, give: true},

	// What one needs to type a passphrase, at the console or from afar.
	{path: "etc/vconsole.conf", by: dracut},
	{path: "etc/default/keyboard", by: initramfsTools},
	{path: "etc/default/console-setup", by: initramfsTools},
	{path: "etc/console-setup", by: initramfsTools},
	{path: "etc/dropbear/initramfs", by: initramfsTools},
	{path: "etc/dropbear-initramfs", by: initramfsTools},

	// The tools' own configuration, and what packages add to them.
	{path: "etc/dracut.conf", by: dracut},
	{path: "etc/dracut.conf.d/*.conf", by: dracut},
	{path: "usr/lib/dracut/dracut.conf.d", by: dracut},
	{path: "usr/lib/dracut/modules.d", by: dracut, as: program},
	{path: "etc/initramfs-tools", by: initramfsTools, as: program},
	{path: "usr/share/initramfs-tools", by: initramfsTools, as: program},

	// What packages add to the kernel. depmod(8) writes modules.dep.
	{path: "usr/lib/modules/" + kernelDir + "/modules.dep", by: either},
	{path: "usr/lib/modules/" + kernelDir + "/vmlinuz", by: either, as: program},
	{path: "boot/vmlinuz-" + kernelDir, by: either, as: program},
	{path: "usr/lib/modprobe.d", by: either},
	{path: "usr/lib/udev/rules.d", by: either},
	{path: "usr/lib/firmware", by: either, as: names},
}

// of is the input for a kernel.
func (in input) of(kernel string) input {
	in.path = strings.ReplaceAll(in.path, kernelDir, kernel)
	return in
}

// who is to be named for a difference at path.
func who(path string) string {
	if strings.HasPrefix(path, "etc/") {
		return "by the administrator"
	}
	return "by a package"
}

// differences tells, in words, where what the tool reads for the kernel
// differs between the base and the tree.
func (t Tree) differences(base, kernel string, by tool) ([]string, error) {
	var found []string
	for _, in := range inputs {
		if in.by&by == 0 {
			continue
		}
		in = in.of(kernel)
		paths, err := t.compare(base, in)
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			found = append(found, p+" "+who(in.path))
		}
	}
	return found, nil
}

// expected tells, in words, which of the paths that will differ the tool
// reads for the kernel.
func expected(paths []string, kernel string, by tool) []string {
	var found []string
	for _, in := range inputs {
		// The kind of /usr cannot be told from a path, and hardly changes.
		if in.by&by == 0 || in.as == usrType {
			continue
		}
		in = in.of(kernel)
		for _, p := range paths {
			if in.covers(p) {
				found = append(found, printable(p)+" changed "+who(p))
			}
		}
	}
	return found
}

// covers says whether a change of p, or of what is beneath it, is one of the
// input.
func (in input) covers(p string) bool {
	if strings.HasPrefix(in.path, p+"/") || strings.HasPrefix(p, in.path+"/") {
		return true
	}
	ok, err := path.Match(in.path, p)
	return ok && err == nil
}

// given are the options that make dracut take the administrator's files
// along.
func (t Tree) given() ([]string, error) {
	var args []string
	for _, in := range inputs {
		if !in.give {
			continue
		}
		found, err := t.survey(t.Root, in)
		if err != nil {
			return nil, err
		}
		for _, name := range slices.Sorted(keys(found)) {
			if _, info, err := t.find(t.Root, name); err != nil {
				return nil, err
			} else if info != nil && info.Mode().IsRegular() {
				args = append(args, "--include", path.Join("/", name), path.Join("/", name))
			}
		}
	}
	return args, nil
}
