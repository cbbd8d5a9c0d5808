package lab

import (
	"context"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"imgbase/internal/run"
)

// Saved is a state of a host: its disk and its memory at one instant. Any
// number of machines can be made from it, at the same time too.
type Saved struct {
	Disk   string  // qcow2 overlay that nobody writes to any more
	RAM    string  // memory and devices, as QEMU migrates them
	Drives []drive // attached read-only disks
}

// machineSource decides how a machine looks: a saved state fits only the
// machine it was saved from.
//
//go:embed qemu.go accel.go saved.go
var machineSource embed.FS

// Time limits under emulation on a busy computer. A boot takes 20 to 45 s.
const (
	bootLimit    = 5 * time.Minute
	commandLimit = 10 * time.Minute
)

// fresh returns the golden host after its first boot from its own bootloader.
func fresh(ctx context.Context) (Saved, error) {
	if err := sweep(ctx); err != nil {
		return Saved{}, err
	}
	disk, err := goldenDisk(ctx)
	if err != nil {
		return Saved{}, err
	}
	accel, err := accelerator(ctx)
	if err != nil {
		return Saved{}, err
	}
	version, err := run.OS{}.Run(ctx, run.Cmd{Name: "qemu-system-x86_64", Args: []string{"--version"}})
	if err != nil {
		return Saved{}, err
	}
	parts := []any{disk, accel, string(version.Stdout)}
	entries, err := machineSource.ReadDir(".")
	if err != nil {
		return Saved{}, err
	}
	for _, e := range entries {
		text, err := machineSource.ReadFile(e.Name())
		if err != nil {
			return Saved{}, err
		}
		parts = append(parts, string(text))
	}
	name, err := key("fresh", parts...)
	if err != nil {
		return Saved{}, err
	}
	dir, err := cached(ctx, name, func(ctx context.Context, dir string) error { return saveFresh(ctx, dir, disk) })
	return Saved{Disk: filepath.Join(dir, "disk.qcow2"), RAM: filepath.Join(dir, "ram")}, err
}

// saveFresh boots the golden disk and saves the state in dir.
func saveFresh(ctx context.Context, dir, disk string) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	overlay := filepath.Join(dir, "disk.qcow2")
	if err := newOverlay(ctx, overlay, disk, "raw"); err != nil {
		return err
	}
	m, err := start(ctx, spec{dir: dir, disk: overlay, format: "qcow2"})
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
	scratch := filepath.Join(dir, "after.qcow2")
	defer os.Remove(scratch)
	return m.freeze(ctx, scratch, filepath.Join(dir, "ram"))
}

// freeze stops the guest, puts a new overlay over its disk and writes its
// memory to the file ram. The disk below is from then on what it was at that
// instant. The guest stays stopped until the monitor is told to resume it.
func (m *machine) freeze(ctx context.Context, overlay, ram string) error {
	if err := m.qmp.do(ctx, "stop", nil, nil); err != nil {
		return err
	}
	err := m.qmp.do(ctx, "blockdev-snapshot-sync", args{
		"node-name": diskNode(m.overlays), "snapshot-node-name": diskNode(m.overlays + 1), "snapshot-file": overlay, "format": "qcow2",
	}, nil)
	if err != nil {
		return err
	}
	m.overlays++
	m.disk = overlay
	// The default limit is meant for a network.
	if err := m.qmp.do(ctx, "migrate-set-parameters", args{"max-bandwidth": int64(1) << 40}, nil); err != nil {
		return err
	}
	if err := m.qmp.do(ctx, "migrate", args{"uri": "exec:exec cat > " + shellQuote(ram)}, nil); err != nil {
		return err
	}
	for {
		var state struct {
			Status    string
			ErrorDesc string `json:"error-desc"`
		}
		if err := m.qmp.do(ctx, "query-migrate", nil, &state); err != nil {
			return err
		}
		switch state.Status {
		case "completed":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("qemu migrate: %s %s", state.Status, state.ErrorDesc)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("qemu migrate: %w", err)
		}
	}
}

// newOverlay makes a copy-on-write copy of a disk.
func newOverlay(ctx context.Context, path, base, format string) error {
	return command(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", base, path)
}

// VM starts a machine that goes on from the saved state. It ends with the
// test.
func (s Saved) VM(t testing.TB) *VM {
	t.Helper()
	vm := newVM(t)
	vm.restore(t, s)
	return vm
}

// restore starts the machine anew from a saved state.
func (vm *VM) restore(t testing.TB, s Saved) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	disk := vm.scratch("disk.qcow2")
	if err := newOverlay(ctx, disk, s.Disk, "qcow2"); err != nil {
		t.Fatalf("lab: %v", err)
	}
	vm.start(t, spec{dir: vm.dir.path, disk: disk, format: "qcow2", ram: s.RAM, drives: s.Drives})
}

// Save saves the state of the running machine and lets it run on. The state
// lasts as long as the machine's directory: until the end of the test.
func (vm *VM) Save(t testing.TB) Saved {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	s := Saved{Disk: vm.m.disk, RAM: vm.scratch("ram"), Drives: slices.Clone(vm.m.drives)}
	next := vm.scratch("disk.qcow2")
	if err := vm.m.freeze(ctx, next, s.RAM); err != nil {
		t.Fatalf("lab: save: %v", vm.m.explain(err))
	}
	if err := vm.m.qmp.resume(ctx); err != nil {
		t.Fatalf("lab: save: %v", vm.m.explain(err))
	}
	return s
}

// Restore takes the machine back to a saved state, its disk included.
func (vm *VM) Restore(t testing.TB, s Saved) {
	t.Helper()
	vm.Kill()
	vm.restore(t, s)
}
