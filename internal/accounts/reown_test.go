package accounts_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"imgbase/internal/accounts"
	"imgbase/internal/owners"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// acl is an access list as the kernel has it: u::rw-, the entries, g::r--,
// m::rwx, o::r--.
func acl(named ...[3]uint32) []byte {
	const none = 1<<32 - 1
	list := [][3]uint32{{1, 6, none}}
	for _, e := range named {
		if e[0] == 2 {
			list = append(list, e)
		}
	}
	list = append(list, [3]uint32{4, 4, none})
	for _, e := range named {
		if e[0] == 8 {
			list = append(list, e)
		}
	}
	list = append(list, [3]uint32{0x10, 7, none}, [3]uint32{0x20, 4, none})
	out := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range list {
		out = binary.LittleEndian.AppendUint16(out, uint16(e[0]))
		out = binary.LittleEndian.AppendUint16(out, uint16(e[1]))
		out = binary.LittleEndian.AppendUint32(out, e[2])
	}
	return out
}

// netRaw is cap_net_raw=ep, as setcap(8) writes it.
func netRaw() []byte {
	return []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
}

func state(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	out := fmt.Sprintf("%d:%d %o", st.Uid, st.Gid, st.Mode&0o7777)
	for _, key := range []string{"security.capability", "system.posix_acl_access", "system.posix_acl_default", "user.k"} {
		buf := make([]byte, 4096)
		if n, err := unix.Lgetxattr(path, key, buf); err == nil {
			out += fmt.Sprintf(" %s=%x", key, buf[:n])
		}
	}
	return out
}

// swap is 5→6, 6→5 and a chain, for users; 7→8→9 for groups.
func swap() owners.Map {
	return owners.Map{UIDs: ids{5: 6, 6: 5, 10: 11, 11: 12}, GIDs: ids{7: 8, 8: 9}}
}

