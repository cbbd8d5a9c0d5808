package boot_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/boot"
)

func TestParseArgs(t *testing.T) {
	tests := []struct {
		line string
		want boot.Args
	}{
		{"", nil},
		{"  \t\n", nil},
		{"ro quiet", boot.Args{"ro", "quiet"}},
		{"  root=/dev/a  ro\tquiet\n", boot.Args{"root=/dev/a", "ro", "quiet"}},
		{`a="b c" d`, boot.Args{`a="b c"`, "d"}},
		{`"a=b c" d`, boot.Args{`"a=b c"`, "d"}},
		{`a="b  c`, boot.Args{`a="b  c"`}},
		// The kernel knows neither single quotes nor backslashes.
		{`a='b c' d\ e`, boot.Args{"a='b", "c'", `d\`, "e"}},
		{`$kernelopts $(reboot)`, boot.Args{"$kernelopts", "$(reboot)"}},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, boot.ParseArgs(test.line)); diff != "" {
			t.Errorf("ParseArgs(%q) (-want +got):\n%s", test.line, diff)
		}
	}
}

func TestArgs(t *testing.T) {
	args := boot.ParseArgs(`root=/dev/a console=tty0 ro console=ttyS0 note="a b" "whole=c d"`)
	gets := []struct {
		key, want string
		ok        bool
	}{
		{"root", "/dev/a", true},
		{"console", "ttyS0", true},
		{"ro", "", true},
		{"note", "a b", true},
		{"whole", "c d", true},
		{"roo", "", false},
		{"", "", false},
	}
	for _, g := range gets {
		if got, ok := args.Get(g.key); got != g.want || ok != g.ok {
			t.Errorf("Get(%q) = %q, %t; want %q, %t", g.key, got, ok, g.want, g.ok)
		}
	}
	changes := []struct {
		name string
		got  boot.Args
		want string
	}{
		{"Set of one", args.Set("root", "/dev/b"), `root=/dev/b console=tty0 ro console=ttyS0 note="a b" "whole=c d"`},
		{"Set of several", args.Set("console", "x"), `root=/dev/a console=x ro note="a b" "whole=c d"`},
		{"Set of a new one", args.Set("new", "x y"), args.String() + ` new="x y"`},
		{"Drop", args.Drop("console").Drop("whole").Drop("none"), `root=/dev/a ro note="a b"`},
		{"Append", args.Append("ro", "rw", "rw"), args.String() + " rw"},
		{"original", args, `root=/dev/a console=tty0 ro console=ttyS0 note="a b" "whole=c d"`},
	}
	for _, c := range changes {
		if got := c.got.String(); got != c.want {
			t.Errorf("%s = %s; want %s", c.name, got, c.want)
		}
	}
}

func FuzzParseArgs(f *testing.F) {
	for _, s := range []string{`a "b c" d="e`, `"`, `""`, "a\x00b", strings.Repeat(`" `, 100)} {
		f.Add(s, "key", "va lue")
	}
	f.Fuzz(func(t *testing.T, line, key, value string) {
		args := boot.ParseArgs(line)
		if diff := cmp.Diff(args, boot.ParseArgs(args.String())); diff != "" {
			t.Errorf("ParseArgs of its own String (-want +got):\n%s", diff)
		}
		if key == "" || strings.ContainsAny(key+value, "\"=\n\t\v\f\r ") {
			return
		}
		set := boot.ParseArgs(args.Set(key, value).String())
		if got, ok := set.Get(key); got != value || !ok {
			t.Errorf("Get(%q) after Set = %q, %t; want %q", key, got, ok, value)
		}
		if _, ok := set.Drop(key).Get(key); ok {
			t.Errorf("Get(%q) after Drop finds it", key)
		}
	})
}
