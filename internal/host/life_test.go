package host_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imgbase/internal/host"
	"imgbase/internal/host/hosttest"
	"imgbase/internal/lvm"
)

// taken is a host that was taken over and runs its first layer.
func taken(t testing.TB) *hosttest.Host {
	t.Helper()
	h := hosttest.New(t)
	h.Must(h.Init("node-1.0-1"))
	h.Boot()
	return h
}

func running(t *testing.T, h *hosttest.Host, want string) {
	t.Helper()
	if h.Running() != want {
		t.Fatalf("%s runs; want %s", h.Running(), want)
	}
}

func tree(t *testing.T, h *hosttest.Host) string {
	t.Helper()
	l, err := h.Host().Layout(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := l.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A host can be taken over from a system beside the one that runs, whether
// its volume is active or not. It is as it was afterwards.
func TestTakeOverFromAnotherSystem(t *testing.T) {
	for _, active := range []bool{true, false} {
		h := hosttest.New(t)
		h.Install("spare", h.Image("spare", map[string]string{"etc/motd": "spare\n"}), active)
		h.Must(h.Do(func(ctx context.Context, on *host.Host) (*host.Change, error) {
			return on.PlanInit(ctx, "node-1.0-1", "HostVG/spare")
		}))
		if lv, ok := h.LVM.State().LV(hosttest.VG, "spare"); !ok || lv.Active != active || lv.Open {
			t.Errorf("the source is %+v afterwards; want active %v, and not open", lv, active)
		}
		h.Boot()
		running(t, h, "node-1.0-1+1")
		if got := h.Read("etc/motd"); got != "spare\n" {
			t.Errorf("motd of the layer = %q; want the spare system's", got)
		}
	}
}

// A layer that an entry of grub.cfg itself boots is in use: the original made
// such entries where there was no BLS.
func TestLayerOfAFixedEntryIsInUse(t *testing.T) {
	h := taken(t)
	for _, name := range []string{"node-1.0-1+7", "node-1.0-1+8"} {
		volume(h, lvm.LV{Name: name, Pool: hosttest.Pool, Tags: []string{host.TagLayer}})
	}
	h.Write(map[string]string{"boot/grub/grub.cfg": h.Read("boot/grub/grub.cfg") +
		"menuentry 'node-1.0-1+7' {\n\tlinux16 /node-1.0-1+7/vmlinuz root=/dev/HostVG/node-1.0-1+7 img.bootid=node-1.0-1+7\n}\n"})
	left, err := h.Host().Unused(t.Context())
	if want := []string{"node-1.0-1+8"}; err != nil || !slices.Equal(left.Layers, want) {
		t.Errorf("unused layers = %v, %v; want %v", left.Layers, err, want)
	}
}

func TestLife(t *testing.T) {
	h := taken(t)
	running(t, h, "node-1.0-1+1")
	if fstab := h.Read("etc/fstab"); !strings.Contains(fstab, "/dev/HostVG/node-1.0-1+1 / ext4 defaults,errors=remount-ro,discard 0 1") ||
		!strings.Contains(fstab, "# made by the installer\n") {
		t.Errorf("fstab of the layer:\n%s", fstab)
	}

	h.Write(map[string]string{"etc/motd": "mine\n", "etc/local.conf": "added\n"})
	c := h.Must(h.Update(h.Image("node-1.1-1", map[string]string{
		"etc/ssh/sshd_config": "Port 2222\n", "etc/motd": "vendor\n", "etc/new.conf": "new\n",
	})))
	running(t, h, "node-1.0-1+1")
	if c.Carried == nil || c.Carried.Etc.Summary().Conflicts == 0 {
		t.Errorf("the update reports no conflict: %+v", c.Carried)
	}
	h.Boot()
	running(t, h, "node-1.1-1+1")
	for name, want := range map[string]string{
		"etc/motd": "mine\n", "etc/motd.imgnew": "vendor\n", "etc/local.conf": "added\n", "etc/new.conf": "new\n",
		"etc/hostname": "installed\n",
	} {
		if got := h.Read(name); got != want {
			t.Errorf("%s = %q; want %q", name, got, want)
		}
	}

	h.Must(h.Do(func(ctx context.Context, on *host.Host) (*host.Change, error) {
		return on.PlanRollback(ctx, host.RollbackOptions{})
	}))
	h.Boot()
	running(t, h, "node-1.0-1+1")
	_, err := h.Do(func(ctx context.Context, on *host.Host) (*host.Change, error) {
		return on.PlanRollback(ctx, host.RollbackOptions{})
	})
	if !errors.Is(err, host.ErrNothingBefore) {
		t.Errorf("rollback from the first layer: %v; want ErrNothingBefore", err)
	}

	c = h.Must(h.Update(h.Image("node-1.2-1", nil)))
	if want := []string{"node-1.1-1"}; strings.Join(c.Removed, " ") != strings.Join(want, " ") {
		t.Errorf("collected %q; want %q", c.Removed, want)
	}
	h.Boot()
	running(t, h, "node-1.2-1+1")
	if got, want := tree(t, h), "node-1.0-1\n +- node-1.0-1+1\nnode-1.2-1\n +- node-1.2-1+1"; got != want {
		t.Errorf("tree:\n%s\nwant:\n%s", got, want)
	}

	h.Must(h.Do(func(ctx context.Context, on *host.Host) (*host.Change, error) {
		return on.PlanRemove(ctx, "node-1.0-1")
	}))
	if got, want := tree(t, h), "node-1.2-1\n +- node-1.2-1+1"; got != want {
		t.Errorf("tree after removal:\n%s\nwant:\n%s", got, want)
	}
	if _, err := os.Stat(filepath.Join(h.Root(), "boot/node-1.0-1+1")); !os.IsNotExist(err) {
		t.Errorf("/boot/node-1.0-1+1 is left: %v", err)
	}
	if got := h.Read("boot/vmlinuz-0-rescue-foreign"); got != "rescue" {
		t.Errorf("a foreign kernel is %q", got)
	}
	if got := h.Read("boot/loader/entries/other.conf"); got == "" {
		t.Error("a foreign entry is gone")
	}
}