func TestReown(t *testing.T) {
	needRoot(t)
	dir, outside := t.TempDir(), t.TempDir()
	writeFile(t, outside+"/f", "")
	must(t, os.Chown(outside+"/f", 5, 7), os.Chown(outside, 5, 7))
	odd := "odd\xff\n \\"
	for _, f := range []struct {
		name     string
		uid, gid int
		mode     uint32
	}{
		{"a", 5, 0, 0o644},
		{"b", 6, 7, 0o600},
		{"d/c", 10, 8, 0o644},
		{"d/e/" + odd, 11, 9, 0o644},
		{"none", 4, 4, 0o4755},
		{"suid", 5, 7, 0o4755},
		{"sgid", 0, 8, 0o2711},
		{"both", 6, 0, 0o6711},
		{"mandatory", 0, 7, 0o2644},
		{"cap", 5, 0, 0o755},
	} {
		writeFile(t, filepath.Join(dir, f.name), "")
		must(t, os.Chown(filepath.Join(dir, f.name), f.uid, f.gid), unix.Chmod(filepath.Join(dir, f.name), f.mode))
	}
	must(t,
		os.Link(dir+"/a", dir+"/d/a2"), os.Link(dir+"/a", dir+"/a3"), // an even number of times must not swap back
		os.Symlink(outside+"/f", dir+"/link"), os.Lchown(dir+"/link", 5, 7),
		os.Symlink(outside, dir+"/dirlink"), os.Symlink("/none", dir+"/dangling"), os.Lchown(dir+"/dangling", 6, 8),
		unix.Mkfifo(dir+"/fifo", 0o640), os.Chown(dir+"/fifo", 6, 8),
		os.Mkdir(dir+"/sticky", 0o755), os.Chown(dir+"/sticky", 5, 7), unix.Chmod(dir+"/sticky", 0o3777),
		os.Chown(dir, 5, 0),
		unix.Setxattr(dir+"/cap", "security.capability", netRaw(), 0),
		unix.Setxattr(dir+"/none", "security.capability", netRaw(), 0),
	)
	lists := map[string][]byte{
		"acl":       acl([3]uint32{2, 7, 5}, [3]uint32{2, 4, 6}, [3]uint32{2, 1, 77}, [3]uint32{8, 5, 7}),
		"joined":    acl([3]uint32{2, 4, 11}, [3]uint32{2, 3, 12}),
		"untouched": acl([3]uint32{2, 4, 12}),
		"ownacl":    acl([3]uint32{2, 7, 6}),
	}
	for name, list := range lists {
		writeFile(t, filepath.Join(dir, name), "")
		must(t, unix.Chmod(filepath.Join(dir, name), 0o4755), unix.Setxattr(filepath.Join(dir, name), "system.posix_acl_access", list, 0))
	}
	must(t, os.Chown(dir+"/ownacl", 5, 7), unix.Chmod(dir+"/ownacl", 0o6674))
	must(t, unix.Setxattr(dir+"/sticky", "system.posix_acl_default", lists["acl"], 0))

	got, err := accounts.Reown(context.Background(), open(t, dir), swap())
	if err != nil {
		t.Fatalf("Reown() = %v; want no error", err)
	}
	mapped := acl([3]uint32{2, 4, 5}, [3]uint32{2, 7, 6}, [3]uint32{2, 1, 77}, [3]uint32{8, 5, 8})
	capability := fmt.Sprintf(" security.capability=%x", netRaw())
	access := " system.posix_acl_access="
	want := map[string]string{
		"": "6:0 755", "a": "6:0 644", "d/a2": "6:0 644", "b": "5:8 600", "d/c": "11:9 644", "d/e/" + odd: "12:9 644", "none": "4:4 4755" + capability,
		"suid": "6:8 4755", "sgid": "0:9 2711", "both": "5:0 6711", "mandatory": "0:8 2644", "cap": "6:0 755" + capability,
		"link": "6:8 777", "dangling": "5:9 777", "dirlink": "0:0 777", "fifo": "5:9 640",
		"sticky":    "6:8 3777 system.posix_acl_default=" + fmt.Sprintf("%x", mapped),
		"acl":       "0:0 4674" + access + fmt.Sprintf("%x", mapped),
		"joined":    "0:0 4674" + access + fmt.Sprintf("%x", acl([3]uint32{2, 7, 12})),
		"untouched": "0:0 4674" + access + fmt.Sprintf("%x", lists["untouched"]),
		"ownacl":    "6:8 6674" + access + fmt.Sprintf("%x", acl([3]uint32{2, 7, 5})),
	}
	have := make(map[string]string)
	for name := range want {
		have[name] = state(t, filepath.Join(dir, name))
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	if s := state(t, outside+"/f") + state(t, outside); s != "5:7 6445:7 755" {
		t.Errorf("outside = %s; want it untouched", s)
	}
	if diff := cmp.Diff(accounts.Counts{Files: 24, Reowned: 15, Lists: 4}, got); diff != "" {
		t.Errorf("Counts (-want +got):\n%s", diff)
	}

	again, err := accounts.Reown(context.Background(), open(t, dir), swap())
	if err != nil || again != (accounts.Counts{}) || state(t, dir+"/b") != "5:8 600" {
		t.Errorf("Reown() again = %v, %v, b %s; want nothing done", again, err, state(t, dir+"/b"))
	}
}

// A file that holds no mapped id keeps its change time: it was not touched.
func TestReownTouchesNothingElse(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	writeFile(t, dir+"/d/f", "")
	var before, after unix.Stat_t
	must(t, unix.Stat(dir+"/d/f", &before))
	if _, err := accounts.Reown(context.Background(), open(t, dir), swap()); err != nil {
		t.Fatalf("Reown() = %v; want no error", err)
	}
	must(t, unix.Stat(dir+"/d/f", &after))
	if before.Ctim != after.Ctim {
		t.Errorf("change time %v; want %v", after.Ctim, before.Ctim)
	}
	if n, err := unix.Getxattr(dir, "trusted.imgbase.owners", make([]byte, 100)); n < 5 || err != nil {
		t.Errorf("marker: %d, %v; want one", n, err)
	}
	if _, err := accounts.Reown(context.Background(), open(t, t.TempDir()), owners.Map{}); err != nil {
		t.Errorf("Reown() by no map = %v; want no error", err)
	}
}

// A run that was cut short is not taken up again; another map is another run.
func TestReownCutShort(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for i := range 10 {
		writeFile(t, fmt.Sprintf("%s/%d/f", dir, i), "")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := accounts.Reown(ctx, open(t, dir), swap()); !errors.Is(err, context.Canceled) {
		t.Fatalf("Reown() canceled = %v; want %v", err, context.Canceled)
	}
	if _, err := accounts.Reown(context.Background(), open(t, dir), swap()); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("Reown() after that = %v; want a refusal", err)
	}
	fresh := t.TempDir()
	for _, o := range []owners.Map{swap(), {UIDs: ids{5: 9}}} {
		writeFile(t, fresh+"/f", "")
		must(t, os.Chown(fresh+"/f", 5, 0))
		if got, err := accounts.Reown(context.Background(), open(t, fresh), o); err != nil || got.Reowned != 1 {
			t.Errorf("Reown(%v) = %v, %v; want one file", o, got, err)
		}
	}
}

func TestReownImmutable(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	writeFile(t, dir+"/f", "")
	must(t, os.Chown(dir+"/f", 5, 0), unix.Chmod(dir+"/f", 0o4755))
	f, err := os.Open(dir + "/f")
	must(t, err)
	defer f.Close()
	const immutable = 0x10
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, immutable); err != nil {
		t.Skipf("no immutable files here: %v", err)
	}
	_, err = accounts.Reown(context.Background(), open(t, dir), swap())
	flags, flagErr := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	must(t, flagErr, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0))
	if err != nil || flags&immutable == 0 || state(t, dir+"/f") != "6:0 4755" {
		t.Errorf("Reown() = %v, flags %x, %s; want 6:0 4755, immutable", err, flags, state(t, dir+"/f"))
	}
}

