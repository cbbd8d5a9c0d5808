package rootfs_test

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"imgbase/internal/rootfs"
	"imgbase/internal/run"
)

func TestOSRelease(t *testing.T) {
	const fedora = "NAME=Fedora\nVERSION_ID=22\nPRETTY_NAME=\"Fedora 22 (Twenty Two)\"\nID=fedora\n"
	want := rootfs.Release{ID: "fedora", VersionID: "22", PrettyName: "Fedora 22 (Twenty Two)"}
	for name, files := range map[string]map[string]string{
		"file":          {"etc/os-release": fedora},
		"relative link": {"etc/os-release": "-> ../usr/lib/os-release", "usr/lib/os-release": fedora},
		"absolute link": {"etc/os-release": "-> /usr/lib/os-release", "usr/lib/os-release": fedora},
		"usr only":      {"usr/lib/os-release": fedora},
		"dangling link": {"etc/os-release": "-> /run/none", "usr/lib/os-release": fedora},
	} {
		if got, err := rootfs.OSRelease(tree(t, files)); err != nil || got != want {
			t.Errorf("OSRelease(%s) = %+v, %v; want %+v", name, got, err, want)
		}
	}
	if got, err := rootfs.OSRelease(tree(t, map[string]string{"etc/os-release": ""})); err != nil || got.ID != "linux" {
		t.Errorf("OSRelease(empty) = %+v, %v; want ID linux", got, err)
	}
	if _, err := rootfs.OSRelease(tree(t, map[string]string{"etc/": ""})); !errors.Is(err, rootfs.ErrNoSystem) {
		t.Errorf("OSRelease(no file) = %v; want ErrNoSystem", err)
	}
	for name, bad := range map[string]string{"substitution": "ID=$(reboot)", "NUL": "ID=\x00", "open quote": "ID='", "large": strings.Repeat("ID=x\n", 1<<16)} {
		if got, err := rootfs.OSRelease(tree(t, map[string]string{"etc/os-release": bad})); err == nil {
			t.Errorf("OSRelease(%s) = %+v; want an error", name, got)
		}
	}
}

func TestArchOfThisSystem(t *testing.T) {
	got, err := rootfs.Arch("/")
	if err != nil || got.GOARCH != runtime.GOARCH {
		t.Fatalf("Arch(/) = %+v, %v; want %s", got, err, runtime.GOARCH)
	}
	out, err := run.OS{}.Run(context.Background(), run.Cmd{Name: "uname", Args: []string{"-m"}})
	if err != nil || strings.TrimSpace(string(out.Stdout)) != got.Uname {
		t.Errorf("Arch(/) = %+v; want uname's %s (%v)", got, out.Stdout, err)
	}
}

// elf is the first 64 bytes of a program.
func elf(class, data byte, machine uint16) string {
	head := make([]byte, 64)
	copy(head, "\x7fELF")
	head[4], head[5] = class, data
	if data == 2 {
		binary.BigEndian.PutUint16(head[18:], machine)
	} else {
		binary.LittleEndian.PutUint16(head[18:], machine)
	}
	return string(head)
}

func TestArch(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string // uname, "" for ErrNoSystem
	}{
		"systemd":       {map[string]string{"usr/lib/systemd/systemd": elf(2, 1, 183)}, "aarch64"},
		"big endian":    {map[string]string{"usr/lib/systemd/systemd": elf(2, 2, 22)}, "s390x"},
		"absolute link": {map[string]string{"sbin/init": "-> /lib/systemd/systemd", "lib": "-> /usr/lib", "usr/lib/systemd/systemd": elf(2, 1, 62)}, "x86_64"},
		"script first":  {map[string]string{"sbin/init": "#!/bin/sh\n" + strings.Repeat("#", 50), "bin/sh": elf(2, 1, 243)}, "riscv64"},
		"cut short":     {map[string]string{"sbin/init": "\x7fELF", "bin/sh": elf(1, 1, 3)}, "i686"},
		"none":          {map[string]string{"etc/": ""}, ""},
		"empty":         {map[string]string{"sbin/init": ""}, ""},
		"link outside":  {map[string]string{"sbin/init": "-> ../../../../../../bin/bash"}, ""},
	} {
		got, err := rootfs.Arch(tree(t, c.files))
		if got.Uname != c.want || (c.want == "") != errors.Is(err, rootfs.ErrNoSystem) {
			t.Errorf("Arch(%s) = %+v, %v; want %q", name, got, err, c.want)
		}
	}
	for _, head := range []string{elf(2, 1, 9999), elf(1, 1, 62), elf(2, 2, 62)} {
		if got, err := rootfs.Arch(tree(t, map[string]string{"bin/sh": head})); err == nil || errors.Is(err, rootfs.ErrNoSystem) {
			t.Errorf("Arch(%q) = %+v, %v; want an error that names the machine", head[:20], got, err)
		}
	}
}

