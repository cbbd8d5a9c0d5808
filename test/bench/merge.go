package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"imgbase/internal/accounts"
	"imgbase/internal/owners"
	"imgbase/internal/persist"
)

// etcFiles is how many files each of the three /etc has.
const etcFiles = 3000

// treeFiles are the sizes of the trees that are re-owned. Memory is flat when
// the second takes about as much as the first.
var treeFiles = [...]int{10_000, 100_000}

// flatMemory is how much more memory ten times the files may take. It is not
// 1, because what 10,000 files leave as garbage does not fill the 4 MiB that a
// heap of Go has before it is collected.
const flatMemory = 1.5

// rsync is the peer.
const rsync = "rsync"

// makePlain makes the file system that the trees lie on, an ext4 in a sparse
// file. Its inode tables are written at once: the kernel would do that later,
// while the clock runs.
const makePlain = `cd "$1"; truncate -s 4G disk
	mkfs.ext4 -q -i 8192 -E lazy_itable_init=0,lazy_journal_init=0 disk
	mkdir plain; mount -o loop disk plain`

const removePlain = `cd "$1"; if mountpoint -q plain; then umount plain; fi; rm -f disk`

// copyTarget makes a target anew from the tree it starts as.
const copyTarget = `cd "$1"; rm -rf target; cp -a "$2" target`

// The caches, as a way finds them: every file was read, or none.
const (
	warmCaches = `cd "$1"; find . -type f -exec cat {} + | wc -c >/dev/null; sync -f .`
	dropCaches = `cd "$1"; sync -f .; echo 3 >/proc/sys/vm/drop_caches`
)

// contest is ours and rsync at one piece of work, in the directory dir. The
// scripts get dir and our own program, and sync what they wrote.
type contest struct {
	group       string
	dir         string
	restore     func(ctx context.Context) error // the target as it was, not timed
	ours, rsync string
}

// merges compares the merge of /etc and the re-owning of a tree with rsync.
func merges(ctx context.Context, r *report, rounds int) (err error) {
	dir, err := os.MkdirTemp("", "imgbase-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer func() {
		_, cleanup := shell(context.WithoutCancel(ctx), removePlain, dir)
		err = errors.Join(err, cleanup)
	}()
	if _, err := shell(ctx, makePlain, dir); err != nil {
		return err
	}
	contests, err := plant(ctx, filepath.Join(dir, "plain"))
	if err != nil {
		return err
	}
	for _, c := range contests {
		if err := c.restore(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.group, err)
		}
		for _, caches := range []string{warmCaches, dropCaches} {
			if err := c.hold(ctx, r, rounds, caches); err != nil {
				return fmt.Errorf("%s: %w", c.group, err)
			}
		}
	}
	r.flat()
	return nil
}

// plant makes the trees.
func plant(ctx context.Context, dir string) ([]contest, error) {
	etc := contest{
		group: fmt.Sprintf("merge /etc, %d files", etcFiles), dir: filepath.Join(dir, "etc"),
		ours:  `"$2" merge "$1"; sync -f "$1"`,
		rsync: `rsync -aHAX --checksum "$1/mine/" "$1/target/"; sync -f "$1"`,
	}
	etc.restore = func(ctx context.Context) error {
		_, err := shell(ctx, copyTarget, etc.dir, "theirs")
		return err
	}
	if err := plantEtc(ctx, etc.dir); err != nil {
		return nil, err
	}
	contests := []contest{etc}
	for _, n := range treeFiles {
		c := contest{
			group: fmt.Sprintf("re-own %d files", n), dir: filepath.Join(dir, strconv.Itoa(n)),
			ours:  `"$2" reown "$1/target"; sync -f "$1"`,
			rsync: `rsync -aHAX --checksum "$1/right/" "$1/target/"; sync -f "$1"`,
		}
		moved, err := plantTree(ctx, c.dir, n)
		if err != nil {
			return nil, err
		}
		target := filepath.Join(c.dir, "target")
		c.restore = func(ctx context.Context) error { return disown(ctx, target, moved) }
		if _, err := shell(ctx, copyTarget, c.dir, "right"); err != nil {
			return nil, err
		}
		contests = append(contests, c)
	}
	return contests, nil
}

