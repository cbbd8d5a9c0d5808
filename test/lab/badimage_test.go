package lab_test

import (
	"debug/elf"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/run"
	"imgbase/test/lab"
)

// tiny builds a liveimg of a few files, NAME.img in dir.
func tiny(t *testing.T, dir, name string, files map[string]string) string {
	t.Helper()
	tree, live := t.TempDir(), t.TempDir()
	for path, text := range files {
		path = filepath.Join(tree, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(live, "LiveOS"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, name+".img")
	for _, c := range []run.Cmd{
		{Name: "mkfs.ext4", Args: []string{"-q", "-F", "-d", tree, filepath.Join(live, "LiveOS/rootfs.img"), "96M"}},
		{Name: "mksquashfs", Args: []string{live, file, "-noappend", "-quiet", "-no-progress", "-comp", "zstd"}},
	} {
		if _, err := (run.OS{}).Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// program is the head of an ELF program, which tells the machine it is for.
func program(machine elf.Machine) string {
	head := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 57)...)
	binary.LittleEndian.PutUint16(head[16:], uint16(elf.ET_EXEC))
	binary.LittleEndian.PutUint16(head[18:], uint16(machine))
	return string(head)
}

// system is a tree that passes for an operating system of that name, with
// what is added; an empty text takes a file away.
func system(nvr string, added map[string]string) map[string]string {
	noise := make([]byte, 32<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(noise) // never fails
	files := map[string]string{
		"usr/share/imgbase/build/meta/nvr": nvr,
		"usr/lib/systemd/systemd":          program(elf.EM_X86_64),
		"usr/lib/os-release":               "ID=lab\n",
		"etc/fstab":                        "",
		"boot/vmlinuz-9.9":                 string(noise[:1<<20]),
		"boot/initrd.img-9.9":              string(noise[1<<20:]),
		"usr/lib/modules/9.9/modules.dep":  "\n",
	}
	maps.Copy(files, added)
	maps.DeleteFunc(files, func(_, text string) bool { return text == "" })
	return files
}

// Before: the host runs its first layer. Images that are none, or not for
// this host, or that it has no room for, are refused.
func TestRefusedImage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string, nvr string, added map[string]string) string {
		return tiny(t, dir, name, system(nvr, added))
	}
	list := []string{
		file("nameless", "", nil),
		file("badname", "lab", nil),
		file("tilde", "lab-2.0~rc1-1", nil),
		file("long", "lab-2.0-1."+strings.Repeat("x", 60), nil),
		file("exists", "lab-1.0-1", nil),
		file("arm", "lab-2.0-1", map[string]string{"usr/lib/systemd/systemd": program(elf.EM_AARCH64)}),
		file("nothing", "lab-2.0-1", map[string]string{"usr/lib/systemd/systemd": ""}),
		file("product", "other-2.0-1", nil),
		file("kernelless", "lab-2.0-1", map[string]string{"boot/vmlinuz-9.9": "", "boot/initrd.img-9.9": ""}),
		file("whole", "lab-2.0-1", nil),
	}
	vm := taken(t)
	at := vm.Share(t, "bad", list...) + "/"
	vm.Must(t, `head -c 30000000 `+at+`whole.img > /var/short.img; : > /var/empty.img; head -c 1000000 /dev/urandom > /var/random.img
		truncate -s 1G /var/zero.img; mkfifo /var/fifo.img`)
	before := vm.State(t)
	refused(t, vm, before,
		refusal{"imgbase update /var/none.img", 62}, refusal{"imgbase update /etc", 58}, refusal{"imgbase update /var/fifo.img", 58},
		refusal{"imgbase update /var/short.img", 50}, refusal{"imgbase update /var/empty.img", 58},
		refusal{"imgbase update /var/random.img", 58}, refusal{"imgbase update /var/zero.img", 58}, refusal{"imgbase update /dev/zero", 58},
		refusal{"imgbase update " + at + "nameless.img", 51}, refusal{"imgbase update " + at + "badname.img", 32},
		refusal{"imgbase update " + at + "tilde.img", 31}, refusal{"imgbase update " + at + "long.img", 30},
		refusal{"imgbase update " + at + "exists.img", 33}, refusal{"imgbase update " + at + "arm.img", 52},
		refusal{"imgbase update " + at + "nothing.img", 55}, refusal{"imgbase update " + at + "product.img", 53},
		refusal{"imgbase update " + at + "kernelless.img", 41},
		refusal{"imgbase base --add lab-2.0-1 --size 1G " + at + "arm.img", 52}, refusal{"imgbase base --add lab-2.0-1 --size 32M " + at + "whole.img", 39},
		refusal{"imgbase base --add lab-2.1-1 --size 1G " + at + "whole.img", 63},
	)

	// All but 40 MiB of /boot is full, and the image has a kernel of its own.
	vm.Must(t, `fallocate -l $(( $(stat -f -c '%a * %S' /boot) - (40 << 20) )) /boot/full`)
	refused(t, vm, vm.State(t), refusal{"imgbase update " + at + "whole.img", 16})
	vm.Must(t, "rm /boot/full")

	// The pool that new bases go to has no room for the image.
	vm.Must(t, `lvcreate -qq -y --type thin-pool -L 32M -n small --addtag imgbased:pool `+lab.VG+` && lvchange -qq --deltag imgbased:pool `+lab.VG+`/`+lab.Pool)
	refused(t, vm, vm.State(t), refusal{"imgbase update " + at + "whole.img", 15})
	vm.Must(t, `lvchange -qq --addtag imgbased:pool `+lab.VG+`/`+lab.Pool+` && lvremove -qq -y `+lab.VG+`/small`)
}
