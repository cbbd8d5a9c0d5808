package rootfs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/rootfs"
	"imgbase/internal/run"

	"github.com/google/go-cmp/cmp"
)

const table = `# /etc/fstab

/dev/mapper/vg-root   /        ext4   defaults,discard 1 1
UUID=0a-b	/boot	ext4	ro	1 2
	LABEL=my\040data  /mnt/my\040data/  xfs  noatime  # the data
tmpfs /tmp tmpfs
odd line
/dev/vg/swap none swap sw 0 0
/dev/second / xfs ro 0 0`

func TestFstabReads(t *testing.T) {
	f := parseFstab(t, table)
	want := []rootfs.FstabEntry{
		{Source: "/dev/mapper/vg-root", Target: "/", FSType: "ext4", Options: []string{"defaults", "discard"}, Freq: 1, PassNo: 1},
		{Source: "UUID=0a-b", Target: "/boot", FSType: "ext4", Options: []string{"ro"}, Freq: 1, PassNo: 2},
		{Source: "LABEL=my data", Target: "/mnt/my data/", FSType: "xfs", Options: []string{"noatime"}},
		{Source: "tmpfs", Target: "/tmp", FSType: "tmpfs"},
		{Source: "/dev/vg/swap", Target: "none", FSType: "swap", Options: []string{"sw"}},
		{Source: "/dev/second", Target: "/", FSType: "xfs", Options: []string{"ro"}},
	}
	if diff := cmp.Diff(want, f.Entries()); diff != "" {
		t.Errorf("Entries() (-want +got):\n%s", diff)
	}
	if e, ok := f.Lookup("/"); !ok || e.Source != "/dev/mapper/vg-root" {
		t.Errorf("Lookup(/) = %v, %v; want the first line for it", e, ok)
	}
	if e, ok := f.Lookup("/mnt/my data"); !ok || e.FSType != "xfs" {
		t.Errorf("Lookup(/mnt/my data) = %v, %v; want the line with a slash at the end", e, ok)
	}
	if e, ok := f.Lookup("/mnt"); ok {
		t.Errorf("Lookup(/mnt) = %v; want none", e)
	}
}

func TestFstabChangesOneLine(t *testing.T) {
	f := parseFstab(t, table)
	root, _ := f.Lookup("/")
	root.Source = "/dev/vg/new"
	if err := f.Replace("/", root); err != nil {
		t.Fatalf("Replace(/) = %v; want no error", err)
	}
	if err := f.EnsureOption("/mnt/my data", "discard"); err != nil {
		t.Fatalf("EnsureOption() = %v; want no error", err)
	}
	if err := f.EnsureOption("/", "discard"); err != nil {
		t.Fatalf("EnsureOption() of what is there = %v; want no error", err)
	}
	want := strings.Replace(table, "/dev/mapper/vg-root   /        ext4   defaults,discard 1 1", "/dev/vg/new / ext4 defaults,discard 1 1", 1)
	want = strings.Replace(want, "\tLABEL=my\\040data  /mnt/my\\040data/  xfs  noatime  # the data", "LABEL=my\\040data /mnt/my\\040data/ xfs noatime,discard 0 0 # the data", 1)
	if diff := cmp.Diff(want, string(f.Bytes())); diff != "" {
		t.Errorf("Bytes() (-want +got):\n%s", diff)
	}
}

func TestFstabAdds(t *testing.T) {
	f := parseFstab(t, "# last line without an end")
	if err := f.Add(rootfs.FstabEntry{Source: "#a b", Target: "/c\td", FSType: "ext4", PassNo: 2}); err != nil {
		t.Fatalf("Add() = %v; want no error", err)
	}
	want := "# last line without an end\n\\043a\\040b /c\\011d ext4 defaults 0 2\n"
	if got := string(f.Bytes()); got != want {
		t.Errorf("Bytes() = %q; want %q", got, want)
	}
	if e, ok := parseFstab(t, want).Lookup("/c\td"); !ok || e.Source != "#a b" {
		t.Errorf("Lookup() = %v, %v; want what was added", e, ok)
	}
}

func TestFstabRefuses(t *testing.T) {
	if _, err := rootfs.ParseFstab([]byte("/dev/a / ext4\x00 ro")); err == nil {
		t.Error("ParseFstab(NUL) = nil; want an error")
	}
	f := parseFstab(t, table)
	ok := rootfs.FstabEntry{Source: "a", Target: "/", FSType: "b"}
	if err := f.Replace("/none", ok); !errors.Is(err, rootfs.ErrNoEntry) {
		t.Errorf("Replace(/none) = %v; want ErrNoEntry", err)
	}
	if err := f.EnsureOption("/none", "x"); !errors.Is(err, rootfs.ErrNoEntry) {
		t.Errorf("EnsureOption(/none) = %v; want ErrNoEntry", err)
	}
	for _, bad := range []rootfs.FstabEntry{{Target: "/", FSType: "b"}, {Source: "a", Target: "/\x00", FSType: "b"}, {Source: "a", Target: "/"}} {
		if err := errors.Join(f.Replace("/", bad), f.Add(bad)); err == nil || strings.Count(err.Error(), "\n") != 1 {
			t.Errorf("Replace, Add(%+v) = %v; want both refused", bad, err)
		}
	}
	if got := string(f.Bytes()); got != table {
		t.Errorf("Bytes() after refusals = %q; want the table as it was", got)
	}
}

