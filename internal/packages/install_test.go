package packages_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/packages"
)

func read(t *testing.T, elem ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elem...))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// nosy is a script that does what scripts of packages do to a host.
const nosy = `
hostname stolen
echo stolen >/etc/hostname
echo fedcba9876543210fedcba9876543210 >/etc/machine-id
echo "$$ $SYSTEMD_OFFLINE $container" >/etc/seen
(echo 1 >/proc/sys/vm/drop_caches) 2>/dev/null && echo kernel >>/etc/seen
touch /run/left /tmp/left
`

func TestInstallRPMs(t *testing.T) {
	const db = "usr/lib/sysimage/rpm"
	root := rpmTree(t, db, true)
	old := rpm(t, "upgraded", "1", "")
	base := rpm(t, "kernel-thing", "1", "Provides: installonlypkg(kernel)\n")
	rpmInstall(t, root, db, old, base, rpm(t, "shell", "1", "Provides: /bin/sh\n"))
	kept := keep(
		t,
		rpm(t, "upgraded", "2", "Requires: cap(needed)\nAutoReqProv: no\n%install\nmkdir -p %{buildroot}/var/lib/upgraded\n%files\n/var/lib/upgraded\n"),
		rpm(t, "kernel-thing", "2", "Provides: installonlypkg(kernel)\nRequires: upgraded = 2\n"),
		rpm(t, "nosy", "1", "AutoReqProv: no\n%post\n"+nosy+"\n%files\n"),
	)
	sys := system(root)
	before := sh(t, "hostname; cat /etc/machine-id")
	err := sys.Install(t.Context(), kept)
	var failed *packages.FailedError
	if !errors.As(err, &failed) || names(failed.Packages) != "upgraded-2-1.noarch" || !strings.Contains(err.Error(), "cap(needed) is needed by upgraded-2-1.noarch") {
		t.Fatalf("Install() = %v; want upgraded refused for what it lacks", err)
	}
	if got, err := sys.Installed(t.Context()); err != nil || names(got) != "kernel-thing-1-1.noarch shell-1-1.noarch upgraded-1-1.noarch" {
		t.Fatalf("Installed() after a refusal = %s, %v; want what was there", names(got), err)
	}
	rpmInstall(t, root, db, rpm(t, "needed", "1", "Provides: cap(needed)\n"))
	for range 2 {
		if err := sys.Install(t.Context(), kept); err != nil {
			t.Fatalf("Install() = %v", err)
		}
		want := "kernel-thing-1-1.noarch kernel-thing-2-1.noarch needed-1-1.noarch nosy-1-1.noarch shell-1-1.noarch upgraded-2-1.noarch"
		if got, err := sys.Installed(t.Context()); err != nil || names(got) != want {
			t.Fatalf("Installed() = %s, %v; want %s", names(got), err, want)
		}
	}
	if after := sh(t, "hostname; cat /etc/machine-id"); after != before {
		t.Errorf("this host is %q; want %q", after, before)
	}
	for name, want := range map[string]string{
		"etc/machine-id": "0123456789abcdef0123456789abcdef", "etc/hostname": "elsewhere",
		"run/left": "", "tmp/left": "", "usr/sbin/policy-rc.d": "",
	} {
		if got := read(t, root, name); got != want {
			t.Errorf("%s = %q; want %q", name, got, want)
		}
	}
	if got := read(t, root, "etc/seen"); !strings.HasSuffix(got, "1 imgbase") {
		t.Errorf("the script saw %q; want a container and no kernel parameter", got)
	}
}

func without(kept []packages.Kept, name string) []packages.Kept {
	var out []packages.Kept
	for _, k := range kept {
		if k.Name != name {
			out = append(out, k)
		}
	}
	return out
}

