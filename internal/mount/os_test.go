package mount_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imgbase/internal/mount"
	"imgbase/internal/run"
)

// The environment asks the test binary to be something else than a test.
const roleVar = "IMGBASE_MOUNT_TEST_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVar) == "not isolated" {
		_, err := mount.OS{}.Mount(context.Background(), mount.Spec{Source: "/dev/null", FSType: "ext4", ReadOnly: true})
		fmt.Println(errors.Is(err, mount.ErrNotIsolated))
		return
	}
	if os.Geteuid() == 0 {
		if err := mount.Isolate(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if source := os.Getenv(roleVar); source != "" {
		holdMount(source)
		return
	}
	os.Exit(m.Run())
}

// holdMount mounts source, says where, and waits to be killed.
func holdMount(source string) {
	m, err := mount.OS{}.Mount(context.Background(), mount.Spec{Source: source, FSType: "ext4", ReadOnly: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	ns, _ := os.Readlink("/proc/self/ns/mnt")
	fmt.Println("mounted", m.Dir(), ns)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts")
	}
}

func sh(t *testing.T, script string, args ...string) string {
	t.Helper()
	out, err := run.OS{}.Run(t.Context(), run.Cmd{Name: "sh", Args: append([]string{"-ec", script, "sh"}, args...)})
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return strings.TrimSpace(string(out.Stdout))
}

// image makes a file system of 64 MiB (XFS: 320 MiB) that holds file "name".
func image(t *testing.T, typ string) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "fs.img")
	switch typ {
	case "xfs":
		sh(t, `truncate -s 320M "$1"; mkfs.xfs -q "$1"`, path)
	case "squashfs":
		sh(t, `mkdir "$2"; echo hello >"$2/name"; mksquashfs "$2" "$1" -quiet -no-progress`, path, filepath.Join(dir, "tree"))
	default:
		sh(t, `mkdir "$2"; echo hello >"$2/name"; truncate -s 64M "$1"; mkfs.ext4 -q -d "$2" "$1"`, path, filepath.Join(dir, "tree"))
	}
	return path
}

func loopsOf(t *testing.T, path string) string {
	t.Helper()
	return sh(t, `losetup -n -O NAME -j "$1"`, path)
}

// noLoops waits for the kernel to free a loop device, which happens after the
// last close has returned.
func noLoops(t *testing.T, path string) {
	t.Helper()
	for range 100 {
		if loopsOf(t, path) == "" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("loop devices of %s = %q; want none", path, loopsOf(t, path))
}

func TestIsolated(t *testing.T) {
	needRoot(t)
	ours, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	parent, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", os.Getppid()))
	if err != nil {
		t.Fatal(err)
	}
	if ours == parent {
		t.Errorf("namespace = %s; want another one than the parent's", ours)
	}
	tasks, err := filepath.Glob("/proc/self/task/*/ns/mnt")
	if err != nil || len(tasks) < 2 {
		t.Fatalf("threads = %q, %v; want several", tasks, err)
	}
	for _, task := range tasks {
		if got, err := os.Readlink(task); err == nil && got != ours {
			t.Errorf("%s = %s; want %s for every thread", task, got, ours)
		}
	}
	if got := sh(t, "readlink /proc/self/ns/mnt"); got != ours {
		t.Errorf("namespace of a child = %s; want ours, %s", got, ours)
	}
	if err := mount.Isolate(); err != nil {
		t.Errorf("second Isolate() = %v; want nothing done", err)
	}
}

func TestMountWithoutIsolation(t *testing.T) {
	needRoot(t)
	for _, marker := range []string{"", "IMGBASE_MNT_NS=", "IMGBASE_MNT_NS=mnt:[1]"} {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		out, err := run.OS{}.Run(t.Context(), run.Cmd{
			Name: "unshare", Args: []string{"-m", exe}, Env: []string{roleVar + "=not isolated", marker},
		})
		if got := string(out.Stdout); err != nil || got != "true\n" {
			t.Errorf("Mount with %q is ErrNotIsolated = %q, %v; want true", marker, got, err)
		}
	}
}

func TestMountFile(t *testing.T) {
	for _, typ := range []string{"ext4", "squashfs", "xfs"} {
		path := image(t, typ)
		before := sh(t, `sha256sum <"$1"`, path)
		m, err := mount.OS{}.Mount(t.Context(), mount.Spec{Source: path, FSType: typ, ReadOnly: true})
		if err != nil {
			t.Fatalf("Mount(%s) = %v", typ, err)
		}
		if typ != "xfs" {
			if got, err := os.ReadFile(filepath.Join(m.Dir(), "name")); err != nil || string(got) != "hello\n" {
				t.Errorf("%s: file = %q, %v; want %q", typ, got, err, "hello\n")
			}
		}
		if err := os.WriteFile(filepath.Join(m.Dir(), "new"), nil, 0o600); !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: write = %v; want EROFS", typ, err)
		}
		if got := sh(t, `nsenter -t "$1" -m grep -c "$2" /proc/self/mountinfo || true`, fmt.Sprint(os.Getppid()), m.Dir()); got != "0" {
			t.Errorf("%s: mounts that the parent sees = %s; want 0", typ, got)
		}
		if err := m.Close(); err != nil {
			t.Errorf("%s: Close() = %v", typ, err)
		}
		if err := m.Close(); err != nil {
			t.Errorf("%s: second Close() = %v; want nothing done", typ, err)
		}
		if _, err := os.Lstat(m.Dir()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: mount point after Close: %v; want it gone", typ, err)
		}
		noLoops(t, path)
		if after := sh(t, `sha256sum <"$1"`, path); after != before {
			t.Errorf("%s: sum after = %s; want %s", typ, after, before)
		}
	}
}

