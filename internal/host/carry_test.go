package host_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imgbase/internal/host/hosttest"
)

// owner is who owns a file of the running system.
func owner(h *hosttest.Host, name string) uint32 {
	h.T.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(h.Root(), name), &st); err != nil {
		h.T.Fatal(err)
	}
	return st.Uid
}

// withUser is an image that has a system user of that number, and a file of his.
func withUser(h *hosttest.Host, nvr, user, uid string, number int) string {
	h.T.Helper()
	dir := h.Image(nvr, map[string]string{
		"etc/passwd":                h.SystemFile("etc/passwd") + user + ":x:" + uid + ":" + uid + "::/:/usr/sbin/nologin\n",
		"etc/group":                 h.SystemFile("etc/group") + user + ":x:" + uid + ":\n",
		"usr/lib/" + user + "/file": "of " + user + "\n",
		"etc/" + user + ".conf":     "of " + user + "\n",
	})
	for _, name := range []string{"usr/lib/" + user + "/file", "etc/" + user + ".conf"} {
		h.Must(nil, os.Lchown(filepath.Join(dir, name), number, number))
	}
	return dir
}

// The host's numbers win: its user keeps the one that an image gives to
// another, and files of that one get a free number, in every later update.
func TestAccountsOverUpdates(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners")
	}
	h := taken(t)
	mine := "mine:x:990:990::/home/mine:/bin/bash\n"
	h.Write(map[string]string{"etc/passwd": h.Read("etc/passwd") + mine, "etc/group": h.Read("etc/group") + "mine:x:990:\n"})
	var given uint32
	for i, nvr := range []string{"node-1.1-1", "node-1.2-1", "node-1.3-1"} {
		// The number that an image gives the user differs from image to image.
		uid := 990 - i
		h.Must(h.Update(withUser(h, nvr, "vendor", string(rune('0'+uid/100))+string(rune('0'+uid/10%10))+string(rune('0'+uid%10)), uid)))
		h.Boot()
		running(t, h, nvr+"+1")
		if passwd := h.Read("etc/passwd"); !strings.Contains(passwd, mine) || strings.Count(passwd, "\nvendor:") != 1 {
			t.Errorf("passwd after %s:\n%s\nwant the host's user as he was, and vendor once", nvr, passwd)
		}
		got := owner(h, "usr/lib/vendor/file")
		if i == 0 {
			given = got
		}
		if got == 0 || got == 990 || got != given || owner(h, "etc/vendor.conf") != got {
			t.Errorf("owners after %s: file %d, /etc %d; want %d, one number for good, and not 990", nvr, got, owner(h, "etc/vendor.conf"), given)
		}
	}
}

// Numbers that differ between image and host are nobody's change of /etc.
func TestDriftIsNoChange(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners")
	}
	h := taken(t)
	h.Write(map[string]string{"etc/passwd": h.Read("etc/passwd") + "mine:x:990:990::/:/bin/sh\n", "etc/group": h.Read("etc/group") + "mine:x:990:\n"})
	h.Must(h.Update(withUser(h, "node-1.1-1", "vendor", "990", 990)))
	h.Boot()
	c := h.Must(h.Update(withUser(h, "node-1.2-1", "vendor", "990", 990)))
	for _, change := range c.Carried.Etc.Changes {
		if change.Path == "vendor.conf" {
			t.Errorf("change %v; want none", change)
		}
	}
	h.Boot()
	// What he drops, though its owner has another number here, goes.
	dir := withUser(h, "node-1.3-1", "vendor", "990", 990)
	h.Must(nil, os.Remove(filepath.Join(dir, "etc/vendor.conf")))
	h.Must(h.Update(dir))
	h.Boot()
	if got := h.Read("etc/vendor.conf"); got != "" {
		t.Errorf("a file that the vendor dropped = %q; want it gone", got)
	}
}

