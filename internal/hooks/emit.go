package hooks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"imgbase/internal/run"
)

// Emit runs the hooks for an event and tells what became of each. The error
// is [ErrStopped] when a hook stopped what is about to happen; the cause of
// ctx when that ended, with the hook that ran killed and the others left out;
// or that the call makes no sense. When the directories cannot be read, that
// stops what is about to happen too, and is a warning afterwards.
func (d Dispatcher) Emit(ctx context.Context, c Call) (Report, error) {
	report := Report{Event: c.Event}
	args, err := c.arguments()
	if err != nil {
		return report, err
	}
	set, err := d.Find()
	if err != nil && c.Event.Pre() {
		return report, fmt.Errorf("%s: %w", c.Event, err)
	}
	if err != nil {
		report.Warnings = append(report.Warnings, err.Error())
	}
	report.Warnings = append(report.Warnings, set.Warnings()...)
	for _, hook := range set.Hooks {
		if err := ctx.Err(); err != nil {
			return report, fmt.Errorf("%s: %w", c.Event, context.Cause(ctx))
		}
		result, err := d.start(ctx, hook, run.Cmd{
			Name: hook.program, Args: args, Env: c.environment(hook), Dir: "/", Tail: MaxOutput,
		})
		report.Results = append(report.Results, result)
		if ctx.Err() != nil {
			return report, fmt.Errorf("%s: hook %s: %w", c.Event, printable(hook.Path), context.Cause(ctx))
		}
		if err != nil && c.Event.Pre() {
			return report, fmt.Errorf("%s: %s: %w: %s", c.Event, printable(hook.Path), ErrStopped, result.Cause)
		}
	}
	return report, nil
}

// start runs one hook within its time.
func (d Dispatcher) start(ctx context.Context, hook Hook, c run.Cmd) (Result, error) {
	limit := d.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("did not end within %s", limit))
	defer cancel()
	out, err := d.Runner.Run(ctx, c)
	result := Result{Hook: printable(hook.Path), Stdout: string(out.Stdout), Stderr: string(out.Stderr)}
	if err == nil {
		return result, nil
	}
	result.Code, result.Cause = ending(err)
	if last := lastLine(out); last != "" {
		result.Cause += ": " + last
	}
	return result, err
}

// ending is the exit code of a hook that failed, and how it ended in words.
func ending(err error) (code int, cause string) {
	failed := (*run.Error)(nil)
	if !errors.As(err, &failed) {
		return -1, printable(err.Error())
	}
	if failed.Code > 0 {
		return failed.Code, fmt.Sprintf("exit code %d", failed.Code)
	}
	// Not started: the path is known, and may hold any bytes.
	if path := (*fs.PathError)(nil); errors.As(failed.Err, &path) {
		return -1, path.Err.Error()
	}
	return -1, failed.Err.Error()
}

// lastLine is the last line that says something, of what was printed for
// people first.
func lastLine(out run.Output) string {
	for _, text := range [][]byte{out.Stderr, out.Stdout} {
		trimmed := strings.TrimSpace(string(text))
		if line := trimmed[strings.LastIndexAny(trimmed, "\n\r")+1:]; line != "" {
			return printable(line[:min(len(line), maxLine)])
		}
	}
	return ""
}

// maxLine bounds, in bytes, the line of a hook's output that an error quotes.
const maxLine = 200
