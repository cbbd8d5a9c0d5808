package derive_test

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"imgbase/internal/derive"

	"pgregory.net/rapid"
)

// anyInputs draws a tree with a tool and a few of what initramfs are made of,
// and of what they are not.
func anyInputs(t *rapid.T, side string) files {
	tree := files{"usr/bin/dracut": "#!/bin/sh\n", "boot/vmlinuz-" + kernel: "kernel"}
	for _, name := range []string{
		"etc/multipath.conf", "etc/multipath/a", "etc/multipath/d/a", "etc/modprobe.d/a.conf", "etc/modprobe.d/\xff.conf",
		"etc/udev/rules.d/1.rules", "usr/lib/firmware/f", "etc/motd", "etc/modprobe.d/a",
	} {
		content := rapid.SampledFrom([]string{"", "", "a\n", "# c\na\n", "b\n", "-> /etc/motd", "-> /dev/null", "-> .", "|"}).Draw(t, side+name)
		tree = tree.with(files{name: content})
	}
	return tree
}

// swapped exchanges who has what the other lacks.
var swapped = strings.NewReplacer(" added ", " removed ", " removed ", " added ")

func TestPlanLaws(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		root, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(root)
		a, b := anyInputs(rt, "a"), anyInputs(rt, "b")
		for dir, f := range map[string]files{"/a": a, "/a2": a, "/b": b} {
			f.write(t, root+dir)
		}
		plan := func(base, layer string) derive.Change {
			got, err := tree(root+layer).PlanInitramfs(root+base, derive.Kernel{Version: kernel, Initramfs: true})
			if err != nil || len(got) != 1 {
				rt.Fatalf("PlanInitramfs() = %v, %v; want one change", got, err)
			}
			return got[0]
		}
		if c := plan("/a", "/a2"); c.Op != derive.Keep {
			rt.Errorf("PlanInitramfs() of equal trees = %v; want keep", c)
		}
		there, back := plan("/a", "/b"), plan("/b", "/a")
		for i := range back.Why {
			back.Why[i] = swapped.Replace(back.Why[i])
		}
		if there.Op != back.Op || !slices.Equal(there.Why, back.Why) && len(there.Why) < 5 {
			rt.Errorf("PlanInitramfs() = %v, the other way round %v; want the same differences", there, back)
		}
	})
}

func FuzzCrypttab(f *testing.F) {
	f.Add([]byte("# x\nroot UUID=1 none luks,discard\nswap /dev/x\n\tdata /dev/y /key x-initrd.attach"), "root")
	f.Add([]byte("root\n\x00 \xff\r\n"), "")
	f.Fuzz(func(t *testing.T, crypttab []byte, name string) {
		lines := func(data []byte) [][]byte { return bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")) }
		all := lines(crypttab)
		for _, line := range lines(derive.CrypttabFor(true, crypttab, name)) {
			if len(line) > 0 && !slices.ContainsFunc(all, func(l []byte) bool { return bytes.Equal(l, line) }) {
				t.Errorf("CrypttabFor(dracut, %q) has %q; want lines of it only", crypttab, line)
			}
		}
		marked := derive.CrypttabFor(false, crypttab, name)
		if len(lines(marked)) != len(all) {
			t.Errorf("CrypttabFor(mkinitramfs, %q) = %q; want as many lines", crypttab, marked)
		}
		if again := derive.CrypttabFor(false, marked, name); !bytes.Equal(again, marked) {
			t.Errorf("CrypttabFor(mkinitramfs) of what it made = %q; want %q", again, marked)
		}
	})
}

func FuzzSmallParsers(f *testing.F) {
	f.Add("SELINUX=enforcing\n SELINUXTYPE=targeted\n/dev/a / ext4 x\n# b\n")
	f.Add("/dev/a /usr xfs,`x`\n/dev/b / auto\nSELINUX=\xff\x00")
	f.Fuzz(func(t *testing.T, text string) {
		if mode, _ := derive.ParseSELinux(text); !slices.Contains([]string{"", "enforcing", "permissive", "disabled"}, mode) {
			t.Errorf("ParseSELinux(%q) = %q; want a mode", text, mode)
		}
		for _, kind := range derive.FstabTypes([]byte(text), "/", "/usr") {
			if kind == "" || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
				t.Errorf("FstabTypes(%q) has %q; want what a shell takes for a word", text, kind)
			}
		}
		once := derive.Significant([]byte(text))
		if twice := derive.Significant(once); !bytes.Equal(once, twice) {
			t.Errorf("Significant(%q) of itself = %q; want %q", text, twice, once)
		}
	})
}
