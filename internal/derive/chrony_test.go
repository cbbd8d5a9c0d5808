package derive_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/derive"
	"imgbase/internal/mount"

	"github.com/google/go-cmp/cmp"
)

const marker = "# imgbase: taken over from ntp.conf, once.\n"

func TestConvertNTP(t *testing.T) {
	const chrony = "# Vendor's.\npool a.example iburst\n\n  server b.example\nport 1\nmakestep 1 3 ! x\n"
	const first = "# Vendor's.\n#pool a.example iburst\n\n#  server b.example\nport 1\nmakestep 1 3 ! x\n\n" + marker
	for _, c := range []struct{ name, ntp, chrony, want, lost string }{
		{"nothing", "# ntp\ndriftfile /var/lib/ntp/drift\n", chrony, chrony + "\n" + marker, ""},
		{"sources", "server c.example iburst\npool d.example\npeer e.example\n", chrony, first + "server c.example iburst\npool d.example\npeer e.example\n", ""},
		{"repeated", "server c.example\nserver c.example\n", chrony, first + "server c.example\nserver c.example\n", ""},
		{
			"comments", "# What this file is.\n\n# Ours,\n#  in the cellar.\nserver c.example # Since 2003. \n#server old.example\n\nserver d.example\n", chrony,
			first + "# Ours,\n#  in the cellar.\n# Since 2003.\nserver c.example\nserver d.example\n", "",
		},
		{
			"options", "SERVER c.example IBURST minpoll 4 maxpoll 10 version 4 key 7 prefer noselect xleave burst nts\n", chrony,
			first + "server c.example iburst minpoll 4 maxpoll 10 version 4 key 7 prefer noselect xleave burst nts\n", "",
		},
		{
			"options that chrony has not", "server -4 c.example autokey mode 3 true key 0 minpoll 99 version\nserver d.example preempt\n", chrony,
			first + "server c.example\nserver d.example\n",
			"-4 autokey mode 3 true key 0 minpoll 99 version of server c.example; preempt of server d.example",
		},
		{"local clock", "fudge 127.127.1.0 refid X stratum 10 # when alone\nserver 127.127.1.0\n", "server b.example\n", "server b.example\n\n" + marker + "local stratum 10\n", ""},
		{"local clock by itself", "server 127.127.1.1\nfudge 127.127.1.0 stratum 10\nfudge 127.127.1.1 stratum 77\n", "local stratum 3\n", "#local stratum 3\n\n" + marker + "local stratum 5\n", ""},
		{"other clocks", "server 127.127.28.0 minpoll 4\nfudge 127.127.28.0 refid GPS\n", chrony, chrony + "\n" + marker, "server 127.127.28.0 minpoll 4; fudge 127.127.28.0 refid GPS"},
		{"what both know", "port 123\nntpsigndsocket /var/lib/samba/ntp_signd/\n", chrony, strings.Replace(chrony, "port", "#port", 1) + "\n" + marker + "port 123\nntpsigndsocket /var/lib/samba/ntp_signd/\n", ""},
		{"what chrony has not", "restrict default kod # a\ntinker panic 0\nkeys /etc/ntp/keys\nincludefile /etc/x\nfudge\n", chrony, chrony + "\n" + marker, "restrict default kod; tinker panic 0; keys /etc/ntp/keys; includefile /etc/x; fudge"},
		{"no address", "server\nserver -4\npool -x\n", chrony, chrony + "\n" + marker, "server; server -4; pool -x"},
		{"empty", "", "", "\n" + marker, ""},
		{"no end of line", "server c.example", "server b.example", "#server b.example\n\n" + marker + "server c.example\n", ""},
		{"carriage returns, zeros", "server c.example\r\nserver d.example\x00iburst\r\n", "", "\n" + marker + "server c.example\nserver d.example iburst\n", ""},
		{"done", "server c.example\n", "x\n  " + marker + "y", "x\n  " + marker + "y", ""},
	} {
		conf, lost := derive.ConvertNTP(c.ntp, c.chrony)
		if diff := cmp.Diff(c.want, conf); diff != "" || strings.Join(lost, "; ") != c.lost {
			t.Errorf("%s: ConvertNTP() lost %q; want %q; (-want +got):\n%s", c.name, lost, c.lost, diff)
		}
	}
}

func TestConvertDebian(t *testing.T) {
	ntp, chrony := read(t, "testdata/ntpsec.conf"), read(t, "testdata/chrony.conf")
	conf, lost := derive.ConvertNTP(ntp, chrony)
	want := strings.Replace(chrony, "\npool", "\n#pool", 1) + "\n" + marker + `# pool.ntp.org maps to about 1000 low-stratum NTP servers.  Your server will
# pick a different set every time it starts up.  Please consider joining the
# pool: <https://www.pool.ntp.org/join.html>
pool 0.debian.pool.ntp.org iburst
pool 1.debian.pool.ntp.org iburst
pool 2.debian.pool.ntp.org iburst
pool 3.debian.pool.ntp.org iburst
`
	if diff := cmp.Diff(want, conf); diff != "" {
		t.Errorf("ConvertNTP() of Debian's (-want +got):\n%s", diff)
	}
	if got := len(lost); got != 6 {
		t.Errorf("ConvertNTP() of Debian's lost %d lines, %q; want 6", got, lost)
	}
}

