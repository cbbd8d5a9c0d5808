package lab_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/test/lab"
)

// mine is what the administrator of the case does before the first update:
// every kind of thing that has to survive. $1 is the package manager's
// install.
const mine = `useradd -m -u 1500 boss && usermod -aG adm boss
	echo mine >/etc/admin; chmod 640 /etc/admin; chown boss:adm /etc/admin
	echo '127.0.0.1 localhost mine' >/etc/hosts; rm /etc/issue
	echo notes >/root/notes; echo tool >/usr/local/bin/tool; chmod 755 /usr/local/bin/tool
	lvcreate -q --addtag imgbased:volume -V 64M -T HostVG/pool00 -n config && mkfs.ext4 -q /dev/HostVG/config
	echo '/dev/HostVG/config /config ext4 defaults,discard 0 0' >>/etc/fstab; mkdir /config; mount /config
	mkdir /config/rebase.d; echo /etc/vendor/list >/config/rebase.d/vendor; echo /usr/share/theme >/config/files; mkdir /usr/share/theme; echo theme >/usr/share/theme/mine
	echo data >/var/lib/mine`

// survives prints all of that, in whatever layer runs.
const survives = `id -u boss; id -nG boss; stat -c '%a %U:%G' /etc/admin; cat /etc/admin /root/notes /usr/local/bin/tool /usr/share/theme/mine /var/lib/mine
	grep -c mine /etc/hosts; test -e /etc/issue || echo no issue; ls -d /home/boss; cat /home/boss/file 2>/dev/null; true`

const wantSurvives = "1500\nboss adm\n640 boss:adm\nmine\nnotes\ntool\ntheme\ndata\n1\nno issue\n/home/boss"

// A complaint is what users of the original had to report, by the number in
// Red Hat's Bugzilla, and what holds here instead: what a script prints in the
// layer that runs.
type complaint struct{ name, script, want string }

// afterSecond are the complaints that the second update answers: of the
// vendor's system, where the administrator edited some of its files.
var afterSecond = []complaint{
	{"BZ 1433668 edits of older layers are lost", survives, wantSurvives},
	{
		"BZ 1417534 a configuration that nobody edited is not updated",
		"cat /etc/vendor/plain /etc/vendor/noreplace /etc/vendor/noreplace.imgnew; ls /etc/vendor/gone /etc/vendor/new 2>/dev/null; true",
		"version = 2\nversion = 1\nmine\nversion = 2\n/etc/vendor/new",
	},
	{
		"BZ 1643733 what packages have in /var is not updated",
		"cat /var/lib/vendor/plain /var/lib/vendor/noreplace /var/lib/vendor/noreplace.imgnew /var/lib/vendor/unowned; readlink /var/lib/vendor/link",
		"version = 2\nversion = 1\nmine\nversion = 2\nmine\n/usr/share/vendor/link-2",
	},
	{
		"BZ 1964490 set-id bits and capabilities are lost",
		"stat -c '%a %U:%G' /usr/bin/vendor-setid /usr/bin/vendor-caps; getcap /usr/bin/vendor-caps",
		"6755 vendor:vendor\n750 root:vendor\n/usr/bin/vendor-caps cap_net_raw=ep",
	},
	{
		"BZ 1902646 files are open to all after an update",
		"stat -c '%a %U:%G' /etc/vendor /etc/vendor/secret /etc/shadow",
		"750 root:vendor\n640 root:vendor\n640 root:shadow",
	},
	{
		"BZ 1380797 services that were disabled run again",
		"systemctl is-enabled vendor.service; systemctl is-active vendor.service; true",
		"disabled\ninactive",
	},
	{
		"BZ 1936972 packages of the administrator are lost",
		"admin-tool; imgbase pkg --list | grep -c admin-tool; ls /run/admin-tool.installed 2>&1 | grep -c No",
		"admin-tool 1.0\n1\n1",
	},
	{
		"users change their numbers, and files their owners",
		"stat -c %U:%G /var/lib/vendor /var/log/vendor; awk -F: '{print $3}' /etc/passwd | sort | uniq -d",
		"vendor:vendor\nvendor-log:vendor",
	},
	{
		"BZ 1652940 the clock's settings are lost with ntpd, or made at each update",
		"cat /etc/chrony.conf; systemctl is-enabled chronyd.service; ls /etc/systemd/system/multi-user.target.wants/ntpd.service 2>/dev/null; true",
		"#pool vendor.example iburst\n\n# imgbase: taken over from ntp.conf, once.\nserver ntp.mine iburst\nenabled",
	},
	{
		"BZ 1955415 denials, since the old binary policy is copied over the new",
		"cat /etc/selinux/targeted/policy/policy.33; ls /etc/selinux/targeted/policy",
		"version = 2\npolicy.33",
	},
	{
		"https://github.com/oVirt/vdsm/issues/132 files outside of /etc and /var are lost",
		"cat /usr/share/theme/mine /usr/local/bin/tool",
		"theme\ntool",
	},
	{
		"lines of the administrator and of the vendor in one file",
		"cat /etc/vendor/list; ls /etc/vendor/list.imgnew 2>/dev/null; true",
		"version = 2\n\none\ntwo\nmine",
	},
	{"conflicts are silent", "imgbase status | grep -c /etc/vendor/noreplace", "1"},
}

