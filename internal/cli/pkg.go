package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"imgbase/internal/host"
	"imgbase/internal/packages"
)

type pkgFlags struct{ persist, forget, list bool }

func (a *app) pkgCommand() *cobra.Command {
	var o pkgFlags
	cmd := &cobra.Command{
		Use:   "pkg (--persist FILE... | --forget NAME... | --list)",
		Short: "Keep packages that you added, for the layers to come",
		Long: `A kept package is installed into each new layer that an update makes. dnf and
apt tell of what they install and remove by themselves, through a plug-in and
a hook; this is what these call, and for packages installed in other ways.`,
		Example: `  imgbase pkg --list
  imgbase pkg --persist ./agent-1.0-1.x86_64.rpm
  imgbase pkg --forget agent`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.pkg(cmd, o, args) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.persist, "persist", false, "keep the package files FILE")
	f.BoolVar(&o.forget, "forget", false, "keep the packages NAME no longer")
	f.BoolVar(&o.list, "list", false, "print the kept packages")
	return cmd
}

func (a *app) pkg(cmd *cobra.Command, o pkgFlags, args []string) error {
	if err := one(cmd, "persist", "forget", "list"); err != nil {
		return err
	}
	switch {
	case o.list && len(args) > 0:
		return usage("unexpected argument %q", args[0])
	case !o.list && len(args) == 0:
		return usage("name at least one package")
	case o.list:
		return a.look(func(h *host.Host) error {
			kept, err := h.Store().List()
			if err != nil {
				return err
			}
			return a.printKept(kept)
		})
	}
	if err := a.wet(); err != nil {
		return err
	}
	h, err := a.host()
	if err != nil {
		return err
	}
	var kept []packages.Kept
	if o.persist {
		kept, err = a.persist(cmd.Context(), h.Store(), args)
	} else {
		kept, err = h.Store().Forget(args...)
	}
	if err != nil || !a.json {
		return err
	}
	return a.printKept(kept)
}

// persist keeps package files, until one that it cannot keep.
func (a *app) persist(ctx context.Context, store packages.Store, files []string) (all []packages.Kept, err error) {
	for _, file := range files {
		if err := present("package", file); err != nil {
			return all, err
		}
		kept, ok, err := store.Keep(ctx, file)
		if err != nil {
			return all, err
		}
		if ok {
			all = append(all, kept)
		}
	}
	return all, nil
}

func (a *app) printKept(kept []packages.Kept) error {
	var text strings.Builder
	for _, k := range kept {
		text.WriteString(k.String() + "\n")
	}
	if kept == nil {
		kept = []packages.Kept{}
	}
	return a.print("packages", kept, text.String())
}
