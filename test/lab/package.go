package lab

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imgbase/internal/run"
)

// Manager is the program that keeps an image's packages.
type Manager string

// The managers, named as the host's package formats are.
const (
	RPM Manager = "rpm"
	Deb Manager = "deb"
)

// Package is a package that can be built for either manager. Its release is
// always 1, and it is for every architecture.
type Package struct {
	Name     string
	Version  string
	Users    []string // system users, each with a group, made in this order before files are unpacked
	Files    map[string]PackageFile
	Post     string // shell script that is run after files were unpacked
	Needs    string // "name", or "name < version" with an operator of rpm's
	Provides string
}

// PackageFile is a file of a package. A [Deb] has no names of owners that it
// could rely on, and no capabilities: there its script gives them.
type PackageFile struct {
	Text  string      // content of a regular file
	Link  string      // makes it a symbolic link to this instead
	Dir   bool        // makes it a directory instead
	Mode  fs.FileMode // permission and set-id bits; 0 is 0644, of a directory 0755
	Owner string      // "user:group"; "" is root:root
	Caps  string      // capabilities, as setcap(8) reads them
	Class Class
}

// Class is what the package's database is told about a file.
type Class string

// Classes of files. dpkg knows one kind of configuration files, which it
// replaces as rpm does the second.
const (
	Plain     Class = ""
	Config    Class = "%config"            // on upgrade the new one, the changed old one is kept beside it
	NoReplace Class = "%config(noreplace)" // on upgrade the old one if it was changed
	Ghost     Class = "%ghost"             // made by the package's script; to dpkg it is Unowned
	Unowned   Class = "unowned"            // made by the package's script and in no database
)

// packageTime is the newest time stamp of a packaged file. All versions of a
// file have it, and most have the same size: what compares by these two sees
// no difference between them.
const packageTime = "1700000000" // 2023-11-14

// Build returns the path of the package file in the cache, under the name that
// the manager's own tools give it.
func (p Package) Build(t testing.TB, m Manager) string {
	t.Helper()
	Require(t)
	path, err := p.build(t.Context(), m)
	if err != nil {
		t.Fatalf("lab: package %s: %v", p.Name, err)
	}
	return path
}

func (p Package) build(ctx context.Context, m Manager) (string, error) {
	source, err := sourceText("package.go")
	if err != nil {
		return "", err
	}
	name, err := key("package", p, m, source)
	if err != nil {
		return "", err
	}
	file, pack := p.Name+"_"+p.Version+"-1_all.deb", p.packDeb
	if m == RPM {
		file, pack = p.Name+"-"+p.Version+"-1.noarch.rpm", p.packRPM
	}
	dir, err := cached(ctx, name, func(ctx context.Context, dir string) error {
		content := filepath.Join(dir, "content")
		defer os.RemoveAll(content)
		if err := os.Mkdir(content, 0o755); err != nil {
			return err
		}
		if err := apply(content, p.content(m)); err != nil {
			return err
		}
		return pack(ctx, content, filepath.Join(dir, file))
	})
	return filepath.Join(dir, file), err
}

// content are the files to pack.
func (p Package) content(m Manager) map[string]File {
	files := map[string]File{}
	for path, f := range p.Files {
		if f.Class != Unowned && (f.Class != Ghost || m == RPM) {
			files[path] = File{Text: f.Text, Link: f.Link, Dir: f.Dir, Mode: f.Mode}
		}
	}
	return files
}

// mode is the file's mode, in chmod(1)'s figures.
func (f PackageFile) mode() string {
	mode := f.Mode
	switch {
	case mode == 0 && f.Dir:
		mode = 0o755
	case mode == 0:
		mode = 0o644
	}
	bits := uint32(mode.Perm())
	for bit, value := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&bit != 0 {
			bits |= value
		}
	}
	return fmt.Sprintf("%04o", bits)
}

func (f PackageFile) owner() (user, group string) {
	user, group, ok := strings.Cut(f.Owner, ":")
	if !ok {
		return "root", "root"
	}
	return user, group
}

// before is the script that makes the users.
func (p Package) before() string {
	var b strings.Builder
	for _, u := range p.Users {
		fmt.Fprintf(&b, "getent passwd %[1]s >/dev/null || useradd --system --user-group --no-create-home --home-dir /var/lib/%[1]s --shell /usr/sbin/nologin %[1]s\n", u)
	}
	return b.String()
}

// after is the script that makes what is not packed, and for dpkg gives
// what is packed its owners.
func (p Package) after(m Manager) string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(p.Files)) {
		f := p.Files[path]
		made := f.Class == Ghost || f.Class == Unowned
		user, group := f.owner()
		own := fmt.Sprintf("chown -h %s:%s %s", user, group, shellQuote(path))
		if f.Link == "" {
			own += fmt.Sprintf("\nchmod %s %s", f.mode(), shellQuote(path))
		}
		if f.Caps != "" {
			own += fmt.Sprintf("\nsetcap %s %s", f.Caps, shellQuote(path))
		}
		switch {
		case made:
			fmt.Fprintf(&b, "if ! [ -e %[1]s ]; then\nprintf %%s %[2]s > %[1]s\n%[3]s\nfi\n", shellQuote(path), shellQuote(f.Text), own)
		case m == Deb && (f.Owner != "" || f.Caps != ""):
			fmt.Fprintln(&b, own)
		}
	}
	return b.String() + p.Post
}

