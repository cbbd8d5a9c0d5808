package lab_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/cli"
	"imgbase/test/lab"
)

// refusal is a command line that must change nothing.
type refusal struct {
	script string
	code   int // exit code; 2 has a message and a hint like every other
}

// message is all that a refusal says: one line for what is wrong, one for
// what can be done.
var message = regexp.MustCompile(`^imgbase: \S[^\n]*\nhint: ([^\n]+)\n$`)

// refused runs the command lines and wants of each its exit code, one clear
// line with the hint that belongs to the code, and nothing changed after all
// of them.
func refused(t *testing.T, vm *lab.VM, before lab.State, list ...refusal) {
	t.Helper()
	for _, r := range list {
		got := vm.Run(t, r.script)
		m := message.FindStringSubmatch(got.Stderr)
		known := m != nil && slices.ContainsFunc(cli.Rows(), func(row cli.Row) bool { return row.Code == r.code && row.Hint == m[1] })
		if got.Code != r.code || got.Stdout != "" || !known {
			t.Errorf("%s: exit %d, %q, on standard output %q; want exit %d and one line with its hint", r.script, got.Code, got.Stderr, got.Stdout, r.code)
		} else {
			t.Logf("%s\n%s", r.script, got.Stderr)
		}
	}
	if diff := cmp.Diff(before, vm.State(t)); diff != "" {
		t.Errorf("refusals changed the host (-before +after):\n%s", diff)
	}
}

// apart is a shell script that runs in mounts of its own.
func apart(script string) string { return "unshare -m sh -ec " + quoted(script) }

// rootOn runs imgbase with a root file system that is only a frame around the
// real one: what is mounted at / is then what the script mounts at /mnt.
func rootOn(mount, command string) string {
	return apart(mount + `
		cd /mnt
		for d in usr etc var boot dev proc sys run; do mkdir -p $d; mount --rbind /$d $d; done
		for d in bin sbin lib lib64; do ln -sfn usr/$d $d; done
		exec chroot . ` + command)
}

// Before: a host that was not taken over. What cannot be taken over is
// refused.
func TestRefusedHost(t *testing.T) {
	t.Parallel()
	vm := lab.Host(t)
	vm.Must(t, `lvcreate -qq -y -W y -n plain -L 64M `+lab.VG+` && mkfs.ext4 -q /dev/`+lab.VG+`/plain
		mount /dev/`+lab.VG+`/plain /mnt && cd /mnt && mkdir usr etc var boot dev proc sys run && ln -s usr/bin usr/sbin usr/lib usr/lib64 . && cd / && umount /mnt
		truncate -s 64M /var/pv && vgcreate -qq --addtag imgbased:vg theirs $(losetup -f --show /var/pv)
		lvcreate -qq -y -an -n lab-9.0-1 -L 4M --addtag imgbased:base theirs`)
	before := vm.State(t)
	const init = "imgbase layout --init "
	refused(t, vm, before,
		refusal{"setpriv --reuid 65534 --regid 65534 --clear-groups " + init, 3},
		refusal{"setpriv --reuid 65534 --regid 65534 --clear-groups imgbase layout", 3},
		refusal{rootOn("mount -t tmpfs tmpfs /mnt", init), 10},
		refusal{rootOn("mount /dev/"+lab.VG+"/plain /mnt", init), 11},
		refusal{apart("umount -l /var; " + init), 12},
		refusal{apart("umount -l /boot; " + init), 13},
		refusal{apart("mount -t tmpfs tmpfs /usr/share/imgbase/build/meta; " + init), 20},
		refusal{init + "--from /dev/vda1", 10},
		refusal{init + "--from " + lab.VG + "/plain", 11},
		refusal{init + "--from theirs/lab-9.0-1", 14},
	)
	refused(t, vm, before,
		refusal{init + "lab", 32}, refusal{init + "lab-1.0", 32}, refusal{init + "' lab-1.0-1'", 32},
		refusal{init + "lab-1.0~rc1-1", 31}, refusal{init + "lab-1.0^git-1", 31}, refusal{init + "../x-1.0-1", 32}, refusal{init + "läb-1.0-1", 32},
		refusal{init + "lab-1.0-1." + strings.Repeat("x", 60), 30}, refusal{init + "lab-" + strings.Repeat("1", 100000) + "-1", 30},
	)
	// A volume group of somebody else, though it carries our tag, is no
	// layout of ours.
	refused(t, vm, before,
		refusal{"imgbase w", 18}, refusal{"imgbase layer --current", 18}, refusal{"imgbase status", 18},
		refusal{"imgbase base --add lab-2.0-1 --size 1G", 18}, refusal{"imgbase base --remove lab-9.0-1", 18},
		refusal{"imgbase rollback", 18}, refusal{"imgbase layout", 18}, refusal{"imgbase layer --add", 18},
	)

	// Taken over, the host still runs what was installed: there is no layer
	// to work on. The other volume group is reported, and as it was.
	if got := vm.Must(t, "imgbase layout --init 2>&1"); !strings.Contains(got, "note: volume group theirs carries imgbased:vg") {
		t.Errorf("imgbase layout --init: %q; want a note on the other volume group", got)
	}
	after := vm.State(t)
	refused(t, vm, after,
		refusal{"imgbase w", 19}, refusal{"imgbase layer --current", 19}, refusal{"imgbase layer --add", 19},
		refusal{"imgbase rollback", 19}, refusal{"imgbase update /var/pv", 19},
	)
	says(t, vm, "layout", "lab-1.0-1\n +- lab-1.0-1+1\n")
	if before.Groups["theirs"] != after.Groups["theirs"] || before.Volumes["theirs/lab-9.0-1"] != after.Volumes["theirs/lab-9.0-1"] {
		t.Errorf("the other volume group changed: %q, %q", after.Groups["theirs"], after.Volumes["theirs/lab-9.0-1"])
	}
}