func TestFstabKeepsOddFiles(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for name, in := range map[string]string{
		"empty": "", "no end": "/dev/a / ext4 ro", "CRLF": "/dev/a / ext4 ro 0 1\r\n# x\r\n", "long": long + " / ext4\n" + long,
		"blank": " \t\n\n\n", "not UTF-8": "\xff / \xfe\n", "escapes": `/dev/a\400\12\0 /\04 x\`,
	} {
		f := parseFstab(t, in)
		if got := string(f.Bytes()); got != in {
			t.Errorf("%s: Bytes() = %.80q; want it as it was", name, got)
		}
	}
	f := parseFstab(t, "/dev/a / ext4 ro 0 1\r\n# x\r\n")
	if err := f.EnsureOption("/", "discard"); err != nil || string(f.Bytes()) != "/dev/a / ext4 ro,discard 0 1\r\n# x\r\n" {
		t.Errorf("EnsureOption with CRLF = %v, %q; want the line's end kept", err, f.Bytes())
	}
}

// findmnt is the oracle: whatever it takes for an entry, we do.
func TestFstabAgreesWithFindmnt(t *testing.T) {
	in := table + "\n/dev/g /g ext4 ro 0 0\r\n/dev/h /h\\043x ext4 ro 0 2 tail\n  /dev/i /i ext4 ro,,x\n/dev/k /k ext4 ro 01 +2\n" +
		"/dev/m\\x\\134040 /m xfs ,\n/dev/n /n ext4 ro -1 5\n\\043x /o ext4\n/dev/p\n/dev/q /q\\011 ext4 # 1 1\n"
	path := filepath.Join(t.TempDir(), "fstab")
	if err := os.WriteFile(path, []byte(in), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := run.OS{}.Run(context.Background(), run.Cmd{Name: "findmnt", Args: []string{
		"--tab-file", path, "--list", "-J", "-o", "SOURCE,TARGET,FSTYPE,OPTIONS,FREQ,PASSNO",
	}})
	if err != nil {
		t.Skipf("no findmnt to compare with: %v", err)
	}
	var report struct {
		Filesystems []struct {
			Source, Target, FSType, Options string
			Freq, PassNo                    int
		}
	}
	if err := json.Unmarshal(out.Stdout, &report); err != nil || len(report.Filesystems) < 10 {
		t.Fatalf("findmnt: %d entries, %v; want more than 10", len(report.Filesystems), err)
	}
	ours := parseFstab(t, in).Entries()
	for _, want := range report.Filesystems {
		found := false
		for _, e := range ours {
			found = found || e.Source == want.Source && strings.TrimSuffix(e.Target, "/") == strings.TrimSuffix(want.Target, "/") &&
				e.FSType == want.FSType && strings.Join(e.Options, ",") == want.Options && e.Freq == want.Freq && e.PassNo == want.PassNo
		}
		if !found {
			t.Errorf("Entries() lack %+v, which findmnt reads", want)
		}
	}
}

func FuzzFstab(f *testing.F) {
	for _, seed := range []string{table, "", "a b c", "a b c d 1 2 e\r\n", `\040 \011 \134`, "#"} {
		f.Add([]byte(seed), "/x", "opt")
	}
	f.Fuzz(func(t *testing.T, data []byte, target, option string) {
		table, err := rootfs.ParseFstab(data)
		if err != nil {
			return
		}
		if got := table.Bytes(); !bytes.Equal(got, data) {
			t.Fatalf("Bytes() = %q; want %q", got, data)
		}
		add := rootfs.FstabEntry{Source: "src", Target: target, FSType: "t", Options: []string{"o"}}
		before := len(table.Entries())
		if err := table.Add(add); err != nil {
			return
		}
		again, err := rootfs.ParseFstab(table.Bytes())
		if err != nil {
			t.Fatalf("ParseFstab(%q) = %v; want no error", table.Bytes(), err)
		}
		entries := again.Entries()
		if len(entries) != before+1 || entries[before].Target != target {
			t.Fatalf("entries after Add(%q) = %+v; want one more with it", target, entries)
		}
	})
}

func parseFstab(t *testing.T, data string) *rootfs.Fstab {
	t.Helper()
	f, err := rootfs.ParseFstab([]byte(data))
	if err != nil {
		t.Fatalf("ParseFstab(%.80q) = %v; want no error", data, err)
	}
	return f
}
