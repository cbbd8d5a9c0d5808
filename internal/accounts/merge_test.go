package accounts_test

import (
	"strings"
	"testing"

	"imgbase/internal/accounts"

	"github.com/google/go-cmp/cmp"
)

// tree puts a system's account files together.
func tree(files map[string]string) accounts.Tree {
	t := accounts.Tree{Files: make(map[string]accounts.File)}
	for name, text := range files {
		t.Files[name] = accounts.File{Text: []byte(text), Mode: 0o644}
	}
	return t
}

// system is a tree of passwd and group lines besides root's.
func system(users, groups string) accounts.Tree {
	return tree(map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/bash\n" + users,
		"group":  "root:x:0:\n" + groups,
	})
}

func merge(t testing.TB, base, host, image accounts.Tree) accounts.Plan {
	t.Helper()
	plan, err := accounts.Merge(base, host, image)
	if err != nil {
		t.Fatalf("Merge() = %v; want no error", err)
	}
	return plan
}

func text(p accounts.Plan, file string) string {
	return strings.TrimPrefix(strings.TrimPrefix(string(p.Files[file].Text), "root:x:0:0:root:/root:/bin/bash\n"), "root:x:0:\n")
}

func lines(p accounts.Plan) []string {
	var out []string
	for _, c := range p.Changes {
		out = append(out, strings.Join(strings.Fields(c.String()), " "))
	}
	return out
}

type ids = map[uint32]uint32

