package host_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imgbase/internal/host"
	"imgbase/internal/host/hosttest"
)

// attributes is mode, owner and group of a file of the running system.
func attributes(h *hosttest.Host, name string) string {
	h.T.Helper()
	var st unix.Stat_t
	h.Must(nil, unix.Lstat(filepath.Join(h.Root(), name), &st))
	return fmt.Sprintf("%04o %d %d", st.Mode&0o7777, st.Uid, st.Gid)
}

// modeCases are files of a package: mode and owner that the package gives them,
// what then is done to them in the image, and what the layer has.
var modeCases = []struct {
	file, packed, script, want string
	restored                   bool
}{
	{"usr/bin/fine", "0755, root, root", ":", "0755 0 0", false},
	{"usr/bin/open", "0755, root, root", "chmod 0777 $1", "0755 0 0", true},
	{"usr/bin/suid", "0755, root, root", "chmod 6755 $1", "0755 0 0", true},
	{"usr/bin/mixed", "0755, root, root", "chmod 0666 $1", "0644 0 0", true},
	{"etc/key", "0600, root, root", "chmod 0644 $1", "0600 0 0", true},
	{"etc/d/in", "0644, root, root", "chmod 0777 ${1%/*}", "0644 0 0", false},
	{"usr/share/given", "0644, root, root", "chown 7:8 $1", "0644 0 0", true},
	{"usr/share/group", "0644, root, daemon", "chgrp 8 $1", "0644 0 1", true},
	{"usr/share/its", "4755, daemon, root", "chown 7 $1; chmod 4755 $1", "4755 1 0", true},
	{"usr/lib/real/x", "0755, root, root", "chmod 0777 $1", "0755 0 0", true},
	// Somebody tightened these, and they stay so.
	{"usr/bin/was-suid", "4755, root, root", "chmod 0755 $1", "0755 0 0", false},
	{"usr/bin/wheel", "4755, root, root", "chgrp 8 $1; chmod 4750 $1", "4750 0 8", false},
	{"usr/share/secret", "0644, daemon, daemon", "chown 0:0 $1; chmod 0600 $1", "0600 0 0", false},
	{"usr/share/roots", "0644, daemon, root", "chown 0 $1", "0644 0 0", false},
	// Of these the layer's own kind of file is something else, or in no layer.
	{"usr/share/kind", "0644, root, root", "rm $1; mkdir $1; chmod 0777 $1", "0777 0 0", false},
	{"usr/share/linked", "0644, root, root", "rm $1; ln -s /usr/bin/open $1", "0777 0 0", false},
	{"usr/share/unknown", "0644, nobody-knows, root", "chown 7 $1", "0644 7 0", false},
}

// modal is the package of modeCases, and what else a test has files for.
func modal(t *testing.T) string {
	var install, files strings.Builder
	add := func(file, attributes string) {
		fmt.Fprintf(&install, "mkdir -p %%{buildroot}/%s; echo x >%%{buildroot}/%s\n", filepath.Dir(file), file)
		fmt.Fprintf(&files, "%%attr(%s) /%s\n", attributes, file)
	}
	for _, c := range modeCases {
		add(c.file, c.packed)
	}
	for _, file := range []string{"etc/mine", "opt/mine", "etc/theirs", "var/lib/open"} {
		add(file, "0644, root, root")
	}
	files.WriteString("%ghost %attr(0600, root, root) /etc/ghost\n%dir %attr(1777, root, root) /usr/share/sticky\n%dir %attr(0755, root, root) /etc/d\n")
	files.WriteString("%config(noreplace) %attr(0600, root, root) /etc/shadow\n")
	install.WriteString("mkdir -p %{buildroot}/usr/share/sticky; for f in ghost shadow; do echo x >%{buildroot}/etc/$f; done\n")
	return buildRPM(t, "modal", "1", "%install\n"+install.String()+"%files\n"+files.String())
}

// modalImage is an image that has the package, with files changed since.
func modalImage(h *hosttest.Host, nvr, file string) string {
	h.T.Helper()
	t := h.T.(*testing.T)
	image := rpmImage(h, nvr, map[string]string{"etc/group": h.SystemFile("etc/group") + "other:x:8:\n"}, file)
	for _, c := range modeCases {
		sh(t, c.script, filepath.Join(image, c.file))
	}
	sh(t, `cd "$1"; chmod 0755 usr/share/sticky; echo made >etc/ghost; chmod 0644 etc/ghost; chmod 0777 var/lib/open etc/theirs
mv usr/lib/real usr/lib/moved; ln -s moved usr/lib/real`, image)
	return image
}

