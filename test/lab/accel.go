package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// kvm and tcg are QEMU's arguments with and without the processor's help.
var (
	kvm = [...]string{"-machine", "pc,accel=kvm", "-cpu", "host", "-smp", "2"}
	tcg = [...]string{"-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"}
)

// accelerator returns QEMU's arguments for the best acceleration that works.
// That KVM opens and makes a machine proves nothing: nested in some
// hypervisors the guest hangs at its first instructions. So a kernel is
// booted, and the answer kept until this computer boots again.
func accelerator(ctx context.Context) ([]string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	name, err := key("accel", string(boot), kvm)
	if err != nil {
		return nil, err
	}
	dir, err := cached(ctx, name, func(ctx context.Context, dir string) error {
		word := "tcg"
		if works, err := kvmWorks(ctx, dir); err != nil {
			return err
		} else if works {
			word = "kvm"
		}
		return os.WriteFile(filepath.Join(dir, "accel"), []byte(word), 0o644)
	})
	if err != nil {
		return nil, err
	}
	word, err := os.ReadFile(filepath.Join(dir, "accel"))
	if err != nil {
		return nil, err
	}
	if string(word) == "kvm" {
		return kvm[:], nil
	}
	return tcg[:], nil
}

// kvmWorks boots the host's kernel and looks for its first words.
func kvmWorks(ctx context.Context, dir string) (bool, error) {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false, nil
	}
	f.Close()
	tree, err := tree(ctx)
	if err != nil {
		return false, err
	}
	kernel, _, err := kernelOf(tree)
	if err != nil {
		return false, err
	}
	console := filepath.Join(dir, "console.log")
	cmd := exec.Command("qemu-system-x86_64", append(kvm[:], "-m", "256M", "-nodefaults", "-display", "none",
		"-serial", "file:"+console, "-kernel", kernel, "-append", "console=ttyS0 panic=-1", "-no-reboot")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("qemu: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	defer func() {
		cmd.Process.Kill()
		<-ended
	}()
	for range 40 {
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return false, err
		}
		if log, err := os.ReadFile(console); err == nil && strings.Contains(string(log), "Linux version") {
			return true, nil
		}
	}
	return false, nil
}
