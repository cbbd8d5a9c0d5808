package host

import (
	"os"
	"slices"
	"strings"

	"imgbase/internal/boot"
	"imgbase/internal/lvm"
	"imgbase/internal/rootfs"
)

// owned are the kernel arguments that name a layer or its root. They are
// composed for every layer and never inherited: an inherited root= boots the
// old system under the new one's name.
var owned = []string{"BOOT_IMAGE", "initrd", "root", "boot", "rootflags", "img.bootid"}

// compose is the command line of a layer: what the machine has been given,
// then what is the layer's own. img.bootid is added, last, by package boot.
func compose(machine boot.Args, vg, layer, bootUUID string) boot.Args {
	device := lvm.Path(vg, layer)
	var args boot.Args
	flags := "discard" // xfs cannot gain it on remount (BZ 1803017)
	for _, word := range machine {
		key, value, _ := strings.Cut(word, "=")
		switch {
		case key == "rootflags":
			if !slices.Contains(strings.Split(value, ","), "discard") {
				flags = value + ",discard"
			} else {
				flags = value
			}
		case key == "rd.lvm.lv" && value == vg+"/"+layer, slices.Contains(owned, key):
		default:
			args = append(args, word)
		}
	}
	if !slices.Contains(args, "ro") && !slices.Contains(args, "rw") {
		args = append(args, "ro")
	}
	args = append(args, "root="+device, "rd.lvm.lv="+vg+"/"+layer, "rootflags="+flags)
	// dracut's FIPS check reads the kernel from /boot (BZ 1907746). To
	// initramfs-tools boot= is the name of a boot script, so nobody else
	// gets it.
	if v, _ := args.Get("fips"); v == "1" && bootUUID != "" {
		args = append(args, "boot=UUID="+bootUUID)
	}
	return args
}

// machineArgs are the arguments the running system was given, without those
// that name its root: from its boot entry, which is what was meant, or from
// the kernel, when it has none.
func (h *Host) machineArgs(s *state, b *boot.Boot) (boot.Args, error) {
	var args boot.Args
	entry, err := b.Newest(s.root.Name)
	if err == nil {
		args = entry.Options()
	} else {
		line, err := os.ReadFile(h.path("proc/cmdline"))
		if err != nil {
			return nil, err
		}
		args = boot.ParseArgs(strings.TrimSpace(string(line)))
	}
	return slices.DeleteFunc(args, func(word string) bool {
		return word == "rd.lvm.lv="+s.vg.Name+"/"+s.root.Name
	}), nil
}

// configured are the arguments that a tree's /etc/default/grub asks for. A
// tree without one asks for none.
func configured(tree string) boot.Args {
	var args boot.Args
	data, err := rootfs.ReadFile(tree, "etc/default/grub")
	if err != nil {
		return nil
	}
	vars, err := rootfs.ParseShellVars(data)
	if err != nil {
		return nil
	}
	for _, name := range []string{"GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"} {
		if v, ok, err := vars.Get(name); ok && err == nil {
			args = append(args, boot.ParseArgs(v)...)
		}
	}
	return args
}

// rebase carries a change of /etc/default/grub over to a command line: what
// was dropped from before to after goes, what was added comes.
func rebase(args, before, after boot.Args) boot.Args {
	args = slices.DeleteFunc(slices.Clone(args), func(word string) bool {
		return slices.Contains(before, word) && !slices.Contains(after, word)
	})
	for _, word := range after {
		if !slices.Contains(before, word) && !slices.Contains(args, word) {
			args = append(args, word)
		}
	}
	return args
}
