package accounts_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"imgbase/internal/accounts"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// account is one user with a group of the same name; model is a system of
// them. Few names and few ids, so that the three systems meet often.
type account struct {
	uid, gid, primary uint32
	gecos, shell      string
	members           []string
	secret            string
	start             int // of its range, 0 for none
}

type model map[string]account

func userNames() []string { return []string{"a", "b", "c", "d", "e", "f"} }

func anySystem(t *rapid.T, side string) model {
	out := model{}
	id := rapid.Uint32Range(1, 8)
	for _, name := range userNames() {
		if rapid.IntRange(0, 3).Draw(t, side+name) == 0 {
			continue
		}
		out[name] = account{
			uid: id.Draw(t, "uid"), gid: id.Draw(t, "gid"), primary: id.Draw(t, "primary"),
			gecos: rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "gecos"),
			shell: rapid.SampledFrom([]string{"/x", "/y"}).Draw(t, "shell"),
			members: slices.DeleteFunc(slices.Clone(userNames()), func(string) bool {
				return rapid.IntRange(0, 2).Draw(t, "member") > 0
			}),
			secret: rapid.SampledFrom([]string{"*", "!!", "", hash}).Draw(t, "secret"),
			start:  rapid.SampledFrom([]int{0, 100, 105, 110}).Draw(t, "start"),
		}
	}
	return out
}

// distinct gives every account ids of its own.
func (m model) distinct() model {
	out := model{}
	for i, name := range slices.Sorted(maps.Keys(m)) {
		a := m[name]
		a.uid, a.gid = a.uid*10+uint32(i), a.gid*10+uint32(i)
		a.primary = a.gid
		out[name] = a
	}
	return out
}

func (m model) tree() accounts.Tree {
	var files [6]strings.Builder
	fmt.Fprint(&files[0], "root:x:0:0:root:/root:/bin/bash\n")
	fmt.Fprint(&files[1], "root:x:0:\n")
	for _, name := range slices.Sorted(maps.Keys(m)) {
		a := m[name]
		members := strings.Join(a.members, ",")
		fmt.Fprintf(&files[0], "%s:x:%d:%d:%s:/:%s\n", name, a.uid, a.primary, a.gecos, a.shell)
		fmt.Fprintf(&files[1], "%s:x:%d:%s\n", name, a.gid, members)
		fmt.Fprintf(&files[2], "%s:%s:1::::::\n", name, a.secret)
		fmt.Fprintf(&files[3], "%s:%s::%s\n", name, a.secret, members)
		if a.start > 0 {
			fmt.Fprintf(&files[4], "%s:%d:10\n", name, a.start)
			fmt.Fprintf(&files[5], "%s:%d:10\n", name, a.start)
		}
	}
	out := map[string]string{}
	for i, name := range fileNames() {
		out[name] = files[i].String()
	}
	return tree(out)
}

func fileNames() []string {
	return []string{"passwd", "group", "shadow", "gshadow", "subuid", "subgid"}
}

// table is a file's lines by name.
func table(text []byte) map[string][]string {
	out := make(map[string][]string)
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if _, ok := out[fields[0]]; !ok {
			out[fields[0]] = fields
		}
	}
	return out
}

func mergeModels(t *rapid.T, base, host, image accounts.Tree) accounts.Plan {
	t.Helper()
	plan, err := accounts.Merge(base, host, image)
	if err != nil {
		t.Fatalf("Merge() = %v; want no error", err)
	}
	return plan
}

func texts(files map[string]accounts.File) map[string]string {
	out := make(map[string]string)
	for name, f := range files {
		out[name] = string(f.Text)
	}
	return out
}

// The ids of the host stay, every name is there, no id is given to a second
// name that had it to itself, and the map leads from the image's ids to those
// of the same names.
func TestLawIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, host, image := anySystem(t, "base"), anySystem(t, "host"), anySystem(t, "image")
		if rapid.Bool().Draw(t, "distinct") {
			host, image = host.distinct(), image.distinct()
		}
		h, i := host.tree(), image.tree()
		plan := mergeModels(t, base.tree(), h, i)
		for _, kind := range []struct {
			file   string
			owners ids
		}{{"passwd", plan.Owners.UIDs}, {"group", plan.Owners.GIDs}} {
			mine, theirs, got := table(h.Files[kind.file].Text), table(i.Files[kind.file].Text), table(plan.Files[kind.file].Text)
			target := func(id string) string {
				n, _ := strconv.Atoi(id)
				if to, ok := kind.owners[uint32(n)]; ok {
					return strconv.Itoa(int(to))
				}
				return id
			}
			for name, e := range mine {
				if got[name] == nil || got[name][2] != e[2] {
					t.Fatalf("%s %s = %v; want the host's %v", kind.file, name, got[name], e)
				}
			}
			for name, e := range theirs {
				if got[name] == nil || !split(mine, theirs, e[2]) && got[name][2] != target(e[2]) {
					t.Fatalf("%s %s = %v; want %v with id %s\nowners %v", kind.file, name, got[name], e, target(e[2]), kind.owners)
				}
			}
			for a, x := range got {
				for b, y := range got {
					if a < b && x[2] == y[2] && origin(mine, theirs, a) != origin(mine, theirs, b) {
						t.Fatalf("%s: %s and %s got id %s\n%s", kind.file, a, b, x[2], plan.Files[kind.file].Text)
					}
				}
			}
			for from, to := range kind.owners {
				if from == to {
					t.Fatalf("owners %v; want no id mapped to itself", kind.owners)
				}
			}
		}
	})
}