func TestMountDevice(t *testing.T) {
	path := image(t, "ext4")
	dev := sh(t, `losetup -f --show "$1"`, path)
	defer sh(t, `losetup -d "$1"`, dev)
	m, err := mount.OS{}.Mount(t.Context(), mount.Spec{Source: dev, FSType: "ext4", Options: []string{"noatime", "discard"}})
	if err != nil {
		t.Fatal(err)
	}
	table, err := mount.ReadTable("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	e, ok := table.At(m.Dir())
	if !ok || e.Source != dev || e.FSType != "ext4" || !strings.Contains(strings.Join(e.Options, ","), "noatime") {
		t.Errorf("At(%s) = %+v, %v; want %s with noatime", m.Dir(), e, ok, dev)
	}
	if err := os.WriteFile(filepath.Join(m.Dir(), "new"), []byte("kept"), 0o600); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, `debugfs -R "cat /new" "$1" 2>/dev/null`, path); got != "kept" {
		t.Errorf("file on the device = %q; want %q", got, "kept")
	}
}

// A journal that was not replayed needs writing, which a read-only mount of a
// device must not do, and which a read-only loop device refuses.
func TestMountDirtyJournalReadOnly(t *testing.T) {
	for _, typ := range []string{"ext4", "xfs"} {
		path := dirty(t, typ)
		_, err := mount.OS{}.Mount(t.Context(), mount.Spec{Source: path, FSType: typ, ReadOnly: true})
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("Mount(dirty %s file) = %v; want EROFS", typ, err)
		}
		noLoops(t, path)
		before := sh(t, `sha256sum <"$1"`, path)
		dev := sh(t, `losetup -f --show "$1"`, path)
		m, err := mount.OS{}.Mount(t.Context(), mount.Spec{Source: dev, FSType: typ, ReadOnly: true})
		if err != nil {
			t.Errorf("Mount(dirty %s device) = %v; want it mounted as it is", typ, err)
		} else if err := m.Close(); err != nil {
			t.Error(err)
		}
		sh(t, `losetup -d "$1"`, dev)
		if after := sh(t, `sha256sum <"$1"`, path); after != before {
			t.Errorf("%s: sum of the device after = %s; want %s", typ, after, before)
		}
	}
}

