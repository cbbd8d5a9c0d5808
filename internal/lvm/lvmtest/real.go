package lvmtest

import (
	"fmt"
	"testing"

	"imgbase/internal/lvm"
	"imgbase/internal/run"
)

// Real returns an [Env] on a machine with real LVM that r reaches. All that
// is on disk is lost. The machine needs LVM, dmsetup, dd, seq and sh.
func Real(t *testing.T, r run.Runner, disk string) Env {
	t.Helper()
	const vg, pool = "imgbase-test", "pool"
	remove := []string{"--yes", "--quiet", "--force", vg}
	start(t, r, "vgcreate", "--yes", "--quiet", "--physicalextentsize", "1m", vg, disk)
	t.Cleanup(func() { start(t, r, "vgremove", remove...) })
	start(t, r, "lvcreate", "--yes", "--quiet", "--type", "thin-pool", "--name", pool, "--size", "64m",
		"--poolmetadatasize", "2m", "--zero", "n", vg)

	filler := func(t testing.TB) {
		start(t, r, "lvcreate", "--yes", "--quiet", "--type", "thin", "--thinpool", pool, "--virtualsize", "64m", "--name", "filler", vg)
	}
	return Env{
		Runner: r, VG: vg, Pool: pool, Disk: disk,
		Hold: func(t testing.TB, lv lvm.LV) func() {
			// A device mapped onto the volume keeps it open in any guest,
			// without a file system or a process that stays.
			start(t, r, "dmsetup", "create", "imgbase-hold", "--table", fmt.Sprintf("0 8 linear %s 0", lv.Path))
			return func() { start(t, r, "dmsetup", "remove", "--retry", "imgbase-hold") }
		},
		FillData: func(t testing.TB) {
			filler(t)
			start(t, r, "dd", "if=/dev/zero", "of=/dev/"+vg+"/filler", "bs=1M", "count=64", "oflag=direct")
		},
		FillMetadata: func(t testing.TB) {
			// The -tpool device is there once the pool has a volume. Each thin
			// device, known to LVM or not, takes one of the 512 blocks of
			// metadata.
			filler(t)
			start(t, r, "sh", "-c", "for i in $(seq 100001 100350); do dmsetup message imgbase--test-pool-tpool 0 \"create_thin $i\" || exit 1; done")
		},
	}
}

func start(t testing.TB, r run.Runner, program string, args ...string) {
	t.Helper()
	// Not the test's context: that has ended when cleanups run.
	if err := do(r, run.Cmd{Name: program, Args: args}); err != nil {
		t.Fatal(err)
	}
}
