package host_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/host"
	"imgbase/internal/host/hosttest"
)

const (
	dnfLocks   = "etc/dnf/plugins/versionlock.list"
	yumLocks   = "etc/yum/pluginconf.d/versionlock.list"
	locksBegin = "# imgbase: begin of the packages of the image; written by every update\n"
	locksEnd   = "# imgbase: end of the packages of the image\n"
)

// block is ours in a list.
func block(locked ...string) string {
	return locksBegin + strings.Join(locked, "\n") + "\n" + locksEnd
}

func empty(t *testing.T, name, version string) string {
	return buildRPM(t, name, version, "%files\n")
}

// locking is an image with the plug-in for version locks, and packages of a
// version.
func locking(h *hosttest.Host, version, list string) string {
	h.T.Helper()
	t := h.T.(*testing.T)
	return rpmImage(h, "node-1."+version+"-1", map[string]string{dnfLocks: list, "tmp/keep": ""},
		empty(t, "base", version), empty(t, "node-image-update", version))
}

func wantLocks(h *hosttest.Host, when, want string) {
	h.T.Helper()
	if got := h.Read(dnfLocks); got != want {
		h.T.Errorf("list %s:\n%s\nwant:\n%s", when, got, want)
	}
}

// ofLocks are the changes of a list in a merge, on one line.
func ofLocks(c *host.Carried) string {
	var words []string
	for _, change := range c.Etc.Changes {
		if strings.Contains(change.Path, "versionlock") {
			words = append(words, string(change.Op))
			if change.Conflict {
				words = append(words, "conflict")
			}
		}
	}
	return strings.Join(words, " ")
}

// Every layer locks its own image's packages, and no line of the administrator
// or the vendor gets lost; that we wrote into the list is nobody's change.
func TestVersionLocks(t *testing.T) {
	needRPM(t)
	h := taken(t)
	for _, step := range []struct{ version, vendors, mine, change, want string }{
		{"1", "# 1\n#\n", "", "vendor", "# 1\n#\n" + block("base-1-1.noarch")},
		{"2", "# 1\n#\n", "", "", "# 1\n#\n" + block("base-2-1.noarch")},
		{"3", "# 3\n#\n", "", "", "# 3\n#\n" + block("base-3-1.noarch")},
		{"4", "# 3\n#\n", "mine-1\n", "carry", "# 3\n#\n" + block("base-4-1.noarch") + "mine-1\n"},
		{"5", "# 5\n#\n", "mine-2\n", "rebase", "# 5\n#\nmine-1\nmine-2\n" + block("base-5-1.noarch")},
		{"6", "# 5\n#\nlock\n", "", "carry conflict", "# 5\n#\nmine-1\nmine-2\n" + block("base-6-1.noarch")},
	} {
		h.Write(map[string]string{dnfLocks: h.Read(dnfLocks) + step.mine})
		if step.version == "1" {
			h.Write(map[string]string{dnfLocks: "-"})
		}
		c := h.Must(h.Update(locking(h, step.version, step.vendors)))
		h.Boot()
		wantLocks(h, "of version "+step.version, step.want)
		if got := ofLocks(c.Carried); got != step.change {
			t.Errorf("version %s: changes of the list: %q; want %q", step.version, got, step.change)
		}
		if len(c.Notes) > 0 {
			t.Errorf("version %s: notes %q; want none", step.version, c.Notes)
		}
	}
}

// What was added to the image is its owner's to update.
func TestAddedPackagesAreNotLocked(t *testing.T) {
	needRPM(t)
	h := taken(t)
	h.Must(h.Update(locking(h, "1", "")))
	h.Boot()
	added := buildRPM(t, "added", "7", "%files\n")
	newer := buildRPM(t, "base", "9", "%files\n")
	sh(t, `rpm --root "$1" --dbpath "/$2" -U --nodeps --noscripts "$3" "$4" 2>/dev/null`, h.Root(), rpmDatabase, added, newer)
	for _, file := range []string{added, newer} {
		if _, ok, err := h.Host().Store().Keep(t.Context(), file); err != nil || !ok {
			t.Fatalf("Keep(%s) = %v, %v", file, ok, err)
		}
	}
	image := rpmImage(h, "node-1.2-1", map[string]string{dnfLocks: "", "tmp/keep": ""}, empty(t, "base", "2"), empty(t, "other", "2"))
	c := h.Must(h.Update(image))
	h.Boot()
	if c.Packages == nil || len(c.Packages.Changes) != 2 {
		t.Fatalf("packages %+v; want both installed", c.Packages)
	}
	wantLocks(h, "beside added packages", block("other-2-1.noarch"))
}