// Cases are users and groups besides root of base, host and image, and what
// becomes of them.
var cases = []struct {
	name                   string
	base, host, image      [2]string
	passwd, group, changes string
	uids, gids             ids
}{
	{
		name: "nothing changed",
		base: [2]string{"a:x:5:5::/:/x\n", "a:x:5:\n"}, host: [2]string{"a:x:5:5::/:/x\n", "a:x:5:\n"}, image: [2]string{"a:x:5:5::/:/x\n", "a:x:5:\n"},
		passwd: "a:x:5:5::/:/x\n", group: "a:x:5:\n",
	},
	{
		name: "new name keeps a free id",
		host: [2]string{"al:x:1000:1000::/home/al:/bin/sh\n", "al:x:1000:\n"}, image: [2]string{"n:x:990:985:N:/:/x\n", "n:x:985:al\n"},
		passwd:  "al:x:1000:1000::/home/al:/bin/sh\nn:*:990:985:N:/:/x\n",
		group:   "al:x:1000:\nn:*:985:al\n",
		changes: "add passwd n: added by the vendor, id 990\nadd group n: added by the vendor, id 985",
	},
	{
		name: "new name whose ids are taken gets the same free one twice",
		host: [2]string{"h:x:990:980::/:/x\n", "h:x:980:\ng:x:990:\n"}, image: [2]string{"n:x:990:990::/:/x\n", "n:x:990:\n"},
		passwd: "h:x:990:980::/:/x\nn:*:999:999::/:/x\n", group: "h:x:980:\ng:x:990:\nn:*:999:\n",
		changes: "reassign passwd n: added by the vendor, id 999 as the image's 990 is taken\nreassign group n: added by the vendor, id 999 as the image's 990 is taken",
		uids:    ids{990: 999}, gids: ids{990: 999},
	},
	{
		name: "a user follows its group of the host",
		host: [2]string{"h:x:990:980::/:/x\n", "h:x:980:\nn:x:970:\n"}, image: [2]string{"n:x:990:990::/:/x\n", "n:x:990:\n"},
		passwd: "h:x:990:980::/:/x\nn:*:970:970::/:/x\n", group: "h:x:980:\nn:x:970:\n",
		changes: "reassign passwd n: added by the vendor, id 970 as the image's 990 is taken\nreid group n: the host's id 970 stays; files of the image's 990 are re-owned",
		uids:    ids{990: 970}, gids: ids{990: 970},
	},
	{
		name: "ids that changed places",
		base: [2]string{"a:x:5:5::/:/x\nb:x:6:6::/:/x\n", "a:x:5:\nb:x:6:\n"},
		host: [2]string{"a:x:5:5::/:/x\nb:x:6:6::/:/x\n", "a:x:5:\nb:x:6:\n"}, image: [2]string{"a:x:6:6::/:/x\nb:x:5:5::/:/x\n", "a:x:6:\nb:x:5:\n"},
		passwd: "a:x:5:5::/:/x\nb:x:6:6::/:/x\n", group: "a:x:5:\nb:x:6:\n",
		changes: "reid passwd a: the host's id 5 stays; files of the image's 6 are re-owned\nreid passwd b: the host's id 6 stays; files of the image's 5 are re-owned\n" +
			"reid group a: the host's id 5 stays; files of the image's 6 are re-owned\nreid group b: the host's id 6 stays; files of the image's 5 are re-owned",
		uids: ids{5: 6, 6: 5}, gids: ids{5: 6, 6: 5},
	},
	{
		name: "two new names never get one id, and none that the image uses",
		host: [2]string{"h:x:990:0::/:/x\ni:x:991:0::/:/x\n", ""}, image: [2]string{"n:x:990:0::/:/x\no:x:991:0::/:/x\np:x:999:0::/:/x\nq:x:998:0::/:/x\n", ""},
		passwd: "h:x:990:0::/:/x\ni:x:991:0::/:/x\nn:*:997:0::/:/x\no:*:996:0::/:/x\np:*:999:0::/:/x\nq:*:998:0::/:/x\n",
		changes: "reassign passwd n: added by the vendor, id 997 as the image's 990 is taken\nreassign passwd o: added by the vendor, id 996 as the image's 991 is taken\n" +
			"add passwd p: added by the vendor, id 999\nadd passwd q: added by the vendor, id 998",
		uids: ids{990: 997, 991: 996},
	},
	{
		name: "an ordinary id stays ordinary",
		host: [2]string{"al:x:1000:0::/:/x\n", ""}, image: [2]string{"op:x:1000:0::/:/x\n", ""},
		passwd:  "al:x:1000:0::/:/x\nop:*:1001:0::/:/x\n",
		changes: "reassign passwd op: added by the vendor, id 1001 as the image's 1000 is taken",
		uids:    ids{1000: 1001},
	},
	{
		name: "an alias stays one, wherever its first name is",
		host: [2]string{"a:x:600:0::/:/x\n", ""}, image: [2]string{"toor:x:0:0::/:/x\nb:x:500:0::/:/x\na:x:500:0::/:/x\n", ""},
		passwd: "a:x:600:0::/:/x\ntoor:*:0:0::/:/x\nb:*:600:0::/:/x\n",
		changes: "reid passwd a: the host's id 600 stays; files of the image's 500 are re-owned\nadd passwd toor: added by the vendor, id 0\n" +
			"reassign passwd b: added by the vendor, id 600 as the image's 500 is taken",
		uids: ids{500: 600},
	},
	{
		name: "an alias that the host has split is a conflict",
		host: [2]string{"a:x:600:0::/:/x\nb:x:700:0::/:/x\n", ""}, image: [2]string{"a:x:500:0::/:/x\nb:x:500:0::/:/x\n", ""},
		passwd: "a:x:600:0::/:/x\nb:x:700:0::/:/x\n",
		changes: "reid passwd a: the host's id 600 stays; files of the image's 500 are re-owned\n" +
			"keep passwd b: the host's id 700 stays; the image's 500 is shared there, its files go to 600 (conflict)",
		uids: ids{500: 600},
	},
	{
		name: "a primary group without a name is not somebody else's",
		host: [2]string{"", "sudo:x:27:\n"}, image: [2]string{"n:x:500:27::/:/x\n", ""},
		passwd: "n:*:500:999::/:/x\n", group: "sudo:x:27:\n",
		changes: "add passwd n: added by the vendor, id 500\nreid group #27: a primary group without a name; files of the image's 27 are re-owned to 999",
		gids:    ids{27: 999},
	},
	{
		name: "fields three-way, the group by name",
		base: [2]string{"a:x:5:6:A:/a:/x\nb:x:7:6:B:/b:/x\n", "g:x:6:\nh:x:8:\n"}, host: [2]string{"a:x:5:60:mine:/a:/x\nb:x:7:60:B:/mine:/mine\n", "g:x:60:\nh:x:80:\n"},
		image:  [2]string{"a:x:5:8:A:/a:/new\nb:x:7:6:new:/new:/mine\n", "g:x:6:\nh:x:8:\n"},
		passwd: "a:x:5:80:mine:/a:/new\nb:x:7:60:new:/mine:/mine\n", group: "g:x:60:\nh:x:80:\n",
		changes: "update passwd a: group, shell changed by the vendor\nupdate passwd b: gecos changed by the vendor\n" +
			"keep passwd b: home changed by the administrator and by the vendor (conflict)\n" +
			"reid group g: the host's id 60 stays; files of the image's 6 are re-owned\nreid group h: the host's id 80 stays; files of the image's 8 are re-owned",
		gids: ids{6: 60, 8: 80},
	},
	{
		name: "a group that the vendor changed, under the number of the host's",
		base: [2]string{"f:x:1:2::/:/x\n", "f:x:1:\n"}, host: [2]string{"f:x:1:4::/:/x\n", "f:x:1:\n"}, image: [2]string{"f:x:1:4::/:/x\n", "f:x:4:\n"},
		passwd: "f:x:1:1::/:/x\n", group: "f:x:1:\n",
		changes: "update passwd f: group changed by the vendor\nreid group f: the host's id 1 stays; files of the image's 4 are re-owned",
		gids:    ids{4: 1},
	},
	{
		name: "no ancestor: the host's, as a conflict",
		host: [2]string{"a:x:5:0:mine:/a:/x\n", ""}, image: [2]string{"a:x:5:0:new:/a:/x\n", ""},
		passwd:  "a:x:5:0:mine:/a:/x\n",
		changes: "keep passwd a: gecos of the administrator and of the vendor differ (conflict)",
	},
	{
		name: "members by element",
		base: [2]string{"", "g:x:6:a,b,c,d\n"}, host: [2]string{"", "g:x:6:d,a,b,mine\n"}, image: [2]string{"", "g:x:6:a,c,d,new,mine\n"},
		group:   "g:x:6:d,a,mine,new\n",
		changes: "update group g: members -b +new changed by the vendor",
	},
	{
		name: "dropped by the vendor, removed by the administrator, local",
		base: [2]string{"old:x:5:0::/:/x\ngone:x:6:0::/:/x\nboth:x:8:0::/:/x\n", "g:x:6:gone\n"}, host: [2]string{"old:x:5:0::/:/x\nal:x:1000:0::/:/x\n", "g:x:6:\n"},
		image:   [2]string{"gone:x:6:0::/:/x\n", "g:x:6:gone\n"},
		passwd:  "old:x:5:0::/:/x\nal:x:1000:0::/:/x\ngone:*:6:0::/:/x\n",
		group:   "g:x:6:gone\n",
		changes: "stale passwd old: dropped by the vendor; kept, as files may be its own\nrestore passwd gone: removed by the administrator, but the image needs it, id 6\nupdate group g: members +gone changed by the vendor",
	},
	{
		name: "what is no entry stays where it is",
		host: [2]string{"# mine\n\nbad line\na:x:5:0::/:/x\na:x:7:0::/:/x\n-eve::::::\n+::::::\nz:x:9:0::/:/x", "+:::"}, image: [2]string{"n:x:11:0::/:/x\nbad:x:-1:0::/:\n", "n:x:11:\n"},
		passwd: "# mine\n\nbad line\na:x:5:0::/:/x\na:x:7:0::/:/x\nn:*:11:0::/:/x\n-eve::::::\n+::::::\nz:x:9:0::/:/x", group: "n:*:11:\n+:::",
		changes: "add passwd n: added by the vendor, id 11\nverbatim passwd: no entries, kept as they are: comment line 2, blank line 3, NIS line 7 8, repeated line 6, malformed line 4\n" +
			"skip passwd: no entries of the image, left out: malformed line 3\nadd group n: added by the vendor, id 11\nverbatim group: no entries, kept as they are: NIS line 2",
	},
	{
		name: "short entries, colons in the last field, no newline at the end",
		base: [2]string{"s:x:5:0\n", ""}, host: [2]string{"s:x:5:0\nc:x:6:0:::/x:y:z", "g:x:6"}, image: [2]string{"s:x:5:0\nn:x:7:0\n", ""},
		passwd: "s:x:5:0\nc:x:6:0:::/x:y:z\nn:*:7:0:::\n", group: "g:x:6",
		changes: "add passwd n: added by the vendor, id 7",
	},
}

