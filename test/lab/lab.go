// Package lab tests on real hosts: it builds a bootable Debian host whose
// root is a thin volume, runs it in QEMU, and lets a test work in it through
// an agent. Nothing in it is a stand-in: kernel, LVM, GRUB and systemd are
// Debian's.
//
// Words: the golden host is the disk everything starts from; it is built once
// from packages and kept in the user's cache directory under the hash of its
// recipe. A machine is a running host on a copy-on-write overlay of it. A
// saved state is a disk and the memory of the host that ran on it: a machine
// made from it goes on from that instant, in a second instead of a boot. An
// image is what a host is updated with, made from the same packages.
//
// A case is an ordinary test: what is there before, what is done, what must
// hold after.
//
//	vm := lab.Host(t)                            // booted, imgbase installed
//	dir := vm.Share(t, "images", lab.Image{NVR: "lab-2.0-1"}.Build(t))
//	before := vm.State(t)
//	if r := vm.Run(t, "imgbase update "+dir+"/lab-2.0-1.img --bad-flag"); r.Code != 2 { … }
//	if diff := cmp.Diff(before, vm.State(t)); diff != "" { … }
//
// What a power cut proves here: [VM.Kill] ends QEMU with SIGKILL, so what the
// guest had not yet written to its disk is gone, and of what it wrote without
// a flush the part that QEMU still held. What reached this machine's page
// cache stays: loss or reordering of unflushed writes in the disk's own cache
// is not shown; dm-flakey and dm-log-writes inside the guest show that.
//
// What always holds: no test changes what others start from; a machine ends
// with its test; at most as many machines as processors run at once on this
// computer, so a test that has a machine running must not wait for a second
// one; a failed test leaves its console log and disk in the cache under
// lab-failures and says where.
//
// The lab needs root, for owners of files and loop devices, and the packages
// that deps.sh installs. Without them tests are skipped and say so, or fail
// if IMGBASE_REQUIRE_LAB is 1.
package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// programs are what the lab starts on the building machine.
var programs = [...]string{
	"qemu-system-x86_64", "qemu-img", "mmdebstrap", "sgdisk", "losetup", "lvm",
	"thin_restore", "thin_check", "mkfs.ext4", "mkfs.xfs", "mksquashfs", "tar",
	"rpmbuild", "dpkg-deb",
}

// Require skips the test, saying why, when this machine cannot run the lab.
// With IMGBASE_REQUIRE_LAB=1 in the environment the test fails instead.
func Require(t testing.TB) {
	t.Helper()
	var missing []string
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	if len(missing) == 0 {
		return
	}
	reason := "lab: missing " + strings.Join(missing, ", ") + " (see test/lab/deps.sh)"
	if os.Getenv("IMGBASE_REQUIRE_LAB") == "1" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// keep is how long the cache keeps what no run uses.
const keep = 14 * 24 * time.Hour

// Golden returns a machine of the plain golden host, as it is a moment after
// its first boot: root on the thin volume HostVG/root, /var on HostVG/var,
// no imgbase.
func Golden(t testing.TB) *VM {
	t.Helper()
	Require(t)
	s, err := fresh(t.Context())
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	return s.VM(t)
}

// Host is [Golden] with the program under test in /usr/sbin.
func Host(t testing.TB) *VM {
	t.Helper()
	return Stage(t, "installed", Golden, func(t testing.TB, vm *VM) { vm.Install(t) })
}

// Stage returns a machine in a state that many cases start from. The first
// caller with this name in a test process prepares it, on a machine from
// parent, and saves it; every caller gets a machine made from the saved state.
func Stage(t testing.TB, name string, parent func(testing.TB) *VM, prepare func(testing.TB, *VM)) *VM {
	t.Helper()
	s := stages.get(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.saved.RAM == "" {
		vm := parent(t)
		prepare(t, vm)
		s.saved = vm.Save(t)
		// The state lives in the directory, which stays locked until the
		// end of the process; the next run sweeps it away.
		vm.Kill()
		vm.lasting = true
		s.dir = vm.dir
	}
	return s.saved.VM(t)
}

// stageSet are the saved states of this process. It is the one value of the
// package that changes, because the states must outlive the test that made
// them.
type stageSet struct {
	mu     sync.Mutex
	byName map[string]*stage
}

type stage struct {
	mu    sync.Mutex
	saved Saved
	// dir holds the state. A lock that nothing refers to is closed by the
	// garbage collector, and the next sweep takes the directory away.
	dir runDir
}

var stages = &stageSet{byName: map[string]*stage{}}

func (ss *stageSet) get(name string) *stage {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.byName[name] == nil {
		ss.byName[name] = &stage{}
	}
	return ss.byName[name]
}

// runDir is the directory of one machine. Its lock is held as long as the
// process lives; one that nobody holds belongs to a run that was killed.
type runDir struct {
	path   string
	unlock func()
}

const runPattern = "run-*.lock"

func newRunDir(ctx context.Context) (runDir, error) {
	cache, err := cacheDir()
	if err != nil {
		return runDir{}, err
	}
	f, err := os.CreateTemp(cache, runPattern)
	if err != nil {
		return runDir{}, err
	}
	defer f.Close()
	unlock, err := lock(ctx, f.Name())
	if err != nil {
		return runDir{}, err
	}
	d := runDir{strings.TrimSuffix(f.Name(), ".lock"), unlock}
	return d, os.Mkdir(d.path, 0o755)
}

// remove deletes the directory.
func (d runDir) remove() error {
	err := os.RemoveAll(d.path)
	os.Remove(d.path + ".lock")
	d.unlock()
	return err
}

// keep leaves the directory, reachable as lab-failures/<name>.
func (d runDir) keep(name string) (string, error) {
	defer d.unlock()
	if err := os.Remove(d.path + ".lock"); err != nil {
		return d.path, err
	}
	failures := filepath.Join(filepath.Dir(d.path), "lab-failures")
	if err := os.MkdirAll(failures, 0o755); err != nil {
		return d.path, err
	}
	link := filepath.Join(failures, strings.NewReplacer("/", "_", " ", "_").Replace(name))
	if err := os.RemoveAll(link); err != nil {
		return d.path, err
	}
	return link, os.Symlink(d.path, link)
}

// sweep removes what killed runs left, and what nobody used for long.
func sweep(ctx context.Context) error {
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	locks, err := filepath.Glob(filepath.Join(cache, runPattern))
	if err != nil {
		return err
	}
	for _, l := range locks {
		// One just being made is not locked yet.
		if info, err := os.Stat(l); err != nil || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		unlock, err := tryLock(l)
		if err != nil || unlock == nil {
			continue
		}
		if err := (runDir{strings.TrimSuffix(l, ".lock"), unlock}).remove(); err != nil {
			return err
		}
	}
	if err := prune(ctx, keep); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}
