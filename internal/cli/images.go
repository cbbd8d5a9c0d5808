package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"imgbase/internal/host"
	"imgbase/internal/layout"
	"imgbase/internal/nvr"
)

type baseFlags struct {
	add     bool
	size    string
	remove  string
	latest  bool
	ofLayer string
}

func (a *app) baseCommand() *cobra.Command {
	var o baseFlags
	cmd := &cobra.Command{
		Use:   "base (--add NVR --size SIZE [IMAGE] | --remove BASE | --latest | --of-layer LAYER)",
		Short: "Add, remove or look up a base",
		Long: `--add makes a base, a read-only volume: empty, or with what IMAGE holds.
--remove removes a base with all its layers. SIZE is as for lvcreate: MiB
without a unit.`,
		Example: `  imgbase base --add node-1.1-1 --size 6G node-1.1-1.img
  imgbase base --remove node-1.0-1
  imgbase base --of-layer node-1.0-1+1`,
		Args: atMost(2),
		RunE: func(cmd *cobra.Command, args []string) error { return a.base(cmd, o, args) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.add, "add", false, "add the base NVR")
	f.StringVar(&o.size, "size", "", "`SIZE` of the volume to add")
	f.StringVar(&o.remove, "remove", "", "remove `BASE` and its layers")
	f.BoolVar(&o.latest, "latest", false, "print the newest base")
	f.StringVar(&o.ofLayer, "of-layer", "", "print the base of `LAYER`")
	return cmd
}

func (a *app) base(cmd *cobra.Command, o baseFlags, args []string) error {
	if err := one(cmd, "add", "remove", "latest", "of-layer"); err != nil {
		return err
	}
	ctx := cmd.Context()
	switch {
	case o.add:
		return a.baseAdd(cmd, o, args)
	case len(args) > 0:
		return usage("unexpected argument %q", args[0])
	case cmd.Flags().Changed("size"):
		return usage("--size goes with --add")
	case cmd.Flags().Changed("remove"):
		return a.change(ctx, func(h *host.Host) (*host.Change, error) { return h.PlanRemove(ctx, o.remove) })
	case o.latest:
		return a.look(func(h *host.Host) error {
			product, l, err := h.Product(ctx)
			if err != nil {
				return err
			}
			base, err := l.LatestBase(product)
			return a.printImage(base, err)
		})
	}
	if err := a.wet(); err != nil {
		return err
	}
	layer, err := layout.Parse(o.ofLayer)
	if err == nil && !layer.IsLayer {
		err = fmt.Errorf("%s: %w: it is a base", o.ofLayer, host.ErrNoImage)
	}
	return a.printImage(layer.Base(), err)
}

func (a *app) baseAdd(cmd *cobra.Command, o baseFlags, args []string) error {
	if o.size == "" {
		return usage("--add needs --size")
	}
	size, err := parseSize(o.size)
	if err != nil {
		return err
	}
	options := host.BaseOptions{Size: size}
	switch len(args) {
	case 0:
		return usage("--add needs an NVR")
	case 1:
		options.NVR = args[0]
	case 2:
		options.NVR, options.Image = args[0], args[1]
	}
	if i, err := layout.Parse(options.NVR); err == nil && i.IsLayer {
		return fmt.Errorf("%s: %w: it is a layer's name", options.NVR, nvr.ErrMalformed)
	}
	if err := present("image", options.Image); options.Image != "" && err != nil {
		return err
	}
	return a.change(cmd.Context(), func(h *host.Host) (*host.Change, error) {
		return h.PlanBase(cmd.Context(), options)
	})
}

// parseSize reads a size as lvcreate(8) does: powers of 1024 whatever the
// case, MiB without a unit, "s" for sectors of 512 bytes.
func parseSize(s string) (uint64, error) {
	bad := usage("size %q is not a number with one of the units b s k m g t p e", s)
	number := strings.TrimRight(s, "bBsSkKmMgGtTpPeE")
	unit := strings.ToLower(s[len(number):])
	factor, ok := map[string]float64{
		"": units.MiB, "b": 1, "s": 512, "k": units.KiB, "m": units.MiB, "g": units.GiB, "t": units.TiB, "p": units.PiB, "e": 1 << 60,
	}[unit]
	v, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || strings.ContainsAny(number, "xXnNiI+-_") {
		return 0, bad
	}
	if v *= factor; v < 1 || v > 1<<62 {
		return 0, usage("size %q is out of range", s)
	}
	return uint64(v), nil
}

type layerFlags struct {
	add        bool
	latest     bool
	current    bool
	volumePath string
}

func (a *app) layerCommand() *cobra.Command {
	var o layerFlags
	cmd := &cobra.Command{
		Use:   "layer (--add [IMAGE] | --latest | --current | --volume-path NVR)",
		Short: "Add or look up a layer",
		Long: `--add makes a layer on IMAGE, or on the newest layer, and boots it next. On a
base it gets the running /etc; a copy of a layer keeps that layer's.`,
		Example: `  imgbase layer --add
  imgbase layer --add node-1.1-1
  imgbase layer --current`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.layer(cmd, o, args) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.add, "add", false, "add a layer on IMAGE, a base or a layer")
	f.BoolVar(&o.latest, "latest", false, "print the newest layer")
	f.BoolVar(&o.current, "current", false, "print the running layer")
	f.StringVar(&o.volumePath, "volume-path", "", "print the device of `NVR`")
	return cmd
}

func (a *app) layer(cmd *cobra.Command, o layerFlags, args []string) error {
	if err := one(cmd, "add", "latest", "current", "volume-path"); err != nil {
		return err
	}
	ctx := cmd.Context()
	if o.add {
		if a.confErr != nil {
			return a.confErr
		}
		parent := strings.Join(args, "")
		return a.change(ctx, func(h *host.Host) (*host.Change, error) { return h.PlanLayer(ctx, parent) })
	}
	if len(args) > 0 {
		return usage("unexpected argument %q", args[0])
	}
	return a.look(func(h *host.Host) error {
		switch {
		case o.current:
			running, _, err := h.Running(ctx)
			return a.printImage(running, err)
		case o.latest:
			product, l, err := h.Product(ctx)
			if err != nil {
				return err
			}
			layer, err := l.LatestLayer(product)
			return a.printImage(layer, err)
		}
		path, err := h.VolumePath(ctx, o.volumePath)
		if err != nil {
			return err
		}
		return a.print("path", path, path+"\n")
	})
}

func (a *app) printImage(i layout.Image, err error) error {
	if err != nil {
		return err
	}
	return a.print("image", i.String(), i.String()+"\n")
}

func (a *app) wCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "w",
		Short: "Say which layer is running",
		Long:  `On a root that is no layer this is an error, and nothing is printed.`,
		Example: `  imgbase w
  imgbase w --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.look(func(h *host.Host) error {
				running, _, err := h.Running(cmd.Context())
				if err != nil {
					return err
				}
				return a.print("running", running.String(), "You are on "+running.String()+"\n")
			})
		},
	}
}

// present says whether a file is there, before anything else is looked at or
// settled; what is what it should be.
func present(what, file string) error {
	_, err := os.Stat(file)
	switch cause := (*fs.PathError)(nil); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s %s: %w", what, file, errNoFile)
	case errors.As(err, &cause):
		return fmt.Errorf("%s %s: %w", what, file, cause.Err)
	}
	return err
}

type updateFlags struct {
	format  string
	product bool
	skip    bool
}

func (a *app) updateCommand() *cobra.Command {
	var o updateFlags
	cmd := &cobra.Command{
		Use:   "update [--format liveimg] FILE",
		Short: "Update this host from an image",
		Long: `The image becomes a new base with a layer on it. What was changed in /etc and
what else is configured to be kept is carried into the layer, accounts are
merged, packages you added are installed, and the layer boots next. The running system is
not changed; power may be cut at any instant. Old bases are removed
afterwards, as images_to_keep in imgbased.conf says.`,
		Example: `  imgbase update node-1.1-1.img
  imgbase update --dry-run node-1.1-1.img`,
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return usage("update needs a FILE")
			case 1:
				return nil
			}
			return usage("unexpected argument %q", args[1])
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.update(cmd, o, args[0]) },
	}
	cmd.Flags().StringVar(&o.format, "format", "liveimg", "`format` of FILE")
	cmd.Flags().BoolVar(&o.skip, "skip-packages", false, "leave out packages you added that cannot be installed")
	cmd.Flags().BoolVar(&o.product, "allow-product-change", false, "the image may be of another product")
	return cmd
}

func (a *app) update(cmd *cobra.Command, o updateFlags, file string) error {
	if o.format != "liveimg" {
		return fmt.Errorf("%q: %w", o.format, errFormat)
	}
	if a.confErr != nil {
		return a.confErr
	}
	for _, w := range a.confWarnings {
		fmt.Fprintf(a.Stderr, "note: %s\n", w)
	}
	if err := present("image", file); err != nil {
		return err
	}
	ctx := cmd.Context()
	return a.change(ctx, func(h *host.Host) (*host.Change, error) {
		return h.PlanUpdate(ctx, host.UpdateOptions{Image: file, AllowProductChange: o.product, SkipPackages: o.skip, Keep: a.conf.ImagesToKeep})
	})
}