// A path longer than PATH_MAX is reached all the same, and a directory with
// more names than are held at once.
func TestReownDeepAndWide(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	root := open(t, dir)
	at, depth := root, 0
	for ; depth < 60; depth++ {
		name := strings.Repeat("d", 100)
		must(t, at.Mkdir(name, 0o755), at.Chown(name, 5, 7))
		next, err := at.OpenRoot(name)
		must(t, err)
		defer next.Close()
		at = next
	}
	for i := range 2500 {
		f, err := at.Create(strconv.Itoa(i))
		must(t, err, f.Chown(6, 0), f.Close())
	}
	got, err := accounts.Reown(context.Background(), root, swap())
	if err != nil || got.Reowned != 2500+depth || got.Files != 2501+depth {
		t.Errorf("Reown() = %+v, %v; want %d of %d", got, err, 2500+depth, 2501+depth)
	}
}

func TestReownStaysInFileSystem(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	mounted := dir + "/proc"
	must(t, os.Mkdir(mounted, 0o755), os.Mkdir(dir+"/bind", 0o755), os.Mkdir(dir+"/source", 0o755))
	writeFile(t, dir+"/source/f", "")
	must(t, os.Chown(dir+"/source/f", 6, 0))
	if err := unix.Mount("tmpfs", mounted, "tmpfs", 0, ""); err != nil {
		t.Skipf("no mounts here: %v", err)
	}
	defer func() { must(t, unix.Unmount(mounted, unix.MNT_DETACH)) }()
	must(t, unix.Mount(dir+"/source", dir+"/bind", "", unix.MS_BIND, ""))
	defer func() { must(t, unix.Unmount(dir+"/bind", unix.MNT_DETACH)) }()
	writeFile(t, mounted+"/f", "")
	must(t, os.Chown(mounted+"/f", 5, 7), os.Chown(mounted, 5, 7))
	got, err := accounts.Reown(context.Background(), open(t, dir), swap())
	if err != nil || got.Mounts != 2 || got.Reowned != 1 {
		t.Errorf("Reown() = %+v, %v; want two mounts, one file", got, err)
	}
	if s := state(t, mounted+"/f") + " " + state(t, mounted); s != "5:7 644 5:7 1777" {
		t.Errorf("mounted = %s; want it untouched", s)
	}
	if s := state(t, dir+"/source/f"); s != "5:0 644" {
		t.Errorf("source/f = %s; want it done once", s)
	}
}