// origin is whom a name's id comes from: the host, for its own names and
// their aliases in the image, or the image.
func origin(mine, theirs map[string][]string, name string) string {
	if e := mine[name]; e != nil {
		return "host " + e[2]
	}
	for _, other := range slices.Sorted(maps.Keys(theirs)) {
		if theirs[other][2] == theirs[name][2] && mine[other] != nil {
			return "host " + mine[other][2]
		}
	}
	return "image " + theirs[name][2]
}

// split reports that the image has several names for an id, which the host
// has under different ones.
func split(mine, theirs map[string][]string, id string) bool {
	seen := make(map[string]bool)
	for name, e := range theirs {
		if e[2] == id && mine[name] != nil {
			seen[mine[name][2]] = true
		}
	}
	return len(seen) > 1
}

// Merging the result with the same image again changes nothing, and finds the
// same map: the next layer is made from the image as it came.
func TestLawTwiceIsOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, host, image := anySystem(t, "base").tree(), anySystem(t, "host").tree(), anySystem(t, "image").tree()
		first := mergeModels(t, base, host, image)
		again := mergeModels(t, image, accounts.Tree{Files: first.Files}, image)
		if diff := cmp.Diff(texts(first.Files), texts(again.Files)); diff != "" {
			t.Fatalf("again (-first +again):\n%s\n%v", diff, first.Changes)
		}
		if diff := cmp.Diff(first.Owners, again.Owners); diff != "" {
			t.Fatalf("owners (-first +again):\n%s", diff)
		}
		for _, c := range again.Changes {
			if c.Op != accounts.Reid && !c.Conflict {
				t.Fatalf("again: %v; want no change", c)
			}
		}
	})
}

// Done again on the layer that was made by it, after the host changed, a
// merge takes in the change and leaves alone what was re-owned: what moves
// anew are ids that the host has given out meanwhile.
func TestLawAgainOnTheLayer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, host, image := anySystem(t, "base").tree(), anySystem(t, "host"), anySystem(t, "image").tree()
		first := mergeModels(t, base, host.tree(), image)
		layer := image.Reowned(first.Owners)
		again := mergeModels(t, base, host.tree(), layer)
		if diff := cmp.Diff(texts(first.Files), texts(again.Files)); diff != "" {
			t.Fatalf("again (-first +again):\n%s", diff)
		}
		if !again.Owners.Empty() {
			t.Fatalf("owners %v; want none\n%s", again.Owners, first.Files["passwd"].Text)
		}

		late := maps.Clone(host)
		delete(late, "a") // in half of all cases a user of the host's alone
		late["new"] = account{uid: 999, gid: 999, primary: 999}
		third := mergeModels(t, base, late.tree(), layer)
		users := table(third.Files["passwd"].Text)
		if _, wanted := table(image.Files["passwd"].Text)["a"]; users["new"][2] != "999" || (users["a"] != nil) != wanted {
			t.Fatalf("passwd = %s; want new with id 999, a only if the image has it", third.Files["passwd"].Text)
		}
		twice, once := layer.Reowned(third.Owners), image.Reowned(first.Owners.Then(third.Owners))
		if diff := cmp.Diff(texts(twice.Files), texts(once.Files)); diff != "" {
			t.Fatalf("one map after the other (-twice +once):\n%s", diff)
		}
		last := mergeModels(t, base, late.tree(), once)
		if diff := cmp.Diff(texts(third.Files), texts(last.Files)); diff != "" || !last.Owners.Empty() {
			t.Fatalf("owners %v; want none (-third +last):\n%s", last.Owners, diff)
		}
	})
}

