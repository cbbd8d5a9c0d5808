package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"imgbase/test/agent/proto"
)

// VM is a host in QEMU. Its methods end the test when the lab itself fails;
// what the guest's programs do is for the case to judge. One goroutine uses
// it at a time.
type VM struct {
	dir     runDir
	m       *machine
	files   int  // scratch files named
	lasting bool // its directory outlives the test
}

func newVM(t testing.TB) *VM {
	t.Helper()
	dir, err := newRunDir(t.Context())
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	vm := &VM{dir: dir}
	t.Cleanup(func() { vm.end(t) })
	return vm
}

// scratch returns a new file name in the machine's directory.
func (vm *VM) scratch(name string) string {
	vm.files++
	return filepath.Join(vm.dir.path, fmt.Sprintf("%d-%s", vm.files, name))
}

func (vm *VM) start(t testing.TB, s spec) {
	t.Helper()
	// Other tests may keep all places for long; that is no fault of this one.
	free, err := slot(t.Context(), places())
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	m, err := startIn(ctx, s, free)
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	vm.m = m
	if err := m.awaitBoot(ctx, ""); err != nil {
		t.Fatalf("lab: %v", m.explain(err))
	}
}

// end stops the machine after its test and keeps the traces of a failure.
func (vm *VM) end(t testing.TB) {
	if vm.lasting {
		return
	}
	if !t.Failed() {
		vm.Kill()
		if err := vm.dir.remove(); err != nil {
			t.Errorf("lab: %v", err)
		}
		return
	}
	if vm.m != nil {
		// The test's own context has ended.
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if r, err := vm.m.run(ctx, "journalctl -b --no-pager"); err == nil {
			if err := os.WriteFile(vm.m.path("journal.log"), []byte(r.Stdout), 0o644); err != nil {
				t.Logf("lab: %v", err)
			}
		}
	}
	vm.Kill()
	// Saved memory is big and tells nothing.
	ram, err := filepath.Glob(filepath.Join(vm.dir.path, "*-ram"))
	for _, f := range ram {
		err = errors.Join(err, os.Remove(f))
	}
	kept, kerr := vm.dir.keep(t.Name())
	err = errors.Join(err, kerr)
	if err != nil {
		t.Logf("lab: traces of the failure: %v", err)
	}
	t.Logf("lab: console, journal and disk kept in %s", kept)
}

// Kill cuts the power: QEMU ends by SIGKILL. [VM.Boot] turns it on again.
// The package comment says what that proves.
func (vm *VM) Kill() {
	if vm.m != nil {
		vm.m.kill()
		*vm.m = machine{spec: vm.m.spec, cmd: nil, free: func() {}}
	}
}

// Boot turns the machine on after [VM.Kill] or a power-off, from its disk's
// bootloader, and waits until the boot is over. It returns how the boot went
// in systemd's words: "running", "degraded", "maintenance".
func (vm *VM) Boot(t testing.TB) string {
	t.Helper()
	vm.Kill()
	vm.start(t, spec{dir: vm.dir.path, disk: vm.m.disk, format: "qcow2", drives: vm.m.drives})
	return vm.settle(t)
}

// Reboot restarts the host in an orderly way and waits until the boot is
// over; it returns what [VM.Boot] does.
func (vm *VM) Reboot(t testing.TB) string {
	t.Helper()
	before := vm.m.bootID
	if r := vm.Run(t, "systemctl --no-block reboot"); r.Code != 0 {
		t.Fatalf("lab: reboot: exit %d: %s", r.Code, r.Stderr)
	}
	return vm.awaitReboot(t, before, bootLimit)
}

// AwaitReboot waits until the host has restarted by itself and the boot is
// over. Several restarts in a row count as one if the agent did not start in
// those between.
func (vm *VM) AwaitReboot(t testing.TB, limit time.Duration) string {
	t.Helper()
	return vm.awaitReboot(t, vm.m.bootID, limit)
}

func (vm *VM) awaitReboot(t testing.TB, before string, limit time.Duration) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := vm.m.awaitBoot(ctx, before); err != nil {
		t.Fatalf("lab: reboot: %v", vm.m.explain(err))
	}
	return vm.settle(t)
}

