package lab

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"imgbase/internal/run"
)

// vendor is the package of the image's vendor: one file of each kind that
// persistence knows, each with the number of its version in it. What is new,
// gone or numbered otherwise in a version is said where it is made.
func vendor(version int) Package {
	n := strconv.Itoa(version)
	text := "version = " + n + "\n"
	script := "#!/bin/sh\necho " + n + "\n"
	p := Package{
		Name: "vendor", Version: n, Users: []string{"vendor"},
		Files: map[string]PackageFile{
			"/etc/vendor":                                     {Dir: true, Mode: 0o750, Owner: "root:vendor"},
			"/etc/vendor/plain":                               {Text: text},
			"/etc/vendor/config":                              {Text: text, Class: Config},
			"/etc/vendor/list":                                {Text: text + "\none\ntwo\n", Class: Config},
			"/etc/vendor/noreplace":                           {Text: text, Class: NoReplace},
			"/etc/vendor/secret":                              {Text: text, Class: NoReplace, Mode: 0o640, Owner: "root:vendor"},
			"/etc/selinux/targeted/policy/policy.33":          {Text: text}, // nobody loads it
			"/usr/bin/vendor":                                 {Text: script, Mode: 0o755},
			"/usr/bin/vendor-caps":                            {Text: script, Mode: 0o750, Owner: "root:vendor", Caps: "cap_net_raw=ep"},
			"/usr/bin/vendor-setid":                           {Text: script, Mode: fs.ModeSetuid | fs.ModeSetgid | 0o755, Owner: "vendor:vendor"},
			"/usr/share/vendor":                               {Dir: true},
			"/usr/share/vendor/version":                       {Text: n + "\n"},
			"/usr/share/vendor/link-" + n:                     {Text: text},
			"/var/lib/vendor":                                 {Dir: true, Mode: 0o750, Owner: "vendor:vendor"},
			"/var/lib/vendor/plain":                           {Text: text, Owner: "vendor:vendor"},
			"/var/lib/vendor/config":                          {Text: text, Owner: "vendor:vendor", Class: Config},
			"/var/lib/vendor/noreplace":                       {Text: text, Owner: "vendor:vendor", Class: NoReplace},
			"/var/lib/vendor/ghost":                           {Text: text, Owner: "vendor:vendor", Class: Ghost},
			"/var/lib/vendor/unowned":                         {Text: text, Owner: "vendor:vendor", Class: Unowned},
			"/var/lib/vendor/link":                            {Link: "/usr/share/vendor/link-" + n, Owner: "vendor:vendor"},
			"/var/spool/vendor":                               {Dir: true, Mode: fs.ModeSetgid | 0o770, Owner: "root:vendor"},
			"/usr/lib/systemd/system/" + unit:                 {Text: "[Unit]\nDescription=Vendor's service\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/vendor\n[Install]\nWantedBy=multi-user.target\n"},
			"/usr/lib/systemd/system-preset/50-vendor.preset": {Text: "enable " + unit + "\n"},
		},
		Post: "systemctl --no-reload preset " + unit + "\n",
	}
	if version < 2 {
		p.Files["/etc/vendor/gone"] = PackageFile{Text: text, Class: Config}
		p.keepsTime("ntpd.service", "/etc/ntp.conf")
		return p
	}
	p.keepsTime("chronyd.service", "/etc/chrony.conf")
	// The new user comes first: "vendor" has another number than in an image
	// with version 1, and "vendor-log" the one that "vendor" had there.
	p.Users = []string{"vendor-log", "vendor"}
	p.Files["/etc/vendor/new"] = PackageFile{Text: text, Class: NoReplace}
	p.Files["/var/log/vendor"] = PackageFile{Dir: true, Mode: 0o750, Owner: "vendor-log:vendor"}
	p.Files["/var/log/vendor/log"] = PackageFile{Owner: "vendor-log:vendor", Mode: 0o640, Class: NoReplace}
	return p
}

const unit = "vendor.service"

// keepsTime gives the package a service that stands for one that sets the
// clock, with its configuration.
func (p *Package) keepsTime(service, conf string) {
	p.Files[conf] = PackageFile{Text: "pool vendor.example iburst\n", Class: Config}
	p.Files["/usr/lib/systemd/system/"+service] = PackageFile{
		Text: "[Unit]\nDescription=Time\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
	}
	p.Files["/usr/lib/systemd/system-preset/50-vendor.preset"] = PackageFile{Text: "enable " + unit + "\nenable " + service + "\n"}
	p.Post += "systemctl --no-reload preset " + service + "\n"
}

// AdminTool is a package that the administrator adds: a program, its
// configuration, and a script that leaves a mark in /run of the system it
// runs on.
func AdminTool() Package {
	return Package{
		Name: "admin-tool", Version: "1.0",
		Files: map[string]PackageFile{
			"/usr/bin/admin-tool":  {Text: "#!/bin/sh\necho admin-tool 1.0\n", Mode: 0o755},
			"/etc/admin-tool.conf": {Text: "setting = 1\n", Class: NoReplace},
		},
		Post: ": > /run/admin-tool.installed\n",
	}
}

