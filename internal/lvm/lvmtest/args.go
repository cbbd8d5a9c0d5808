package lvmtest

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// command is a command line taken apart.
type command struct {
	program string
	values  map[string][]string // options by long name
	names   []string            // what they apply to
}

// flags are the options a program has, with true for those that take a value.
type flags map[string]bool

// common options of all of LVM's programs; --quiet and --yes only silence.
func withCommon(f flags) flags {
	f["--yes"], f["--quiet"] = false, false
	return f
}

var validTag = regexp.MustCompile(`^[A-Za-z0-9_+.\-/=!:&#]+$`)

// parse takes a command line apart, and reports options it does not know.
func (m *Model) parse(program string, args []string, known flags) (command, *refusal) {
	c := command{program: program, values: map[string][]string{}}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if !strings.HasPrefix(arg, "-") {
			c.names = append(c.names, arg)
			continue
		}
		takesValue, ok := known[arg]
		if !ok || takesValue && len(args) == 0 {
			m.fail("%s: option the model does not know, or without its value: %s", program, arg)
			return c, misuse("%s: unrecognized option '%s'\n  Error during parsing of command line.", program, arg)
		}
		value := ""
		if takesValue {
			value, args = args[0], args[1:]
		}
		c.values[arg] = append(c.values[arg], value)
	}
	for _, flag := range []string{"--addtag", "--deltag"} {
		for _, tag := range c.values[flag] {
			if !validTag.MatchString(tag) {
				return c, misuse("Invalid argument for %s: %s\n  Error during parsing of command line.", flag, tag)
			}
		}
	}
	return c, nil
}

func (c command) has(flag string) bool { return len(c.values[flag]) > 0 }

func (c command) value(flag string) string {
	if v := c.values[flag]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// choice reads an option that takes one of two words: true for the first.
func (c command) choice(flag, yes, no string) (bool, *refusal) {
	switch c.value(flag) {
	case yes:
		return true, nil
	case no:
		return false, nil
	}
	return false, misuse("Invalid argument for %s: %s\n  Error during parsing of command line.", flag, c.value(flag))
}

// size reads a size in bytes; "+" in front is cut off.
func (c command) size(flag string) (uint64, *refusal) {
	text := strings.TrimPrefix(c.value(flag), "+")
	n, err := strconv.ParseUint(strings.TrimSuffix(text, "b"), 10, 64)
	if err != nil || !strings.HasSuffix(text, "b") {
		return 0, misuse("Invalid argument for %s: %s\n  Error during parsing of command line.", flag, c.value(flag))
	}
	if n%512 != 0 {
		return 0, misuse("Size is not a multiple of 512. Try using %d or %d.\n  Invalid argument for %s: %s\n  Error during parsing of command line.",
			n/512*512, n/512*512+512, flag, c.value(flag))
	}
	if n == 0 {
		return 0, misuse("%s may not be zero.\n  Run `%s --help' for more information.", flag, c.program)
	}
	return n, nil
}

// only reports options beyond those named: combinations that LVM does not have.
func (m *Model) only(c command, allowed ...string) *refusal {
	for flag := range c.values {
		if flag != "--yes" && flag != "--quiet" && !slices.Contains(allowed, flag) {
			m.fail("%s: %s does not go with the other options", c.program, flag)
			return misuse("Command does not accept option: %s.", flag)
		}
	}
	return nil
}

// reservedName is LVM's own refusal of a name for a new volume.
func reservedName(name string) *refusal {
	for _, p := range []string{"pvmove", "snapshot"} {
		if strings.HasPrefix(name, p) {
			return misuse("Names starting %q are reserved. Please choose a different LV name.\n  Run `lvcreate --help' for more information.", p)
		}
	}
	for _, p := range []string{"_cdata", "_cmeta", "_corig", "_mimage", "_mlog", "_pmspare", "_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin"} {
		if strings.Contains(name, p) {
			return misuse("Names including %q are reserved. Please choose a different LV name.\n  Run `lvcreate --help' for more information.", p)
		}
	}
	return nil
}