// databases are where the three images have rpm's database: as Enterprise
// Linux 8 and 9, and then as 10.
var databases = map[lab.Manager][3]string{lab.RPM: {"/var/lib/rpm", "/var/lib/rpm", sysimage}}

// Before: a host runs its first layer. Its administrator makes it his own, and
// updates it to three images of a vendor, for either package manager, going
// back once in between. After each: what he did is there, what the vendor
// changed has arrived, numbers of users fit, packages that he added are there,
// and /var has what the image brought.
func TestPersistence(t *testing.T) {
	t.Parallel()
	// apt tells imgbase by itself. There is no dnf here to do so.
	for manager, install := range map[lab.Manager]string{
		lab.Deb: "apt-get -qq install %[1]s", lab.RPM: "rpm -i %[1]s && imgbase pkg --persist %[1]s",
	} {
		t.Run(string(manager), func(t *testing.T) {
			t.Parallel()
			tool := lab.AdminTool().Build(t, manager)
			var paths []string
			for i, rpm := range databases[manager] {
				paths = append(paths, vendored(i+1, rpm).Build(t))
			}
			vm := taken(t)
			dir := vm.Share(t, "images", append(paths, tool)...)
			update := func(n int) {
				t.Helper()
				vm.Must(t, "imgbase update "+filepath.Join(dir, filepath.Base(paths[n-1])))
			}
			holds := func(cases ...complaint) {
				t.Helper()
				for _, c := range cases {
					t.Run(c.name, func(t *testing.T) {
						if diff := cmp.Diff(c.want, vm.Must(t, c.script)); diff != "" {
							t.Errorf("%s (-want +got):\n%s", c.script, diff)
						}
					})
				}
			}
			vm.Must(t, mine)
			update(1)
			vm.Must(t, "echo late >/etc/late")
			reboots(t, vm, "lab-2.0-1+1")
			holds(complaint{"after the first update", survives, wantSurvives},
				complaint{"what was changed between update and reboot", "cat /etc/late", "late"},
				complaint{"/var of the first image", "cat /var/lib/vendor/plain /var/lib/vendor/unowned; stat -c %U:%G /var/lib/vendor", "version = 1\nversion = 1\nvendor:vendor"},
				complaint{"first boot", "systemctl show -p Result --value imgbase-setup.service; ls /usr/lib/imgbased/first-boot 2>&1 | grep -c No", "success\n1"})

			// In the vendor's system: packages of one's own, settings, services.
			vm.Mount(t, "images")
			vm.Must(t, fmt.Sprintf(install, dir+"/admin-tool*")+" && systemctl disable --now vendor.service")
			vm.Must(t, "echo 'server ntp.mine iburst' >/etc/ntp.conf; echo mine >/etc/selinux/targeted/policy/policy.33; for f in list noreplace; do echo mine >>/etc/vendor/$f; done; echo mine >>/var/lib/vendor/noreplace; echo mine >/var/lib/vendor/unowned; touch /home/boss/file")
			update(2)
			reboots(t, vm, "lab-3.0-1+1")
			holds(afterSecond...)

			vm.Must(t, "imgbase rollback")
			reboots(t, vm, "lab-2.0-1+1")
			holds(complaint{"after going back", survives, wantSurvives},
				complaint{"the vendor's settings, as they were", "cat /etc/vendor/plain /etc/vendor/noreplace; ls /etc/vendor/noreplace.imgnew 2>/dev/null; true", "version = 1\nversion = 1\nmine"})

			vm.Mount(t, "images")
			if manager == lab.Deb { // one is enough: making an initramfs takes minutes here
				vm.Must(t, "echo 'options dm_thin_pool no_space_timeout=61' >/etc/modprobe.d/mine.conf")
			}
			update(3)
			reboots(t, vm, "lab-4.0-1+1")
			holds(complaint{"after the third update", survives, wantSurvives},
				complaint{"the vendor's settings in the end", "cat /etc/vendor/plain /etc/vendor/noreplace /usr/share/vendor/version", "version = 3\nversion = 1\nmine\n3"},
				complaint{"the administrator's package and choice in the end", "admin-tool; systemctl is-enabled vendor.service || true", "admin-tool 1.0\ndisabled"})
			if manager == lab.Deb {
				holds(complaint{"BZ 1837864 the initramfs lacks what root needs", "cat /sys/module/dm_thin_pool/parameters/no_space_timeout; lsinitramfs /boot/lab-4.0-1+1/initrd.img-* | grep -c etc/modprobe.d/mine.conf", "61\n1"})
			}
			if strings.Contains(vm.Must(t, "imgbase layout"), "lab-3.0-1") {
				t.Error("lab-3.0-1 was not collected")
			}
		})
	}
}
