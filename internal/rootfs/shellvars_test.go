package rootfs_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/rootfs"
	"imgbase/internal/run"
)

// As Debian ships /etc/default/grub, with what people add.
const grubDefaults = `# If you change this file, run 'update-grub' afterwards
GRUB_DEFAULT=0
GRUB_DISTRIBUTOR=` + "`lsb_release -i -s 2> /dev/null || echo Debian`" + `
GRUB_DATE=$(date)
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX="root=/dev/vg/root  crashkernel=\"auto\" $EXTRA" # trailing
BASE='a b'
export GRUB_TERMINAL=console
JOINED=$BASE"-${BASE}"'$BASE'\ c
EMPTY=
SUM=$((1+1))
if [ -f /x ]; then
	CONDITIONAL=1
fi
PATHLIKE=a:~b
HOME_OF=~root
MORE=x
MORE+=y
FIRST=1
FIRST=2
ONLY=1 program
LIST=(a b)
DEFAULTED=${NONE:-x}
`

func TestShellVarsGet(t *testing.T) {
	v := parseVars(t, grubDefaults)
	for name, want := range map[string]string{
		"GRUB_DEFAULT": "0", "GRUB_CMDLINE_LINUX": `root=/dev/vg/root  crashkernel="auto" `, "GRUB_TERMINAL": "console",
		"JOINED": "a b-a b$BASE c", "EMPTY": "", "MORE": "xy", "FIRST": "2", "PATHLIKE": "a:~b",
	} {
		if got, ok, err := v.Get(name); got != want || !ok || err != nil {
			t.Errorf("Get(%s) = %q, %v, %v; want %q", name, got, ok, err, want)
		}
	}
	for _, name := range []string{"GRUB", "ONLY", "NONE", "", "="} {
		if got, ok, err := v.Get(name); ok || err != nil {
			t.Errorf("Get(%s) = %q, %v, %v; want it unset", name, got, ok, err)
		}
	}
	for _, name := range []string{"GRUB_DISTRIBUTOR", "GRUB_DATE", "SUM", "CONDITIONAL", "HOME_OF", "LIST", "DEFAULTED"} {
		if got, _, err := v.Get(name); err == nil {
			t.Errorf("Get(%s) = %q; want an error, no shell runs here", name, got)
		}
	}
}

func TestShellVarsSet(t *testing.T) {
	for _, c := range []struct{ in, name, value, want string }{
		{"A=a\nB=b\nAh=ah\n", "A", "1", "A='1'\nB=b\nAh=ah\n"},
		{"Ah=ah\n", "A", "1", "Ah=ah\nA='1'\n"},
		{"", "A", "", "A=''\n"},
		{"# A=x", "A", "1", "# A=x\nA='1'\n"},
		{"  A=\"x y\"  # why\n", "A", "it's", "  A='it'\\''s'  # why\n"},
		{"A=\nB=1\n", "A", "x", "A='x'\nB=1\n"},
		{"A=\"\"\n", "A", "$(reboot) `reboot`", "A='$(reboot) `reboot`'\n"},
		{"export A=1; B=2\n", "A", "x", "export A='x'; B=2\n"},
		{"A=1\nA=2\n", "A", "3", "A=1\nA='3'\n"},
		{"A=1\nA+=2\n", "A", "3", "A=1\nA+=2\nA='3'\n"},
		{"A=1\nif x; then A=2; fi\n", "A", "3", "A=1\nif x; then A=2; fi\nA='3'\n"},
		{"A=`date`\n", "A", "3", "A='3'\n"},
		{"A=\"one \\\n two\"\nB=x", "A", "3", "A='3'\nB=x"},
		{"A=1 program\n", "A", "3", "A=1 program\nA='3'\n"},
		{"A=$'x'\n", "A", "3", "A='3'\n"},
	} {
		v := parseVars(t, c.in)
		if err := v.Set(c.name, c.value); err != nil || string(v.Bytes()) != c.want {
			t.Errorf("Set(%q, %s, %q) = %q, %v; want %q", c.in, c.name, c.value, v.Bytes(), err, c.want)
		}
		if got, ok, err := v.Get(c.name); got != c.value || !ok || err != nil {
			t.Errorf("Get(%s) after Set = %q, %v, %v; want %q", c.name, got, ok, err, c.value)
		}
	}
}

func TestShellVarsRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"NUL": "A=\x00", "open quote": "A='x", "open substitution": "A=$(x", "too large": "A=" + strings.Repeat("x", 1<<20),
		"deep": strings.Repeat("(", 60_000), "no shell": "<xml>",
	} {
		if _, err := rootfs.ParseShellVars([]byte(in)); err == nil {
			t.Errorf("ParseShellVars(%s) = nil; want an error", name)
		}
	}
	v := parseVars(t, grubDefaults)
	for _, c := range [][2]string{{"", "x"}, {"A B", "x"}, {"A=B", "x"}, {"1A", "x"}, {"A", "x\ny"}, {"A", "x\x00"}, {"A", strings.Repeat("x", 1<<17)}} {
		if err := v.Set(c[0], c[1]); err == nil {
			t.Errorf("Set(%q, %.20q) = nil; want an error", c[0], c[1])
		}
	}
	if string(v.Bytes()) != grubDefaults {
		t.Error("the file changed by refused Set; want it as it was")
	}
}

// Doubling a variable 60 times must cost neither time nor memory.
func TestShellVarsDoublingEnds(t *testing.T) {
	var b strings.Builder
	b.WriteString("A=xxxxxxxx\n")
	for range 60 {
		b.WriteString("A=\"$A$A\"\n")
	}
	if got, _, err := parseVars(t, b.String()).Get("A"); err == nil {
		t.Errorf("Get(A) = %d bytes; want an error", len(got))
	}
}

func TestShellVarsCRLF(t *testing.T) {
	v := parseVars(t, "A=1\r\nB=2\r\n")
	if got, _, err := v.Get("A"); err != nil || got != "1" {
		t.Errorf("Get(A) = %q, %v; want 1 without the carriage return", got, err)
	}
	if err := v.Set("A", "3"); err != nil || string(v.Bytes()) != "A='3'\r\nB=2\r\n" {
		t.Errorf("Set(A) = %q, %v; want only the value changed", v.Bytes(), err)
	}
}

// A shell is the oracle of what Set wrote.
func TestShellVarsAgreesWithShell(t *testing.T) {
	for _, value := range []string{"", "plain", "it's", `a"b\c`, "$(exit 1)`x`$HOME", "#no *comment ~", "é\x01", "'''"} {
		v := parseVars(t, "A=old # comment\nB=1\n")
		if err := v.Set("A", value); err != nil {
			t.Errorf("Set(%q) = %v; want no error", value, err)
			continue
		}
		path := filepath.Join(t.TempDir(), "vars")
		if err := os.WriteFile(path, v.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := run.OS{}.Run(context.Background(), run.Cmd{Name: "sh", Args: []string{"-c", `. "$1"; printf %s "$A"`, "sh", path}})
		if err != nil || string(out.Stdout) != value {
			t.Errorf("sh reads %q, %v; want %q", out.Stdout, err, value)
		}
	}
}

func FuzzShellVars(f *testing.F) {
	for _, seed := range []string{grubDefaults, "A=1", "export A", "A=$B$A", "A=(", "A=\\\n1", "declare -r A=x"} {
		f.Add([]byte(seed), "A", "v'")
	}
	f.Fuzz(func(t *testing.T, data []byte, name, value string) {
		v, err := rootfs.ParseShellVars(data)
		if err != nil {
			return
		}
		if !bytes.Equal(v.Bytes(), data) {
			t.Fatalf("Bytes() = %q; want %q", v.Bytes(), data)
		}
		v.Get(name)
		if v.Set(name, value) != nil {
			if !bytes.Equal(v.Bytes(), data) {
				t.Fatalf("refused Set made %q of %q; want it untouched", v.Bytes(), data)
			}
			return
		}
		if got, ok, err := v.Get(name); got != value || !ok || err != nil {
			t.Fatalf("Get(%s) after Set(%q) = %q, %v, %v", name, value, got, ok, err)
		}
	})
}

func parseVars(t *testing.T, data string) *rootfs.ShellVars {
	t.Helper()
	v, err := rootfs.ParseShellVars([]byte(data))
	if err != nil {
		t.Fatalf("ParseShellVars(%.80q) = %v; want no error", data, err)
	}
	return v
}
