package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// errTwice is a flag that was given twice: one of the two would be lost.
var errTwice = errors.New("given twice")

// once is the value of a flag that is given once.
type once struct {
	pflag.Value
	set bool
}

func (o *once) Set(text string) error {
	if o.set {
		return errTwice
	}
	o.set = true
	return o.Value.Set(text)
}

func onlyOnce(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) { f.Value = &once{Value: f.Value} })
}

// hide keeps flags that do nothing out of the help.
func hide(flags *pflag.FlagSet, names ...string) {
	for _, n := range names {
		flags.Lookup(n).Hidden = true
	}
}

// helpCommand is `imgbase help`, which knows what is no verb.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about a command",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Root().Help()
			}
			for _, c := range cmd.Root().Commands() {
				if c.Name() == args[0] {
					c.InitDefaultHelpFlag()
					return c.Help()
				}
			}
			return usage("no command %q", args[0])
		},
	}
}

// unknownCommand is what is wrong with arguments that no verb took.
func unknownCommand(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("no command %q", args[0])
	}
	return nil
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("unexpected argument %q", args[0])
	}
	return nil
}

func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usage("unexpected argument %q", args[n])
		}
		return nil
	}
}

func usage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUsage, fmt.Sprintf(format, args...))
}

// one checks that exactly one of a verb's actions was asked for.
func one(cmd *cobra.Command, names ...string) error {
	var given []string
	for _, n := range names {
		if f := cmd.Flags().Lookup(n); f != nil && f.Changed && !(f.Value.Type() == "bool" && f.Value.String() == "false") {
			given = append(given, "--"+n)
		}
	}
	switch len(given) {
	case 1:
		return nil
	case 0:
		return usage("%s needs an action, see `imgbase %s --help`", cmd.Name(), cmd.Name())
	}
	return usage("%s and %s exclude each other", given[0], given[1])
}
