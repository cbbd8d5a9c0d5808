package run_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"imgbase/internal/run"
)

func TestRunKeepsStreamsApart(t *testing.T) {
	out, err := run.OS{}.Run(t.Context(), run.Cmd{Name: "sh", Args: []string{"-c", "echo out; echo err >&2; locale 2>/dev/null | grep -q LC_ALL=C; echo $LC_ALL"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(out.Stdout), "out\nC\n"; got != want {
		t.Errorf("stdout = %q; want %q", got, want)
	}
	if got, want := string(out.Stderr), "err\n"; got != want {
		t.Errorf("stderr = %q; want %q", got, want)
	}
}

func TestRunFailureIsAValue(t *testing.T) {
	_, err := run.OS{}.Run(t.Context(), run.Cmd{Name: "sh", Args: []string{"-c", "echo '  broken pool' >&2; exit 5"}})
	var e *run.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %T; want *run.Error", err)
	}
	if e.Code != 5 || e.Stderr != "broken pool" {
		t.Errorf("code %d, stderr %q; want 5, \"broken pool\"", e.Code, e.Stderr)
	}
	if got, want := err.Error(), "sh: broken pool"; got != want {
		t.Errorf("Error() = %q; want %q", got, want)
	}
}

func TestRunMissingProgram(t *testing.T) {
	_, err := run.OS{}.Run(t.Context(), run.Cmd{Name: "no-such-program-here"})
	var e *run.Error
	if !errors.As(err, &e) || e.Code != -1 || !errors.Is(err, run.ErrNoProgram) {
		t.Fatalf("got %#v; want ErrNoProgram in a *run.Error with code -1", err)
	}
}

func TestRunStopsWithItsChildren(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := run.OS{}.Run(ctx, run.Cmd{Name: "sh", Args: []string{"-c", "sleep 60 & wait"}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v; want deadline exceeded", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %s; the child was waited for", took)
	}
}

func TestRunBoundsOutput(t *testing.T) {
	_, err := run.OS{}.Run(t.Context(), run.Cmd{Name: "head", Args: []string{"-c", "70000000", "/dev/zero"}})
	if err == nil || !strings.Contains(err.Error(), "printed more than") {
		t.Errorf("error = %v; want a bound to be named", err)
	}
}

func TestCmdString(t *testing.T) {
	c := run.Cmd{Name: "lvs", Args: []string{"-o", "a b", "it's"}}
	if got, want := c.String(), `lvs -o 'a b' 'it'\''s'`; got != want {
		t.Errorf("String() = %s; want %s", got, want)
	}
}

// What a program that is not ours leaves behind in its group is killed, also
// when it ignored the question.
func TestRunForeignLeavesNothing(t *testing.T) {
	for name, script := range map[string]string{
		"child holds the pipe": `trap '' TERM HUP; sleep 61.25 & echo $! >"$1"; echo out; exit 0`,
		"child ignores SIGTERM": `sh -c 'trap "" TERM; echo $$ >"$1"; while :; do sleep 0.1; done' sh "$1" >/dev/null 2>&1 &
			while ! [ -s "$1" ]; do sleep 0.01; done; echo out`,
	} {
		t.Run(name, func(t *testing.T) {
			pidfile := filepath.Join(t.TempDir(), "pid")
			start := time.Now()
			out, err := run.OS{}.Run(t.Context(), run.Cmd{Name: "sh", Args: []string{"-c", script, "sh", pidfile}, Tail: 100})
			if err != nil || string(out.Stdout) != "out\n" {
				t.Errorf("Run() = %q, %v; want out", out.Stdout, err)
			}
			if took := time.Since(start); took > 4*time.Second {
				t.Errorf("took %s; want no waiting for the child", took)
			}
			wantGone(t, pidfile)
		})
	}
}

// A context that ends takes all of the group along, whoever ignores SIGTERM.
func TestRunStopsWhoIgnoresIt(t *testing.T) {
	for _, tail := range []int{0, 100} {
		t.Run(fmt.Sprintf("tail %d", tail), func(t *testing.T) {
			t.Parallel() // it takes the whole time of grace
			pidfile := filepath.Join(t.TempDir(), "pid")
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			script := `trap '' TERM; sh -c 'trap "" TERM; echo $$ >"$1"; sleep 62.5; sleep 62.5' sh "$1" & wait; sleep 62.5`
			_, err := run.OS{}.Run(ctx, run.Cmd{Name: "sh", Args: []string{"-c", script, "sh", pidfile}, Tail: tail})
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error = %v; want deadline exceeded", err)
			}
			wantGone(t, pidfile)
		})
	}
}

// A child that ends by itself soon after it was asked to is not forced.
func TestRunLetsChildrenFinish(t *testing.T) {
	done := filepath.Join(t.TempDir(), "done")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	script := `sh -c 'trap "sleep 0.5; echo >\"$1\"; exit" TERM; while :; do sleep 0.05; done' sh "$1" & wait`
	if _, err := (run.OS{}).Run(ctx, run.Cmd{Name: "sh", Args: []string{"-c", script, "sh", done}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v; want deadline exceeded", err)
	}
	if _, err := os.Stat(done); err != nil {
		t.Errorf("the child was killed while it ended: %v", err)
	}
}

// Who left the group, as a daemon does, goes on, and is not waited for for ever.
func TestRunForeignDaemon(t *testing.T) {
	t.Parallel()
	pidfile := filepath.Join(t.TempDir(), "pid")
	script := `setsid sh -c 'echo $$ >"$1"; exec sleep 30' sh "$1" & while ! [ -s "$1" ]; do sleep 0.01; done; echo out`
	out, err := run.OS{}.Run(t.Context(), run.Cmd{Name: "sh", Args: []string{"-c", script, "sh", pidfile}, Tail: 100})
	if err != nil || string(out.Stdout) != "out\n" {
		t.Errorf("Run() = %q, %v; want out", out.Stdout, err)
	}
	pid := readPid(t, pidfile)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("daemon %d: %v; want it to be running", pid, err)
	}
}

func TestRunKeepsTheEnd(t *testing.T) {
	script := `seq 1 200000; seq 1 200000 >&2`
	for _, c := range []struct{ tail, stdout, stderr int }{{0, 1288895, 64 << 10}, {1000, 1000, 1000}, {7, 7, 7}} {
		out, err := run.OS{}.Run(t.Context(), run.Cmd{Name: "sh", Args: []string{"-c", script}, Tail: c.tail})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []struct {
			got  []byte
			want int
		}{{out.Stdout, c.stdout}, {out.Stderr, c.stderr}} {
			if len(s.got) != s.want || !strings.HasSuffix(string(s.got), "200000\n") {
				t.Errorf("tail %d: %d bytes that end in %q; want %d of the end", c.tail, len(s.got), s.got[max(0, len(s.got)-20):], s.want)
			}
		}
	}
}

func TestRunDir(t *testing.T) {
	out, err := run.OS{}.Run(t.Context(), run.Cmd{Name: "pwd", Dir: "/"})
	if err != nil || string(out.Stdout) != "/\n" {
		t.Errorf("pwd = %q, %v; want /", out.Stdout, err)
	}
}

func readPid(t *testing.T, pidfile string) int {
	t.Helper()
	data, err := os.ReadFile(pidfile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func wantGone(t *testing.T, pidfile string) {
	t.Helper()
	pid := readPid(t, pidfile)
	// A killed process is there until its new parent has reaped it.
	for range 100 {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(state), ") Z ") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("process %d goes on; want it killed", pid)
}
