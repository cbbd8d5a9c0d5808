package run_test

import (
	"context"
	"errors"
	"strings"
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
