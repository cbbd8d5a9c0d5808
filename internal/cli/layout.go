package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"imgbase/internal/host"
	"imgbase/internal/layout"
)

type layoutFlags struct {
	init          bool
	initNVR, from string
	bases, layers bool
	freeSpace     bool
	units         string
}

func (a *app) layoutCommand() *cobra.Command {
	var o layoutFlags
	cmd := &cobra.Command{
		Use:   "layout [--init [NVR] [--from SRC] | --bases | --layers | --free-space]",
		Short: "Show the bases and their layers, or take this host over",
		Long: `Without an action the tree of bases and layers is printed.

--init makes the installed root the first base, with the first layer on it,
and boots that layer by default from now on. The running system is not
changed. SRC is a mount point, a device, or VG/LV.`,
		Example: `  imgbase layout
  imgbase layout --init node-1.0-1
  imgbase layout --free-space --units g`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.layout(cmd, o, args) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.init, "init", false, "take this host over; NVR defaults to what the image says of itself")
	f.StringVar(&o.initNVR, "init-nvr", "", "take this host over, calling the first base `NVR`")
	f.StringVar(&o.from, "from", "/", "make the first base from `SRC`")
	f.BoolVar(&o.bases, "bases", false, "print the bases")
	f.BoolVar(&o.layers, "layers", false, "print the layers")
	f.BoolVar(&o.freeSpace, "free-space", false, "print how much room the thin pool has left")
	f.StringVar(&o.units, "units", "m", "`unit` of --free-space: b s k m g t p e, capitals for powers of 1000")
	f.String("size", "", "accepted for old scripts")
	hide(f, "size")
	return cmd
}

func (a *app) layout(cmd *cobra.Command, o layoutFlags, args []string) error {
	actions := []string{"init", "init-nvr", "bases", "layers", "free-space"}
	action := false
	for _, n := range actions {
		action = action || cmd.Flags().Changed(n)
	}
	if action {
		if err := one(cmd, actions...); err != nil {
			return err
		}
	}
	initialize := o.init || cmd.Flags().Changed("init-nvr")
	switch {
	case len(args) > 0 && !o.init:
		return usage("unexpected argument %q", args[0])
	case cmd.Flags().Changed("from") && !initialize:
		return usage("--from goes with --init")
	case cmd.Flags().Changed("units") && !o.freeSpace:
		return usage("--units goes with --free-space")
	case initialize && o.from == "":
		return usage("--from needs a volume")
	case initialize:
		return a.init(cmd, o, args)
	case o.freeSpace:
		return a.freeSpace(cmd, o.units)
	}
	return a.look(func(h *host.Host) error {
		l, err := h.Layout(cmd.Context())
		if err != nil {
			return err
		}
		return a.printLayout(l, o)
	})
}

func (a *app) init(cmd *cobra.Command, o layoutFlags, args []string) error {
	name := o.initNVR
	if len(args) > 0 {
		name = args[0]
	}
	if cmd.Flags().Changed("init-nvr") && name == "" {
		return usage("--init-nvr needs an NVR")
	}
	return a.change(cmd.Context(), func(h *host.Host) (*host.Change, error) {
		return h.PlanInit(cmd.Context(), name, o.from)
	})
}

// branch is a base with its layers, in JSON.
type branch struct {
	Base   string   `json:"base"`
	Orphan bool     `json:"orphan,omitempty"`
	Layers []string `json:"layers"`
}

func (a *app) printLayout(l layout.Layout, o layoutFlags) error {
	if len(l.Bases()) == 0 && (o.bases || len(l.Layers()) == 0) {
		return layout.ErrNoBases
	}
	switch {
	case o.bases:
		return a.print("bases", stringsOf(l.Bases()), lines(l.Bases()))
	case o.layers:
		return a.print("layers", stringsOf(l.Layers()), lines(l.Layers()))
	}
	tree, err := l.Tree()
	if err != nil {
		return err
	}
	branches := []branch{}
	for _, b := range l.Branches() {
		branches = append(branches, branch{Base: b.Base.String(), Orphan: b.Missing, Layers: stringsOf(b.Layers)})
	}
	return a.print("layout", branches, tree+"\n")
}

// freeSpace prints one floating-point number, as the original does.
func (a *app) freeSpace(cmd *cobra.Command, unit string) error {
	divisor, err := unitSize(unit)
	if err != nil {
		return err
	}
	return a.look(func(h *host.Host) error {
		free, err := h.FreeSpace(cmd.Context())
		if err != nil {
			return err
		}
		value := strconv.FormatFloat(float64(free)/divisor, 'f', -1, 64)
		if !strings.Contains(value, ".") {
			value += ".0"
		}
		return a.print("free-space", map[string]uint64{"bytes": free}, value+"\n")
	})
}

// unitSize is the size in bytes of a unit as LVM writes it (lvs(8),
// --units): powers of 1024, or of 1000 for a capital letter.
func unitSize(unit string) (float64, error) {
	switch unit {
	case "b", "B":
		return 1, nil
	case "s", "S":
		return 512, nil
	}
	const powers = "kmgtpe"
	if len(unit) == 1 {
		if i := strings.Index(powers, unit); i >= 0 {
			return math.Pow(1024, float64(i+1)), nil
		}
		if i := strings.Index(strings.ToUpper(powers), unit); i >= 0 {
			return math.Pow(1000, float64(i+1)), nil
		}
	}
	return 0, fmt.Errorf("%w: unit %q is none of b s k m g t p e", errUsage, unit)
}
