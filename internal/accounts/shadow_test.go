package accounts_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"imgbase/internal/accounts"

	"github.com/google/go-cmp/cmp"
)

const (
	hash  = "$6$salt$" + "Abcdefghij"
	other = "$y$j9T$" + "Klmnopqrst"
)

// with adds files to a tree of users and groups.
func with(t accounts.Tree, files map[string]string) accounts.Tree {
	t.Files = maps.Clone(t.Files)
	maps.Copy(t.Files, tree(files).Files)
	return t
}

func TestShadow(t *testing.T) {
	host := with(system("al:x:1000:0::/:/x\nplain:"+hash+":1001:0::/:/x\n", ""), map[string]string{
		"shadow": "root:" + hash + ":19000:0:99999:7:::\n# mine\nal:!" + hash + ":1\nghost:" + hash + ":19000::::::\n+\n",
	})
	image := with(system("al:x:1000:0::/:/x\nplain:x:1001:0::/:/x\nn:"+other+":5:0::/:/x\nkeyed:x:6:0::/:/x\nopen:x:7:0::/:/x\nghost:x:8:0::/:/x\n", ""), map[string]string{
		"shadow": "root:" + other + ":20000:0:99999:7:::\nn:!!:20000::::::\nkeyed:" + other + ":20000:1:2:3:4:5:6\nopen::20000\nghost:!:20000::::::\nnobody::1\nplain:" + other + ":1\n",
	})
	plan := merge(t, accounts.Tree{}, host, image)
	want := "root:" + hash + ":19000:0:99999:7:::\n# mine\nal:!" + hash + ":1\nghost:!" + hash + ":19000::::::\n" +
		"n:!!:20000::::::\nkeyed:!*:20000:1:2:3:4:5:6\nopen:!*:20000::::::\n+\n"
	if diff := cmp.Diff(want, string(plan.Files["shadow"].Text)); diff != "" {
		t.Errorf("shadow (-want +got):\n%s", diff)
	}
	if got := text(plan, "passwd"); !strings.Contains(got, "plain:"+hash+":1001") || !strings.Contains(got, "\nn:x:5:") {
		t.Errorf("passwd = %q; want the host's password of plain, none of n", got)
	}
	report := strings.Join(lines(plan), "\n")
	for _, line := range []string{
		"keep shadow ghost: a line of the host without an account, whose name the vendor's gets: kept, locked (conflict)",
		"skip shadow keyed: the image's password is left out, the account is locked",
		"skip shadow open: the image's password is left out, the account is locked",
	} {
		if !strings.Contains(report, line) {
			t.Errorf("changes = %s\nwant %s", report, line)
		}
	}
	data, err := json.Marshal(plan)
	if err != nil || strings.Contains(string(data)+report, "salt") || strings.Contains(string(data)+report, "j9T") {
		t.Errorf("Marshal() = %s, %v; want no password in it", data, err)
	}
}

func TestShadowMissing(t *testing.T) {
	host, image := system("al:"+hash+":1000:0::/:/x\n", ""), system("n:x:5:0::/:/x\n", "g:x:5:n\n")
	plan := merge(t, accounts.Tree{}, host, image)
	if _, ok := plan.Files["shadow"]; ok || !strings.Contains(text(plan, "passwd"), "n:*:5") {
		t.Errorf("passwd = %q, shadow %v; want n locked, no shadow file", text(plan, "passwd"), ok)
	}
	image = with(image, map[string]string{"shadow": "root:*:1\n", "gshadow": ""})
	plan = merge(t, accounts.Tree{}, host, image)
	if got := string(plan.Files["shadow"].Text); got != "n:!*:::::::\n" {
		t.Errorf("shadow = %q; want n alone, locked", got)
	}
	if got := string(plan.Files["gshadow"].Text); got != "g:!*::n\n" {
		t.Errorf("gshadow = %q; want g with its member", got)
	}
}

func TestGroupShadow(t *testing.T) {
	base := with(system("", "w:x:10:a,b\n"), map[string]string{"gshadow": "root:*::\nw:::a,b\n"})
	host := with(system("", "w:x:10:a,al\n"), map[string]string{"gshadow": "root:*::\nw:" + hash + ":al:a,al\nghost:" + hash + "::\nopen:::\n"})
	image := with(system("", "w:x:10:a,b,c\nn:x:5:c\nghost:x:6:\nopen:x:7:\n"), map[string]string{"gshadow": "root:" + other + "::\nw:!::a,b,c\nn:" + other + ":c:c\n"})
	plan := merge(t, base, host, image)
	want := "root:*::\nw:" + hash + ":al:a,al,c\nghost:!" + hash + "::\nopen:::\nn:!*:c:c\n"
	if diff := cmp.Diff(want, string(plan.Files["gshadow"].Text)); diff != "" {
		t.Errorf("gshadow (-want +got):\n%s", diff)
	}
	if got := text(plan, "group"); !strings.HasPrefix(got, "w:x:10:a,al,c\nn:x:5:c\n") {
		t.Errorf("group = %q; want the members of gshadow", got)
	}
}

