package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"imgbase/internal/host"
)

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
	return cmd
}

// recovered is what recovery did, in JSON.
type recovered struct {
	Settled []host.Settled `json:"settled,omitempty"`
	Removed []string       `json:"removed,omitempty"`
}

func (a *app) recover(ctx context.Context, o recoverFlags) error {
	switch {
	case o.list && o.pending:
		return usage("--list and --pending exclude each other")
	case o.list && o.force:
		return usage("--list and --force exclude each other")
	case o.list || a.dryRun:
		a.dryRun = false
		return a.look(func(h *host.Host) error {
			left, err := h.Unused(ctx)
			if err != nil {
				return err
			}
			return a.printLeftovers(left)
		})
	}
	// Before the first question: isolating starts the program anew, and what
	// was read of the answers would be lost.
	h, err := a.isolated()
	if err != nil {
		return err
	}
	var done recovered
	if done.Settled, err = a.upkeep(ctx, h); err != nil {
		return err
	}
	if !o.pending {
		left, err := h.Unused(ctx)
		if err != nil {
			return err
		}
		if done.Removed, err = a.removeUnused(ctx, left, o.force); err != nil {
			return err
		}
	}
	if a.json {
		return a.print("recovered", done, "")
	}
	return nil
}

// upkeep settles, and does what every boot does.
func (a *app) upkeep(ctx context.Context, h *host.Host) (settled []host.Settled, err error) {
	lock, err := h.Lock()
	if err != nil {
		return nil, err
	}
	if settled, err = a.settle(ctx, h); err == nil {
		// A pool without its profile boots and updates all the same.
		if uerr := h.Upkeep(ctx); uerr != nil {
			a.log.WarnContext(ctx, uerr.Error())
		}
	}
	if cerr := lock.Close(); err == nil {
		err = cerr
	}
	return settled, err
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
func (a *app) removeUnused(ctx context.Context, left host.Leftovers, force bool) (removed []string, err error) {
	answers := bufio.NewScanner(a.Stdin)
	for _, name := range left.Layers {
		if !force && !a.confirmed(answers, name) {
			continue
		}
		fmt.Fprintf(a.Stderr, "removing %s\n", name)
		plan := func(h *host.Host) (*host.Change, error) { return h.PlanDiscard(ctx, name) }
		if err := a.apply(ctx, plan, func(*host.Change) error { return nil }); err != nil {
			return removed, err
		}
		removed = append(removed, name)
	}
	return removed, nil
}

// confirmed asks as the original does. Beside JSON the question is for people
// alone.
func (a *app) confirmed(answers *bufio.Scanner, name string) bool {
	out := a.Stdout
	if a.json {
		out = a.Stderr
	}
	if _, err := io.WriteString(out, "Remove LV "+name+"? [y/N]: "); err != nil {
		return false
	}
	return answers.Scan() && strings.EqualFold(strings.TrimSpace(answers.Text()), "y")
}
