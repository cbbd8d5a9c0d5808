package lab_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/run"
	"imgbase/test/lab"
)

// sysimage is where rpm keeps its database today.
const sysimage = "/usr/lib/sysimage/rpm"

// query says which vendor's package the manager sees, and what it finds wrong
// with its files.
var query = map[lab.Manager]string{
	lab.RPM: "rpm -qa --qf '%{name} %{version}\\n' | sort; rpm -Va; ",
	lab.Deb: "dpkg-query -W -f '${Package} ${source:Upstream-Version}\\n' vendor; dpkg -V vendor; ",
}

// owners lists mode, owner and capabilities of the vendor's files in the
// system, and of those in /var besides.
const (
	owners = "stat -c '%a %U:%G %n' /etc/vendor /etc/vendor/* /usr/bin/vendor*; getcap /usr/bin/vendor*; ls /etc/systemd/system/multi-user.target.wants/vendor.service; "
	inVar  = "stat -c '%a %U:%G %n' /var/lib/vendor /var/lib/vendor/[!l]* /var/spool/vendor; readlink /var/lib/vendor/link; "
)

const wantOwners = `750 root:vendor /etc/vendor
644 root:root /etc/vendor/config
644 root:root /etc/vendor/list
644 root:root /etc/vendor/new
644 root:root /etc/vendor/noreplace
644 root:root /etc/vendor/plain
640 root:vendor /etc/vendor/secret
755 root:root /usr/bin/vendor
750 root:vendor /usr/bin/vendor-caps
6755 vendor:vendor /usr/bin/vendor-setid
/usr/bin/vendor-caps cap_net_raw=ep
/etc/systemd/system/multi-user.target.wants/vendor.service
`

const wantInVar = `750 vendor:vendor /var/lib/vendor
644 vendor:vendor /var/lib/vendor/config
644 vendor:vendor /var/lib/vendor/ghost
644 vendor:vendor /var/lib/vendor/noreplace
644 vendor:vendor /var/lib/vendor/plain
644 vendor:vendor /var/lib/vendor/unowned
2770 root:vendor /var/spool/vendor
/usr/share/vendor/link-2
`

// inImage runs a shell script in the system of an image, on a copy that is
// thrown away and has the files in its root directory. It returns all that the
// script prints.
func inImage(t *testing.T, path, script string, files ...string) string {
	t.Helper()
	const enter = `cd "$1"; image=$2 script=$3; shift 3
mkdir live root run; mount -t tmpfs lab run; mkdir run/upper run/work
for f; do cp "$f" run/upper; done
mount -o loop,ro "$image" live; mount -o loop,ro live/LiveOS/rootfs.img root
mount -t overlay -o lowerdir=root,upperdir=run/upper,workdir=run/work lab root
exec env PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C chroot root sh -c "exec 2>&1; $script true"`
	args := append([]string{"-m", "sh", "-ec", enter, "sh", t.TempDir(), path, script}, files...)
	out, err := (run.OS{}).Run(t.Context(), run.Cmd{Name: "unshare", Args: args})
	if err != nil {
		t.Fatalf("in %s: %v", path, err)
	}
	return string(out.Stdout)
}

// vendored is the image with that version of the vendor's package: lab-2.0-1
// has 1, lab-3.0-1 has 2, lab-4.0-1 has 3. rpm is as in [lab.Image].
func vendored(version int, rpm string) lab.Image {
	return lab.Image{NVR: fmt.Sprintf("lab-%d.0-1", version+1), Vendor: version, RPM: rpm}
}

// Before: nothing. An image with version 2 of the vendor's package is built
// for either manager. After: the manager knows the package and finds nothing
// wrong, wherever it has its database.
func TestVendorImage(t *testing.T) {
	for _, rpm := range []string{"", sysimage, "/usr/share/rpm", "/var/lib/rpm"} {
		im := vendored(2, rpm)
		t.Run(string(im.Manager())+rpm, func(t *testing.T) {
			script := query[im.Manager()] + owners + inVar
			want := "vendor 2\n" + wantOwners + wantInVar
			if rpm != "" {
				script += "readlink -e /var/lib/rpm/rpmdb.sqlite; ls -d /var/lib/dpkg 2>/dev/null; "
				want = "lab-userland 1\n" + want + rpm + "/rpmdb.sqlite\n"
			}
			if diff := cmp.Diff(want, inImage(t, im.Build(t), script)); diff != "" {
				t.Errorf("packages and files of the image (-want +got):\n%s", diff)
			}
		})
	}
}

// Before: images with versions 1 and 3 of the vendor's package, for either
// manager. After: they differ as cases need it. The number that was vendor's
// is vendor-log's, a file went and one came, a changed one has the same size
// and time, and the administrator's plug-in fits the first only.
func TestVendorVersions(t *testing.T) {
	for rpm, install := range map[string]string{"": "dpkg -i", sysimage: "rpm -i"} {
		one, three := vendored(1, rpm), vendored(3, rpm)
		t.Run(string(one.Manager()), func(t *testing.T) {
			plugin := lab.AdminPlugin().Build(t, one.Manager())
			number := strings.TrimSpace(inImage(t, one.Build(t), "id -u vendor;"))
			script := "ls /etc/vendor; stat -c '%s %Y' /etc/vendor/plain; cat /etc/vendor/plain; vendor; id -un " + number + "; " +
				install + " /admin-plugin* >/dev/null 2>&1; echo plug-in $?;"
			want := [2]string{
				"config\ngone\nlist\nnoreplace\nplain\nsecret\n12 1700000000\nversion = 1\n1\nvendor\nplug-in 0\n",
				"config\nlist\nnew\nnoreplace\nplain\nsecret\n12 1700000000\nversion = 3\n3\nvendor-log\nplug-in 1\n",
			}
			got := [2]string{inImage(t, one.Build(t), script, plugin), inImage(t, three.Build(t), script, plugin)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("versions 1 and 3 of the vendor's package (-want +got):\n%s", diff)
			}
		})
	}
}

// Before: a host that dpkg manages runs its first layer. It is updated to an
// image that rpm manages and that has the vendor's package. After: it runs
// without a failed unit, the files have the vendor's owners, the manager of
// the image answers, and the administrator can install a package.
func TestVendorUpdate(t *testing.T) {
	t.Parallel()
	im := vendored(2, sysimage)
	path, tool := im.Build(t), lab.AdminTool().Build(t, lab.RPM)
	vm := taken(t)
	vm.Must(t, "imgbase update "+vm.Share(t, "images", path, tool)+"/"+filepath.Base(path))
	reboots(t, vm, im.NVR+"+1")
	if diff := cmp.Diff(wantOwners, vm.Must(t, owners)+"\n"); diff != "" {
		t.Errorf("files of the vendor (-want +got):\n%s", diff)
	}
	got := vm.Must(t, query[lab.RPM]+" true") + "\n"
	if diff := cmp.Diff("lab-userland 1\nvendor 2\n", got); diff != "" {
		t.Errorf("rpm's packages, and what is wrong with their files (-want +got):\n%s", diff)
	}
	got = vm.Must(t, "rpm -i "+vm.Mount(t, "images")+"/admin-tool* >/dev/null && admin-tool && ls /etc/admin-tool.conf /run/admin-tool.installed; systemctl is-active vendor")
	if want := "admin-tool 1.0\n/etc/admin-tool.conf\n/run/admin-tool.installed\nactive"; got != want {
		t.Errorf("package of the administrator: %q; want %q", got, want)
	}
}