// Before: the host runs its first layer. What it has no place for, or what
// must not go, is refused.
func TestRefusedLayout(t *testing.T) {
	t.Parallel()
	vm := updatable(t)
	before := vm.State(t)
	refused(t, vm, before,
		refusal{"imgbase layout --init", 17}, refusal{"imgbase layout --init-nvr other-1.0-1", 17},
		refusal{"imgbase base --add lab-1.0-1 --size 1G", 33}, refusal{"imgbase base --add lab-1.0-1+1 --size 1G", 32},
		refusal{"imgbase base --add var --size 1G", 32}, refusal{"imgbase base --add lab-2.0~1-1 --size 1G", 31},
		refusal{"imgbase base --add lab-2.0-1 --size 0", 2}, refusal{"imgbase base --add lab-2.0-1 --size x", 2}, refusal{"imgbase base --add lab-2.0-1", 2},
		refusal{"imgbase base --remove lab-1.0-1", 36}, refusal{"imgbase base --remove lab-0.9-1", 34},
		refusal{"imgbase base --remove lab-1.0-1+1", 34}, refusal{"imgbase base --remove root", 32},
		refusal{"imgbase layer --add lab-0.9-1", 34}, refusal{"imgbase layer --volume-path lab-0.9-1", 34},
		refusal{"imgbase rollback", 37}, refusal{"imgbase rollback --to lab-1.0-1+1", 38}, refusal{"imgbase rollback --to lab-1.0-1", 34},
		refusal{"imgbase rollback --to lab-0.9-1+1", 34}, refusal{"imgbase boot --set-default nothing", 32},
		refusal{"imgbase update", 2}, refusal{"imgbase update --format ova " + two, 60}, refusal{"imgbase nonsense", 2},
	)

	// An empty base can be added, and no layer be made of it. It is of
	// another product: the newest of this host stays what it was.
	vm.Must(t, "imgbase base --add other-9.0-1 --size 64M")
	withEmpty := vm.State(t)
	refused(t, vm, withEmpty, refusal{"imgbase layer --add other-9.0-1", 40})
	says(t, vm, "base --latest", "lab-1.0-1\n")
	says(t, vm, "layout", "lab-1.0-1\n +- lab-1.0-1+1\nother-9.0-1\n")
	vm.Must(t, "imgbase base --remove other-9.0-1")

	// A layer whose base and boot entry are gone is shown, not booted, and
	// removed when asked.
	vm.Must(t, "lvcreate -qq -s -kn -n lab-0.9-1+1 --addtag imgbased:layer "+lab.VG+"/lab-1.0-1")
	withOrphan := vm.State(t)
	refused(t, vm, withOrphan, refusal{"imgbase rollback --to lab-0.9-1+1", 42}, refusal{"imgbase base --remove lab-0.9-1", 34})
	says(t, vm, "layout", "lab-0.9-1 (base missing)\n +- lab-0.9-1+1\nlab-1.0-1\n +- lab-1.0-1+1\n")
	says(t, vm, "recover --list", "Found the following unused layers:\nlab-0.9-1+1\nNo unused volumes\n")
	vm.Must(t, "imgbase recover --force")

	// The layer that boots next, and its base, stay; so does all when a
	// second run comes while one is under way, and when that one is stopped.
	p := vm.Start(t, "exec imgbase update "+two, lab.Kill{})
	if !p.Await(t, "write base") {
		t.Fatalf("update ended: %+v", p.Wait(t))
	}
	signal(t, vm, "STOP")
	time.Sleep(3 * time.Second) // for the programs it has started
	refused(t, vm, vm.State(t), refusal{"imgbase update " + three, 5}, refusal{"imgbase rollback", 5}, refusal{"imgbase recover", 5})
	signal(t, vm, "INT")
	signal(t, vm, "CONT")
	if r := p.Wait(t); r.Code != 7 || !strings.Contains(r.Stderr, "\nhint: everything was undone\n") {
		t.Errorf("interrupted update = %+v; want exit 7", r)
	}
	if diff := cmp.Diff(before, vm.State(t)); diff != "" {
		t.Errorf("host after all that (-before +after):\n%s", diff)
	}
}

// signal sends a signal to every running imgbase, by the file it runs: one
// that started itself anew has another name.
func signal(t testing.TB, vm *lab.VM, name string) {
	t.Helper()
	vm.Must(t, `for p in /proc/[0-9]*; do if test "$(readlink $p/exe)" = /usr/sbin/imgbase; then kill -`+name+` ${p#/proc/}; fi; done`)
}