// spec is the package as rpmbuild(8) reads it.
func (p Package) spec(content string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Name: %s\nVersion: %s\nRelease: 1\nSummary: %s\nLicense: MIT\nBuildArch: noarch\nAutoReqProv: no\n", p.Name, p.Version, p.Name)
	if p.Needs != "" {
		fmt.Fprintf(&b, "Requires: %s\n", p.Needs)
	}
	if p.Provides != "" {
		fmt.Fprintf(&b, "Provides: %s\n", p.Provides)
	}
	fmt.Fprintf(&b, "%%description\n%s\n%%install\nmkdir -p %%{buildroot}\ncp -a %s/. %%{buildroot}\n", p.Name, shellQuote(content))
	for _, s := range []struct{ section, script string }{{"pre", p.before()}, {"post", p.after(RPM)}} {
		if s.script != "" {
			// rpm would take %s of printf for a macro.
			fmt.Fprintf(&b, "%%%s\nset -e\n%s\n", s.section, strings.ReplaceAll(s.script, "%", "%%"))
		}
	}
	b.WriteString("%files\n")
	for _, path := range slices.Sorted(maps.Keys(p.Files)) {
		f := p.Files[path]
		if f.Class == Unowned {
			continue
		}
		user, group := f.owner()
		mode := f.mode()
		if f.Link != "" {
			mode = "-"
		}
		fmt.Fprintf(&b, "%%attr(%s, %s, %s) %s ", mode, user, group, f.Class)
		if f.Dir {
			b.WriteString("%dir ")
		}
		if f.Caps != "" {
			fmt.Fprintf(&b, "%%caps(%s) ", f.Caps)
		}
		fmt.Fprintf(&b, "%q\n", path)
	}
	return b.String()
}

func (p Package) packRPM(ctx context.Context, content, path string) error {
	top := path + ".d"
	defer os.RemoveAll(top)
	if err := os.Mkdir(top, 0o755); err != nil {
		return err
	}
	spec := filepath.Join(top, "package.spec")
	if err := os.WriteFile(spec, []byte(p.spec(content)), 0o644); err != nil {
		return err
	}
	args := []string{"-bb", "--quiet"}
	for _, macro := range []string{
		"_topdir " + top, "_rpmdir " + filepath.Dir(path), "_rpmfilename " + filepath.Base(path),
		"_binary_payload w1.gzdio", "__os_install_post %{nil}",
		"use_source_date_epoch_as_buildtime 1", "clamp_mtime_to_source_date_epoch 1",
	} {
		args = append(args, "--define", macro)
	}
	// Not the macros of whoever runs this.
	env := []string{"HOME=" + top, "SOURCE_DATE_EPOCH=" + packageTime}
	_, err := run.OS{}.Run(ctx, run.Cmd{Name: "rpmbuild", Args: append(args, spec), Env: env})
	return err
}

func (p Package) packDeb(ctx context.Context, content, path string) error {
	control := fmt.Sprintf("Package: %s\nVersion: %s-1\nArchitecture: all\nMaintainer: lab <lab@localhost>\nDescription: %s\n", p.Name, p.Version, p.Name)
	if name, version, ok := strings.Cut(p.Needs, " "); ok {
		// dpkg reads a single < as <=.
		control += fmt.Sprintf("Depends: %s (%s)\n", name, strings.NewReplacer("< ", "<< ", "> ", ">> ").Replace(version))
	} else if p.Needs != "" {
		control += "Depends: " + p.Needs + "\n"
	}
	if p.Provides != "" {
		control += "Provides: " + p.Provides + "\n"
	}
	var conffiles, sums string
	for _, file := range slices.Sorted(maps.Keys(p.content(Deb))) {
		f := p.Files[file]
		switch {
		case f.Link != "" || f.Dir:
		case f.Class == Config || f.Class == NoReplace:
			conffiles += file + "\n"
		default:
			sum := md5.Sum([]byte(f.Text))
			sums += hex.EncodeToString(sum[:]) + "  " + strings.TrimPrefix(file, "/") + "\n"
		}
	}
	const sh = "#!/bin/sh\nset -e\n"
	err := apply(filepath.Join(content, "DEBIAN"), map[string]File{
		"control":   {Text: control},
		"conffiles": {Text: conffiles},
		"md5sums":   {Text: sums},
		"preinst":   {Text: sh + p.before(), Mode: 0o755},
		"postinst":  {Text: sh + p.after(Deb), Mode: 0o755},
	})
	if err != nil {
		return err
	}
	_, err = run.OS{}.Run(ctx, run.Cmd{
		Name: "dpkg-deb", Args: []string{"--root-owner-group", "-Zgzip", "-z1", "--build", content, path},
		Env: []string{"SOURCE_DATE_EPOCH=" + packageTime},
	})
	return err
}
