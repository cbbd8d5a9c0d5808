package run

import (
	"context"
	"errors"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// listeners are the two streams of a program.
type listeners struct{ stdout, stderr *stream }

// startAndWait starts cmd, collects what it prints and waits for its end and
// that of its streams. When the context has ended, or ours is not to stay
// behind (foreign), the rest of its process group is killed.
//
// The pipes are our own: exec.Cmd reaps the program before it waits for
// them, and the number of a process group may be given to another one once
// its leader is reaped.
func startAndWait(ctx context.Context, cmd *exec.Cmd, to listeners, foreign bool) error {
	stdout, err := to.stdout.pipe()
	if err != nil {
		return err
	}
	defer stdout.close()
	stderr, err := to.stderr.pipe()
	if err != nil {
		return err
	}
	defer stderr.close()
	cmd.Stdout, cmd.Stderr = stdout.w, stderr.w
	if err := cmd.Start(); err != nil {
		return err
	}
	stdout.listen()
	stderr.listen()

	ended := awaitExit(cmd.Process.Pid)
	patience, stop := context.WithTimeout(context.WithoutCancel(ctx), graceful)
	defer stop()
	if ended == nil && foreign {
		ended = killGroup(cmd.Process.Pid)
	}
	// The end of the streams tells that the children are gone as well: they
	// have until then to finish what they write.
	open := stdout.outlives(patience.Done())
	open = stderr.outlives(patience.Done()) || open
	if ended == nil && ctx.Err() != nil {
		ended = killGroup(cmd.Process.Pid)
	}
	err = cmd.Wait()
	switch {
	case err != nil:
		return err
	case ended != nil:
		return ended
	case open && !foreign:
		return errors.New("left its output open behind it")
	}
	return nil
}

// awaitExit waits until the program has ended, without reaping it.
func awaitExit(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("waitid", err)
		}
	}
}

// killGroup kills what is left of a process group whose leader is not reaped.
func killGroup(leader int) error {
	err := unix.Kill(-leader, unix.SIGKILL)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EPERM) {
		return nil // nobody left, or nobody that is ours to kill
	}
	return os.NewSyscallError("kill", err)
}
