package varmerge_test

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"
	"time"

	"imgbase/internal/owners"
	"imgbase/internal/varmerge"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const (
	access    = "system.posix_acl_access"
	inherit   = "system.posix_acl_default"
	caps      = "security.capability"
	setcapNet = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_bind_service+ep
)

// acl is an access list as setfacl(1) writes it: rw for the owner, r for one
// user and one group, r for the group and others.
func acl(user, group uint32) string {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 6, 1<<32 - 1}, {2, 4, user}, {4, 4, 1<<32 - 1}, {8, 4, group}, {16, 4, 1<<32 - 1}, {32, 4, 1<<32 - 1}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return string(b)
}

// Ids go by name, also where two change places; what is of no account of the
// image keeps its number. Set-id bits and capabilities survive.
func TestOwnersAreTranslated(t *testing.T) {
	asRoot(t)
	o := varmerge.Options{Owners: owners.Map{
		UIDs: map[uint32]uint32{5: 6, 6: 5, 100: 990}, GIDs: map[uint32]uint32{5: 7, 101: 991},
	}}
	image := files{
		"d": dir().owner(5, 5).mode(0o2770), "d/f": text("1").owner(6, 5).mode(0o6755), "l": link("x").owner(100, 101),
		"cap": text("1").owner(100, 0).xattr(caps, setcapNet), "free": text("1").owner(4242, 4242),
		"acl": text("1").xattr(access, acl(100, 101)), "da": dir().owner(0, 101).xattr(inherit, acl(5, 5)),
		"da/in": text("1"), "n": text("1").owner(5, 5).same("d/f"),
	}
	want := files{
		"d": dir().owner(6, 7).mode(0o2770), "d/f": text("1").owner(5, 7).mode(0o6755), "l": link("x").owner(990, 991),
		"cap": text("1").owner(990, 0).xattr(caps, setcapNet), "free": text("1").owner(4242, 4242),
		"acl": text("1").xattr(access, acl(990, 991)), "da": dir().owner(0, 991).xattr(inherit, acl(6, 7)),
		"da/in": text("1"), "n": text("1").owner(5, 7).mode(0o6755).same("d/f"),
	}
	root := t.TempDir()
	image.write(t, root+"/probe")
	if got := read(t, root+"/probe")["da/in"]; got.Attrs[access] == "" {
		t.Fatal("the default access list is not inherited here")
	}
	image["da/in"] = text("1").xattr(access, acl(5, 5))
	want["da/in"] = text("1").xattr(access, acl(6, 7))
	got := merge(t, root, image, nil, o)
	if diff := cmp.Diff(want, got.result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

// What a directory hands down to new files is not left on the vendor's.
func TestInheritedAccessListIsNotLeft(t *testing.T) {
	asRoot(t)
	host := files{"d": dir().mode(0o2777).owner(0, 9).xattr(inherit, acl(1, 1))}
	image := files{"d": dir(), "d/f": text("1").mode(0o600), "d/e": dir().mode(0o700), "d/e/g": text("2")}
	got := merge(t, t.TempDir(), image, host, varmerge.Options{})
	want := got.before.with(files{"d/f": image["d/f"], "d/e": image["d/e"], "d/e/g": image["d/e/g"]})
	if diff := cmp.Diff(want, got.result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

// What differs in attributes alone stays, and is told of where a package owns
// it, in the host's ids.
func TestAttributesAreReported(t *testing.T) {
	asRoot(t)
	all := classes{
		"m": varmerge.Packaged, "o": varmerge.Packaged, "x": varmerge.Config, "same": varmerge.Packaged, "g": varmerge.Ghost, ".": varmerge.Packaged,
	}
	o := varmerge.Options{Class: all.of, Owners: owners.Map{UIDs: map[uint32]uint32{5: 6}}}
	got := merge(t, t.TempDir(),
		files{"m": text("1").mode(0o600), "o": dir().owner(5, 0), "x": text("1").xattr(caps, setcapNet), "same": text("1").owner(5, 0), "g": text("").mode(0)},
		files{"m": text("1"), "o": dir().owner(5, 0), "x": text("1"), "same": text("1").owner(6, 0), "g": text("")}, o)
	want := []string{
		"keep    m: mode 0644, the vendor's 0600",
		"keep    o: owner 5:0, the vendor's 6:0",
		"keep    x: other extended attributes than the vendor's",
	}
	var lines []string
	for _, c := range got.plan.Changes {
		lines = append(lines, c.String())
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

func TestLabelsOnlyWhenAsked(t *testing.T) {
	asRoot(t)
	const key = "security.selinux"
	labelled := text("1").xattr(key, "system_u:object_r:var_t:s0\x00")
	if labels := merge(t, t.TempDir(), files{"f": labelled}, nil, varmerge.Options{}).result["f"].Attrs; labels[key] != "" {
		t.Errorf("label without being asked = %q; want none", labels[key])
	}
	o := varmerge.Options{Rules: varmerge.Rules{Labels: true}}
	if labels := merge(t, t.TempDir(), files{"f": labelled}, nil, o).result["f"].Attrs; labels[key] != labelled.Attrs[key] {
		t.Errorf("label = %q; want %q", labels[key], labelled.Attrs[key])
	}
}

// Times of modification come with what is new, of directories too, and are
// never compared.
func TestTimes(t *testing.T) {
	root := t.TempDir()
	files{"d/f": text("1"), "l": link("x"), "same": text("1")}.write(t, root+"/image")
	files{"same": text("1")}.write(t, root+"/host")
	when := unix.NsecToTimespec(time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC).UnixNano())
	for _, name := range []string{"d/f", "d", "l", "same"} {
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, root+"/image/"+name, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			t.Fatal(err)
		}
	}
	all := classes{"same": varmerge.Packaged}
	plan := compare(t, root+"/image", root+"/host", varmerge.Options{Class: all.of})
	apply(t, plan)
	for name, want := range map[string]bool{"d/f": true, "d": true, "l": true, "same": false} {
		var st unix.Stat_t
		if err := unix.Lstat(root+"/host/"+name, &st); err != nil || (st.Mtim == when) != want {
			t.Errorf("%s: modified %v, %v; the image's time %t", name, st.Mtim, err, want)
		}
	}
}

// A terabyte that holds three bytes is compared and brought in no time.
func TestSparseFile(t *testing.T) {
	root := t.TempDir()
	const size = 1 << 40
	for _, name := range []string{"image/new", "image/old", "host/old"} {
		if err := os.MkdirAll(root+"/"+name[:strings.Index(name, "/")], 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(root + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(size); err != nil {
			t.Skipf("no sparse file of %d bytes here: %v", size, err)
		}
		if _, err := f.WriteAt([]byte(name[:3]), size-3); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	plan := compare(t, root+"/image", root+"/host", varmerge.Options{Class: classes{"old": varmerge.Packaged}.of})
	if s := plan.Summary(); s.Added != 1 || s.Replaced != 1 || s.Bytes > 1<<20 {
		t.Fatalf("Summary() = %v; want one added, one replaced, hardly any bytes", s)
	}
	apply(t, plan)
	for _, name := range []string{"new", "old", "old.imgbak"} {
		var st unix.Stat_t
		if err := unix.Stat(root+"/host/"+name, &st); err != nil || st.Size != size || st.Blocks > 1024 {
			t.Errorf("%s: size %d, %d blocks, %v; want %d bytes, sparse", name, st.Size, st.Blocks, err, int64(size))
		}
	}
}
