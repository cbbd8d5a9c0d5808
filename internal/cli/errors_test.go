package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/boot"
	"imgbase/internal/cli"
	"imgbase/internal/config"
	"imgbase/internal/durable"
	"imgbase/internal/filesystem"
	"imgbase/internal/hooks"
	"imgbase/internal/host"
	"imgbase/internal/host/hosttest"
	"imgbase/internal/image"
	"imgbase/internal/layout"
	"imgbase/internal/lvm"
	"imgbase/internal/nvr"
	"imgbase/internal/packages"
	"imgbase/internal/rootfs"
	"imgbase/internal/run"
	"imgbase/internal/txn"
)

// codes are the exit codes as they were given out. A code keeps its meaning
// for ever: lines are added here, never changed. Errors share a code when
// they mean the same to whoever reads it.
func codes() map[int][]string {
	return map[int][]string{
		2:  {"usage"},
		3:  {"must be run as root"},
		4:  texts(txn.ErrPending),
		5:  texts(durable.ErrLocked),
		6:  texts(run.ErrNoProgram),
		7:  texts(cli.ErrStopped),
		8:  texts(txn.ErrNotFlipped),
		9:  texts(txn.ErrFlipped),
		10: texts(host.ErrNotLVM),
		11: texts(host.ErrNotThin),
		12: texts(host.ErrVarNotSeparate),
		13: texts(host.ErrBoot),
		14: texts(host.ErrPool),
		15: texts(host.ErrPoolRoom, lvm.ErrNoMetadataSpace, lvm.ErrNoSpace),
		16: texts(boot.ErrNoRoom),
		17: texts(host.ErrInitialized),
		18: texts(host.ErrNoLayout),
		19: texts(host.ErrNotLayer),
		20: texts(host.ErrNoNVR),
		21: texts(boot.ErrNoBootloader),
		22: texts(boot.ErrEnvBlock),
		23: texts(boot.ErrFixedDefault),
		30: texts(layout.ErrNameTooLong),
		31: texts(layout.ErrNameInvalid, boot.ErrName, lvm.ErrName),
		32: texts(nvr.ErrMalformed),
		33: texts(host.ErrExists, lvm.ErrExists),
		34: texts(host.ErrNoImage, lvm.ErrNotFound),
		35: texts(host.ErrOutOfOrder),
		36: texts(host.ErrRunning, lvm.ErrInUse, boot.ErrIsDefault, boot.ErrInUse),
		37: texts(host.ErrNothingBefore),
		38: texts(host.ErrSame),
		39: texts(host.ErrSize, image.ErrTooSmall),
		40: texts(host.ErrEmptyBase),
		41: texts(host.ErrNoKernel),
		42: texts(boot.ErrNoEntry),
		43: texts(layout.ErrNoBases),
		44: texts(layout.ErrNoLayers),
		45: texts(host.ErrNoDefault),
		46: texts(host.ErrNoVar),
		50: texts(image.ErrTruncated),
		51: texts(image.ErrNoNVR),
		52: texts(host.ErrArch),
		53: texts(host.ErrProduct),
		54: texts(image.ErrNotClean),
		55: texts(rootfs.ErrNoSystem),
		56: texts(filesystem.ErrUnsupported),
		57: texts(filesystem.ErrDamaged),
		58: texts(image.ErrNotImage),
		59: texts(filesystem.ErrUnknown),
		60: {"format not known"},
		61: texts(config.ErrInvalid),
		62: {"no such file"},
		63: texts(host.ErrNVR),
		64: texts(hooks.ErrStopped),
		65: texts(host.ErrPackages),
		66: texts(packages.ErrNotPackage),
	}
}

func texts(errs ...error) []string {
	var all []string
	for _, err := range errs {
		all = append(all, err.Error())
	}
	slices.Sort(all)
	return all
}

func TestCodesAreStable(t *testing.T) {
	got := map[int][]string{}
	for _, r := range cli.Rows() {
		got[r.Code] = append(got[r.Code], r.Err.Error())
		slices.Sort(got[r.Code])
	}
	if diff := cmp.Diff(codes(), got); diff != "" {
		t.Errorf("exit codes (-want +got):\n%s", diff)
	}
}

func TestRows(t *testing.T) {
	documented, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := cli.Rows()
	for i, r := range rows {
		// 126 and above are the shell's.
		if r.Code < 2 || r.Code > 125 {
			t.Errorf("%v: code %d; want 2 to 125", r.Err, r.Code)
		}
		if r.Hint == "" || strings.Contains(r.Hint, "\n") || strings.HasSuffix(r.Hint, ".") {
			t.Errorf("%v: hint %q; want one line without a full stop", r.Err, r.Hint)
		}
		if line := fmt.Sprintf("\n| %d | %v | %s |\n", r.Code, r.Err, r.Hint); !strings.Contains(string(documented), line) {
			t.Errorf("docs/errors.md lacks %q", line)
		}
		first := slices.IndexFunc(rows, func(o cli.Row) bool { return errors.Is(r.Err, o.Err) })
		if first != i {
			t.Errorf("%v: decided by the row of %v", r.Err, rows[first].Err)
		}
	}
}

