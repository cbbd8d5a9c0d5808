package cli

import (
	"fmt"
	"regexp"
	"strings"
	"text/tabwriter"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"imgbase/internal/host"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show what is there, what runs, what boots next, and how full the pool is",
		Long: `Below the images stands what is not as it should be: an interrupted change,
and what nothing uses.`,
		Example: `  imgbase status
  imgbase status --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.look(func(h *host.Host) error {
				s, err := h.Status(cmd.Context())
				if err != nil {
					return err
				}
				return a.print("status", s, statusText(s))
			})
		},
	}
}

// trailing is what tabwriter leaves behind an empty last cell.
var trailing = regexp.MustCompile(`(?m) +$`)

func statusText(s host.Status) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	for _, i := range s.Images {
		name := i.Name
		if i.Base != "" {
			name = " +- " + name
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", name, units.BytesSize(float64(i.Size)), strings.Join(marks(s, i), ", "))
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "running\t%s\n", orNone(s.Running))
	fmt.Fprintf(w, "next boot\t%s\n", orNone(s.Next))
	if p := s.Pool; p != nil {
		fmt.Fprintf(w, "thin pool\t%s/%s, data %s of %s, metadata %s of %s%s\n", s.VG, p.Name,
			percent(p.DataPercent), units.BytesSize(float64(p.Size)),
			percent(p.MetadataPercent), units.BytesSize(float64(p.MetadataSize)), poolTrouble(p))
	}
	_ = w.Flush() // to a strings.Builder
	for _, r := range s.Leftover.Pending {
		fmt.Fprintf(&text, "interrupted: %s\n", r)
	}
	left(&text, "layers without a boot entry", s.Leftover.Layers)
	left(&text, "bases without a layer", s.Leftover.Bases)
	left(&text, "boot entries without a layer", s.Leftover.Entries)
	left(&text, "data volumes that are not mounted", s.Leftover.Volumes)
	left(&text, "conflicts, the vendor's version beside", s.Conflicts)
	for _, warning := range s.Warnings {
		fmt.Fprintf(&text, "warning: %s\n", warning)
	}
	return trailing.ReplaceAllString(text.String(), "")
}

func marks(s host.Status, i host.Image) []string {
	var m []string
	if i.Name == s.Running {
		m = append(m, "running")
	}
	if i.Name == s.Next {
		m = append(m, "boots next")
	}
	if i.Orphan {
		m = append(m, "its base is missing")
	}
	return m
}

func left(text *strings.Builder, what string, names []string) {
	if len(names) > 0 {
		fmt.Fprintf(text, "%s: %s\n", what, strings.Join(names, ", "))
	}
}

func poolTrouble(p *host.PoolStatus) string {
	var trouble string
	if p.NeedsCheck {
		trouble += ", needs repair"
	}
	if p.Health != "" {
		trouble += ", " + strings.ReplaceAll(p.Health, "_", " ")
	}
	return trouble
}

func percent(p *float64) string {
	if p == nil {
		return "unknown"
	}
	return fmt.Sprintf("%.1f %%", *p)
}

func orNone(name string) string {
	if name == "" {
		return "no layer"
	}
	return name
}
