package persist_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/persist"
)

func TestDefaultRules(t *testing.T) {
	base := files{
		"fstab": text("0"), "passwd": text("0"), "ld.so.cache": text("0"), "ssh/ssh_host_rsa_key": text("0"),
		"selinux/targeted/active/modules/100/x": text("0"), "selinux/targeted/active/booleans.local": text("0"),
		"hostname": text("0"), "lvm/devices/system.devices": text("0"), "lvm/backup/HostVG": text("0"),
	}
	side := func(s string) files {
		out := files{}
		for name := range base {
			out[name] = text(s)
		}
		return out
	}
	mine := side("mine")
	delete(mine, "hostname")
	got := merge(t, t.TempDir(), base, mine, side("theirs"), persist.DefaultRules())
	content := map[string]string{}
	for name, f := range got.result {
		if f.Kind == 'f' {
			content[name] = f.Data
		}
	}
	want := map[string]string{
		"fstab": "mine", "passwd": "mine", "passwd.imgnew": "theirs", "ld.so.cache": "theirs", "ssh/ssh_host_rsa_key": "mine",
		"selinux/targeted/active/modules/100/x": "theirs", "selinux/targeted/active/booleans.local": "mine",
		"selinux/targeted/active/booleans.local.imgnew": "theirs", "lvm/devices/system.devices": "mine", "lvm/backup/HostVG": "theirs",
	}
	if diff := cmp.Diff(want, content); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if c := got.plan.Conflicts(); len(c) != 2 {
		t.Errorf("Conflicts() = %v; want those two, no rule makes one", c)
	}
}

func TestAdoptedAsksForEachFile(t *testing.T) {
	var asked []string
	rules := persist.Rules{Adopted: true, Pristine: func(path string) bool {
		asked = append(asked, path)
		return path == "vendor" || path == "d/dropped-vendor"
	}}
	mine := files{"vendor": text("0"), "edited": text("0"), "same": text("0"), "d/dropped": text("0"), "d/dropped-vendor": text("0")}
	got := merge(t, t.TempDir(), mine, mine, files{"vendor": text("1"), "edited": text("1"), "same": text("0")}, rules)
	want := files{
		"vendor": text("1"), "edited": text("0"), "edited.imgnew": text("1"), "same": text("0"),
		"d": dir(), "d/dropped": text("0"),
	}
	if diff := cmp.Diff(want, got.result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if want := []string{"edited", "vendor", "d/dropped", "d/dropped-vendor"}; !slices.Equal(asked, want) {
		t.Errorf("Pristine was asked for %q; want %q, files in question only", asked, want)
	}
}

func TestCarryRuleMakesNoConflict(t *testing.T) {
	rules := persist.Rules{Carry: []string{"id", "d/keep"}}
	for name, c := range map[string]struct{ base, mine, theirs, want files }{
		"beside from before": {files{"id": text("0")}, files{"id": text("m"), "id.imgnew": text("0")}, files{"id": text("0")}, files{"id": text("m")}},
		"both changed":       {files{"id": text("0")}, files{"id": text("m")}, files{"id": text("1")}, files{"id": text("m")}},
		"vendor's first":     {nil, nil, files{"id": text("1")}, files{"id": text("1")}},
		"vendor dropped it":  {files{"id": text("0")}, files{"id": text("0")}, nil, files{"id": text("0")}},
	} {
		got := merge(t, t.TempDir(), c.base, c.mine, c.theirs, rules)
		if diff := cmp.Diff(c.want, got.result); diff != "" || len(got.plan.Conflicts()) != 0 {
			t.Errorf("%s: conflicts %v, result (-want +got):\n%s", name, got.plan.Conflicts(), diff)
		}
	}
	kept := files{"d": dir(), "d/keep": text("0")}
	got := merge(t, t.TempDir(), kept, kept, files{"d": text("file now")}, rules)
	if diff := cmp.Diff(kept.with("d.imgnew", text("file now")), got.result); diff != "" {
		t.Errorf("directory with a carried file (-want +got):\n%s", diff)
	}
}

func TestAdoptedLetsEmptyDirectoryGo(t *testing.T) {
	mine := files{"empty": dir()}
	got := merge(t, t.TempDir(), mine, mine, nil, persist.Rules{Adopted: true})
	if len(got.result) != 0 {
		t.Errorf("result = %v; want nothing, an empty directory holds no edit", got.result)
	}
}

func TestFileThatEndsInAHole(t *testing.T) {
	root := t.TempDir()
	files{"f": text("start")}.write(t, root+"/mine")
	if err := os.Truncate(root+"/mine/f", 1<<20); err != nil {
		t.Fatal(err)
	}
	got := merge(t, root, nil, nil, nil, persist.Rules{})
	if want := "start" + strings.Repeat("\x00", 1<<20-5); got.result["f"].Data != want {
		t.Errorf("carried file has %d bytes; want %d, the hole at its end too", len(got.result["f"].Data), len(want))
	}
}
