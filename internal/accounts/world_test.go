package accounts_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/accounts"
	"imgbase/internal/run"
)

// distribution is a tree of the account files of a real system, taken from
// its minimal installation. Passwords are locked.
func distribution(t testing.TB, name string) accounts.Tree {
	t.Helper()
	out := accounts.Tree{Files: make(map[string]accounts.File)}
	for _, file := range []string{"passwd", "group", "shadow", "gshadow"} {
		text, err := os.ReadFile(filepath.Join("testdata", name, file))
		if err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasSuffix(file, "shadow") {
			mode = 0o600
		}
		out.Files[file] = accounts.File{Text: text, Mode: mode}
	}
	return out
}

// appended is a tree with lines of the administrator.
func appended(t accounts.Tree, lines map[string]string) accounts.Tree {
	extra := make(map[string]string)
	for name, text := range lines {
		extra[name] = string(t.Files[name].Text) + text
	}
	return with(t, extra)
}

// Between two releases of EL 9 the groups of sssd and chrony moved on to each
// other's ids, a shell became /usr/sbin/nologin, one account came, one went.
func TestDriftOfEL9(t *testing.T) {
	base, image := distribution(t, "el9-older"), distribution(t, "el9-newer")
	host := appended(base, map[string]string{
		"passwd": "noah:x:1000:1000:noah:/home/noah:/bin/bash\nnetdata:x:991:991::/:/sbin/nologin\n",
		"group":  "noah:x:1000:\nnetdata:x:991:\n",
		"shadow": "noah:" + hash + "::0:99999:7:::\nnetdata:!!:20020::::::\n", "gshadow": "noah:!::\nnetdata:!::\n",
	})
	plan := merge(t, base, host, image)
	want := "update passwd tss: home, shell changed by the vendor\n" +
		"update passwd sshd: shell changed by the vendor\n" +
		"stale passwd systemd-oom: dropped by the vendor; kept, as files may be its own\n" +
		"add passwd tcpdump: added by the vendor, id 72\n" +
		"reid group sssd: the host's id 995 stays; files of the image's 996 are re-owned\n" +
		"reid group chrony: the host's id 994 stays; files of the image's 995 are re-owned\n" +
		"stale group systemd-oom: dropped by the vendor; kept, as files may be its own\n" +
		"add group tcpdump: added by the vendor, id 72"
	if got := strings.Join(lines(plan), "\n"); got != want {
		t.Errorf("changes:\n%s\nwant\n%s", got, want)
	}
	if o := plan.Owners; len(o.UIDs) != 0 || o.GID(996) != 995 || o.GID(995) != 994 || o.GID(994) != 994 {
		t.Errorf("Owners = %v; want groups 996 to 995, 995 to 994", o)
	}
	for _, line := range []string{"sssd:x:998:995:", "chrony:x:997:994:", "sshd:x:74:74:Privilege-separated SSH:/usr/share/empty.sshd:/usr/sbin/nologin\n"} {
		if got := text(plan, "passwd"); !strings.Contains(got, line) {
			t.Errorf("passwd = %s\nwant %s", got, line)
		}
	}
}

// pwck(8) and grpck(8) find no more in a merged system than in the host's,
// and getent's parser finds every account.
func TestCheckedByShadowTools(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("chroot needs root")
	}
	for _, pair := range [][2]string{{"el9-older", "el9-newer"}, {"debian12", "el9-newer"}, {"el9-older", "debian12"}} {
		host := distribution(t, pair[0])
		image := appended(distribution(t, pair[1]), map[string]string{
			"passwd": "keyed:x:900:900::/:/usr/sbin/nologin\n", "group": "keyed:x:900:root\n",
		})
		plan := merge(t, accounts.Tree{}, host, image)
		dir := t.TempDir()
		if err := os.Mkdir(dir+"/etc", 0o755); err != nil {
			t.Fatal(err)
		}
		root := open(t, dir)
		if err := plan.Apply(root); err != nil {
			t.Fatalf("Apply() = %v; want no error", err)
		}
		for _, c := range []run.Cmd{
			{Name: "pwck", Args: []string{"-r", "-q", dir + "/etc/passwd", dir + "/etc/shadow"}},
			{Name: "grpck", Args: []string{"-r", dir + "/etc/group", dir + "/etc/gshadow"}},
		} {
			out, err := run.OS{}.Run(context.Background(), c)
			var failed *run.Error
			if errors.As(err, &failed) && failed.Code < 0 {
				t.Skipf("%s: %v", c.Name, err)
			}
			if complaints := serious(string(out.Stdout) + string(out.Stderr)); complaints != "" {
				t.Errorf("%s on %s with %s:\n%s", c.Name, pair[0], pair[1], complaints)
			}
		}
	}
}

// serious drops what pwck says about directories and programs that are not
// on this machine.
func serious(report string) string {
	var out []string
	for line := range strings.Lines(report) {
		missing := strings.Contains(line, "does not exist") && (strings.Contains(line, "directory") || strings.Contains(line, "program"))
		known := strings.HasPrefix(line, "user '") && strings.Contains(line, "program")
		if !missing && !known && !strings.Contains(line, "no changes") && strings.TrimSpace(line) != "" {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// A new account gets the ids that systemd-sysusers(8) gives it, when the one
// asked for is taken: the same for user and group, counted down.
func TestIDsAsSysusers(t *testing.T) {
	host := distribution(t, "el9-older")
	image := with(system("n:x:992:992::/:/\n", "n:x:992:\n"), map[string]string{"shadow": "", "gshadow": ""})
	plan := merge(t, accounts.Tree{}, host, image)

	dir := t.TempDir()
	writeFile(t, dir+"/usr/lib/sysusers.d/n.conf", "u n 992\n")
	for name, f := range host.Files {
		writeFile(t, filepath.Join(dir, "etc", name), string(f.Text))
	}
	out, err := run.OS{}.Run(context.Background(), run.Cmd{Name: "systemd-sysusers", Args: []string{"--root=" + dir}})
	var failed *run.Error
	if errors.As(err, &failed) && failed.Code < 0 {
		t.Skipf("systemd-sysusers: %v", err)
	}
	if err != nil {
		t.Fatalf("systemd-sysusers = %v, %s", err, out.Stderr)
	}
	for _, name := range []string{"shadow", "gshadow"} {
		if got, want := field(string(plan.Files[name].Text), "n", 1), "!*"; got != want {
			t.Errorf("%s: password of a new account = %q; want %q", name, got, want)
		}
	}
	for _, name := range []string{"passwd", "group"} {
		merged, err := os.ReadFile(filepath.Join(dir, "etc", name))
		must(t, err)
		if got, want := field(text(plan, name), "n", 2), field(string(merged), "n", 2); got != want || got == "" {
			t.Errorf("%s: id of a new account = %q; want %q as systemd-sysusers has it", name, got, want)
		}
	}
}

// field is a field of a name's line.
func field(text, name string, i int) string {
	_, rest, ok := strings.Cut("\n"+text, "\n"+name+":")
	if !ok {
		return ""
	}
	return strings.Split(rest, ":")[i-1]
}