// dirty is a copy of a file system made while it was mounted and frozen: its
// data is on the disk, and its journal not yet replayed.
func dirty(t *testing.T, typ string) string {
	t.Helper()
	path := image(t, typ)
	dev := sh(t, `losetup -f --show "$1"`, path)
	m, err := mount.OS{}.Mount(t.Context(), mount.Spec{Source: dev, FSType: typ})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, `touch "$1/a"; sync -f "$1"; cp --sparse=always "$2" "$2.dirty"`, m.Dir(), path)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	sh(t, `losetup -d "$1"`, dev)
	return path + ".dirty"
}

func TestMountRefuses(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	random := filepath.Join(dir, "random\nname")
	if err := os.WriteFile(random, bytes.Repeat([]byte("x"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		spec mount.Spec
		want string
	}{
		{mount.Spec{Source: filepath.Join(dir, "none"), FSType: "ext4", ReadOnly: true}, "none: no such file or directory"},
		{mount.Spec{Source: dir, FSType: "ext4", ReadOnly: true}, "neither a block device nor a regular file"},
		{mount.Spec{Source: "/dev/null", FSType: "ext4", ReadOnly: true}, "neither a block device nor a regular file"},
		{mount.Spec{Source: "", FSType: "ext4"}, "no such file or directory"},
		{mount.Spec{Source: random, FSType: "ext4"}, "a regular file is mounted read-only"},
		{mount.Spec{Source: random, FSType: "ext4", ReadOnly: true}, "as ext4: invalid argument"},
		{mount.Spec{Source: random, FSType: "nofs", ReadOnly: true}, "as nofs: no such device"},
		{mount.Spec{Source: empty, FSType: "squashfs", ReadOnly: true}, "as squashfs: "},
	} {
		_, err := mount.OS{}.Mount(t.Context(), tc.spec)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "mount "+tc.spec.Source+": ") {
			t.Errorf("Mount(%+v) = %v; want %q", tc.spec, err, tc.want)
		}
	}
	noLoops(t, random)
	if left, err := os.ReadDir("/proc/driver"); err != nil || len(left) != 0 {
		t.Errorf("mount points left = %v, %v; want none", left, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (mount.OS{}).Mount(ctx, mount.Spec{Source: random, FSType: "ext4", ReadOnly: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("Mount after the end = %v; want canceled", err)
	}
}

func TestCloseBusy(t *testing.T) {
	path := image(t, "ext4")
	m, err := mount.OS{}.Mount(t.Context(), mount.Spec{Source: path, FSType: "ext4", ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(m.Dir(), "name"))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("Close() of a busy mount = %v; want EBUSY", err)
	}
	if _, err := os.Lstat(m.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("mount point after Close: %v; want it gone", err)
	}
	f.Close()
	noLoops(t, path)
}

func TestCloseSoonFree(t *testing.T) {
	path := image(t, "ext4")
	m, err := mount.OS{}.Mount(t.Context(), mount.Spec{Source: path, FSType: "ext4", ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(m.Dir(), "name"))
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, func() { f.Close() })
	if err := m.Close(); err != nil {
		t.Errorf("Close() of a mount busy for 0.2 s = %v; want it waited for", err)
	}
}

func TestKilledLeavesNothing(t *testing.T) {
	path := image(t, "ext4")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, kill := context.WithCancel(t.Context())
	stdin, hold := io.Pipe()
	defer hold.Close()
	done := make(chan run.Output)
	go func() {
		// The shell keeps the process id over both exec calls.
		out, _ := run.OS{}.Run(ctx, run.Cmd{
			Name: "sh", Args: []string{"-c", `echo $$ >"$1"; unset IMGBASE_MNT_NS; exec "$2"`, "sh", path + ".pid", exe},
			Stdin: stdin, Env: []string{roleVar + "=" + path},
		})
		done <- out
	}()
	for range 500 {
		if loopsOf(t, path) != "" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if loopsOf(t, path) == "" {
		kill()
		t.Fatalf("no loop device; the process said %q", (<-done).Stdout)
	}
	sh(t, `sleep 0.2; kill -9 "$(cat "$1")"`, path+".pid")
	hold.Close()
	out := <-done
	kill()
	if !strings.HasPrefix(string(out.Stdout), "mounted /proc/driver/ext4-") {
		t.Errorf("the process said %q; want mounted", out.Stdout)
	}
	noLoops(t, path)
}
