// Package run starts programs. It is the only package that does: a test
// keeps os/exec out of every other one.
//
// A program is started without a shell, in the C locale, with nothing on
// standard input unless the caller gives it, and is killed together with its
// children when the context ends: asked first, by SIGTERM, and forced a few
// seconds later. What it prints is collected within a bound, standard output
// and standard error apart, because LVM mixes warnings into its reports
// otherwise. A program that fails is an [*Error], a value that says what was
// started, how it ended and the last it printed.
//
// A program that is not ours, such as an administrator's hook, is started
// with [Cmd.Tail]: however much it prints, the end of that is kept, and
// nothing of it stays behind.
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Cmd is one program to start. Name is looked up on PATH.
type Cmd struct {
	Name  string
	Args  []string
	Stdin io.Reader // nil is /dev/null
	Env   []string  // added to the environment, "KEY=value"
	Dir   string    // working directory, "" is the caller's

	// Tail, when it is not 0, says that the program is not ours. The last
	// Tail bytes of each stream are kept, and printing more is no error. What
	// it leaves running in its process group is killed when it ends; what it
	// put into a session of its own goes on, not listened to.
	Tail int
}

// String renders the command as it would be typed; for logs and errors only.
func (c Cmd) String() string {
	words := append([]string{c.Name}, c.Args...)
	for i, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\n\"'\\$|&;<>()*?[]") {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// Output is what a program printed.
type Output struct {
	Stdout []byte
	Stderr []byte
}

// Runner starts a program and waits for its end. The error is an [*Error]
// when the program could not be started or ended with anything but 0; the
// output is valid then as well.
type Runner interface {
	Run(ctx context.Context, c Cmd) (Output, error)
}

// Error is a program that failed. Code is its exit code, -1 when it was not
// started or ended by a signal. Stderr is the end of what it said, trimmed.
type Error struct {
	Cmd    Cmd
	Code   int
	Stderr string
	Err    error
}

func (e *Error) Error() string {
	if e.Stderr != "" {
		return fmt.Sprintf("%s: %s", e.Cmd.Name, lastLines(e.Stderr, 3))
	}
	return fmt.Sprintf("%s: %v", e.Cmd.Name, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Limits of what is kept of a program's output. A report of 200 volumes is
// about 200 KB; a program that prints more than this is broken or hostile.
const (
	maxStdout = 64 << 20
	maxStderr = 64 << 10
)

// graceful is how long a program may take to end by itself after the context
// has ended, before it is killed: LVM writes its metadata back meanwhile.
const graceful = 5 * time.Second

// OS runs programs on this machine and logs each with its time at debug
// level.
type OS struct {
	Log *slog.Logger
}

// Run implements [Runner].
func (o OS) Run(ctx context.Context, c Cmd) (Output, error) {
	start := time.Now()
	out, err := run(ctx, c)
	o.log(ctx, c, time.Since(start), err)
	if err != nil {
		return out, asError(ctx, c, out, err)
	}
	return out, nil
}

func run(ctx context.Context, c Cmd) (Output, error) {
	cmd := exec.CommandContext(ctx, c.Name, c.Args...)
	cmd.Stdin, cmd.Dir = c.Stdin, c.Dir
	cmd.Env = append(append(os.Environ(), "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1"), c.Env...)
	// A process group of its own keeps Ctrl-C on the terminal from reaching
	// the program: we decide when it is interrupted, and undo.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = graceful

	stdout, stderr := &stream{max: maxStdout}, &stream{max: maxStderr, tail: true}
	if c.Tail > 0 {
		*stdout, *stderr = stream{max: c.Tail, tail: true}, stream{max: c.Tail, tail: true}
	}
	err := startAndWait(ctx, cmd, listeners{stdout, stderr}, c.Tail > 0)
	if err == nil && stdout.cut && c.Tail == 0 {
		err = fmt.Errorf("printed more than %d bytes", maxStdout)
	}
	return Output{Stdout: stdout.bytes(), Stderr: stderr.bytes()}, err
}

func (o OS) log(ctx context.Context, c Cmd, took time.Duration, err error) {
	if o.Log == nil {
		return
	}
	attrs := []any{"took", took.Round(time.Millisecond)}
	if err != nil {
		attrs = append(attrs, "err", err)
	}
	o.Log.DebugContext(ctx, c.String(), attrs...)
}

// ErrNoProgram is a program that is not installed.
var ErrNoProgram = errors.New("program is not installed")

func asError(ctx context.Context, c Cmd, out Output, err error) error {
	e := &Error{Cmd: c, Code: -1, Stderr: strings.TrimSpace(string(out.Stderr)), Err: err}
	if errors.Is(err, exec.ErrNotFound) {
		e.Err = ErrNoProgram
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		e.Code = exit.ExitCode()
	}
	if ctx.Err() != nil {
		// What the program said while it was being stopped is no cause.
		e.Stderr, e.Err = "", context.Cause(ctx)
	}
	return e
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "; ")
}
