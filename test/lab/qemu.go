package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"imgbase/test/agent/proto"
)

const memory = "768M"

// spec says what machine to start.
type spec struct {
	dir            string // sockets, console log and scratch files
	disk, format   string // the disk, written to
	kernel, initrd string // started instead of the disk's bootloader, if set
	append         string // kernel arguments, with kernel
	ram            string // memory saved by freeze, to go on from, if set
	drives         []drive
}

// drive is a read-only disk; the guest finds it as
// /dev/disk/by-id/virtio-<name>.
type drive struct {
	Name string
	Path string
	Slot int // PCI slot, the same before and after a restore
}

// machine is one running QEMU and the connections into it.
type machine struct {
	spec
	cmd   *exec.Cmd
	ended chan struct{}
	free  func() // gives the place for a machine back

	qmp    *qmp
	agent  *client
	bootID string

	overlays int // put over the disk since the start, by freeze
}

// diskNode names a block node of QEMU: the disk is 0, overlays follow.
func diskNode(n int) string { return fmt.Sprintf("disk%d", n) }

// Machines at the same time: emulation uses a processor and more for each.
func places() int { return max(1, runtime.NumCPU()) }

// start starts a machine and connects to it. It does not wait for the guest.
func start(ctx context.Context, s spec) (*machine, error) {
	free, err := slot(ctx, places())
	if err != nil {
		return nil, err
	}
	return startIn(ctx, s, free)
}

// startIn starts a machine in a place that it has already, which free gives
// back.
func startIn(ctx context.Context, s spec, free func()) (*machine, error) {
	accel, err := accelerator(ctx)
	if err != nil {
		free()
		return nil, err
	}
	m := &machine{spec: s, ended: make(chan struct{}), free: sync.OnceFunc(free)}
	if err := m.launch(ctx, accel); err != nil {
		m.kill()
		return nil, m.explain(err)
	}
	return m, nil
}

