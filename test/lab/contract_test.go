package lab_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"imgbase/internal/lvm/lvmtest"
	"imgbase/internal/run"
	"imgbase/test/lab"
)

// Before: a host with an empty disk. What package lvm relies on LVM for, and
// what the model of LVM was written after, holds on Debian's real LVM.
func TestLVMContract(t *testing.T) {
	t.Parallel()
	vm := lab.Golden(t)
	disk := vm.Must(t, "truncate -s 1G /var/disk && losetup -f --show /var/disk")
	guest := guestRunner{t, vm}
	lvmtest.Suite(t, func(t *testing.T) lvmtest.Env {
		t.Helper()
		return lvmtest.Real(t, guest, disk)
	})
}

// guestRunner starts programs in a guest. t is that of the machine, not of
// one of the suite's tests: their cleanups start programs too.
type guestRunner struct {
	t  testing.TB
	vm *lab.VM
}

func (g guestRunner) Run(ctx context.Context, c run.Cmd) (run.Output, error) {
	if err := context.Cause(ctx); err != nil {
		return run.Output{}, &run.Error{Cmd: c, Code: -1, Err: err}
	}
	var words []string
	for _, word := range slices.Concat([]string{"env", "LC_ALL=C"}, c.Env, []string{c.Name}, c.Args) {
		words = append(words, quoted(word))
	}
	script := strings.Join(words, " ")
	if c.Stdin != nil {
		in, err := io.ReadAll(c.Stdin)
		if err != nil {
			return run.Output{}, err
		}
		g.vm.Put(g.t, "/run/stdin", in, 0o600)
		script += " < /run/stdin"
	}
	r := g.vm.Run(g.t, script)
	out := run.Output{Stdout: []byte(r.Stdout), Stderr: []byte(r.Stderr)}
	if r.Code == 0 {
		return out, nil
	}
	err := &run.Error{Cmd: c, Code: r.Code, Stderr: strings.TrimSpace(r.Stderr), Err: fmt.Errorf("exit %d", r.Code)}
	if r.Code == 127 {
		err.Err = run.ErrNoProgram
	}
	return out, err
}

// quoted makes one word of the shell.
func quoted(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
