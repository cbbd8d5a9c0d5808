package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"imgbase/internal/host"
)

type serviceFlags struct{ start, stop bool }

func (a *app) serviceCommand() *cobra.Command {
	var o serviceFlags
	cmd := &cobra.Command{
		Use:   "service (--start | --stop)",
		Short: "What imgbase-setup.service does at boot and at shutdown",
		Long: `--start settles what an interrupted run left. On the first boot of a layer it
keeps /var as it was in a snapshot and merges what the layer's image has for
/var into it.

--stop merges what was changed in /etc since an update into the layer that
boots next.`,
		Example: `  imgbase service --start
  imgbase service --stop`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.service(cmd, o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.start, "start", false, "do what every boot does")
	f.BoolVar(&o.stop, "stop", false, "do what every shutdown does")
	return cmd
}

func (a *app) service(cmd *cobra.Command, o serviceFlags) error {
	if err := one(cmd, "start", "stop"); err != nil {
		return err
	}
	if err := a.wet(); err != nil {
		return err
	}
	h, err := a.isolated()
	if err != nil {
		return err
	}
	if o.start {
		return a.start(cmd.Context(), h)
	}
	return a.stop(cmd.Context(), h)
}

func (a *app) start(ctx context.Context, h *host.Host) (err error) {
	if _, err := a.upkeep(ctx, h); err != nil {
		return err
	}
	lock, err := h.Lock()
	if err != nil {
		return err
	}
	done, err := h.Start(ctx)
	if cerr := lock.Close(); err == nil {
		err = cerr
	}
	if merr := h.Announce(); merr != nil {
		a.log.WarnContext(ctx, merr.Error())
	}
	if err != nil || done == nil {
		return err
	}
	for _, c := range done.Late {
		a.log.WarnContext(ctx, fmt.Sprintf("/etc was changed after the update, and that is not in this layer: %s", c))
	}
	for _, n := range done.Notes {
		a.log.WarnContext(ctx, n)
	}
	if a.json {
		return a.print("started", done, "")
	}
	for _, c := range done.Var {
		a.log.InfoContext(ctx, fmt.Sprintf("/var: %s", c))
	}
	a.log.InfoContext(ctx, done.String())
	return nil
}

func (a *app) stop(ctx context.Context, h *host.Host) error {
	if a.confErr != nil {
		return a.confErr
	}
	lock, err := h.Lock()
	if err != nil {
		return err
	}
	carried, err := h.Stop(ctx)
	if cerr := lock.Close(); err == nil {
		err = cerr
	}
	if err != nil || carried == nil {
		return err
	}
	if a.json {
		return a.print("carried", carried, "")
	}
	_, err = fmt.Fprint(a.Stderr, carriedText(*carried))
	return err
}
