package host_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/host/hosttest"
)

// settings is a package with configuration in /var: the kind that the next
// version replaces.
func settings(t *testing.T, version string) string {
	return buildRPM(t, "settings", version, `%install
mkdir -p %{buildroot}/var/lib/settings
for f in left edited chmodded linked; do echo of %{version} >%{buildroot}/var/lib/settings/$f; done
%files
%config /var/lib/settings/*
`)
}

// Configuration in /var that nobody changed since its image brought it is
// replaced by the next image's; what somebody changed stays.
func TestUntouchedConfigurationInVar(t *testing.T) {
	needRPM(t)
	h := taken(t)
	for _, version := range []string{"1", "2", "3"} {
		h.Must(h.Update(rpmImage(h, "node-1."+version+"-1", nil, settings(t, version))))
		h.Boot()
		done := started(h)
		var conflicts []string
		for _, c := range done.Var {
			if c.Conflict {
				conflicts = append(conflicts, filepath.Base(c.Path))
			}
		}
		got, want := strings.Join(conflicts, " "), "chmodded edited linked"
		if version == "1" { // it is new
			want = ""
		}
		if got != want || len(done.Notes) > 0 {
			t.Errorf("version %s: conflicts %q, notes %q; want conflicts %q and no note", version, got, done.Notes, want)
		}
		for file, content := range map[string]string{"left": version, "edited.imgnew": version, "chmodded.imgnew": version, "linked.imgnew": version} {
			if version == "1" && strings.Contains(file, ".") {
				continue
			}
			if got, want := h.Read("var/lib/settings/"+file), "of "+content+"\n"; got != want {
				t.Errorf("version %s: %s = %q; want %q", version, file, got, want)
			}
		}
		if version == "1" {
			touch(h)
		}
	}
	if got := h.Read("var/lib/settings/edited"); got != "mine\n" {
		t.Errorf("edited = %q; want mine", got)
	}
	if got, want := h.Read("var/lib/settings/left.imgbak"), "of 1\n"; got != want {
		t.Errorf("left.imgbak = %q; want %q, which was replaced first", got, want)
	}
}

// touch changes files of settings in three ways.
func touch(h *hosttest.Host) {
	h.T.Helper()
	h.Write(map[string]string{"var/lib/settings/edited": "mine\n"})
	dir := filepath.Join(h.Root(), "var/lib/settings")
	h.Must(nil, os.Chmod(filepath.Join(dir, "chmodded"), 0o600))
	h.Must(nil, os.Rename(filepath.Join(dir, "linked"), filepath.Join(dir, "real")))
	h.Must(nil, os.Symlink("real", filepath.Join(dir, "linked")))
}

// Without the layer that ran before nothing is known to be untouched.
func TestUntouchedIsNotKnown(t *testing.T) {
	needRPM(t)
	h := taken(t)
	h.Must(h.Update(rpmImage(h, "node-1.1-1", nil, settings(t, "1"))))
	h.Boot()
	started(h)
	h.Must(h.Update(rpmImage(h, "node-1.2-1", nil, settings(t, "2"))))
	h.Boot()
	retag(h, "node-1.2-1+1", "imgbased:before:node-0.9-1+1", "imgbased:before:node-1.1-1+1")
	if started(h); h.Read("var/lib/settings/left") != "of 1\n" || h.Read("var/lib/settings/left.imgnew") != "of 2\n" {
		t.Errorf("left = %q, left.imgnew = %q; want the host's, and the vendor's beside",
			h.Read("var/lib/settings/left"), h.Read("var/lib/settings/left.imgnew"))
	}
}