// Without a change of the vendor the host's files stay as they are, but for
// accounts that the administrator removed.
func TestLawNoVendorChangeIsMine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, host := anySystem(t, "base"), anySystem(t, "host")
		for name, a := range base {
			if _, ok := host[name]; !ok {
				host[name] = a
			}
		}
		plan := mergeModels(t, base.tree(), host.tree(), base.tree())
		if diff := cmp.Diff(texts(host.tree().Files), texts(plan.Files)); diff != "" {
			t.Fatalf("result (-mine +got):\n%s\n%v", diff, plan.Changes)
		}
	})
}

// Without a change of the administrator the fields and members are the
// image's, the ids the host's.
func TestLawNoLocalChangeIsTheirs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, image := anySystem(t, "base").distinct(), anySystem(t, "image").distinct()
		plan := mergeModels(t, base.tree(), base.tree(), image.tree())
		users, groups := table(plan.Files["passwd"].Text), table(plan.Files["group"].Text)
		for name, a := range image {
			u, g := users[name], groups[name]
			if got := []string{u[4], u[6]}; !cmp.Equal(got, []string{a.gecos, a.shell}) {
				t.Fatalf("%s: fields %v; want %v\n%v", name, got, a, plan.Changes)
			}
			members := strings.Split(g[3], ",")
			slices.Sort(members)
			if got := strings.Join(members, ","); got != strings.Join(a.members, ",") {
				t.Fatalf("%s: members %s; want %v", name, got, a.members)
			}
			if u[3] != g[2] {
				t.Fatalf("%s: primary group %s; want its own, %s", name, u[3], g[2])
			}
		}
		for _, c := range plan.Changes {
			if c.Conflict && !strings.HasPrefix(c.File, "sub") {
				t.Fatalf("change %v; want no conflict", c)
			}
		}
	})
}

// Nobody can log into a new account, no password is printed, and the host's
// stay to the byte.
func TestLawPasswords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, host, image := anySystem(t, "base").tree(), anySystem(t, "host").tree(), anySystem(t, "image").tree()
		plan := mergeModels(t, base, host, image)
		for _, file := range []string{"shadow", "gshadow"} {
			mine := table(host.Files[file].Text)
			for name, e := range table(plan.Files[file].Text) {
				switch p := e[1]; {
				case mine[name] != nil && p != mine[name][1]:
					t.Fatalf("%s %s = %v; want the host's %v", file, name, e, mine[name])
				case mine[name] == nil && (p == "" && file == "shadow" || p == hash):
					t.Fatalf("%s %s = %v; want it locked", file, name, e)
				}
			}
		}
		data, err := json.Marshal(plan)
		if err != nil || strings.Contains(string(data), hash) {
			t.Fatalf("Marshal() = %s, %v; want no password", data, err)
		}
	})
}

// The host's ranges stay, and no other overlaps one.
func TestLawRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, host, image := anySystem(t, "base").tree(), anySystem(t, "host").tree(), anySystem(t, "image").tree()
		plan := mergeModels(t, base, host, image)
		mine, got := string(host.Files["subuid"].Text), string(plan.Files["subuid"].Text)
		if !strings.HasPrefix(got, mine) {
			t.Fatalf("subuid = %q; want it to start with %q", got, mine)
		}
		type span struct{ from, to int }
		var all []span
		for line := range strings.Lines(got) {
			var s span
			fields := strings.Split(strings.TrimSpace(line), ":")
			s.from, _ = strconv.Atoi(fields[1])
			count, _ := strconv.Atoi(fields[2])
			s.to = s.from + count
			all = append(all, s)
		}
		for i := strings.Count(mine, "\n"); i < len(all); i++ {
			for j, s := range all {
				if i != j && s.from < all[i].to && all[i].from < s.to {
					t.Fatalf("subuid = %q; want range %d apart from %d", got, i, j)
				}
			}
		}
	})
}

// However the host's file looks, its lines that are no entries stay, in
// order, and so does every line that the image says nothing of.
func TestLawNoLineIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.SampledFrom([]string{"", "# c", "+", "-x::::::", "bad", "a:x:1", "z:x:77:77:::", "z:x:78:78:::", "\x00:x:1:1:::", ":x:1:1:::", " lead:x:79:79:::", "q\xff:x:80:80:::\r"})
		drawn := rapid.SliceOfN(line, 0, 8).Draw(t, "lines")
		host := system(strings.Join(drawn, "\n"), "")
		plan := mergeModels(t, accounts.Tree{}, host, anySystem(t, "image").tree())
		rest := string(plan.Files["passwd"].Text)
		for want := range strings.Lines(string(host.Files["passwd"].Text)) {
			_, after, ok := strings.Cut(rest, strings.TrimSuffix(want, "\n"))
			if !ok {
				t.Fatalf("passwd = %q; want line %q kept in order", plan.Files["passwd"].Text, want)
			}
			rest = after
		}
	})
}
