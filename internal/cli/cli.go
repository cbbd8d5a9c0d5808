// Package cli is the command line: a file for each verb, which turns flags
// into options, calls package host, and prints what comes back.
//
// What the original prints and others parse is printed byte for byte on
// standard output. Everything else is for people and goes to standard error:
// progress, notes, and one line for an error with a hint below it. --json
// replaces the text of everything that reports; docs/json.md is its contract.
// --dry-run, on everything that changes something, prints the plan.
//
// Every failure has one row in [Rows], which gives it its exit code and hint.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"imgbase/internal/config"
	"imgbase/internal/host"
)

// Env is what the command line runs in.
type Env struct {
	Args    []string // without the program's name
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Root    bool // the user is root
	Term    bool // standard error is a terminal
	Version string
	// Open gives the host to work on.
	Open func(log *slog.Logger, observe func(host.Event)) *host.Host
	// Isolate puts this process into a mount namespace of its own, which may
	// mean to start it again. Called before the first mount.
	Isolate func() error
	// Config reads the configuration.
	Config func() (c config.Config, warnings []string, err error)
}

// app is one run.
type app struct {
	Env
	debug  bool
	json   bool
	dryRun bool
	log    *slog.Logger
	bar    *progress
	conf   config.Config
	// confWarnings are about settings without effect.
	confWarnings []string
	// confErr is why there is no conf. It stops only the verbs that go by the
	// configuration: a mistake in it must not keep anyone from looking, or
	// from going back.
	confErr error
}

// Main runs the command line and returns the exit code.
func Main(ctx context.Context, env Env) int {
	a := &app{Env: env}
	root := a.root()
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	err := root.ExecuteContext(ctx)
	a.bar.clear()
	// What a signal made fail need not say so: a program that the same Ctrl-C
	// ended knows nothing of our context.
	if stopped := context.Cause(ctx); err != nil && errors.Is(stopped, ErrStopped) && !errors.Is(err, ErrStopped) {
		err = fmt.Errorf("%w: %w", stopped, err)
	}
	code, hint := outcome(err)
	if err != nil {
		fmt.Fprintf(env.Stderr, "imgbase: %v\n", err)
	}
	if hint != "" {
		fmt.Fprintf(env.Stderr, "hint: %s\n", hint)
	}
	return code
}

func (a *app) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "imgbase",
		Short: "Keep a host's system as read-only bases and writable layers on LVM thin volumes",
		Long: `Keep a host's system as read-only bases and writable layers on LVM thin volumes.

A base is one system image. A layer is what boots: a writable snapshot of a
base, with a boot entry of its own. An update makes a new base and a layer on
it and leaves the running one alone; a rollback boots the layer before.`,
		Example: `  imgbase layout --init node-1.0-1     take this host over
  imgbase update node-1.1-1.img        update it; reboot to use it
  imgbase rollback                     boot the layer before again
  imgbase status                       what is there, runs and boots next
  imgbase diff --etc                   what was changed in the running layer`,
		Version:           a.Version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              unknownCommand,
		PersistentPreRunE: a.prepare,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetVersionTemplate("imgbased-{{.Version}}\n")
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%v", err) })
	f := cmd.PersistentFlags()
	f.BoolVar(&a.debug, "debug", false, "log every program that is started, and its time")
	f.BoolVar(&a.json, "json", false, "print JSON (docs/json.md)")
	f.BoolVar(&a.dryRun, "dry-run", false, "print what would be done, and do nothing")
	f.Bool("experimental", false, "accepted for old scripts")
	f.String("stream", "Image", "accepted for old scripts")
	hide(f, "experimental", "stream")
	cmd.AddCommand(a.layoutCommand(), a.baseCommand(), a.layerCommand(), a.wCommand(), a.updateCommand(),
		a.rollbackCommand(), a.bootCommand(), a.recoverCommand(), a.statusCommand(), a.diffCommand(), a.serviceCommand(), a.pkgCommand())
	cmd.SetHelpCommand(helpCommand())
	for _, c := range cmd.Commands() {
		onlyOnce(c.Flags())
		c.Long = c.Short + ".\n\n" + c.Long + exitCodes
	}
	return cmd
}

// exitCodes ends the help of each verb.
const exitCodes = `

Exit codes: 0 done; 1 failed; 2 wrong usage; every refusal has a code of its
own, listed in docs/errors.md.`

func (a *app) prepare(*cobra.Command, []string) error {
	a.conf, a.confWarnings, a.confErr = a.Config()
	a.debug = a.debug || a.conf.Debug
	level := slog.LevelInfo
	if a.debug {
		level = slog.LevelDebug
	}
	a.bar = newProgress(a.Stderr, a.Term && !a.debug)
	a.log = slog.New(newHandler(a.Stderr, level, a.Term && !a.debug))
	return nil
}

func (a *app) host() (*host.Host, error) {
	if !a.Root {
		return nil, errNotRoot
	}
	h := a.Open(a.log, a.bar.event)
	h.Carry, h.EtcMine, h.EtcVendor = a.conf.Carry, a.conf.Mine, a.conf.Vendor
	return h, nil
}

// isolated is the host for a verb that mounts. What it mounts nobody else
// sees, and it ends with the process.
func (a *app) isolated() (*host.Host, error) {
	h, err := a.host()
	if err != nil {
		return nil, err
	}
	return h, a.Isolate()
}

// look runs a verb that only reads.
func (a *app) look(do func(h *host.Host) error) error {
	if err := a.wet(); err != nil {
		return err
	}
	h, err := a.host()
	if err != nil {
		return err
	}
	return do(h)
}

// wet refuses a dry run of what changes nothing anyway.
func (a *app) wet() error {
	if a.dryRun {
		return usage("--dry-run: this changes nothing")
	}
	return nil
}

// planner plans what a verb changes.
type planner func(h *host.Host) (*host.Change, error)

// change runs a verb that changes something, and reports what it did.
func (a *app) change(ctx context.Context, plan planner) error {
	return a.apply(ctx, plan, a.report)
}

// apply makes a change: alone, after settling what an earlier run left, and
// not at all on a dry run.
func (a *app) apply(ctx context.Context, plan planner, report func(*host.Change) error) (err error) {
	h, err := a.isolated()
	if err != nil {
		return err
	}
	lock, err := h.Lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if !a.dryRun {
		if _, err := a.settle(ctx, h); err != nil {
			return err
		}
	}
	c, err := plan(h)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if a.dryRun {
		return a.printPlan(c)
	}
	if err := h.Run(ctx, c); err != nil {
		return err
	}
	return report(c)
}

// settle brings what an interrupted run left to an end, and says so.
func (a *app) settle(ctx context.Context, h *host.Host) ([]host.Settled, error) {
	settled, err := h.Settle(ctx)
	for _, s := range settled {
		how := "undone"
		if s.Forward {
			how = "finished"
		}
		a.log.WarnContext(ctx, fmt.Sprintf("an interrupted run (%s) was %s", s.Record, how))
	}
	return settled, err
}