func digest(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestPristine(t *testing.T) {
	status := "Package: a\nConffiles:\n /etc/shipped " + digest("shipped") + "\n /etc/edited " + digest("before") +
		"\n /etc/with blank " + digest("blank") + " obsolete\n /etc/gone " + digest("x") + "\n /opt/x " + digest("x") +
		"\n /etc/new newconffile\n /etc/short abcd\n /etc/link " + digest("") + "\n /etc/two " + digest("2") +
		"\nDescription: x\n /etc/text " + digest("text") + "\n\nPackage: b\nconffiles:\n /etc/two " + digest("other") +
		"\n /etc/d/deep " + digest("deep") + " remove-on-upgrade"
	root := tree(t, map[string]string{
		"var/lib/dpkg/status": status,
		"etc/shipped":         "shipped", "etc/edited": "after", "etc/with blank": "blank", "etc/short": "x", "etc/link": "-> /dev/null",
		"etc/text": "text", "etc/two": "2", "etc/d/deep": "deep", "etc/unknown": "x", "etc/new": "",
		"etc/factory": "f", "usr/share/factory/etc/factory": "f", "usr/share/factory/etc/edited": "neither",
		"etc/flink": "-> a", "usr/share/factory/etc/flink": "-> a", "usr/share/factory/etc/shipped": "another",
		"etc/out": "-> /etc", "etc/dir/": "",
	})
	pristine, err := rootfs.Pristine(root)
	if err != nil {
		t.Fatalf("Pristine() = %v; want no error", err)
	}
	want := map[string]bool{"shipped": true, "with blank": true, "d/deep": true, "factory": true, "flink": true}
	for _, path := range []string{
		"shipped", "edited", "with blank", "gone", "new", "short", "link", "text", "two", "d/deep",
		"unknown", "factory", "flink", "out/shipped", "dir", "../opt/x", "none/none",
	} {
		if got := pristine(path); got != want[path] && path != "out/shipped" {
			t.Errorf("pristine(%s) = %v; want %v", path, got, want[path])
		}
	}
}

func TestPristineWithoutDpkg(t *testing.T) {
	pristine, err := rootfs.Pristine(tree(t, map[string]string{"etc/f": "x"}))
	if err != nil || pristine("f") {
		t.Errorf("Pristine() = %v; want an oracle that says no", err)
	}
	bad := tree(t, map[string]string{"var/lib/dpkg/status/": ""})
	if _, err := rootfs.Pristine(bad); err == nil {
		t.Error("Pristine(status is a directory) = nil; want an error")
	}
}

// dpkg is the oracle: what "dpkg --verify" does not complain about is pristine.
func TestPristineAgreesWithDpkg(t *testing.T) {
	status, err := os.ReadFile("/var/lib/dpkg/status")
	if err != nil {
		t.Skipf("no dpkg here: %v", err)
	}
	out, _ := run.OS{}.Run(context.Background(), run.Cmd{Name: "dpkg", Args: []string{"--verify", "adduser", "login", "passwd"}})
	pristine, err := rootfs.Pristine("/")
	if err != nil {
		t.Fatalf("Pristine(/) = %v; want no error", err)
	}
	for _, name := range []string{"adduser.conf", "deluser.conf"} {
		if !strings.Contains(string(status), "/etc/"+name) {
			continue
		}
		if want := !strings.Contains(string(out.Stdout), "/etc/"+name); pristine(name) != want {
			t.Errorf("pristine(%s) = %v; want %v as dpkg --verify", name, !want, want)
		}
	}
}

func FuzzPristine(f *testing.F) {
	f.Add("Conffiles:\n /etc/f " + digest("x") + "\n")
	f.Add("Conffiles:\n \n  \n /etc/ obsolete\n")
	root, err := os.MkdirTemp(f.TempDir(), "")
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(root+"/etc", 0o755), os.MkdirAll(root+"/var/lib/dpkg", 0o755), os.WriteFile(root+"/etc/f", []byte("x"), 0o644)); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status string) {
		if err := os.WriteFile(root+"/var/lib/dpkg/status", []byte(status), 0o644); err != nil {
			t.Fatal(err)
		}
		pristine, err := rootfs.Pristine(root)
		if err != nil {
			t.Fatalf("Pristine(%q) = %v; want no error", status, err)
		}
		if pristine("f") && !strings.Contains(strings.ToLower(status), digest("x")) {
			t.Fatalf("pristine(f) with status %q; want no, its digest is not there", status)
		}
	})
}