func (m *machine) launch(ctx context.Context, accel []string) error {
	for _, s := range []string{"agent", "qmp"} {
		if err := os.RemoveAll(m.path(s)); err != nil {
			return err
		}
	}
	log, err := os.Create(m.path("qemu.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	m.cmd = exec.Command("qemu-system-x86_64", append(accel, m.arguments()...)...)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	// Its own process group: Ctrl-C on the tests must not look like a
	// shutdown to the guest. A test that dies takes its machines along.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		m.cmd = nil
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	go func() {
		m.cmd.Wait() // qemu.log says why
		close(m.ended)
		fail(errors.New("qemu: ended"))
	}()
	if m.qmp, err = dialQMP(ctx, m.path("qmp")); err != nil {
		return err
	}
	if m.agent, err = dialAgent(ctx, m.path("agent")); err != nil {
		return err
	}
	return m.qmp.resume(ctx)
}

// path is a file in the machine's directory.
func (m *machine) path(name string) string { return filepath.Join(m.dir, name) }

// arguments are QEMU's, the same for a machine and for one that goes on from
// its saved memory, which must find every device where it was.
func (m *machine) arguments() []string {
	list := []string{
		"-m", memory, "-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-nic", "none",
		"-chardev", "file,id=console,append=on,path=" + m.path("console.log"), "-serial", "chardev:console",
		"-qmp", "unix:" + m.path("qmp") + ",server=on,wait=off",
		"-chardev", "socket,id=agent,server=on,wait=off,path=" + m.path("agent"),
		"-device", "virtio-serial-pci,id=ports,addr=0x3", "-device", "virtserialport,bus=ports.0,chardev=agent,name=" + proto.Port,
		"-device", "virtio-rng-pci,addr=0x4",
		// Writeback: a flush of the guest is a flush of the file, and what
		// the guest did not flush may still be in this process and is lost
		// with it.
		"-blockdev", fmt.Sprintf("driver=%s,node-name=%s,discard=unmap,file.driver=file,file.discard=unmap,file.filename=%s", m.format, diskNode(0), m.disk),
		"-device", "virtio-blk-pci,id=host,addr=0x5,serial=host,drive=" + diskNode(0),
	}
	if m.kernel != "" {
		list = append(list, "-kernel", m.kernel, "-initrd", m.initrd, "-append", m.append)
	}
	if m.ram != "" {
		list = append(list, "-S", "-incoming", "exec:exec cat "+shellQuote(m.ram))
	}
	for _, d := range m.drives {
		list = append(list, "-blockdev", fmt.Sprintf("driver=raw,node-name=%s,read-only=on,file.driver=file,file.filename=%s", d.Name, d.Path),
			"-device", fmt.Sprintf("virtio-blk-pci,id=%[1]s,drive=%[1]s,serial=%[1]s,addr=%#[2]x", d.Name, d.Slot))
	}
	return list
}

// firstSlot is where attached drives begin on the PCI bus; it has 32 slots.
const firstSlot, lastSlot = 0x8, 0x1f

// attach plugs a read-only disk into the running machine and waits until the
// guest has its device node.
func (m *machine) attach(ctx context.Context, name, path string) error {
	at := firstSlot
	for _, d := range m.drives {
		at = max(at, d.Slot+1)
	}
	if at > lastSlot {
		return fmt.Errorf("attach %s: no free PCI slot", name)
	}
	err := m.qmp.do(ctx, "blockdev-add", args{
		"driver": "raw", "node-name": name, "read-only": true, "file": args{"driver": "file", "filename": path},
	}, nil)
	if err != nil {
		return err
	}
	err = m.qmp.do(ctx, "device_add", args{
		"driver": "virtio-blk-pci", "id": name, "drive": name, "serial": name, "addr": fmt.Sprintf("%#x", at),
	}, nil)
	if err != nil {
		return err
	}
	m.drives = append(m.drives, drive{name, path, at})
	r, err := m.run(ctx, "until test -b "+DriveDevice(name)+"; do sleep 0.1; done")
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("attach %s: exit %d: %s", name, r.Code, r.Stderr)
	}
	return err
}

// run runs a shell script in the guest.
func (m *machine) run(ctx context.Context, script string) (Result, error) {
	return m.agent.exec(ctx, "/bin/sh", "-c", script)
}

// awaitBoot waits for the agent of another boot than the one given.
func (m *machine) awaitBoot(ctx context.Context, not string) error {
	ctx, cancel := m.whileAlive(ctx)
	defer cancel()
	id, err := m.agent.sync(ctx, not)
	if err == nil {
		m.bootID = id
	}
	return err
}

// settle waits until the boot is over and returns systemd's word for how:
// "running", "degraded", "maintenance".
func (m *machine) settle(ctx context.Context) (string, error) {
	ctx, cancel := m.whileAlive(ctx)
	defer cancel()
	for {
		r, err := m.run(ctx, "systemctl is-system-running")
		if err != nil {
			return "", err
		}
		switch state := strings.TrimSpace(r.Stdout); state {
		case "initializing", "starting", "", "offline", "unknown":
		default:
			return state, nil
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return "", fmt.Errorf("boot: not over: %w", err)
		}
	}
}

func (m *machine) whileAlive(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-m.ended:
			cancel(errors.New("qemu: ended"))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// awaitEnd waits until the guest has powered off.
func (m *machine) awaitEnd(ctx context.Context) error {
	select {
	case <-m.ended:
		m.kill()
		return nil
	case <-ctx.Done():
		return fmt.Errorf("power off: %w", context.Cause(ctx))
	}
}

// kill ends the machine as a power cut does, at once.
func (m *machine) kill() {
	if m.cmd != nil {
		m.cmd.Process.Kill()
		<-m.ended
	}
	if m.qmp != nil {
		m.qmp.conn.Close()
	}
	if m.agent != nil {
		m.agent.conn.Close()
	}
	m.free()
}

// explain adds the end of the machine's logs to an error.
func (m *machine) explain(err error) error {
	for _, name := range []string{"qemu.log", "console.log"} {
		log, rerr := os.ReadFile(m.path(name))
		if rerr != nil || len(log) == 0 {
			continue
		}
		err = fmt.Errorf("%w\n--- end of %s\n%s", err, name, log[max(0, len(log)-4096):])
	}
	return err
}

// shellQuote makes one word of the shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
