package host_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"imgbase/internal/host/hosttest"
	"imgbase/internal/run"
)

// rpmDatabase is where images have their rpm database.
const rpmDatabase = "usr/lib/sysimage/rpm"

// needRPM skips a test where rpm cannot be had, which is a failure in the lab.
func needRPM(t *testing.T) {
	t.Helper()
	why := ""
	if os.Geteuid() != 0 {
		why = "needs root: rpm works in a tree"
	}
	for _, program := range []string{"rpm", "rpmbuild"} {
		if _, err := (run.OS{}).Run(t.Context(), run.Cmd{Name: program, Args: []string{"--version"}}); err != nil {
			why = "needs " + program
		}
	}
	switch {
	case why != "" && os.Getenv("IMGBASE_REQUIRE_LAB") != "":
		t.Fatal(why)
	case why != "":
		t.Skip(why)
	}
}

func sh(t *testing.T, script string, args ...string) {
	t.Helper()
	out, err := run.OS{}.Run(t.Context(), run.Cmd{Name: "sh", Args: append([]string{"-ec", script, "sh"}, args...)})
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out.Stdout)
	}
}

// buildRPM builds a package from the lines of a spec file after its header.
func buildRPM(t *testing.T, name, version, spec string) string {
	t.Helper()
	top := t.TempDir()
	text := fmt.Sprintf("Name: %s\nVersion: %s\nRelease: 1\nSummary: test\nLicense: MIT\nBuildArch: noarch\n%%description\ntest\n%s", name, version, spec)
	if err := os.WriteFile(filepath.Join(top, "p.spec"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	sh(t, `rpmbuild -bb --quiet --define "_topdir $1" "$1/p.spec" >"$1/log" 2>&1 || { cat "$1/log"; exit 1; }`, top)
	return filepath.Join(top, "RPMS/noarch", name+"-"+version+"-1.noarch.rpm")
}

// rpmImage is an image in which packages are installed.
func rpmImage(h *hosttest.Host, nvr string, changes map[string]string, rpms ...string) string {
	h.T.Helper()
	image := h.Image(nvr, changes)
	t, ok := h.T.(*testing.T)
	if !ok {
		h.T.Fatal("not a test")
	}
	sh(t, `root=$1 db=/$2; shift 2
rpm --root "$root" --dbpath "$db" --initdb
rpm --root "$root" --dbpath "$db" -i --nodeps --noscripts "$@" 2>/dev/null`, append([]string{image, rpmDatabase}, rpms...)...)
	return image
}
