package packages_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/durable"
	"imgbase/internal/mount"
	"imgbase/internal/packages"
	"imgbase/internal/rootfs"
	"imgbase/internal/run"
)

func TestMain(m *testing.M) {
	if os.Geteuid() == 0 {
		// Trees are mounted read-only, and made with overlays.
		if err := mount.Isolate(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func sh(t *testing.T, script string, args ...string) string {
	t.Helper()
	out, err := run.OS{}.Run(t.Context(), run.Cmd{Name: "sh", Args: append([]string{"-ec", script, "sh"}, args...)})
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out.Stdout)
	}
	return strings.TrimSpace(string(out.Stdout))
}

// need skips a test where it cannot run, which is a failure in the lab.
func need(t *testing.T, programs ...string) {
	t.Helper()
	why := ""
	if os.Geteuid() != 0 {
		why = "needs root: chroot, mounts"
	}
	for _, p := range programs {
		if _, err := (run.OS{}).Run(t.Context(), run.Cmd{Name: p, Args: []string{"--version"}}); err != nil {
			why = "needs " + p
		}
	}
	switch {
	case why != "" && os.Getenv("IMGBASE_REQUIRE_LAB") != "":
		t.Fatal(why)
	case why != "":
		t.Skip(why)
	}
}

// rpm builds an rpm from the lines of a spec file after its header, with no
// files unless they say so, and returns the path.
func rpm(t *testing.T, name, version, spec string) string {
	t.Helper()
	need(t, "rpmbuild", "rpm")
	top := t.TempDir()
	text := fmt.Sprintf("Name: %s\nVersion: %s\nRelease: 1\nSummary: test\nLicense: MIT\nBuildArch: noarch\n%s", name, version, spec)
	if !strings.Contains(spec, "%files") {
		text += "\n%files\n"
	}
	if !strings.Contains(spec, "%description") {
		text = strings.Replace(text, "\n%", "\n%description\ntest\n%", 1)
	}
	path := filepath.Join(top, "p.spec")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	sh(t, `rpmbuild -bb --quiet --define "_topdir $1" "$1/p.spec" >"$1/log" 2>&1 || { cat "$1/log"; exit 1; }`, top)
	return filepath.Join(top, "RPMS/noarch", name+"-"+version+"-1.noarch.rpm")
}

// deb builds a Debian package with the lines of a control file and of a
// postinst script, and a file named for it.
func deb(t *testing.T, name, version, control, postinst string) string {
	t.Helper()
	need(t, "dpkg-deb")
	dir := filepath.Join(t.TempDir(), "tree")
	for file, text := range map[string]string{
		"DEBIAN/control":        fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: test\n%s", name, version, control),
		"DEBIAN/conffiles":      "/etc/" + name + ".conf\n",
		"DEBIAN/postinst":       "#!/bin/sh\nset -e\n" + postinst,
		"etc/" + name + ".conf": "setting\n",
		"usr/share/" + name:     version + "\n",
		"var/lib/" + name:       version + "\n",
	} {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(filepath.Dir(dir), name+".deb")
	sh(t, `dpkg-deb --root-owner-group -b "$1" "$2" >/dev/null`, dir, path)
	return path
}

func system(root string) packages.System {
	return packages.System{Root: root, Runner: run.OS{}, Open: rootfs.Open}
}

func store(t *testing.T) packages.Store {
	t.Helper()
	return packages.Store{Dir: filepath.Join(t.TempDir(), "imgbased"), Files: durable.OS{}, Runner: run.OS{}, Excluded: packages.Excluded()}
}

// rpmTree makes a root tree with an empty rpm database in dir and, when it is
// to have them, rpm and a shell of its own.
func rpmTree(t *testing.T, dir string, own bool) string {
	t.Helper()
	need(t, "rpm")
	root := t.TempDir()
	sh(t, `cd "$1"; mkdir -p proc sys run tmp dev etc var/tmp usr/sbin "$2"; echo 0123456789abcdef0123456789abcdef >etc/machine-id
echo elsewhere >etc/hostname; rpm --root "$1" --dbpath "/$2" --initdb`, root, dir)
	if own {
		sh(t, `mkdir -p "$1/usr/bin"; ln -s usr/bin "$1/bin"
for p in rpm sh cp touch cat hostname chown chmod; do
	for f in "$(command -v $p)" $(ldd "$(command -v $p)" | grep -o '/[^ ]*'); do
		mkdir -p "$1${f%/*}"
		[ -e "$1$f" ] || cp -L "$f" "$1$f"
	done
done
mkdir -p "$1/usr/lib"
cp -r /usr/lib/rpm "$1/usr/lib/"
cp /etc/passwd /etc/group "$1/etc/"`, root)
	}
	return root
}

func rpmInstall(t *testing.T, root, dir string, files ...string) {
	t.Helper()
	sh(t, `root=$1 db=$2; shift 2; rpm --root "$root" --dbpath "/$db" -i --nodeps --noscripts "$@" 2>/dev/null`, append([]string{root, dir}, files...)...)
}

// debTree is this machine's system with an empty memory layer over it.
func debTree(t *testing.T) string {
	t.Helper()
	need(t, "dpkg", "apt-get")
	dir := t.TempDir()
	sh(t, `mount -t tmpfs tmpfs "$1"; mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"`, dir)
	t.Cleanup(func() { detach(t, dir+"/root", dir) })
	return filepath.Join(dir, "root")
}

// detach unmounts; it may be called when the test's own context has ended.
func detach(t *testing.T, dirs ...string) {
	t.Helper()
	if _, err := (run.OS{}).Run(context.Background(), run.Cmd{Name: "umount", Args: append([]string{"-l"}, dirs...)}); err != nil {
		t.Error(err)
	}
}

func names(all []packages.Package) string {
	var out []string
	for _, p := range all {
		out = append(out, p.String())
	}
	return strings.Join(out, " ")
}

// keep keeps files in a new store and returns what it holds.
func keep(t *testing.T, files ...string) []packages.Kept {
	t.Helper()
	s := store(t)
	for _, f := range files {
		if _, ok, err := s.Keep(t.Context(), f); err != nil || !ok {
			t.Fatalf("Keep(%s) = %t, %v", f, ok, err)
		}
	}
	all, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	return all
}
