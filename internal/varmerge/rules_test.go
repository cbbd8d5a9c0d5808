package varmerge_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"imgbase/internal/varmerge"

	"github.com/google/go-cmp/cmp"
)

// What is left of an image's /var as Fedora and Debian ship it. A line is a
// path; a directory ends in a slash, and those above it are meant as well.
func TestDefaultRules(t *testing.T) {
	image, want := files{}, files{}
	add := func(tree files, name string) {
		name, isDir := strings.CutSuffix(name, "/")
		for i, c := range name {
			if c == '/' {
				tree[name[:i]] = dir()
			}
		}
		tree[name] = text("1")
		if isDir {
			tree[name] = dir()
		}
	}
	for _, name := range []string{
		"lib/alternatives/ld", "lib/machines2/a", "tmp/", "log/journal/", "log/lastlog", "spool/cron/", "lib/dpkg/", "lib/rpm/",
		"cache/apt/archives/partial/", "cache/libvirt/qemu/", "cache/debconf/config.dat", "lib/systemd/catalog/database",
		"lib/dbus/", "lib/NetworkManager/", "imgbased2", "lib/tmp/x", "lib/apt/lists/partial/",
	} {
		add(image, name)
		add(want, name)
	}
	for _, name := range []string{
		"imgbased/persisted-rpms/a.rpm", "lib/machines/guest/etc/passwd", "lib/portables/x", "lost+found/", ".updated",
		"tmp/build-log", "tmp/d/e", "log/journal/0123/system.journal", "lib/systemd/random-seed", "lib/dbus/machine-id",
		"lib/NetworkManager/secret_key", "lib/dpkg/status", "lib/dpkg/info/a.list", "lib/rpm/rpmdb.sqlite",
		"cache/apt/pkgcache.bin", "cache/apt/archives/a.deb", "cache/libvirt/qemu/capabilities.xml", "lib/apt/lists/x_InRelease",
		"lib/systemd/credential.secret",
	} {
		add(image, name)
	}
	got := merge(t, t.TempDir(), image, nil, varmerge.Options{Rules: varmerge.DefaultRules()})
	if diff := cmp.Diff(want, got.result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

// The host's files at paths that a rule excepts are not looked at either.
func TestRulesHoldForTheHost(t *testing.T) {
	o := every(varmerge.Packaged)
	o.Rules = varmerge.Rules{Skip: []string{"s*", "d/*/x"}, DirsOnly: []string{"c"}}
	image := files{"s": link("1"), "st/a": text("1"), "d/1/x": text("1"), "d/1/y": text("1"), "c/f": text("1"), "c/e/g": text("1")}
	host := files{"s": text("2"), "st/a": text("2"), "d/1/x": text("2"), "c/f": text("2")}
	got := merge(t, t.TempDir(), image, host, o)
	want := got.before.with(files{"d/1/y": text("1"), "c/e": dir()})
	if diff := cmp.Diff(want, got.result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

// The cost is that of the image's tree: a directory of which the host has
// 20,000 other files is merged in no memory, and 3,000 files in little.
func TestCostIsTheImages(t *testing.T) {
	root := inMemory(t)
	image := files{"spool/one": text("1"), "spool/two": text("1"), "big": text(string(bytes.Repeat([]byte("y"), 8<<20)))}
	image.write(t, root+"/image")
	files{"spool/one": text("2"), "big": image["big"]}.write(t, root+"/host")
	for i := range 20000 {
		if err := os.WriteFile(fmt.Sprintf("%s/host/spool/%d", root, i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n := allocated(t, root, 2); n > 1<<20 {
		t.Errorf("%d bytes allocated for three files of the image; want less than 1 MiB", n)
	}
	for i := range 3000 {
		files{fmt.Sprintf("d%02d/f%d", i%60, i): text(strings.Repeat("x", i))}.write(t, root+"/image")
		if i%2 == 0 {
			files{fmt.Sprintf("d%02d/f%d", i%60, i): text(strings.Repeat("z", i))}.write(t, root+"/host")
		}
	}
	if n := allocated(t, root, 1499+1500+30); n > 32<<20 {
		t.Errorf("%d bytes allocated for 3,000 files; want less than 32 MiB", n)
	}
}

// allocated merges, checks how many files arrive, and counts all memory that
// was ever asked for.
func allocated(t *testing.T, root string, arrive int) uint64 {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	plan := compare(t, root+"/image", root+"/host", every(varmerge.Packaged))
	apply(t, plan)
	runtime.ReadMemStats(&after)
	if s := plan.Summary(); s.Files != arrive {
		t.Fatalf("Summary() = %v; want %d files", s, arrive)
	}
	return after.TotalAlloc - before.TotalAlloc
}