func TestMerge(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var base accounts.Tree
			if c.base != [2]string{} {
				base = system(c.base[0], c.base[1])
			}
			plan := merge(t, base, system(c.host[0], c.host[1]), system(c.image[0], c.image[1]))
			got := []any{text(plan, "passwd"), text(plan, "group"), strings.Join(lines(plan), "\n"), plan.Owners.UIDs, plan.Owners.GIDs}
			want := []any{c.passwd, c.group, c.changes, orEmpty(c.uids), orEmpty(c.gids)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Merge() (-want +got):\n%s", diff)
			}
		})
	}
}

func orEmpty(m ids) ids {
	if m == nil {
		return ids{}
	}
	return m
}

func TestMergeRefuses(t *testing.T) {
	full := system("", "")
	for _, c := range []struct {
		name        string
		host, image accounts.Tree
		want        string
	}{
		{"no host", accounts.Tree{}, full, "the host's passwd: no entry in it"},
		{"host cut short", tree(map[string]string{"passwd": "root:x:0:0:r:/:/\n", "group": ""}), full, "the host's group: no entry in it"},
		{"image cut short", full, tree(map[string]string{"passwd": "root:x", "group": "root:x:0:\n"}), "the image's passwd: no entry in it"},
		{"no id left", accounts.Tree{
			Files:  system("a:x:5:0::/:/\n", "").Files,
			Limits: accounts.Limits{SystemUID: accounts.Range{Min: 5, Max: 5}, UID: accounts.Range{Min: 5, Max: 5}},
		}, system("b\xff:x:5:0::/:/\n", ""), `passwd b\377: no free id for it`},
	} {
		_, err := accounts.Merge(full, c.host, c.image)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: Merge() = %v; want %s", c.name, err, c.want)
		}
	}
}
