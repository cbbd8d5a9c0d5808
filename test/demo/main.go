// Command demo shows the life of a host before your eyes: a throw-away Debian
// host in a virtual machine is taken over, updated from an image, restarted
// into the new layer, and rolled back. Every command is printed as typed,
// with what the host answers.
//
// The host is the lab's (package lab): kernel, LVM, GRUB and systemd are
// Debian's, and nothing of this computer is touched but the lab's cache.
// `make demo` runs it, as root. The first run builds the host and the image.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"imgbase/test/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := lab.Perform(ctx, "demo", show); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// first and second are the layers of the demo.
const (
	first  = lab.HostNVR + "+1"
	second = "lab-2.0-1+1"
)

// show is the demo from the first to the last scene. It fails if the host
// does anything else than what is told.
func show(p testing.TB) {
	says("A Debian host whose root is an LVM thin volume is started in a virtual machine.\n" +
		"The first time it has to be built, which takes a few minutes.")
	image := lab.Image{NVR: "lab-2.0-1", Files: map[string]lab.File{
		"/etc/vendor": {Text: "new\n"},
		"/etc/hosts":  {Text: "127.0.0.1 localhost vendor\n"},
	}}.Build(p)
	vm := lab.Golden(p)
	vm.Install(p)
	s := scene{p, vm}
	s.types("lvs -o lv_name,lv_size,pool_lv,lv_tags")

	says("Take it over: the installed system becomes the first base, read-only, with the\nfirst layer on it. The layer boots from now on.")
	s.types("imgbase layout --init")
	s.restarts(first)
	s.types("imgbase w")

	says("Its administrator changes /etc, in one file that the next image changes too.")
	s.types("echo '127.0.0.1 localhost mine' > /etc/hosts; echo mine > /etc/admin")
	dir := vm.Share(p, "images", image)
	says("An image that arrived only half is refused, and nothing is changed.")
	vm.Must(p, "head -c 60000000 "+dir+"/lab-2.0-1.img > /var/half.img")
	s.types("imgbase update /var/half.img", truncated)
	says("Update from the whole image. The running system is not touched; what boots next\nchanges in the last step, with one write. Power may be cut at any instant.")
	s.types("imgbase update " + dir + "/lab-2.0-1.img")
	s.types("imgbase status")
	s.restarts(second)

	says("The new layer runs. What the administrator changed is there, and so is what the\nvendor changed; where both did, the vendor's version lies beside.")
	s.types("imgbase w; cat /proc/cmdline")
	s.types("head /etc/admin /etc/vendor /etc/hosts /etc/hosts.imgnew")

	says("Go back: the layer before boots again, as it was.")
	s.types("imgbase rollback")
	s.restarts(first)
	s.types("imgbase w; cat /etc/hosts; imgbase layout; imgbase boot --list")
	says("That was it. The host is thrown away.")
}

// scene is the host in the demo.
type scene struct {
	p  testing.TB
	vm *lab.VM
}

// truncated is imgbase's exit code for an image that is not all there.
const truncated = 50

// types runs a command on the host and shows it with all that it prints. The
// exit code has to be 0, or the one named.
func (s scene) types(command string, code ...int) {
	fmt.Printf("\n# %s\n", command)
	r := s.vm.Run(s.p, "( "+command+" ) 2>&1")
	fmt.Print(r.Stdout)
	if r.Code != 0 {
		fmt.Printf("(exit code %d)\n", r.Code)
	}
	if want := append(code, 0)[0]; r.Code != want {
		s.p.Fatalf("%s: exit code %d; want %d", command, r.Code, want)
	}
}

// restarts restarts the host, into that layer.
func (s scene) restarts(layer string) {
	fmt.Print("\n# reboot\n")
	start := time.Now()
	state := s.vm.Reboot(s.p)
	fmt.Printf("(up again after %v, systemd says %q)\n", time.Since(start).Round(time.Second), state)
	if got := s.vm.BootedLayer(s.p); got != layer {
		s.p.Fatalf("the host booted %q; want %q", got, layer)
	}
}

// says tells what comes next.
func says(text string) {
	fmt.Printf("\n== %s\n", strings.ReplaceAll(text, "\n", "\n   "))
}
