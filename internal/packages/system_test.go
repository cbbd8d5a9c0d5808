package packages_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/packages"
)

const odd = "AutoReqProv: no\nEpoch: 3\n%install\nmkdir -p %{buildroot}/etc %{buildroot}/var/lib/odd\n" +
	"for f in etc/odd.conf etc/merged.conf \"var/lib/odd/it's \" var/lib/odd/plain; do echo a >\"%{buildroot}/$f\"; done\n" +
	"%files\n%config(noreplace) /etc/odd.conf\n%config /etc/merged.conf\n%dir /var/lib/odd\n\"/var/lib/odd/it's \"\n/var/lib/odd/plain\n%ghost /var/lib/odd/ghost\n"

func TestInstalledWhereRPMKeepsIt(t *testing.T) {
	files := []string{rpm(t, "odd", "1", odd), rpm(t, "meta", "1.5", "")}
	for _, c := range []struct {
		name, dir string
		own       bool
		arrange   string
	}{
		{"EL 8", "var/lib/rpm", false, ""},
		{"EL 9", "usr/lib/sysimage/rpm", true, `mkdir -p "$1/var/lib"; ln -s ../../usr/lib/sysimage/rpm "$1/var/lib/rpm"`},
		{"absolute link", "usr/lib/sysimage/rpm", false, `mkdir -p "$1/var/lib"; ln -s /usr/lib/sysimage/rpm "$1/var/lib/rpm"`},
		{"EL 10", "usr/lib/sysimage/rpm", true, ""},
		{"the original's image", "usr/share/rpm", true, `mkdir -p "$1/var/lib"; ln -s /usr/share/rpm "$1/var/lib/rpm"`},
		{"a stale one in /var", "usr/lib/sysimage/rpm", false, `mkdir -p "$1/var/lib/rpm"; echo stale >"$1/var/lib/rpm/Packages"`},
		{"read-only", "usr/lib/sysimage/rpm", false, `rm "$1"/usr/lib/sysimage/rpm/*-wal "$1"/usr/lib/sysimage/rpm/*-shm; mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"`},
		{"read-only, with its own rpm", "usr/share/rpm", true, `rm "$1"/usr/share/rpm/*-wal "$1"/usr/share/rpm/*-shm; mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := rpmTree(t, c.dir, c.own)
			rpmInstall(t, root, c.dir, files...)
			sh(t, c.arrange+"\n:", root)
			defer sh(t, `umount "$1" 2>/dev/null || :`, root)
			got, err := system(root).Installed(t.Context())
			want := []packages.Package{
				{Format: "rpm", Name: "meta", Version: "1.5-1", Arch: "noarch"},
				{Format: "rpm", Name: "odd", Version: "3:1-1", Arch: "noarch"},
			}
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("Installed() = %v, %v (-want +got):\n%s", got, err, diff)
			}
			classes, err := system(root).Classes(t.Context(), "/var", "/etc")
			wantClasses := map[string]packages.Class{
				"/etc/odd.conf": packages.NoReplace, "/etc/merged.conf": packages.Config, "/var/lib/odd": packages.Packaged,
				"/var/lib/odd/it's ": packages.Packaged, "/var/lib/odd/plain": packages.Packaged, "/var/lib/odd/ghost": packages.Ghost,
			}
			if diff := cmp.Diff(wantClasses, classes); err != nil || diff != "" {
				t.Errorf("Classes() = %v, %v (-want +got):\n%s", classes, err, diff)
			}
			if left, err := filepath.Glob(os.TempDir() + "/imgbase-rpm-*"); err != nil || len(left) > 0 {
				t.Errorf("copies left = %v, %v; want none", left, err)
			}
		})
	}
}

// TestNothingOutsideTheTree has links that lead out, to a database that the
// test would see.
func TestNothingOutsideTheTree(t *testing.T) {
	outside := rpmTree(t, "usr/lib/sysimage/rpm", false)
	rpmInstall(t, outside, "usr/lib/sysimage/rpm", rpm(t, "outside", "1", ""))
	for _, target := range []string{outside + "/usr/lib/sysimage/rpm", strings.Repeat("../", 20) + outside + "/usr/lib/sysimage/rpm"} {
		root := t.TempDir()
		sh(t, `mkdir -p "$1/var/lib"; ln -s "$2" "$1/var/lib/rpm"; ln -s /var/lib/rpm "$1/var/lib/dpkg"`, root, target)
		if got, err := system(root).Installed(t.Context()); err == nil || !strings.Contains(err.Error(), "neither an rpm nor a dpkg database") {
			t.Errorf("Installed() with a link to %s = %v, %v; want no database", target, got, err)
		}
	}
}

func TestInstalledRefuses(t *testing.T) {
	for name, place := range map[string]func(root string) error{
		"no database": func(root string) error { return nil },
		"not a database": func(root string) error {
			return os.WriteFile(filepath.Join(root, "var/lib/rpm/rpmdb.sqlite"), []byte("hello"), 0o644)
		},
		"status cut short": func(root string) error {
			return os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), []byte("Package: a\nStatus: install ok installed\nVers"), 0o644)
		},
		"status is a directory": func(root string) error { return os.Mkdir(filepath.Join(root, "var/lib/dpkg/status"), 0o755) },
		"status.d is a file": func(root string) error {
			return os.WriteFile(filepath.Join(root, "var/lib/dpkg/status.d"), nil, 0o644)
		},
	} {
		need(t, "rpm")
		root := t.TempDir()
		sh(t, `mkdir -p "$1/var/lib/rpm" "$1/var/lib/dpkg"`, root)
		if err := place(root); err != nil {
			t.Fatal(err)
		}
		if got, err := system(root).Installed(t.Context()); name != "status.d is a file" && err == nil {
			t.Errorf("%s: Installed() = %v; want an error", name, got)
		}
	}
}

// TestInstalledAsDpkgQuery compares with dpkg on this machine's own database.
func TestInstalledAsDpkgQuery(t *testing.T) {
	need(t, "dpkg-query")
	want := sh(t, `dpkg-query -W -f '${db:Status-Status} ${Package}_${Version}_${Architecture}\n' | sed -n 's/^installed //p' | sort`)
	root := t.TempDir()
	sh(t, `mkdir -p "$1/var/lib"; cp -r /var/lib/dpkg "$1/var/lib/"`, root)
	got, err := system(root).Installed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if sorted := sh(t, `for p; do echo "$p"; done | sort`, strings.Fields(names(got))...); sorted != want {
		t.Errorf("Installed() (-want +got):\n%s", cmp.Diff(want, sorted))
	}
	classes, err := system(root).Classes(t.Context(), "/etc", "/var")
	if err != nil {
		t.Fatal(err)
	}
	wantPaths := sh(t, `{ cat /var/lib/dpkg/info/*.list; dpkg-query -W -f '${Conffiles}\n' | sed -n 's/^ \(.*\) [^ ]*$/\1/p' | sed 's/ [0-9a-f]\{32\}$//'; } | grep -E '^/(etc|var)(/|$)' | sort -u | wc -l`)
	if got := strconv.Itoa(len(classes)); got != wantPaths {
		t.Errorf("Classes() has %s paths; want %s", got, wantPaths)
	}
	if classes["/etc/bash.bashrc"] != packages.NoReplace || classes["/var/lib/dpkg"] != packages.Packaged || classes["/etc/machine-id"] != packages.Unowned {
		t.Errorf("Classes() of bash.bashrc, dpkg, machine-id = %v, %v, %v", classes["/etc/bash.bashrc"], classes["/var/lib/dpkg"], classes["/etc/machine-id"])
	}
}

func TestVerify(t *testing.T) {
	const db = "var/lib/rpm"
	for _, own := range []bool{false, true} {
		root := rpmTree(t, db, own)
		rpmInstall(t, root, db, rpm(t, "odd", "1", odd))
		sys := system(root)
		if got, err := sys.Verify(t.Context()); err != nil || len(got) != 0 {
			t.Fatalf("Verify() = %v, %v; want nothing", got, err)
		}
		sh(t, `cd "$1"; chmod 4600 etc/odd.conf; chown 7:8 "var/lib/odd/it's "; echo changed >etc/merged.conf; rm var/lib/odd/plain; ln -s "$2" var/lib/odd/plain
setcap cap_net_raw+ep "var/lib/odd/it's "`, root, filepath.Join(root, "etc/passwd"))
		got, err := sys.Verify(t.Context())
		want := []packages.Mismatch{
			{Path: "/etc/odd.conf", Package: "odd", Mode: 0o644, User: "root", Group: "root", Wrong: "M"},
			{Path: "/var/lib/odd/it's ", Package: "odd", Mode: 0o644, User: "root", Group: "root", Wrong: "UG"},
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("Verify() = %v, %v (-want +got):\n%s", got, err, diff)
		}
		if got := got[1].String(); got != `"/var/lib/odd/it's " of odd: owner is not root, group is not root` {
			t.Errorf("String() = %s", got)
		}
		ids := func(user, group string) (int, int, error) { return 0, 0, nil }
		sh(t, `cd "$1"; touch etc/passwd; chmod 0600 etc/passwd`, root)
		// A link is left alone, and what it leads to.
		got = append(got, packages.Mismatch{Path: "/var/lib/odd/plain", Mode: 0o644, Wrong: "M"})
		for range 2 {
			if err := sys.Restore(got, ids); err != nil {
				t.Fatalf("Restore() = %v", err)
			}
			state := sh(t, `cd "$1"; stat -c '%a %u %g' etc/odd.conf "var/lib/odd/it's " etc/passwd; getcap "var/lib/odd/it's "`, root)
			if want := "644 0 0\n644 0 0\n600 0 0\nvar/lib/odd/it's  cap_net_raw=ep"; state != want {
				t.Errorf("after Restore() = %q; want %q", state, want)
			}
		}
	}
}
