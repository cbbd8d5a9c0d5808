package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"imgbase/internal/host"
)

func (a *app) rollbackCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "rollback [--to NVR]",
		Short: "Boot the layer before again",
		Long: `Without --to: the layer that ran when the running one was made; or the
running one, if another is to boot next. Only what boots by default changes,
and nothing but what the layer itself holds goes back.`,
		Example: `  imgbase rollback
  imgbase rollback --to node-1.0-1+1`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("to") && to == "" {
				return usage("--to needs a layer")
			}
			ctx := cmd.Context()
			return a.change(ctx, func(h *host.Host) (*host.Change, error) { return h.PlanRollback(ctx, to) })
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "boot the layer `NVR`")
	return cmd
}

type bootFlags struct {
	list, getDefault bool
	setDefault       string
}

func (a *app) bootCommand() *cobra.Command {
	var o bootFlags
	cmd := &cobra.Command{
		Use:   "boot (--list | --get-default | --set-default NVR)",
		Short: "Show the boot entries, or choose what boots by default",
		Long:  `--list marks the default entry with an asterisk. Entries of others are shown and never changed.`,
		Example: `  imgbase boot --list
  imgbase boot --set-default node-1.0-1+1`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.boot(cmd, o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.list, "list", false, "print the boot entries")
	f.BoolVar(&o.getDefault, "get-default", false, "print the title of the default entry")
	f.StringVar(&o.setDefault, "set-default", "", "boot the layer `NVR` by default")
	return cmd
}

func (a *app) boot(cmd *cobra.Command, o bootFlags) error {
	if err := one(cmd, "list", "get-default", "set-default"); err != nil {
		return err
	}
	ctx := cmd.Context()
	if cmd.Flags().Changed("set-default") {
		return a.change(ctx, func(h *host.Host) (*host.Change, error) { return h.PlanDefault(ctx, o.setDefault) })
	}
	return a.look(func(h *host.Host) error {
		entries, err := h.Entries(ctx)
		if err != nil {
			return err
		}
		if o.getDefault {
			return a.printDefault(entries)
		}
		var text strings.Builder
		for _, e := range entries {
			mark := " "
			if e.Default {
				mark = "*"
			}
			fmt.Fprintf(&text, "%s %s\t%s\n", mark, e.ID, e.Title)
		}
		return a.print("entries", entries, text.String())
	})
}

func (a *app) printDefault(entries []host.Entry) error {
	for _, e := range entries {
		if e.Default {
			return a.print("entry", e, e.Title+"\n")
		}
	}
	return host.ErrNoDefault
}

type recoverFlags struct{ list, force, pending bool }

func (a *app) recoverCommand() *cobra.Command {
	var o recoverFlags
	cmd := &cobra.Command{
		Use:   "recover [--list | --pending] [--force]",
		Short: "Settle an interrupted change, and remove what nothing uses",
		Long: `First, what an interrupted run left is finished or undone, and the thin pool
gets its profile if it has none. Then each layer that no boot entry leads to
is offered for removal.`,
		Example: `  imgbase recover --list
  imgbase recover --force`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.recover(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.list, "list", false, "only print what there is")
	f.BoolVar(&o.pending, "pending", false, "only settle an interrupted change")
	f.BoolVar(&o.force, "force", false, "do not ask")
	cmd.MarkFlagsMutuallyExclusive("list", "pending")
	cmd.MarkFlagsMutuallyExclusive("list", "force")
	return cmd
}

func (a *app) recover(ctx context.Context, o recoverFlags) error {
	if o.list || a.dryRun {
		a.dryRun = false
		return a.look(func(h *host.Host) error {
			left, err := h.Unused(ctx)
			if err != nil {
				return err
			}
			return a.printLeftovers(left)
		})
	}
	h, err := a.host()
	if err != nil {
		return err
	}
	lock, err := h.Lock()
	if err != nil {
		return err
	}
	if err = a.settle(ctx, h); err == nil {
		err = h.Upkeep(ctx)
	}
	if cerr := lock.Close(); err == nil {
		err = cerr
	}
	if err != nil || o.pending {
		return err
	}
	left, err := h.Unused(ctx)
	if err != nil {
		return err
	}
	return a.removeUnused(ctx, left, o.force)
}

func (a *app) printLeftovers(left host.Leftovers) error {
	var text strings.Builder
	for _, r := range left.Pending {
		fmt.Fprintf(&text, "Found an interrupted change: %s\n", r)
	}
	list := func(what string, names []string) {
		if len(names) == 0 {
			fmt.Fprintf(&text, "No unused %s\n", what)
			return
		}
		fmt.Fprintf(&text, "Found the following unused %s:\n%s\n", what, strings.Join(names, "\n"))
	}
	list("layers", left.Layers)
	list("volumes", left.Volumes)
	return a.print("leftovers", left, text.String())
}

// removeUnused asks for each layer, and takes no answer for no.
func (a *app) removeUnused(ctx context.Context, left host.Leftovers, force bool) error {
	answers := bufio.NewScanner(a.Stdin)
	for _, name := range left.Layers {
		if !force {
			fmt.Fprintf(a.Stdout, "Remove LV %s? [y/N]: ", name)
			if !answers.Scan() || !strings.EqualFold(strings.TrimSpace(answers.Text()), "y") {
				continue
			}
		}
		fmt.Fprintf(a.Stderr, "removing %s\n", name)
		err := a.change(ctx, func(h *host.Host) (*host.Change, error) { return h.PlanDiscard(ctx, name) })
		if err != nil {
			return err
		}
	}
	return nil
}