func TestInstallFailingScript(t *testing.T) {
	const db = "var/lib/rpm"
	root := rpmTree(t, db, true)
	rpmInstall(t, root, db, rpm(t, "shell", "1", "Provides: /bin/sh\n"))
	kept := keep(t, rpm(t, "broken", "1", "AutoReqProv: no\n%pre\necho this is why\nexit 3\n%files\n"), rpm(t, "fine", "1", ""))
	err := system(root).Install(t.Context(), kept)
	var failed *packages.FailedError
	if !errors.As(err, &failed) || names(failed.Packages) != "broken-1-1.noarch" || !strings.Contains(err.Error(), "this is why") {
		t.Errorf("Install() = %v; want broken and what it said", err)
	}
	if err := system(root).Install(t.Context(), without(kept, "broken")); err != nil {
		t.Errorf("Install() without it = %v", err)
	}
}

func TestInstallDebs(t *testing.T) {
	root := debTree(t)
	sys := system(root)
	for _, apt := range []bool{true, false} {
		if !apt {
			sh(t, `rm "$1/usr/bin/apt-get"; chroot "$1" dpkg --purge pk-a pk-b 2>&1`, root)
		}
		policy, identity := read(t, root, "usr/sbin/policy-rc.d"), read(t, root, "etc/machine-id")
		sh(t, `echo mine >"$1/etc/pk-b.conf"`, root)
		// By name the one that needs the other comes first.
		kept := keep(t, deb(t, "pk-a", "1:2-1", "Depends: pk-b (>= 1)\n", nosy+"\ninvoke-rc.d ssh start || true\n"), deb(t, "pk-b", "1", "", ""))
		lacking := keep(t, deb(t, "pk-c", "1", "Depends: pk-absent\n", ""))
		if apt {
			err := sys.Install(t.Context(), append(lacking, kept...))
			var failed *packages.FailedError
			if !errors.As(err, &failed) || names(failed.Packages) != "pk-c_1_all" || !strings.Contains(err.Error(), "pk-absent") {
				t.Errorf("Install(pk-c) = %v; want it refused for pk-absent", err)
			}
			if read(t, root, "usr/share/pk-a") != "" {
				t.Error("a refused installation left files")
			}
		}
		if err := sys.Install(t.Context(), kept); err != nil {
			t.Fatalf("Install() = %v (apt-get %t)", err, apt)
		}
		if got := read(t, root, "usr/share/pk-a"); got != "1:2-1" {
			t.Errorf("pk-a holds %q; want it installed", got)
		}
		if got := read(t, root, "etc/pk-b.conf"); got != "mine" {
			t.Errorf("the configuration file holds %q; want the administrator's", got)
		}
		if got := read(t, root, "etc/seen"); !strings.HasSuffix(got, "1 imgbase") {
			t.Errorf("the script saw %q; want a container", got)
		}
		if p, id := read(t, root, "usr/sbin/policy-rc.d"), read(t, root, "etc/machine-id"); p != policy || id != identity {
			t.Errorf("policy %q, machine %q; want %q, %q", p, id, policy, identity)
		}
		classes, err := sys.Classes(t.Context(), "/var/lib/pk-a", "/etc/pk-a.conf")
		want := map[string]packages.Class{"/var/lib/pk-a": packages.Packaged, "/etc/pk-a.conf": packages.NoReplace}
		if err != nil || len(classes) != 2 || classes["/var/lib/pk-a"] != want["/var/lib/pk-a"] || classes["/etc/pk-a.conf"] != want["/etc/pk-a.conf"] {
			t.Errorf("Classes() = %v, %v; want %v", classes, err, want)
		}
	}
	err := sys.Install(t.Context(), keep(t, deb(t, "pk-d", "1", "", "echo this is why >&2; exit 3\n")))
	if err == nil || !strings.HasPrefix(err.Error(), "install pk-d_1_all: ") || !strings.Contains(err.Error(), "this is why") {
		t.Errorf("Install(pk-d) = %v; want its name and what it said", err)
	}
}
