package host_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imgbase/internal/derive"
	"imgbase/internal/host/hosttest"
)

// initramfsOf is the initramfs of a layer's kernel in /boot.
func initramfsOf(t *testing.T, h *hosttest.Host, layer string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(h.Root(), "boot", layer, "initrd.img-*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("initramfs of %s: %q, %v; want one", layer, found, err)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The administrator's multipath.conf is in the initramfs of every layer after.
func TestInitramfsOfItsOwn(t *testing.T) {
	h := taken(t)
	tool := map[string]string{hosttest.Initramfs: ""}
	h.Write(map[string]string{"etc/multipath.conf": "mine\n"})
	for _, name := range []string{"node-1.1-1", "node-1.2-1"} {
		c := h.Must(h.Update(h.Image(name, tool)))
		h.Boot()
		if got, want := initramfsOf(t, h, name+"+1"), "\x1f\x8binitramfs with mine\n"; !strings.HasPrefix(got, want) {
			t.Errorf("initramfs of %s begins %.40q; want %q", name, got, want)
		}
		if len(c.Derived) != 1 || c.Derived[0].Op != derive.Make || !slices.Contains(c.Derived[0].Why, "etc/multipath.conf added by the administrator") {
			t.Errorf("%s derived %v; want an initramfs because of multipath.conf", name, c.Derived)
		}
		for _, left := range []string{".imgbase-initramfs", "usr/lib/imgbased/initrd.img-6.1.0-1-amd64"} {
			if _, err := os.Lstat(filepath.Join(h.Root(), left)); !os.IsNotExist(err) {
				t.Errorf("%s is left in the layer: %v", left, err)
			}
		}
	}
	// Equal ones are stored once.
	a, aerr := os.Stat(filepath.Join(h.Root(), "boot/node-1.1-1+1/initrd.img-6.1.0-1-amd64"))
	b, berr := os.Stat(filepath.Join(h.Root(), "boot/node-1.2-1+1/initrd.img-6.1.0-1-amd64"))
	if aerr != nil || berr != nil || !os.SameFile(a, b) {
		t.Errorf("the initramfs of both layers are not one file: %v, %v", aerr, berr)
	}
}

// An image's initramfs serves where nothing that it is made of differs, and is
// kept with a word about it where the image cannot make another.
func TestInitramfsOfTheImage(t *testing.T) {
	h := taken(t)
	c := h.Must(h.Update(h.Image("node-1.1-1", map[string]string{hosttest.Initramfs: ""})))
	h.Boot()
	if got := initramfsOf(t, h, "node-1.1-1+1"); got != "initrd of node-1.1-1" || len(c.Derived) != 1 || c.Derived[0].Op != derive.Keep {
		t.Errorf("initramfs = %.40q, derived %v; want the image's, kept", got, c.Derived)
	}
	h.Write(map[string]string{"etc/multipath.conf": "mine\n"})
	c = h.Must(h.Update(h.Image("node-1.2-1", nil)))
	h.Boot()
	if got := initramfsOf(t, h, "node-1.2-1+1"); got != "initrd of node-1.2-1" || len(c.Derived) != 1 || c.Derived[0].Op != derive.Lack {
		t.Errorf("initramfs = %.40q, derived %v; want the image's, as there is no tool", got, c.Derived)
	}
}

// A layer on the running base has the running system's initramfs inputs.
func TestInitramfsOfALayer(t *testing.T) {
	h := taken(t)
	h.Must(h.Update(h.Image("node-1.1-1", map[string]string{hosttest.Initramfs: ""})))
	h.Boot()
	h.Write(map[string]string{"etc/multipath.conf": "mine\n"})
	for i, base := range []string{"node-1.1-1", "node-1.0-1"} {
		h.Must(h.Do(layerOn(base)))
		name := []string{"node-1.1-1+2", "node-1.0-1+2"}[i]
		got := initramfsOf(t, h, name)
		if made := strings.HasPrefix(got, "\x1f\x8binitramfs with mine\n"); made != (i == 0) {
			t.Errorf("initramfs of %s begins %.40q; want its own made: %v", name, got, i == 0)
		}
	}
}

// An update whose initramfs cannot be made is not made.
func TestInitramfsBroken(t *testing.T) {
	h := taken(t)
	h.Write(map[string]string{"etc/multipath.conf": "mine\n"})
	before := summary(h)
	_, err := h.Update(h.Image("node-1.1-1", map[string]string{hosttest.Initramfs: "broken"}))
	if err == nil || !strings.Contains(err.Error(), "initramfs of 6.1.0-1-amd64: sh: mkinitramfs: no room left") {
		t.Errorf("Update() = %v; want what mkinitramfs said", err)
	}
	if after := summary(h); after != before {
		t.Errorf("the host changed:\n%s\nwas:\n%s", after, before)
	}
	clean(h)
}

// What is changed too late for the initramfs is told at shutdown, and only
// that.
func TestInitramfsTooLate(t *testing.T) {
	for late, want := range map[string]int{"etc/multipath.conf": 1, "etc/app.conf": 0} {
		h := taken(t)
		h.Must(h.Update(h.Image("node-1.1-1", map[string]string{hosttest.Initramfs: ""})))
		h.Write(map[string]string{late: "late\n"})
		carried, err := h.Host().Stop(t.Context())
		if err != nil || carried == nil || len(carried.Notes) != want {
			t.Fatalf("Stop after a change of %s = %+v, %v; want %d notes", late, carried, err, want)
		}
		if want == 1 && carried.Notes[0] != "initramfs of 6.1.0-1-amd64 of node-1.1-1+1 was made before: etc/multipath.conf changed by the administrator" {
			t.Errorf("note %q", carried.Notes[0])
		}
	}
}