// TestRowsThatComeFirst: what says how the host was left decides over what
// went wrong.
func TestRowsThatComeFirst(t *testing.T) {
	place := func(err error) int {
		return slices.IndexFunc(cli.Rows(), func(r cli.Row) bool { return errors.Is(err, r.Err) })
	}
	for _, leads := range []error{txn.ErrPending, txn.ErrFlipped, cli.ErrStopped} {
		for _, follows := range []error{lvm.ErrNoSpace, boot.ErrNoRoom, host.ErrExists, lvm.ErrInUse, image.ErrTruncated} {
			if place(leads) > place(follows) {
				t.Errorf("%v stands behind %v", leads, follows)
			}
		}
	}
	if place(txn.ErrPending) > place(txn.ErrFlipped) || place(txn.ErrFlipped) > place(cli.ErrStopped) {
		t.Error("a change that stands, or is left unfinished, may be said to be undone")
	}
}

// stopped runs the command line and ends its context as a step begins, ""
// never.
func stopped(h *hosttest.Host, step string, args ...string) (code int, stderr string) {
	h.T.Helper()
	ctx, stop := context.WithCancelCause(h.T.Context())
	defer stop(nil)
	var out, diagnostics bytes.Buffer
	code = cli.Main(ctx, cli.Env{
		Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &diagnostics, Root: true, Version: "dev",
		Open: func(log *slog.Logger, _ func(host.Event)) *host.Host {
			on := h.Host()
			on.Log, on.Observe = log, func(e host.Event) {
				if e.Step == step {
					stop(cli.ErrStopped)
				}
			}
			return on
		},
		Isolate: func() error { return nil },
		Config:  func() (config.Config, []string, error) { return config.Default(), nil, nil },
	})
	return code, diagnostics.String()
}

// TestStopped: a signal as any step begins gives its own exit code, one line,
// and the old host; the same command then runs through.
func TestStopped(t *testing.T) {
	installed := func() *hosttest.Host { return hosttest.New(t) }
	taken := func() *hosttest.Host {
		h := hosttest.New(t)
		h.Must(h.Init("node-1.0-1"))
		h.Boot()
		return h
	}
	for _, v := range []struct {
		name  string
		ready func() *hosttest.Host
		args  func(h *hosttest.Host) []string
	}{
		{"init", installed, func(*hosttest.Host) []string { return []string{"layout", "--init", "node-1.0-1"} }},
		{"update", taken, func(h *hosttest.Host) []string { return []string{"update", h.Image("node-1.1-1", nil)} }},
		{"layer", taken, func(*hosttest.Host) []string { return []string{"layer", "--add"} }},
		{"base", taken, func(h *hosttest.Host) []string {
			return []string{"base", "--add", "node-1.1-1", "--size", "4G", h.Image("node-1.1-1", nil)}
		}},
	} {
		t.Run(v.name, func(t *testing.T) {
			h := v.ready()
			args := v.args(h)
			before := h.String()
			steps := stepsOf(t, h, args)
			for _, step := range steps {
				code, stderr := stopped(h, step, args...)
				message := stderr[strings.LastIndex(stderr, "imgbase: "):]
				if code != 7 || strings.Count(message, "\n") != 2 || !strings.Contains(message, "interrupted") {
					t.Errorf("stopped at %q: exit %d, %q; want exit 7, one line and a hint", step, code, message)
				}
				h.Unchanged(before)
			}
			if code, stderr := stopped(h, "", args...); code != 0 {
				t.Errorf("after %d signals: exit %d\n%s", len(steps), code, stderr)
			}
		})
	}
}

// stepsOf are the steps of a command, as its dry run reports them.
func stepsOf(t *testing.T, h *hosttest.Host, args []string) []string {
	t.Helper()
	var out bytes.Buffer
	code := cli.Main(t.Context(), cli.Env{
		Args: append([]string{"--dry-run", "--json"}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Root: true,
		Open:    func(*slog.Logger, func(host.Event)) *host.Host { return h.Host() },
		Isolate: func() error { return nil },
		Config:  func() (config.Config, []string, error) { return config.Default(), nil, nil },
	})
	var plan struct {
		Value struct{ Steps []string }
	}
	if err := json.Unmarshal(out.Bytes(), &plan); err != nil || code != 0 || len(plan.Value.Steps) < 2 {
		t.Fatalf("dry run of %q: exit %d, %v\n%s", args, code, err, &out)
	}
	return plan.Value.Steps
}
