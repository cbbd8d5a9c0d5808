package boot_test

import (
	"errors"
	"testing"

	"imgbase/internal/boot"
)

// An update, its clean-up and a rollback are cut after every number of
// durable changes, twice: a block that is being overwritten keeps its first
// sector or its second. At every cut the host boots, and running it again
// completes it.
func TestCutAnywhere(t *testing.T) {
	forStyles(t, func(t *testing.T, style string) {
		work := func(h *host) error {
			steps := []func() error{
				func() error {
					err := h.boot.SetDefault(idA)
					if errors.Is(err, boot.ErrNoEntry) {
						return nil // the run that was cut has removed it
					}
					return err
				},
				func() error { return h.install(layerB, kver) },
				func() error { return h.boot.SetDefault(idB) },
				func() error { return h.boot.Remove(layerA) },
				func() error { return h.boot.RemoveKernels(layerA) },
				func() error { return h.install("node-4.5-3+1", kverOld) },
				func() error { return h.boot.SetDefault("node-4.5-3+1-" + kverOld) },
				h.boot.ClearDefault,
				func() error { return h.boot.Remove("node-4.5-3+1") },
				func() error { return h.boot.RemoveKernels("node-4.5-3+1") },
			}
			for _, step := range steps {
				if err := step(); err != nil {
					return err
				}
			}
			return nil
		}
		cuts := 0
		for done := false; !done; cuts++ {
			h := newHost(t, style)
			h.disk.torn = 1 + cuts%2
			h.must(h.install(layerA, kverOld))
			h.must(h.install(layerA, kver))
			h.disk.left = cuts / 2
			err := work(h)
			done = err == nil
			if !done && !errors.Is(err, errCut) {
				t.Fatalf("cut after %d changes: %v", cuts/2, err)
			}
			h.disk.left = 1000
			h.open()
			h.check()
			if !done {
				h.must(work(h))
			}
			h.check()
			if t.Failed() {
				t.Fatalf("cut after %d changes", cuts/2)
			}
		}
		if cuts < 30 {
			t.Errorf("%d cuts; want two after each change", cuts)
		}
	})
}

// What a process killed in the middle of a write leaves goes, and nothing
// else.
func TestRemoveTemporary(t *testing.T) {
	h := newHost(t, "el9")
	h.must(h.install(layerA, kver))
	dirs := []string{"/boot", "/boot/loader/entries", "/boot/grub2", "/boot/efi/EFI/redhat", "/boot/" + layerA}
	for _, dir := range dirs {
		h.write(dir+"/tmp.imgbased.1", "half")
	}
	h.write("/boot/foreign/tmp.imgbased.1", "not ours")
	h.must(h.boot.RemoveTemporary())
	for _, dir := range dirs {
		if h.exists(dir + "/tmp.imgbased.1") {
			t.Errorf("%s holds a temporary file", dir)
		}
	}
	if !h.exists("/boot/foreign/tmp.imgbased.1") {
		t.Error("a foreign directory was cleaned")
	}
	h.check()
}
