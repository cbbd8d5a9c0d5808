package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"imgbase/internal/host"
)

func (a *app) diffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff --etc [IMAGE]",
		Short: "Show what an update would carry over",
		Long: `--etc shows what the merge of the running layer into IMAGE would do, line for
line as an update prints it: /etc, accounts, and what else is configured to be
kept. IMAGE is a base, a layer, or a file as for update; ./NAME is always a
file. Without IMAGE the running layer is compared with its own base: what was
changed in it.`,
		Example: `  imgbase diff --etc
  imgbase diff --etc node-1.1-1.img
  imgbase diff --etc node-1.1-1`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.diff(cmd, args) },
	}
	cmd.Flags().Bool("etc", false, "show the merge of /etc, and of what else is kept")
	return cmd
}

func (a *app) diff(cmd *cobra.Command, args []string) error {
	if err := one(cmd, "etc"); err != nil {
		return err
	}
	if err := a.wet(); err != nil {
		return err
	}
	if a.confErr != nil {
		return a.confErr
	}
	image := strings.Join(args, "")
	switch {
	case len(args) > 0 && image == "":
		return usage("IMAGE is empty")
	case strings.Contains(image, "/"):
		if err := present("image", image); err != nil {
			return err
		}
	}
	h, err := a.isolated()
	if err != nil {
		return err
	}
	carried, err := h.Diff(cmd.Context(), image)
	if err != nil {
		return err
	}
	return a.print("carried", carried, carriedText(carried))
}

// carriedText is what is carried, in every report the same: a line of counts,
// then one for each change, each beginning with what it is about.
func carriedText(c host.Carried) string {
	var text strings.Builder
	fmt.Fprintf(&text, "/etc: %s\n", c.Etc.Summary())
	printAll(&text, "/etc: ", c.Etc.Changes)
	if !c.Accounts.Owners.Empty() {
		fmt.Fprintf(&text, "accounts: %s\n", c.Accounts.Owners)
	}
	printAll(&text, "account: ", c.Accounts.Changes)
	if len(c.Trees.Changes) > 0 {
		fmt.Fprintf(&text, "/: %s\n", c.Trees.Summary())
		printAll(&text, "/: ", c.Trees.Changes)
	}
	printAll(&text, "note: ", c.Notes)
	return text.String()
}
