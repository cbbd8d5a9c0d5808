package mount_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/mount"
)

// The file is written by hand, in the kernel's form: a host on thin volumes,
// with a volume mounted on a directory with a space, a bind mount and two
// mounts over each other.
func TestTable(t *testing.T) {
	table, err := mount.ReadTable("testdata/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	root := mount.Entry{
		Source: "/dev/mapper/onn-node--4.5.1--0.1--1+1", Target: "/", Root: "/", FSType: "ext4",
		Options: []string{"rw", "relatime", "seclabel", "discard", "stripe=16"}, Major: 253, Minor: 3,
	}
	for _, tc := range []struct {
		path string
		want string
	}{
		{"/", root.Source},
		{"/etc/passwd", root.Source},
		{"/var", "/dev/mapper/onn-var"},
		{"/var/log/messages", "/dev/mapper/onn-var_log"},
		{"/variable", root.Source},
		{"/boot/loader/", "/dev/vda1"},
		{"/srv/my data/x", "/dev/mapper/onn-data"},
		{"/mnt", "tmpfs"},
	} {
		got, ok := table.Holding(tc.path)
		if !ok || got.Source != tc.want {
			t.Errorf("Holding(%s) = %s, %v; want %s", tc.path, got.Source, ok, tc.want)
		}
	}
	got, ok := table.At("/")
	if diff := cmp.Diff(root, got); !ok || diff != "" {
		t.Errorf("At(/), %v (-want +got):\n%s", ok, diff)
	}
	if got, ok := table.At("/etc"); ok {
		t.Errorf("At(/etc) = %+v; want none", got)
	}
	if got, ok := table.At("/mnt/"); !ok || got.FSType != "tmpfs" {
		t.Errorf("At(/mnt/) = %+v; want the tmpfs mounted last", got)
	}
	var targets []string
	for _, e := range table.Of("/dev/mapper/onn-var") {
		targets = append(targets, e.Root+" on "+e.Target)
	}
	if diff := cmp.Diff([]string{"/ on /var", "/lib/containers on /srv/containers"}, targets); diff != "" {
		t.Errorf("Of(onn-var) (-want +got):\n%s", diff)
	}
	if _, ok := mount.Table(nil).Holding("/etc"); ok {
		t.Error("Holding in an empty table = true; want false")
	}
}

func TestTableOfThisHost(t *testing.T) {
	table, err := mount.ReadTable("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := table.Holding("/proc/self"); !ok || e.FSType != "proc" {
		t.Errorf("Holding(/proc/self) = %+v, %v; want proc", e, ok)
	}
}

func TestReadTableRefuses(t *testing.T) {
	for name, content := range map[string]string{
		"fields": "1 2 253:3 / / rw - ext4",
		"mark":   "1 2 253:3 / / rw shared:1 ext4 a b c d",
		"number": "1 2 3 / / rw - ext4 /dev/vda rw",
		"long":   strings.Repeat("x", 1<<20),
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := mount.ReadTable(path); err == nil || !strings.HasPrefix(err.Error(), "mount table ") {
			t.Errorf("ReadTable(%s) = %v, %v; want an error", name, got, err)
		}
	}
	if _, err := mount.ReadTable("/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadTable(/none) = %v; want it not to exist", err)
	}
}