// The administrator's own rules for /etc count besides ours.
func TestRulesOfTheConfiguration(t *testing.T) {
	h := taken(t)
	h.EtcMine, h.EtcVendor = []string{"app/id"}, []string{"app/cache*"}
	h.Write(map[string]string{"etc/app/id": "mine\n", "etc/app/cache.db": "mine\n", "etc/app/conf": "mine\n"})
	vendor := map[string]string{"etc/app/id": "vendor\n", "etc/app/cache.db": "vendor\n", "etc/app/conf": "vendor\n"}
	h.Must(h.Update(h.Image("node-1.1-1", vendor)))
	h.Boot()
	for name, want := range map[string]string{
		"etc/app/id": "mine\n", "etc/app/id.imgnew": "", "etc/app/cache.db": "vendor\n", "etc/app/cache.db.imgnew": "",
		"etc/app/conf": "mine\n", "etc/app/conf.imgnew": "vendor\n",
	} {
		if got := h.Read(name); got != want {
			t.Errorf("%s = %q; want %q", name, got, want)
		}
	}
}

// What is configured, and what the Config volume lists, comes along; deletions
// too. What has a file system of its own, and /var, do not.
func TestCarriedTrees(t *testing.T) {
	h := taken(t)
	h.Write(map[string]string{
		"root/notes": "mine\n", "usr/local/bin/tool": "mine\n", "opt/agent/conf": "mine\n", "srv/data": "mine\n",
		"usr/share/theme/x": "mine\n", "usr/share/other/x": "mine\n",
		"config/files": "# what we need\n/usr/share/theme\n/nothing\n", "config/rebase.d/hosts": "/etc/hosts\n",
		"etc/hosts": "one\ntwo\nthree\n", "opt/disk/huge": "not ours\n",
	})
	h.SetMount("/opt/disk", "/dev/sdb1", "ext4")
	c := h.Must(h.Update(h.Image("node-1.1-1", map[string]string{
		"usr/share/theme/y": "vendor\n", "etc/hosts": "one\ntwo\nthree\n", "root/vendor": "vendor\n", "opt/agent/conf": "vendor\n",
	})))
	h.Boot()
	for name, want := range map[string]string{
		"root/notes": "mine\n", "usr/local/bin/tool": "mine\n", "opt/agent/conf": "mine\n", "opt/agent/conf.imgnew": "vendor\n", "srv/data": "mine\n",
		"usr/share/theme/x": "mine\n", "usr/share/theme/y": "vendor\n", "usr/share/other/x": "", "opt/disk/huge": "", "root/vendor": "vendor\n",
	} {
		if got := h.Read(name); got != want {
			t.Errorf("%s = %q; want %q", name, got, want)
		}
	}
	if notes := strings.Join(c.Carried.Notes, "\n"); !strings.Contains(notes, "/nothing") {
		t.Errorf("notes %q; want one about the line that chooses nothing", notes)
	}

	// From an image on, deletions and lines can be told.
	h.SetMount("/opt/disk", "", "")
	h.Write(map[string]string{"root/vendor": "-", "etc/hosts": "one mine\ntwo\nthree\n", "config/rebase.d/hosts": "/etc/hosts\n"})
	h.Must(h.Update(h.Image("node-1.2-1", map[string]string{
		"root/vendor": "vendor\n", "etc/hosts": "one\ntwo\nthree vendor\n", "opt/agent/conf": "vendor\n", "usr/share/theme/y": "vendor\n",
	})))
	h.Boot()
	for name, want := range map[string]string{"root/vendor": "", "etc/hosts": "one mine\ntwo\nthree vendor\n", "root/notes": "mine\n"} {
		if got := h.Read(name); got != want {
			t.Errorf("after the second update, %s = %q; want %q", name, got, want)
		}
	}
}

// A list that cannot be read is refused before anything happens.
func TestBadList(t *testing.T) {
	h := taken(t)
	h.Write(map[string]string{"config/files": "relative/path\n"})
	image, before := h.Image("node-1.1-1", nil), h.String()
	if _, err := h.Update(image); err == nil || !strings.Contains(err.Error(), "files:1") {
		t.Errorf("error = %v; want one that names file and line", err)
	}
	h.Unchanged(before)
}