// Locks of another kind of system, or of none, are not made up.
func TestWhereLocksAre(t *testing.T) {
	needRPM(t)
	for _, c := range []struct {
		name  string
		files map[string]string
		link  bool // yum's directory is a link to dnf's
		want  map[string]string
	}{
		{"no plug-in", nil, false, map[string]string{dnfLocks: "", yumLocks: ""}},
		{"plug-in without a list", map[string]string{"etc/dnf/plugins/versionlock.conf": "[main]\n"}, false, map[string]string{dnfLocks: block("base-2-1.noarch"), yumLocks: ""}},
		{"yum", map[string]string{yumLocks: "a\n"}, false, map[string]string{dnfLocks: "", yumLocks: "a\n" + block("base-2-1.noarch")}},
		{"both", map[string]string{yumLocks: "a\n", dnfLocks: "b\n"}, false, map[string]string{dnfLocks: "b\n" + block("base-2-1.noarch"), yumLocks: "a\n" + block("base-2-1.noarch")}},
		{"one by two names", map[string]string{dnfLocks: "b\n"}, true, map[string]string{dnfLocks: "b\n" + block("base-2-1.noarch"), yumLocks: "b\n" + block("base-2-1.noarch")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := taken(t)
			image := rpmImage(h, "node-1.2-1", c.files, empty(t, "base", "2"))
			if c.link {
				h.Must(nil, os.MkdirAll(filepath.Join(image, "etc/yum"), 0o755))
				h.Must(nil, os.Symlink("../dnf/plugins", filepath.Join(image, "etc/yum/pluginconf.d")))
			}
			h.Must(h.Update(image))
			h.Boot()
			for name, want := range c.want {
				if got := h.Read(name); got != want {
					t.Errorf("%s = %q; want %q", name, got, want)
				}
			}
		})
	}
}

// A system without rpm has nothing to lock, and our block goes.
func TestNothingToLock(t *testing.T) {
	h := taken(t)
	h.Must(h.Update(h.Image("node-1.1-1", map[string]string{dnfLocks: "a\n" + block("gone-1-1.noarch") + "b\n"})))
	h.Boot()
	wantLocks(h, "without rpm", "a\nb\n")
}

// A list that cannot be divided into the administrator's lines and ours stays
// as it is, with a note; so does one that is no file.
func TestDamagedLocks(t *testing.T) {
	h := taken(t)
	h.Must(h.Update(h.Image("node-1.1-1", map[string]string{dnfLocks: "a\n"})))
	h.Boot()
	for i, damaged := range []string{"a\n" + locksBegin + "b\n", "a\n" + locksEnd, block("a") + locksBegin} {
		h.Write(map[string]string{dnfLocks: damaged})
		c := h.Must(h.Update(h.Image("node-1."+string(rune('2'+i))+"-1", map[string]string{dnfLocks: "a\n"})))
		h.Boot()
		wantLocks(h, "that is damaged", damaged)
		if notes := strings.Join(c.Notes, "\n"); !strings.Contains(notes, "/"+dnfLocks+" stays as it is: version locks: ") || !strings.Contains(notes, "line ") {
			t.Errorf("notes %q; want one that names list and line", c.Notes)
		}
	}
	h.Write(map[string]string{dnfLocks: "-", dnfLocks + "/in": ""})
	if c := h.Must(h.Update(h.Image("node-1.7-1", nil))); !strings.Contains(strings.Join(c.Notes, "\n"), dnfLocks) {
		t.Errorf("notes %q; want one about a list that is a directory", c.Notes)
	}
}

// What somebody locks between update and reboot comes along; the packages
// locked are the new layer's.
func TestLateLocks(t *testing.T) {
	needRPM(t)
	for name, late := range map[string]struct{ list, want string }{
		"added":       {"v\n" + block("base-1-1.noarch") + "mine-1\n", "v\nmine-1\n" + block("base-2-1.noarch")},
		"ours edited": {"v\n" + locksBegin + locksEnd, "v\n" + block("base-2-1.noarch")},
		"nothing":     {"v\n" + block("base-1-1.noarch"), "v\n" + block("base-2-1.noarch")},
	} {
		h := taken(t)
		h.Must(h.Update(locking(h, "1", "v\n")))
		h.Boot()
		started(h)
		h.Must(h.Update(locking(h, "2", "v\n")))
		h.Write(map[string]string{dnfLocks: late.list})
		carried, err := h.Host().Stop(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := ofLocks(carried); strings.Contains(got, "conflict") {
			t.Errorf("%s: changes of the list: %q; want no conflict", name, got)
		}
		h.Boot()
		wantLocks(h, "with late changes: "+name, late.want)
	}
}
