package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"imgbase/internal/host"
)

func (a *app) rollbackCommand() *cobra.Command {
	var o host.RollbackOptions
	cmd := &cobra.Command{
		Use:   "rollback [--to NVR] [--with-volumes]",
		Short: "Boot the layer before again",
		Long: `Without --to: the layer that ran when the running one was made; or the
running one, if another is to boot next. Only what boots by default changes,
and nothing but what the layer itself holds goes back.

With --with-volumes /var goes back too, at the reboot, to what it was before
the layer after that one booted for the first time. Everything written there
since is lost, and there is no way to call it off.`,
		Example: `  imgbase rollback
  imgbase rollback --with-volumes --dry-run
  imgbase rollback --to node-1.0-1+1`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("to") && o.To == "" {
				return usage("--to needs a layer")
			}
			ctx := cmd.Context()
			return a.change(ctx, func(h *host.Host) (*host.Change, error) { return h.PlanRollback(ctx, o) })
		},
	}
	cmd.Flags().StringVar(&o.To, "to", "", "boot the layer `NVR`")
	cmd.Flags().BoolVar(&o.WithVolumes, "with-volumes", false, "make /var what it was before, losing what was written since")
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