// settle waits for the end of a boot, also when the host restarts meanwhile.
func (vm *VM) settle(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	for {
		try, cancel := context.WithTimeout(ctx, time.Minute)
		state, err := vm.m.settle(try)
		cancel()
		if err == nil {
			return state
		}
		if ctx.Err() != nil {
			t.Fatalf("lab: %v", vm.m.explain(err))
		}
		if err := vm.m.awaitBoot(ctx, ""); err != nil {
			t.Fatalf("lab: %v", vm.m.explain(err))
		}
	}
}

// PowerOff shuts the host down in an orderly way. [VM.Boot] turns it on.
func (vm *VM) PowerOff(t testing.TB) {
	t.Helper()
	vm.Run(t, "systemctl --no-block poweroff")
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	if err := vm.m.awaitEnd(ctx); err != nil {
		t.Fatalf("lab: %v", vm.m.explain(err))
	}
}

// Run runs a shell script in the guest, as root in / with an empty standard
// input, and returns what came of it.
func (vm *VM) Run(t testing.TB, script string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	r, err := vm.m.run(ctx, script)
	if err != nil {
		t.Fatalf("lab: %s: %v", script, vm.m.explain(err))
	}
	return r
}

// Must runs a shell script that must end with 0, and returns its standard
// output without the white space around it.
func (vm *VM) Must(t testing.TB, script string) string {
	t.Helper()
	r := vm.Run(t, script)
	if r.Code != 0 {
		t.Fatalf("%s: exit %d\n%s%s", script, r.Code, r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// BootedLayer returns the layer the kernel was started with, "" if none.
func (vm *VM) BootedLayer(t testing.TB) string {
	t.Helper()
	for _, word := range strings.Fields(vm.Must(t, "cat /proc/cmdline")) {
		if layer, ok := strings.CutPrefix(word, "img.bootid="); ok {
			return layer
		}
	}
	return ""
}

// Put writes a file of the guest and makes the directories above it.
func (vm *VM) Put(t testing.TB, path string, data []byte, mode fs.FileMode) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	if err := vm.m.agent.put(ctx, path, data, mode); err != nil {
		t.Fatalf("lab: put %s: %v", path, vm.m.explain(err))
	}
}

// Get reads a file of the guest.
func (vm *VM) Get(t testing.TB, path string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	data, err := vm.m.agent.get(ctx, path)
	if err != nil {
		t.Fatalf("lab: get %s: %v", path, vm.m.explain(err))
	}
	return data
}

// Program is the program under test, built once in a test process.
var program = sync.OnceValues(func() ([]byte, error) {
	return goBuild(context.Background(), "./cmd/imgbase")
})

// Install puts the program under test to /usr/sbin/imgbase.
func (vm *VM) Install(t testing.TB) {
	t.Helper()
	bin, err := program()
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	vm.Put(t, "/usr/sbin/imgbase", bin, 0o755)
	vm.Must(t, "sync -f /usr/sbin/imgbase")
}

// Kill says when a program gets SIGKILL; the guest itself looks.
type Kill = proto.Kill

// Process is a program started in the guest.
type Process struct {
	vm *VM
	id int
}

// Start starts a shell script in the guest and does not wait for it. when
// says when it is killed; the zero value is never.
func (vm *VM) Start(t testing.TB, script string, when Kill) *Process {
	t.Helper()
	p := &Process{vm: vm}
	p.id = p.call(t, proto.Request{Op: proto.OpStart, Args: []string{"/bin/sh", "-c", script}, Kill: when}).Proc
	return p
}

// Await waits until the program has printed text on either output; false
// means that it ended without.
func (p *Process) Await(t testing.TB, text string) bool {
	t.Helper()
	return p.call(t, proto.Request{Op: proto.OpAwait, Proc: p.id, Text: text}).Found
}

// Kill ends the program, and those in its process group, with SIGKILL.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	p.call(t, proto.Request{Op: proto.OpKill, Proc: p.id})
}

// Wait waits for the end of the program. It can be called once.
func (p *Process) Wait(t testing.TB) Result {
	t.Helper()
	r := p.call(t, proto.Request{Op: proto.OpWait, Proc: p.id})
	return Result{Stdout: string(r.Stdout), Stderr: string(r.Stderr), Code: r.Code}
}

func (p *Process) call(t testing.TB, req proto.Request) proto.Reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	r, err := p.vm.m.agent.call(ctx, req)
	if err != nil {
		t.Fatalf("lab: %v", p.vm.m.explain(err))
	}
	return r
}
