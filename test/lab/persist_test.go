package lab_test

import (
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
	mkdir -p /config/rebase.d; echo /usr/share/theme >/config/files; mkdir /usr/share/theme; echo theme >/usr/share/theme/mine
	echo data >/var/lib/mine`

// survives prints all of that, in whatever layer runs.
const survives = `id -u boss; id -nG boss; stat -c '%a %U:%G' /etc/admin; cat /etc/admin /root/notes /usr/local/bin/tool /usr/share/theme/mine /var/lib/mine
	grep -c mine /etc/hosts; test -e /etc/issue || echo no issue; ls -d /home/boss; cat /home/boss/file 2>/dev/null; true`

const wantSurvives = "1500\nboss adm\n640 boss:adm\nmine\nnotes\ntool\ntheme\ndata\n1\nno issue\n/home/boss"

// Before: a host runs its first layer. Its administrator makes it his own, and
// updates it to three images of a vendor, for either manager, going back once
// in between. After each: what he did is there, what the vendor changed has
// arrived, numbers of users fit, packages that he added are there, and /var
// has what the image brought.
func TestPersistence(t *testing.T) {
	t.Parallel()
	for rpm, install := range map[string]string{"": "dpkg -i", sysimage: "rpm -i"} {
		first := vendored(1, rpm)
		t.Run(string(first.Manager()), func(t *testing.T) {
			t.Parallel()
			tool := lab.AdminTool().Build(t, first.Manager())
			var paths []string
			for version := range 3 {
				paths = append(paths, vendored(version+1, rpm).Build(t))
			}
			vm := taken(t)
			dir := vm.Share(t, "images", append(paths, tool)...)
			update := func(n int) {
				t.Helper()
				vm.Must(t, "imgbase update "+filepath.Join(dir, filepath.Base(paths[n-1])))
			}
			holds := func(what, script, want string) {
				t.Helper()
				if diff := cmp.Diff(want, vm.Must(t, script)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", what, diff)
				}
			}
			vm.Must(t, mine)
			update(1)
			vm.Must(t, "echo late >/etc/late")
			reboots(t, vm, "lab-2.0-1+1")
			holds("after the first update", survives, wantSurvives)
			holds("what was changed late", "cat /etc/late", "late")
			holds("/var of the first image", "cat /var/lib/vendor/plain /var/lib/vendor/unowned; stat -c %U:%G /var/lib/vendor", "version = 1\nversion = 1\nvendor:vendor")
			holds("first boot", "systemctl show -p Result --value imgbase-setup.service; ls /usr/lib/imgbased/first-boot 2>&1 | grep -c No", "success\n1")

			// In the vendor's system: packages of one's own, settings, services.
			vm.Mount(t, "images")
			vm.Must(t, install+" "+dir+"/admin-tool* && imgbase pkg --persist "+dir+"/admin-tool* && systemctl disable vendor.service")
			vm.Must(t, "echo mine >>/etc/vendor/noreplace; echo mine >>/var/lib/vendor/noreplace; echo mine >/var/lib/vendor/unowned; touch /home/boss/file")
			update(2)
			reboots(t, vm, "lab-3.0-1+1")
			holds("after the second update", survives, wantSurvives)
			holds("the vendor's settings", "cat /etc/vendor/plain /etc/vendor/noreplace /etc/vendor/noreplace.imgnew; ls /etc/vendor/gone /etc/vendor/new 2>/dev/null; true",
				"version = 2\nversion = 1\nmine\nversion = 2\n/etc/vendor/new")
			holds("the vendor's /var", "cat /var/lib/vendor/plain /var/lib/vendor/noreplace /var/lib/vendor/noreplace.imgnew /var/lib/vendor/unowned; readlink /var/lib/vendor/link",
				"version = 2\nversion = 1\nmine\nversion = 2\nmine\n/usr/share/vendor/link-2")
			holds("owners", "stat -c %U:%G /usr/bin/vendor-setid /var/lib/vendor /var/log/vendor /etc/vendor/secret; getcap /usr/bin/vendor-caps; id -u vendor | sort -u | wc -l; awk -F: '{print $3}' /etc/passwd | sort | uniq -d",
				"vendor:vendor\nvendor:vendor\nvendor-log:vendor\nroot:vendor\n/usr/bin/vendor-caps cap_net_raw=ep\n1")
			holds("his package and his choice of services", "admin-tool; systemctl is-enabled vendor.service; imgbase pkg --list | grep -c admin-tool", "admin-tool 1.0\ndisabled\n1")
			holds("conflicts", "imgbase status | grep -c /etc/vendor/noreplace", "1")

			vm.Must(t, "imgbase rollback")
			reboots(t, vm, "lab-2.0-1+1")
			holds("after going back", survives, wantSurvives)
			holds("the vendor's settings, as they were", "cat /etc/vendor/plain /etc/vendor/noreplace; ls /etc/vendor/noreplace.imgnew 2>/dev/null; true", "version = 1\nversion = 1\nmine")

			vm.Mount(t, "images")
			update(3)
			reboots(t, vm, "lab-4.0-1+1")
			holds("after the third update", survives, wantSurvives)
			holds("the vendor's settings in the end", "cat /etc/vendor/plain /etc/vendor/noreplace /usr/share/vendor/version", "version = 3\nversion = 1\nmine\n3")
			holds("his package in the end", "admin-tool; systemctl is-enabled vendor.service", "admin-tool 1.0\ndisabled")
			if strings.Contains(vm.Must(t, "imgbase layout"), "lab-3.0-1") {
				t.Error("lab-3.0-1 was not collected")
			}
		})
	}
}
