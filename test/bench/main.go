// Command bench measures what the project promises about speed, and prints
// medians and ratios with the goals beside. `make bench` runs it, as root.
// It reports and does not judge: the exit code is 0 whatever the numbers are,
// and 1 only when something could not be measured.
//
// Words: a way is one of the commands or copiers that are compared; a round
// runs each of them once. Rounds rotate the order, so that no way always
// comes first or behind the same one. A ratio is the median of one way over
// that of another, both from the same rounds, because absolute times mean
// nothing on somebody else's machine.
//
// Four things are measured. Reads: `imgbase layout` and `imgbase w` against
// one bare lvs, on the lab's host (package lab) with few and many thin
// volumes; the clock runs inside the guest. Changes: how many programs
// `layer --add` and `update` start there, as their own --debug log has it.
// Writes: an image onto a loop device of this computer, from a cold cache to
// a synced disk, against dd and against mkfs with two tars. Merges: three
// trees of /etc, and trees whose files get other owners, both on a file system
// of their own, to a synced disk, against `rsync -aHAX --checksum` of the same;
// the caches are warm (all files were read) or cold.
//
// Beside the time on the clock stands the processor time of the program and
// its children (getrusage(2)): other load on the computer stretches the first
// and hardly the second. What the kernel does in threads of its own, such as
// the decompression below a loop device, is in the first only. Memory is the
// peak of the largest process (ru_maxrss): rsync is three.
//
// What always holds: nothing is left behind but the lab's cache, and no
// volume or mount of this computer is touched.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"imgbase/internal/mount"
)

func main() {
	if err := bench(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench also serves as the helpers it starts: the clock in the guest, and each
// of our ways as a process of its own.
func bench(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(args) > 0 {
		switch args[0] {
		case "clock":
			return clock(ctx, args[1:])
		case "write":
			return write(ctx, args[1:])
		case "merge":
			return merge(ctx, args[1:])
		case "reown":
			return reown(ctx, args[1:])
		}
	}
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	asJSON := flags.Bool("json", false, "print JSON")
	rounds := flags.Int("rounds", 7, "how often each way is run")
	only := flags.String("only", "", "measure only this: writes, merge or host")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r, err := measureAll(ctx, *only, *rounds)
	if err != nil {
		return err
	}
	if *asJSON {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(r)
	}
	return r.print(os.Stdout)
}

// measureAll measures everything, or only one part.
func measureAll(ctx context.Context, only string, rounds int) (*report, error) {
	if rounds < 1 {
		return nil, fmt.Errorf("-rounds %d: want at least 1", rounds)
	}
	if !slices.Contains([]string{"", "writes", "merge", "host"}, only) {
		return nil, fmt.Errorf("-only %s: want writes, merge or host", only)
	}
	if err := mount.Isolate(); err != nil {
		return nil, err
	}
	r := &report{}
	for _, part := range []struct {
		name    string
		measure func(context.Context, *report, int) error
	}{{"writes", writes}, {"merge", merges}, {"host", onHost}} {
		if only != "" && only != part.name {
			continue
		}
		if err := part.measure(ctx, r, rounds); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return r, nil
}
