package derive_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/derive"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// labelled is a tree with a policy, and a setfiles that writes down how it
// was called.
var labelled = files{
	"etc/selinux/config": "# SELINUX=disabled\nSELINUX=enforcing\nSELINUXTYPE=targeted \n",
	"etc/selinux/targeted/contexts/files/file_contexts": "/etc(/.*)? system_u:object_r:etc_t:s0\n",
	"usr/sbin/setfiles": "#!/bin/sh\nset -eu\nprintf '%s\\n' \"$@\" >/called\nfor a; do case $a in /run/*) cat \"$a\" >/paths;; esac; done\n",
}

func TestPlanLabels(t *testing.T) {
	for _, c := range []struct {
		name  string
		tree  files
		paths string
		want  string
	}{
		{"enforcing", labelled, "etc/a etc/b", "make       labels: 2 paths were written"},
		{"nothing", labelled, "", "keep       labels: nothing was written"},
		{"no setfiles", labelled.with(files{"usr/sbin/setfiles": ""}), "etc/a", "lack       labels: 1 paths were written, there is no setfiles"},
		{"no SELinux", files{"etc/passwd": "x"}, "etc/a", "keep       labels: SELinux is disabled"},
		{"disabled", labelled.with(files{"etc/selinux/config": "SELINUX=Disabled\nSELINUX=enforcing\nSELINUXTYPE=targeted"}), "etc/a", "keep       labels: SELinux is disabled"},
		{"no mode", labelled.with(files{"etc/selinux/config": " SELINUX=enforcing\nSELINUX=\nSELINUXTYPE=targeted"}), "etc/a", "keep       labels: SELinux is disabled"},
		{"permissive", labelled.with(files{"etc/selinux/config": "SELINUX=permissive\nSELINUXTYPE=minimum\n  SELINUXTYPE=targeted;\r\n"}), "etc/a", "make       labels: 1 paths were written"},
		{"other policy", labelled.with(files{"etc/selinux/config": "SELINUX=permissive\nSELINUXTYPE=mls\n"}), "etc/a", "keep       labels: there is no policy mls"},
		{"no policy", labelled.with(files{"etc/selinux/config": "SELINUX=permissive\n"}), "etc/a", `plan labels: etc/selinux/config: SELINUXTYPE ""`},
		{"policy elsewhere", labelled.with(files{"etc/selinux/config": "SELINUX=permissive\nSELINUXTYPE=../../x\n"}), "etc/a", `plan labels: etc/selinux/config: SELINUXTYPE "../../x"`},
		{"enormous", labelled.with(files{"etc/selinux/config": strings.Repeat("x", 2<<20)}), "etc/a", "config: larger than 1048576 bytes"},
	} {
		got, err := c.tree.place(t).PlanLabels(strings.Fields(c.paths))
		line := got.String()
		if err != nil {
			line = err.Error()
		}
		if !strings.HasSuffix(line, c.want) {
			t.Errorf("%s: PlanLabels() = %s; want %s", c.name, line, c.want)
		}
	}
}

func TestSetLabels(t *testing.T) {
	tr := runs(t, labelled.place(t), "cat")
	if err := tr.SetLabels(t.Context(), []string{"etc/a b\nc", "etc/./[x]*?{y,z}~\\", ".", "etc/\xff"}); err != nil {
		t.Fatal(err)
	}
	want := "-F\n-i\n-e\n/dev\n-e\n/proc\n-e\n/run\n-e\n/sys\n-e\n/tmp\n-0\n-f\n/run/imgbase/labels/paths\n/etc/selinux/targeted/contexts/files/file_contexts\n"
	if diff := cmp.Diff(want, read(t, tr.Root, "called")); diff != "" {
		t.Errorf("setfiles was called otherwise (-want +got):\n%s", diff)
	}
	if got, want := read(t, tr.Root, "paths"), "/etc/a b\nc\x00/etc/\\[x\\]\\*\\?\\{y,z\\}~\\\\\x00/.\x00/etc/\xff\x00"; got != want {
		t.Errorf("setfiles read %q; want %q", got, want)
	}
	for _, bad := range []string{"", "/etc/a", "../a", "etc/../../a", "etc/a\x00b"} {
		if err := tr.SetLabels(t.Context(), []string{bad}); err == nil || !strings.HasPrefix(err.Error(), "set labels: path ") {
			t.Errorf("SetLabels(%q) = %v; want refused", bad, err)
		}
	}
	if err := tr.SetLabels(t.Context(), nil); err != nil {
		t.Errorf("SetLabels() of nothing = %v", err)
	}
	failing := runs(t, labelled.with(files{"usr/sbin/setfiles": "#!/bin/sh\necho because >&2\nexit 255\n"}).place(t))
	if err := failing.SetLabels(t.Context(), []string{"etc/a"}); err == nil || err.Error() != "set labels: setfiles: because" {
		t.Errorf("SetLabels() = %v; want what setfiles said", err)
	}
	none := files{"etc/passwd": "x"}.place(t)
	if err := none.SetLabels(t.Context(), []string{"etc/a"}); err == nil || err.Error() != "set labels: SELinux is disabled" {
		t.Errorf("SetLabels() without SELinux = %v; want refused", err)
	}
}

func label(t *testing.T, elem ...string) string {
	t.Helper()
	buf := make([]byte, 256)
	n, err := unix.Lgetxattr(filepath.Join(elem...), "security.selinux", buf)
	if errors.Is(err, unix.ENODATA) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimRight(string(buf[:n]), "\x00")
}

func TestRealLabels(t *testing.T) {
	root := realTools(t)
	odd := "etc/a [b]*{c,d}?\\~\n\xff"
	files{
		"etc/selinux/config": "SELINUX=permissive\nSELINUXTYPE=default\n",
		odd:                  "x", "etc/ab": "x", "etc/link": "-> /proc/version", "etc/new/file": "x", "etc/new/deep/file": "x",
		"etc/shadow.link": "-> shadow", "var/log/x": "x", "etc/other": "x",
		"etc/selinux/default/contexts/files/file_contexts.local": "/etc/new/file\tsystem_u:object_r:shadow_t:s0\n",
	}.write(t, root)
	tr := tree(root)
	paths := []string{odd, "etc/a*", "etc/link", "etc/new", "etc/shadow", "etc/shadow.link", "etc/gone", "usr/sbin/setfiles"}
	if c, err := tr.PlanLabels(paths); err != nil || c.Op != derive.Make {
		t.Fatalf("PlanLabels() = %v, %v; want made", c, err)
	}
	for range 2 {
		if err := tr.SetLabels(t.Context(), paths); err != nil {
			t.Fatalf("SetLabels() = %v", err)
		}
	}
	const etc, shadow = "system_u:object_r:etc_t:s0", "system_u:object_r:shadow_t:s0"
	for name, want := range map[string]string{
		odd: etc, "etc/link": etc, "etc/new": etc, "etc/new/deep/file": etc, "etc/new/file": shadow, "etc/shadow": shadow,
		"etc/shadow.link": etc, "usr/sbin/setfiles": "system_u:object_r:setfiles_exec_t:s0",
		"etc/ab": "", "etc/other": "", "var/log/x": "", "etc": "",
	} {
		if got := label(t, root, name); got != want {
			t.Errorf("label of %q = %q; want %q", name, got, want)
		}
	}
}
