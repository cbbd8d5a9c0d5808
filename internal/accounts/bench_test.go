package accounts_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"imgbase/internal/accounts"
	"imgbase/internal/owners"
	"imgbase/internal/run"

	"golang.org/x/sys/unix"
)

// bigTree makes a tree of 100,000 files of 4 KiB in 2,000 directories. Every
// share-th file is user 5's, the others root's.
func bigTree(b *testing.B, dir string, share int) {
	b.Helper()
	content := bytes.Repeat([]byte("content."), 512)
	for d := range 2000 {
		at := fmt.Sprintf("%s/%d/%d/%d", dir, d%20, d%200, d)
		must(b, os.MkdirAll(at, 0o755))
		for i := range 50 {
			name := fmt.Sprintf("%s/file-with-a-usual-name-%d", at, i)
			must(b, os.WriteFile(name, content, 0o644))
			if (d*50+i)%share == 0 {
				must(b, os.Chown(name, 5, 7))
			}
		}
	}
}

// BenchmarkReown re-owns 100,000 files in place, one in twenty of which needs
// it, or all. Its measure is what rsync takes to do the same to an exact copy of
// the tree.
func BenchmarkReown(b *testing.B) {
	needRoot(b)
	for _, share := range []int{20, 1} {
		b.Run(fmt.Sprintf("one-in-%d", share), func(b *testing.B) {
			dir := b.TempDir()
			bigTree(b, dir, share)
			root := open(b, dir)
			from, to := uint32(5), uint32(6)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for b.Loop() {
				// There and back: each map differs from the one before.
				o := owners.Map{UIDs: ids{from: to}, GIDs: ids{from + 2: to + 2}}
				got, err := accounts.Reown(context.Background(), root, o)
				if err != nil || got.Reowned != 100_000/share {
					b.Fatalf("Reown() = %+v, %v; want %d", got, err, 100_000/share)
				}
				from, to = to, from
			}
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.Sys)/(1<<20), "MiB-of-the-system")
			b.ReportMetric(float64(after.HeapInuse)/(1<<20), "MiB-heap")
			if rsync := timeRsync(b, dir, [2]uint32{from, to}); rsync > 0 {
				b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/rsync.Seconds(), "of-rsync")
				b.ReportMetric(rsync.Seconds(), "s-rsync")
			}
		})
	}
}

// timeRsync is what rsync takes to compare dir with a copy of it by checksum
// and to give the copy's files another owner, 0 where there is no rsync. The
// copy itself is not counted.
func timeRsync(b *testing.B, dir string, move [2]uint32) time.Duration {
	b.StopTimer()
	copied := b.TempDir()
	rsync := run.Cmd{Name: "rsync", Args: []string{"-aHAX", "--checksum", dir + "/", copied + "/"}}
	if out, err := (run.OS{}).Run(context.Background(), rsync); err != nil {
		if strings.Contains(err.Error(), "not found") {
			return 0
		}
		b.Fatalf("rsync: %v %s", err, out.Stderr)
	}
	rsync.Args = append([]string{
		fmt.Sprintf("--usermap=%d:%d", move[0], move[1]), fmt.Sprintf("--groupmap=%d:%d", move[0]+2, move[1]+2),
	}, rsync.Args...)
	start := time.Now()
	if _, err := (run.OS{}).Run(context.Background(), rsync); err != nil {
		b.Fatalf("rsync: %v", err)
	}
	return time.Since(start)
}

// The walk of a tree of many directories and links holds no more than a
// stack's worth of names.
func TestReownMemory(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for d := range 200 {
		at := fmt.Sprintf("%s/%d", dir, d)
		must(t, os.Mkdir(at, 0o755))
		writeFile(t, at+"/f", "")
		must(t, os.Chown(at+"/f", 5, 7))
		for i := range 50 {
			must(t, unix.Link(at+"/f", fmt.Sprintf("%s/%d", at, i)))
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := accounts.Reown(context.Background(), open(t, dir), swap())
	runtime.ReadMemStats(&after)
	if err != nil || got.Files != 10401 || got.Reowned != 200 {
		t.Fatalf("Reown() = %+v, %v; want 200 of 10401", got, err)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 8<<20 {
		t.Errorf("allocated %d bytes for 10,401 names; want less than 8 MiB", allocated)
	}
}

// A file of 100,000 accounts, all of which need another id or range, is
// merged in one pass: nothing in it is quadratic.
func TestManyAccounts(t *testing.T) {
	var users, ranges [2]strings.Builder
	for i := range 100_000 {
		for side, prefix := range []string{"h", "n"} {
			fmt.Fprintf(&users[side], "%s%d:x:%d:0::/:/x\n", prefix, i, 1000+i)
			fmt.Fprintf(&ranges[side], "%s%d:%d:65\n", prefix, i, 300_000+i*65)
		}
	}
	side := func(i int) accounts.Tree {
		return with(system(users[i].String(), "g:x:5:"+strings.Repeat("m,", 100_000)+"\n"), map[string]string{"subuid": ranges[i].String()})
	}
	host := side(0)
	host.Limits.UID = accounts.Range{Min: 1000, Max: 1_000_000}
	start := time.Now()
	plan := merge(t, accounts.Tree{}, host, side(1))
	if len(plan.Owners.UIDs) != 100_000 {
		t.Errorf("%d ids re-owned; want 100,000", len(plan.Owners.UIDs))
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("took %v; want no minute", took)
	} else {
		t.Logf("took %v", took)
	}
}