// AdminPlugin is a package of the administrator that version 3 of the
// vendor's package does not let in.
func AdminPlugin() Package {
	return Package{
		Name: "admin-plugin", Version: "1.0", Needs: "vendor < 3",
		Files: map[string]PackageFile{"/usr/share/vendor/plugin": {Text: "1.0\n"}},
	}
}

// userland stands for the packages that an rpm-managed image consists of.
// Their files are Debian's and in no database; what they provide has to be,
// since every package with a script needs its interpreter.
func userland() Package {
	return Package{Name: "lab-userland", Version: "1", Provides: "/bin/sh"}
}

// Manager is the manager of the image's packages.
func (im Image) Manager() Manager {
	if im.RPM != "" {
		return RPM
	}
	return Deb
}

// managed says whether the image has packages of its own.
func (im Image) managed() bool { return im.Vendor != 0 || im.RPM != "" }

// manage installs the vendor's package in the tree at root, and makes the
// tree an rpm-managed one before if it is to be.
func (im Image) manage(ctx context.Context, root string) error {
	var packages []Package
	if im.RPM != "" {
		if err := im.rpmSystem(ctx, root); err != nil {
			return err
		}
		packages = append(packages, userland())
	}
	if im.Vendor != 0 {
		packages = append(packages, vendor(im.Vendor))
	}
	for _, p := range packages {
		if err := install(ctx, root, p, im.Manager()); err != nil {
			return err
		}
	}
	return nil
}

// install installs a package with the tree's own manager.
func install(ctx context.Context, root string, p Package, m Manager) error {
	path, err := p.build(ctx, m)
	if err != nil {
		return err
	}
	if err := command(ctx, "cp", path, filepath.Join(root, "run")); err != nil {
		return err
	}
	inside := filepath.Join("/run", filepath.Base(path))
	defer os.Remove(filepath.Join(root, inside))
	if m == RPM {
		return inTree(ctx, root, "rpm", "-i", inside)
	}
	return inTree(ctx, root, "dpkg", "-i", inside)
}

// inTree runs a program of the tree. The fixed time is for useradd(8): the
// day is a field of /etc/shadow.
func inTree(ctx context.Context, root string, argv ...string) error {
	_, err := run.OS{}.Run(ctx, run.Cmd{
		Name: "chroot", Args: append([]string{root}, argv...),
		Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", "TMPDIR=/tmp", "DEBIAN_FRONTEND=noninteractive", "SOURCE_DATE_EPOCH=" + packageTime},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return nil
}

// rpmPackages are Debian's packages with the program rpm, as far as the host
// lacks them.
const rpmPackages = "rpm rpm-common librpm9 librpmio9 libpopt0 liblua5.3-0"

// rpmSystem gives the tree the program rpm and a database, and takes dpkg's
// away. No package installer runs for that: what dpkg would note is not to be
// there.
func (im Image) rpmSystem(ctx context.Context, root string) error {
	dir, err := rpmProgram(ctx)
	if err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return err
	}
	for _, deb := range debs {
		script := `dpkg-deb --fsys-tarfile "$1" | tar -C "$2" --keep-directory-symlink --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/locale' -xpf -`
		if err := command(ctx, "bash", "-o", "pipefail", "-ec", script, "bash", deb, root); err != nil {
			return err
		}
	}
	files := map[string]File{
		"/var/lib/dpkg":  {Removed: true},
		"/var/lib/apt":   {Removed: true},
		"/var/cache/apt": {Removed: true},
		im.RPM:           {Dir: true},
		// Debian keeps a database for each user.
		"/usr/lib/rpm/macros.d/macros.lab": {Text: "%_dbpath " + im.RPM + "\n%_db_backend sqlite\n"},
	}
	if im.RPM != "/var/lib/rpm" {
		files["/var/lib/rpm"] = File{Link: filepath.Join("../..", im.RPM)}
	}
	if err := apply(root, files); err != nil {
		return err
	}
	if err := inTree(ctx, root, "ldconfig"); err != nil {
		return err
	}
	return inTree(ctx, root, "rpm", "--initdb")
}

// rpmProgram returns a directory with Debian's packages that hold rpm.
func rpmProgram(ctx context.Context) (string, error) {
	name, err := key("rpm", suite, rpmPackages)
	if err != nil {
		return "", err
	}
	return cached(ctx, name, func(ctx context.Context, dir string) error {
		hook := fmt.Sprintf(`for p in %s; do cp "$1/var/cache/apt/archives/$p"_*.deb %s; done`, rpmPackages, shellQuote(dir))
		return command(ctx, "mmdebstrap", "--mode=root", "--variant=extract", "--format=null", "--include=rpm", "--extract-hook="+hook, suite, "/dev/null")
	})
}
