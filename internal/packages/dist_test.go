package packages_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/packages"
)

// place puts the embedded pieces into a system that has a program imgbase
// which writes down how it is called.
func place(t *testing.T, root string) {
	t.Helper()
	err := fs.WalkDir(packages.Dist, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := packages.Dist.ReadFile(name)
		if err != nil {
			return err
		}
		to := filepath.Join(root, strings.TrimPrefix(name, "dist"))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o755)
	})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, `printf '#!/bin/sh\necho "imgbase $*" >>/tmp/calls\n' >"$1/usr/sbin/imgbase"; chmod 755 "$1/usr/sbin/imgbase"
mount -t tmpfs tmpfs "$1/tmp"; mount -t proc proc "$1/proc"`, root)
	t.Cleanup(func() { detach(t, root+"/tmp", root+"/proc") })
}

func TestAptHook(t *testing.T) {
	root := debTree(t)
	place(t, root)
	sh(t, `root=$1; shift; cp "$@" "$root/tmp"; mkdir -p "$root/var/imgbased/persisted-debs"; cp "$1" "$root/var/imgbased/persisted-debs/pk-a_1%3a2-1_all.deb"
echo >"$root/var/imgbased/persisted-debs/pk-b_0_all.deb"; echo >"$root/var/imgbased/persisted-debs/pk-b_1_all.deb"
chroot "$root" apt-get install -y --no-install-recommends -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=/dev/null /tmp/pk-a.deb /tmp/pk-b.deb 2>&1
chroot "$root" apt-get remove -y pk-a 2>&1`, root, deb(t, "pk-a", "1:2-1", "Depends: pk-b\n", ""), deb(t, "pk-b", "1", "", ""))
	want := "imgbase pkg --persist /tmp/pk-b.deb /tmp/pk-a.deb\nimgbase pkg --forget pk-b_0_all.deb\nimgbase pkg --forget pk-a_1%3a2-1_all.deb\nimgbase pkg --forget pk-b_0_all.deb"
	if got := read(t, root, "tmp/calls"); got != want {
		t.Errorf("calls:\n%s\nwant:\n%s", got, want)
	}
	// A failing imgbase, or none, stops no transaction.
	for _, script := range []string{`echo exit 1 >>"$1/usr/sbin/imgbase"`, `rm "$1/usr/sbin/imgbase"`, `rm "$1/usr/lib/imgbased/apt-persist"`} {
		sh(t, script+`; chroot "$1" dpkg --purge pk-b >/dev/null 2>&1 || :; chroot "$1" apt-get install -y -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=/dev/null /tmp/pk-b.deb 2>&1`, root)
	}
}

func TestDnfPlugin(t *testing.T) {
	need(t, "dnf")
	root := debTree(t)
	place(t, root)
	sh(t, `cp "$2" "$1/tmp/"; cd "$1"
plugins=$(chroot . /usr/bin/python3 -c 'import dnf, os; print(os.path.dirname(os.path.dirname(dnf.__file__)))')/dnf-plugins
mkdir -p ".$plugins"; cp usr/lib/python3/site-packages/dnf-plugins/imgbase_persist.py ".$plugins/"
mount --bind /dev dev; trap 'umount dev' EXIT
for verb in "install /tmp/meta-1-1.noarch.rpm" "reinstall /tmp/meta-1-1.noarch.rpm" "remove meta"; do chroot . dnf -y --disablerepo='*' $verb 2>&1; done`, root, rpm(t, "meta", "1", ""))
	want := "imgbase pkg --persist /tmp/meta-1-1.noarch.rpm\nimgbase pkg --forget meta-1-1.noarch\nimgbase pkg --persist /tmp/meta-1-1.noarch.rpm\nimgbase pkg --forget meta-1-1.noarch"
	if got := read(t, root, "tmp/calls"); got != want {
		t.Errorf("calls:\n%s\nwant:\n%s", got, want)
	}
}