// hold runs ours and rsync by turns, with the caches that the script makes.
func (c contest) hold(ctx context.Context, r *report, rounds int, caches string) error {
	group := c.group + ", warm"
	if caches == dropCaches {
		group = c.group + ", cold"
	}
	order := [...]string{ours, rsync}
	scripts := [...]string{c.ours, c.rsync}
	var timings [len(order)]timing
	for i, way := range order {
		timings[i] = timing{Group: group, Way: way}
	}
	for round := range rounds {
		for i := range order {
			way := (i + round) % len(order)
			s, err := c.once(ctx, scripts[way], caches)
			if err != nil {
				return fmt.Errorf("%s: %w", order[way], err)
			}
			timings[way].Samples = append(timings[way].Samples, s)
		}
	}
	r.Timings = append(r.Timings, timings[:]...)
	onClock, onCPU := ratio(timings[0], timings[1])
	r.find(group, ours+" / "+rsync, &goal{Limit: 1}, onClock, onCPU)
	return nil
}

// once runs a script, and restores the target, which for the trees tells
// whether the way did its work.
func (c contest) once(ctx context.Context, script, caches string) (sample, error) {
	if _, err := shell(ctx, caches, c.dir); err != nil {
		return sample{}, err
	}
	if err := warm(); err != nil {
		return sample{}, err
	}
	s, err := measurePeak(ctx, script, c.dir, fmt.Sprintf("/proc/%d/exe", os.Getpid()))
	if err != nil {
		return sample{}, err
	}
	if err := c.restore(ctx); err != nil {
		return sample{}, fmt.Errorf("restore: %w", err)
	}
	return s, nil
}

// measurePeak runs a script and notes its memory as well. time(1) stands
// between, because the kernel counts as a program's memory what the process
// had that it was started from (exec_mmap in fs/exec.c), which here is warm's.
func measurePeak(ctx context.Context, script string, args ...string) (sample, error) {
	kilobytes, err := os.CreateTemp("", "imgbase-bench-")
	if err != nil {
		return sample{}, err
	}
	defer os.Remove(kilobytes.Name())
	defer kilobytes.Close()
	s, err := measure(ctx, "time", append([]string{"-f", "%M", "-o", kilobytes.Name(), "/bin/sh", "-ec", script, "sh"}, args...)...)
	if err != nil {
		return sample{}, err
	}
	text, err := os.ReadFile(kilobytes.Name())
	if err != nil {
		return sample{}, err
	}
	kilo, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	s.Peak = kilo << 10
	return s, err
}

// flat compares the memory of the large tree with that of the small one.
func (r *report) flat() {
	peaks := make(map[string][]int64) // by way, in order of size
	for _, t := range r.Timings {
		if strings.HasPrefix(t.Group, "re-own ") && strings.HasSuffix(t.Group, ", warm") {
			peaks[t.Way] = append(peaks[t.Way], median(t.Samples, peak))
		}
	}
	what := fmt.Sprintf("%d / %d files", treeFiles[1], treeFiles[0])
	grown := func(way string) float64 { return float64(peaks[way][1]) / float64(max(peaks[way][0], 1)) }
	r.find("re-own", ours+" memory, "+what, &goal{Limit: flatMemory}, grown(ours))
	r.find("re-own", rsync+" memory, "+what, nil, grown(rsync))
}

// merge is our way with /etc: DIR. It refuses to be measured at less than the
// work that the trees were made for.
func merge(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("merge: want a directory")
	}
	in := func(name string) string { return filepath.Join(args[0], name) }
	plan, err := persist.Compare(in("base"), in("mine"), in("theirs"), persist.DefaultRules())
	if err != nil {
		return err
	}
	if got := plan.Summary(); got != etcSummary() {
		return fmt.Errorf("merge: %s; want %s", got, etcSummary())
	}
	return plan.Apply(ctx, in("target"))
}

// reown is our way with a tree: DIR.
func reown(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("reown: want a directory")
	}
	_, err := giveTo(ctx, args[0], movedUsers())
	return err
}

// disown undoes what a way did. It finds as many files to undo as there were
// to do, or the way did not do them.
func disown(ctx context.Context, dir string, moved int) error {
	got, err := giveTo(ctx, dir, inverse(movedUsers()))
	if err == nil && got.Reowned != moved {
		err = fmt.Errorf("%d files had the right owner; want %d", got.Reowned, moved)
	}
	return err
}

func giveTo(ctx context.Context, dir string, o owners.Map) (_ accounts.Counts, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return accounts.Counts{}, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return accounts.Reown(ctx, root, o)
}