func TestRanges(t *testing.T) {
	users := "a:x:1000:0::/:/\nb:x:1001:0::/:/\nc:x:1002:0::/:/\nd:x:1003:0::/:/\n"
	for _, c := range []struct{ name, base, host, image, want, changes string }{
		{"the host's win", "a:1000000:10\n", "a:100000:65536\n", "a:1000000:10\n", "a:100000:65536\n", ""},
		{"the image's differ", "", "a:100000:65536\n", "a:200000:10\n", "a:100000:65536\n", "keep subuid a: the host's ranges stay; the image's differ (conflict)"},
		{"given by id and by name is the same", "", "1000:100000:65536\n", "a:100000:65536\n", "1000:100000:65536\n", ""},
		{
			"overlap", "", "# mine\na:100000:65536\na:300000:5", "b:165535:2\nc:165536:10\nd:165540:10\n",
			"# mine\na:100000:65536\na:300000:5\nb:165546:2\nc:165536:10\nd:165548:10\n",
			"add subuid b: added by the vendor, 2 ids from 165546\nadd subuid c: added by the vendor, 10 ids from 165536\n" +
				"add subuid d: added by the vendor, 10 ids from 165548\nverbatim subuid: no entries, kept as they are: comment line 1",
		},
		{"taken away by the administrator", "b:100000:10\n", "a:5:1\n", "b:100000:10\n", "a:5:1\n", ""},
		{"an account's own id is no subordinate one", "", "", "b:1000:10\n", "b:100000:10\n", "add subuid b: added by the vendor, 10 ids from 100000"},
		{
			"no room", "", "a:100000:600000000\n", "b:100000:65536\nc:100000:601\nd:100000:4000000000\n", "a:100000:600000000\n",
			"skip subuid b: no free range of 65536 ids (conflict)",
		},
		{
			"hostile", "", "a:4294967290:10\n", "b:1:0\nc:4294967295:1\nd:-1:5\na:1:99999999999999999999\n", "a:4294967290:10\n",
			"verbatim subuid: no entries, kept as they are: malformed line 1\nskip subuid: no entries of the image, left out: malformed line 1 2 3 4",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			sub := func(text string) accounts.Tree {
				return with(system(users, ""), map[string]string{"subuid": text})
			}
			plan := merge(t, sub(c.base), sub(c.host), sub(c.image))
			if got := string(plan.Files["subuid"].Text); got != c.want {
				t.Errorf("subuid = %q; want %q", got, c.want)
			}
			got := strings.Join(lines(plan), "\n")
			if !strings.HasPrefix(got, c.changes) || c.changes == "" && got != "" {
				t.Errorf("changes:\n%s\nwant\n%s", got, c.changes)
			}
		})
	}
}

// A range that the image gives to an id follows the id.
func TestRangeByID(t *testing.T) {
	host := system("al:x:990:0::/:/\n", "")
	image := with(system("n:x:990:0::/:/\n", ""), map[string]string{"subgid": "990:100000:10\n4000:200000:10\n"})
	plan := merge(t, accounts.Tree{}, host, image)
	if got, want := string(plan.Files["subgid"].Text), "999:100000:10\n4000:200000:10\n"; got != want {
		t.Errorf("subgid = %q; want %q", got, want)
	}
	if got, want := string(image.Reowned(plan.Owners).Files["subgid"].Text), "999:100000:10\n4000:200000:10\n"; got != want {
		t.Errorf("Reowned() subgid = %q; want %q", got, want)
	}
}

func TestParseLimits(t *testing.T) {
	got := accounts.ParseLimits([]byte("# UID_MIN 5\nUID_MIN\t\t500\nSYS_GID_MIN 0x10 junk\nSYS_GID_MAX 0100\nGID_MIN nonsense\nSUB_UID_MIN 700000000\nGID_MAX\n\x00"))
	r := func(low, high uint32) accounts.Range { return accounts.Range{Min: low, Max: high} }
	want := accounts.Limits{
		SystemUID: r(100, 499), UID: r(500, 60000), SubUID: r(100000, 600100000),
		SystemGID: r(16, 64), GID: r(1000, 60000), SubGID: r(100000, 600100000),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseLimits() (-want +got):\n%s", diff)
	}
}
