package filesystem_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/filesystem"
	"imgbase/internal/mount"
	"imgbase/internal/run"
)

func TestMain(m *testing.M) {
	if os.Geteuid() == 0 {
		if err := mount.Isolate(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// recorder runs programs and remembers their names.
type recorder struct{ names []string }

func (r *recorder) Run(ctx context.Context, c run.Cmd) (run.Output, error) {
	r.names = append(r.names, c.Name)
	return run.OS{}.Run(ctx, c)
}

// ran are the programs since the last call.
func (r *recorder) ran() string {
	names := strings.Join(r.names, " ")
	r.names = nil
	return names
}

func newTools() (filesystem.Tools, *recorder) {
	r := &recorder{}
	return filesystem.Tools{Runner: r, Mounter: mount.OS{}}, r
}

// device makes a loop device of 400 MiB with a file system of 320 MiB, holding
// the file "name", labelled "a b".
func device(t *testing.T, typ string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loop devices")
	}
	path := filepath.Join(t.TempDir(), "dev")
	sh(t, `truncate -s 320M $1; mkdir $1.d; echo hello >$1.d/name
		case $2 in
		xfs) mkfs.xfs -q -L "a b" -m uuid=$3 $1;;
		*) mkfs.ext4 -q -L "a b" -U $3 -d $1.d $1;;
		esac
		truncate -s 400M $1`, path, typ, testUUID)
	dev := sh(t, `losetup -f --show $1`, path)
	t.Cleanup(func() {
		_, _ = run.OS{}.Run(context.Background(), run.Cmd{Name: "losetup", Args: []string{"-d", dev}})
	})
	return dev
}

func write(t *testing.T, dev, typ, name string) {
	t.Helper()
	m, err := mount.OS{}.Mount(t.Context(), mount.Spec{Source: dev, FSType: typ, Options: []string{"noatime"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.Dir(), name), []byte("written"), 0o600); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNewUUIDAndGrow(t *testing.T) {
	for _, tc := range []struct {
		typ, uuid, grow string
		mounted         bool // since it was made
	}{
		{"ext4", "e2fsck tune2fs", "resize2fs", false},
		{"ext4", "e2fsck tune2fs", "resize2fs", true},
		{"xfs", "xfs_admin", "xfs_growfs", true},
	} {
		dev := device(t, tc.typ)
		if tc.mounted {
			write(t, dev, tc.typ, "before")
		}
		tools, ran := newTools()
		if err := tools.NewUUID(t.Context(), dev, tc.typ); err != nil {
			t.Fatalf("NewUUID(%s) = %v", tc.typ, err)
		}
		if got := ran.ran(); got != tc.uuid {
			t.Errorf("NewUUID(%s) ran %q; want %q", tc.typ, got, tc.uuid)
		}
		if err := tools.Grow(t.Context(), dev, tc.typ); err != nil {
			t.Fatalf("Grow(%s) = %v", tc.typ, err)
		}
		if got := ran.ran(); got != tc.grow {
			t.Errorf("Grow(%s) ran %q; want %q", tc.typ, got, tc.grow)
		}
		if err := tools.Check(t.Context(), dev, tc.typ); err != nil {
			t.Errorf("Check(%s) = %v", tc.typ, err)
		}
		ran.ran()
		super, err := identify(t, dev)
		if err != nil || super.Size != 400<<20 || super.UUID == testUUID || !super.Clean {
			t.Errorf("%s is now %+v, %v; want 400 MiB, another UUID, clean", tc.typ, super, err)
		}
		info, err := tools.Probe(t.Context(), dev)
		want := filesystem.Info{Type: tc.typ, UUID: super.UUID, Label: "a b"}
		if diff := cmp.Diff(want, info); err != nil || diff != "" {
			t.Errorf("Probe(%s), %v (-want +got):\n%s", tc.typ, err, diff)
		}
		ran.ran()
		if err := tools.Grow(t.Context(), dev, tc.typ); err != nil || ran.ran() != "" {
			t.Errorf("second Grow(%s) = %v; want nothing done", tc.typ, err)
		}
		write(t, dev, tc.typ, "after")
	}
}

func TestGrowAfterMount(t *testing.T) {
	dev := device(t, "ext4")
	sh(t, "sleep 1.1") // the superblock counts seconds
	write(t, dev, "ext4", "name2")
	tools, ran := newTools()
	if err := tools.Grow(t.Context(), dev, "ext4"); err != nil {
		t.Fatal(err)
	}
	if got, want := ran.ran(), "e2fsck resize2fs"; got != want {
		t.Errorf("Grow after a mount ran %q; want %q", got, want)
	}
}

// A snapshot of a mounted file system has a log that was not replayed.
func TestNewUUIDReplaysLog(t *testing.T) {
	for _, typ := range filesystem.Types() {
		dev := device(t, typ)
		m, err := mount.OS{}.Mount(t.Context(), mount.Spec{Source: dev, FSType: typ})
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(t.TempDir(), "snapshot")
		sh(t, `echo kept >$1/kept; sync -f $1; cp --sparse=always $2 $3`, m.Dir(), dev, copied)
		snapshot := sh(t, `losetup -f --show $1`, copied)
		// The original stays mounted, so that XFS sees its UUID twice.
		tools, _ := newTools()
		err = tools.NewUUID(t.Context(), snapshot, typ)
		if err != nil {
			t.Errorf("NewUUID(%s snapshot) = %v", typ, err)
		}
		s, err := mount.OS{}.Mount(t.Context(), mount.Spec{Source: snapshot, FSType: typ})
		if err != nil {
			t.Fatalf("Mount of the %s snapshot beside the original = %v", typ, err)
		}
		if got, err := os.ReadFile(filepath.Join(s.Dir(), "kept")); string(got) != "kept\n" {
			t.Errorf("file in the %s snapshot = %q, %v; want %q", typ, got, err, "kept\n")
		}
		if err := errors.Join(s.Close(), m.Close()); err != nil {
			t.Error(err)
		}
		sh(t, `losetup -d $1`, snapshot)
	}
}

func TestDamage(t *testing.T) {
	tools, ran := newTools()
	// The tables of the first block group.
	dev := device(t, "ext4")
	sh(t, `dd if=/dev/urandom of=$1 bs=1k seek=4 count=600 conv=notrunc status=none`, dev)
	before := sh(t, "sha256sum <$1", dev)
	if err := tools.Check(t.Context(), dev, "ext4"); !errors.Is(err, filesystem.ErrDamaged) {
		t.Errorf("Check(damaged ext4) = %v; want ErrDamaged", err)
	}
	if sh(t, "sha256sum <$1", dev) != before {
		t.Error("Check changed the device")
	}
	dev = device(t, "xfs")
	sh(t, `dd if=/dev/urandom of=$1 bs=4k seek=1 count=40 conv=notrunc status=none`, dev)
	if err := tools.Check(t.Context(), dev, "xfs"); !errors.Is(err, filesystem.ErrDamaged) {
		t.Errorf("Check(damaged xfs) = %v; want ErrDamaged", err)
	}
	ran.ran()
	// A file system larger than its device.
	dev = device(t, "ext4")
	path := sh(t, `losetup -n -O BACK-FILE $1`, dev)
	sh(t, `truncate -s 100M $1; losetup -c $2`, path, dev)
	if err := tools.Grow(t.Context(), dev, "ext4"); !errors.Is(err, filesystem.ErrDamaged) || ran.ran() != "" {
		t.Errorf("Grow(cut ext4) = %v; want ErrDamaged before anything is started", err)
	}
}

func TestToolsRefuse(t *testing.T) {
	tools, ran := newTools()
	dev := device(t, "ext4")
	for name, err := range map[string]error{
		"NewUUID(btrfs)":     tools.NewUUID(t.Context(), dev, "btrfs"),
		"Grow(squashfs)":     tools.Grow(t.Context(), dev, "squashfs"),
		"Grow(xfs on ext4)":  tools.Grow(t.Context(), dev, "xfs"),
		"Check(\"\")":        tools.Check(t.Context(), dev, ""),
		"Supported(ext3)":    filesystem.Supported("ext3"),
		"Supported(EXT4)":    filesystem.Supported("EXT4"),
		"NewUUID(-U random)": tools.NewUUID(t.Context(), dev, "-U random"),
	} {
		if !errors.Is(err, filesystem.ErrUnsupported) {
			t.Errorf("%s = %v; want ErrUnsupported", name, err)
		}
	}
	if got := ran.ran(); got != "" {
		t.Errorf("refusals ran %q; want nothing", got)
	}
	if diff := cmp.Diff([]string{"ext4", "xfs"}, filesystem.Types()); diff != "" {
		t.Errorf("Types() (-want +got):\n%s", diff)
	}
	missing := filepath.Join(t.TempDir(), "none")
	for _, typ := range filesystem.Types() {
		for name, err := range map[string]error{
			"NewUUID": tools.NewUUID(t.Context(), missing, typ), "Grow": tools.Grow(t.Context(), missing, typ),
			"Check": tools.Check(t.Context(), missing, typ),
		} {
			if err == nil || !strings.Contains(err.Error(), missing) {
				t.Errorf("%s(missing %s) = %v; want an error that names it", name, typ, err)
			}
		}
	}
}

func TestProbeNothing(t *testing.T) {
	tools, _ := newTools()
	path := filepath.Join(t.TempDir(), "zeros")
	sh(t, "truncate -s 1M $1", path)
	for _, p := range []string{path, path + ".none"} {
		if got, err := tools.Probe(t.Context(), p); !errors.Is(err, filesystem.ErrUnknown) {
			t.Errorf("Probe(%s) = %v, %v; want ErrUnknown", p, got, err)
		}
	}
	// Two file systems at once.
	sh(t, "truncate -s 320M $1; mkfs.ext4 -q $1; mkfs.xfs -q -f $1; mke2fs -q -F -b 4096 $1.e 64M >/dev/null; dd if=$1.e of=$1 bs=1k skip=1 seek=1 count=1 conv=notrunc status=none", path)
	if got, err := tools.Probe(t.Context(), path); !errors.Is(err, filesystem.ErrUnknown) {
		t.Errorf("Probe(ext2 in xfs) = %v, %v; want ErrUnknown", got, err)
	}
}

func TestProbeOddLabels(t *testing.T) {
	tools, _ := newTools()
	for _, label := range []string{`a"b`, `$(x)`, `back\slash`, `a'b`, `x=y`, "TYPE=xfs"} {
		path := filepath.Join(t.TempDir(), "fs")
		sh(t, `truncate -s 16M "$1"; mkfs.ext4 -q -L "$2" "$1"`, path, label)
		if got, err := tools.Probe(t.Context(), path); err != nil || got.Label != label || got.Type != "ext4" {
			t.Errorf("Probe(label %q) = %+v, %v", label, got, err)
		}
	}
}

// printed is a Runner whose program prints a text.
type printed string

func (p printed) Run(context.Context, run.Cmd) (run.Output, error) {
	return run.Output{Stdout: []byte(p)}, nil
}

func FuzzProbe(f *testing.F) {
	f.Add("DEVNAME=/dev/loop0\nLABEL=a\\ b\nUUID=0123\nTYPE=ext4\nUSAGE=filesystem\n")
	f.Add("TYPE=\\")
	f.Add("TYPE")
	f.Fuzz(func(t *testing.T, out string) {
		got, err := filesystem.Tools{Runner: printed(out)}.Probe(t.Context(), "/dev/x")
		if (err == nil) != (got.Type != "") || err != nil && !errors.Is(err, filesystem.ErrUnknown) {
			t.Errorf("Probe of %q = %+v, %v; want a type or ErrUnknown", out, got, err)
		}
		if len(got.Type)+len(got.UUID)+len(got.Label) > len(out) {
			t.Errorf("Probe of %q = %+v; want no more than was printed", out, got)
		}
	})
}