// What files of an image grant beyond what their packages say is taken back in
// its layers; what grants less stays.
func TestModes(t *testing.T) {
	needRPM(t)
	h := taken(t)
	c := h.Must(h.Update(modalImage(h, "node-1.1-1", modal(t))))
	h.Boot()
	want := []string{"/etc/theirs", "/usr/share/sticky", "/etc/d"}
	for _, f := range modeCases {
		if now := attributes(h, f.file); now != f.want {
			t.Errorf("%s, packed as %s, then %q: %s; want %s", f.file, f.packed, f.script, now, f.want)
		}
		if f.restored {
			want = append(want, "/"+f.file)
		}
	}
	for name, mode := range map[string]string{
		"etc/theirs": "0644 0 0", "etc/ghost": "0644 0 0", "usr/share/sticky": "1755 0 0", "etc/d": "0755 0 0",
	} {
		if now := attributes(h, name); now != mode {
			t.Errorf("%s: %s; want %s", name, now, mode)
		}
	}
	wantRestored(t, c, want)
	line := "/usr/share/given of modal: owner was 7, is root; group was 8, is root"
	if !slices.ContainsFunc(c.Modes, func(r host.Restored) bool { return r.String() == line }) {
		t.Errorf("restored %v; want the line %q", c.Modes, line)
	}
}

func wantRestored(t *testing.T, c *host.Change, want []string) {
	t.Helper()
	var got []string
	for _, r := range c.Modes {
		if got = append(got, r.Path); r.Package != "modal" || r.Why == "" {
			t.Errorf("restored %+v; want the package, and why", r)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(c.Notes) > 0 {
		t.Errorf("restored %q, notes %q; want %q without a note", got, c.Notes, want)
	}
}

// What the administrator decided stays, in /etc and in the other trees; what is
// not carried does not. What was restored in /etc is not opened by the next
// image. /var has no layer's modes.
func TestModesOfTheAdministrator(t *testing.T) {
	needRPM(t)
	h := taken(t)
	file := modal(t)
	for _, nvr := range []string{"node-1.1-1", "node-1.2-1", "node-1.3-1"} {
		c := h.Must(h.Update(modalImage(h, nvr, file)))
		h.Boot()
		started(h)
		if nvr == "node-1.1-1" {
			for _, name := range []string{"etc/mine", "opt/mine", "usr/bin/fine", "etc/shadow", "etc/ghost"} {
				h.Must(nil, os.Chmod(filepath.Join(h.Root(), name), 0o666))
			}
			continue
		}
		for name, mode := range map[string]string{
			"etc/mine": "0666 0 0", "opt/mine": "0666 0 0", "etc/shadow": "0666 0 0", "etc/ghost": "0666 0 0", "usr/bin/fine": "0755 0 0",
			"etc/theirs": "0644 0 0", "etc/key": "0600 0 0", "var/lib/open": "0777 0 0",
		} {
			if now := attributes(h, name); now != mode {
				t.Errorf("%s, %s: %s; want %s", nvr, name, now, mode)
			}
		}
		var want []string
		for _, f := range modeCases {
			if f.restored && !strings.HasPrefix(f.file, "etc/") {
				want = append(want, "/"+f.file)
			}
		}
		wantRestored(t, c, append(want, "/usr/share/sticky"))
	}
}

// Files that got other numbers because the host has others are as rpm says.
func TestModesOfReownedFiles(t *testing.T) {
	needRPM(t)
	h := taken(t)
	h.Write(map[string]string{"etc/passwd": h.Read("etc/passwd") + "mine:x:990:990::/:/bin/sh\n", "etc/group": h.Read("etc/group") + "mine:x:990:\n"})
	file := buildRPM(t, "theirs", "1", "%install\nmkdir -p %{buildroot}/usr/lib/theirs; echo x >%{buildroot}/usr/lib/theirs/f\n%files\n%attr(4711, theirs, theirs) /usr/lib/theirs/f\n")
	accounts := map[string]string{
		"etc/passwd": h.SystemFile("etc/passwd") + "alias:x:990:990::/:/bin/sh\ntheirs:x:990:990::/:/bin/sh\n",
		"etc/group":  h.SystemFile("etc/group") + "theirs:x:990:\n",
	}
	c := h.Must(h.Update(rpmImage(h, "node-1.1-1", accounts, file)))
	h.Boot()
	if got := attributes(h, "usr/lib/theirs/f"); got != "4711 999 999" || len(c.Modes)+len(c.Notes) > 0 {
		t.Errorf("file %s, restored %v, notes %q; want 4711 999 999 and nothing to restore", got, c.Modes, c.Notes)
	}
}

// A database that cannot be asked is no reason to stop an update.
func TestModesUnknown(t *testing.T) {
	needRPM(t)
	h := taken(t)
	c := h.Must(h.Update(h.Image("node-1.1-1", map[string]string{rpmDatabase + "/rpmdb.sqlite": "no database"})))
	if notes := strings.Join(c.Notes, "\n"); !strings.Contains(notes, "modes of files are as they were: ") {
		t.Errorf("notes %q; want one about modes", c.Notes)
	}
}