// TestRealChrony lets chronyd itself read what was converted.
func TestRealChrony(t *testing.T) {
	room := mount.Room{Root: realTools(t)}
	ntp := read(t, "testdata/ntpsec.conf") + `server -4 c.example key 7 iburst burst minpoll 4 maxpoll 17 version 4 prefer noselect xleave autokey mode 2 # cellar
peer d.example true minpoll -6
server 127.127.1.0
fudge 127.127.1.0 stratum 15
server 127.127.28.0
ntpsigndsocket /var/lib/samba
maxdistance 16.0
`
	conf, _ := derive.ConvertNTP(ntp, read(t, "testdata/chrony.conf"))
	files{"etc/converted": conf}.write(t, room.Root)
	got := inRoom(t, room, "chronyd", "-p", "-f", "/etc/converted")
	for _, line := range []string{"pool 0.debian.pool.ntp.org iburst", "server c.example key 7 iburst", "local stratum 15", "maxdistance 16.0"} {
		if !strings.Contains(got, line) {
			t.Errorf("chronyd read\n%s\nwant %s in it", got, line)
		}
	}
	if strings.Contains(got, "2.debian.pool.ntp.org iburst\n\n") || strings.Contains(got, "127.127") {
		t.Errorf("chronyd read\n%s\nwant chrony's own pool and ntpd's clocks gone", got)
	}
}

var (
	hadNTP = files{
		"usr/lib/systemd/system/ntpd.service":                             "[Unit]\n",
		"etc/systemd/system/multi-user.target.wants/ntpd.service":         "-> /usr/lib/systemd/system/ntpd.service",
		"etc/systemd/system/multi-user.target.wants/.imgnew/ntpd.service": "x",
	}
	hasChrony = files{
		"usr/lib/systemd/system/chronyd.service": "[Unit]\n",
		"etc/chrony.conf":                        "pool vendor.example\n",
		"etc/ntp.conf":                           "server mine.example\nrestrict default\n",
	}
)

func TestPlanChrony(t *testing.T) {
	for _, c := range []struct {
		name          string
		running, tree files
		want          string
	}{
		{"taken over", nil, nil, "make       chrony: ntpd is enabled and the image has chronyd instead, etc/chrony.conf takes over etc/ntp.conf"},
		{"not enabled", files{"etc/systemd/system/multi-user.target.wants/ntpd.service": ""}, nil, "keep       chrony: ntpd is not enabled"},
		{"a link to nothing", files{"usr/lib/systemd/system/ntpd.service": ""}, nil, "keep       chrony: ntpd is not enabled"},
		{"masked", files{"etc/systemd/system/ntpd.service": "-> /dev/null"}, nil, "keep       chrony: ntpd is not enabled"},
		{"stays", nil, files{"lib/systemd/system/ntp.service": "[Unit]\n"}, "keep       chrony: ntpd is still there"},
		{"no chrony", nil, files{"usr/lib/systemd/system/chronyd.service": ""}, "keep       chrony: there is no chronyd either"},
		{"no ntp.conf", nil, files{"etc/ntp.conf": ""}, "keep       chrony: there is no ntp.conf"},
		{"done", nil, files{"etc/chrony.conf": marker}, "keep       chrony: etc/chrony.conf was converted before"},
		{"Debian", files{"lib/systemd/system/ntpsec.service": "x", "etc/systemd/system/multi-user.target.requires/ntpsec.service": "-> x"}, files{"etc/ntp.conf": "", "etc/chrony.conf": "", "etc/ntpsec/ntp.conf": "server a\n", "etc/chrony/chrony.conf": "x\n"}, "make       chrony: ntpd is enabled and the image has chronyd instead, etc/chrony/chrony.conf takes over etc/ntpsec/ntp.conf"},
		{"enormous", nil, files{"etc/ntp.conf": strings.Repeat("server a\n", 1<<18)}, "plan chrony: etc/ntp.conf: larger than 1048576 bytes"},
	} {
		tr := hasChrony.with(c.tree).place(t)
		got, err := tr.PlanChrony(hadNTP.with(c.running).place(t).Root)
		line := got.String()
		if err != nil {
			line = strings.Replace(err.Error(), tr.Root+"/", "", 1)
		}
		if line != c.want {
			t.Errorf("%s: PlanChrony() = %s; want %s", c.name, line, c.want)
		}
	}
}

func TestMakeChrony(t *testing.T) {
	running := hadNTP.place(t).Root
	outside := t.TempDir()
	files{"chrony.conf": "precious"}.write(t, outside)
	for _, c := range []struct {
		name   string
		change files
		err    string
	}{
		{"file", nil, ""},
		{"enabled already", files{"etc/systemd/system/multi-user.target.wants/chronyd.service": "-> elsewhere"}, ""},
		{"link inside", files{"etc/chrony.conf": "-> ../usr/share/chrony.conf", "usr/share/chrony.conf": "pool vendor.example\n"}, ""},
		{"directory that leads out", files{"etc/systemd/system/multi-user.target.wants": "-> " + outside}, "chrony: "},
	} {
		tr := hasChrony.with(c.change).place(t)
		plan, err := tr.PlanChrony(running)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tr.MakeChrony(plan)
		if c.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), c.err) {
				t.Errorf("%s: MakeChrony() = %v, %v; want refused", c.name, got, err)
			}
			continue
		}
		want := "etc/chrony.conf etc/systemd/system/multi-user.target.wants etc/systemd/system/multi-user.target.wants/chronyd.service"
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: MakeChrony() = %v, %v; want %s", c.name, got, err, want)
		}
		if got, want := read(t, tr.Root, "etc/chrony.conf"), "#pool vendor.example\n\n"+marker+"server mine.example\n"; got != want {
			t.Errorf("%s: chrony.conf is %q; want %q", c.name, got, want)
		}
		link, err := os.Readlink(filepath.Join(tr.Root, plan.Link.Path))
		if want := "/usr/lib/systemd/system/chronyd.service"; err != nil || link != want && c.change[plan.Link.Path] == "" {
			t.Errorf("%s: chronyd is enabled by %s, %v; want %s", c.name, link, err, want)
		}
		if again, err := tr.PlanChrony(running); err != nil || again.Op != derive.Keep {
			t.Errorf("%s: PlanChrony() afterwards = %v, %v; want nothing to do", c.name, again, err)
		} else if got, err := tr.MakeChrony(again); err != nil || got != nil {
			t.Errorf("%s: MakeChrony() of that = %v, %v; want nothing", c.name, got, err)
		}
		if c.name == "link inside" && read(t, tr.Root, "usr/share/chrony.conf") != "pool vendor.example\n" {
			t.Error("the vendor's file behind the link was written")
		}
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 || read(t, outside, "chrony.conf") != "precious" {
		t.Errorf("outside of the tree is %v, %v; want it untouched", entries, err)
	}
	plan, err := hasChrony.place(t).PlanChrony(running)
	text, err2 := json.Marshal(plan)
	want := `{"op":"make","name":"chrony","why":["ntpd is enabled and the image has chronyd instead","etc/chrony.conf takes over etc/ntp.conf"],` +
		`"path":"etc/chrony.conf","lost":["restrict default"],"link":{"path":"etc/systemd/system/multi-user.target.wants/chronyd.service","target":"/usr/lib/systemd/system/chronyd.service"}}`
	if err != nil || err2 != nil || string(text) != want {
		t.Errorf("Marshal() = %s, %v, %v; want %s", text, err, err2, want)
	}
}

func FuzzConvertNTP(f *testing.F) {
	f.Add("server a iburst # x\nfudge 127.127.1.0 stratum 3\nserver 127.127.1.0\nrestrict default\n", "pool b\n! c\n")
	f.Add("# a\nserver -4\npeer a key\n\x00\r\n", "")
	f.Fuzz(func(t *testing.T, ntp, chrony string) {
		conf, lost := derive.ConvertNTP(ntp, chrony)
		if again, more := derive.ConvertNTP(ntp, conf); again != conf || more != nil {
			t.Errorf("ConvertNTP() of what it made = %q; want %q", again, conf)
		}
		own := chrony
		if i := strings.Index(conf, "\n"+marker); i >= 0 && conf != chrony {
			own = conf[:i]
			for line := range strings.Lines(conf[i+1+len(marker):]) {
				if word, _, _ := strings.Cut(line, " "); !strings.HasPrefix(line, "#") && word != "local" && !strings.Contains(strings.ToLower(ntp), strings.TrimSpace(word)) {
					t.Errorf("ConvertNTP(%q) made %q", ntp, line)
				}
			}
		}
		// Nothing of chrony's is lost: it is there, or there as a comment.
		kept := strings.Split(own, "\n")
		for i, line := range strings.Split(strings.TrimSuffix(chrony, "\n"), "\n") {
			if chrony != "" && (i >= len(kept) || strings.TrimPrefix(kept[i], "#") != strings.TrimPrefix(line, "#")) {
				t.Errorf("ConvertNTP() made %q of chrony's %q", kept, chrony)
				break
			}
		}
		for _, l := range lost {
			if strings.ContainsAny(l, "\n\r\x00") {
				t.Errorf("ConvertNTP() lost %q; want a line", l)
			}
		}
	})
}
