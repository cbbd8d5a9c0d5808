package packages_test

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"imgbase/internal/packages"
)

const (
	begin = "# imgbase: begin of the packages of the image; written by every update\n"
	end   = "# imgbase: end of the packages of the image\n"
)

func TestLockVersions(t *testing.T) {
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	block := begin + "a-1-1.x86_64\n" + end
	for _, c := range []struct{ name, list, lock, want string }{
		{"no list", "", "a 1-1", block},
		{"epoch left out", "", "a 3:1-1", block},
		{"at the end", "# mine\nfoo-0:1-1.*\n", "a 1-1", "# mine\nfoo-0:1-1.*\n" + block},
		{"no newline at the end", "foo", "a 1-1", "foo\n" + block},
		{"in its place", "foo\n" + begin + "old-1-1.x\n" + end + "bar", "a 1-1", "foo\n" + block + "bar"},
		{"nothing to lock", "foo\n" + block + "bar\n", "", "foo\nbar\n"},
		{"nothing to do", "foo", "", "foo"},
		{"twice", block + "foo\n" + begin + end + "bar\n", "a 1-1", block + "foo\nbar\n"},
		{"with carriage returns", crlf("foo\n" + begin + "old\n" + end + "bar\n"), "a 1-1", crlf("foo\n" + block + "bar\n")},
		{"blanks behind the marks", "foo\n" + strings.TrimSpace(begin) + " \t\nold\n" + end, "a 1-1", "foo\n" + block},
		{"not ours", "## imgbase: begin\n" + end[:10] + "\n", "", "## imgbase: begin\n" + end[:10] + "\n"},
		{"images and others left out", "", "ovirt-node-ng-image-update 1-1, deb:b 1, a 1-1", block},
		{"only such", "foo\n", "x-image-update-placeholder 1-1", "foo\n"},
		{"any bytes", "\x00\xff\n\r\n", "a 1-1", "\x00\xff\n\r\n" + block},
	} {
		got, err := packages.LockVersions([]byte(c.list), pks(c.lock))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: LockVersions() = %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	for list, want := range map[string]string{
		"foo\n" + begin + "bar\n":        "version lock list: line 2: our block has no end",
		begin + begin + end:              "version lock list: line 2: our block begins twice",
		"foo\n" + end:                    "version lock list: line 2: our block ends without a beginning",
		block + "foo\n" + end:            "version lock list: line 5: our block ends without a beginning",
		block + strings.TrimSpace(begin): "version lock list: line 4: our block has no end",
	} {
		if got, err := packages.LockVersions([]byte(list), nil); err == nil || err.Error() != want {
			t.Errorf("LockVersions(%q) = %q, %v; want %s", list, got, err, want)
		}
	}
}

// TestLockVersionsLaws: writing twice is writing once; what is not ours stays.
func TestLockVersionsLaws(t *testing.T) {
	line := rapid.OneOf(rapid.SampledFrom([]string{begin, end, "foo-1\n", "foo\r\n", "\n", "bar"}), rapid.StringN(0, 5, -1))
	rapid.Check(t, func(t *rapid.T) {
		list := []byte(strings.Join(rapid.SliceOf(line).Draw(t, "lines"), ""))
		once, err := packages.LockVersions(bytes.Clone(list), pks("a 1-1"))
		if err != nil {
			return
		}
		if twice, err := packages.LockVersions(bytes.Clone(once), pks("a 1-1")); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("twice = %q, %v; want %q", twice, err, once)
		}
		gone, err := packages.LockVersions(bytes.Clone(once), nil)
		if err != nil || bytes.Contains(gone, []byte("a-1-1")) {
			t.Fatalf("without locks = %q, %v; want no block", gone, err)
		}
		if !bytes.Contains(list, []byte(begin[:20])) && !bytes.HasPrefix(gone, list) {
			t.Fatalf("without locks = %q; want %q", gone, list)
		}
	})
}

// take is a merge of text that takes what one side changed.
func take(base, mine, theirs []byte) ([]byte, bool) {
	switch {
	case bytes.Equal(base, theirs), bytes.Equal(mine, theirs):
		return mine, false
	case bytes.Equal(base, mine):
		return theirs, false
	}
	return mine, true
}

func TestMergeLocks(t *testing.T) {
	block := func(what string) string { return begin + what + "\n" + end }
	for _, c := range []struct {
		name, base, mine, theirs, want string
		conflict                       bool
	}{
		{"added here, locked anew", "foo\n" + block("old"), "foo\n" + block("old") + "bar\n", "foo\n" + block("new"), "foo\nbar\n" + block("new"), false},
		{"our lines edited", "foo\n" + block("old\nolder"), "foo\n" + block("old"), "foo\n" + block("new"), "foo\n" + block("new"), false},
		{"our lines removed", block("old"), "", block("new"), block("new"), false},
		{"no newline", block("old"), "bar", block("new"), "bar\n" + block("new"), false},
		{"the image has none", "foo\n", "bar\n" + block("old"), "foo\n", "bar\n", false},
		{"the vendor's", "foo\n", "foo\n" + block("old"), "baz\n", "baz\n", false},
		{"both", "foo\n", "bar\n" + block("old"), "baz\n", "bar\n" + block("old"), true},
		{"damaged here", "foo\n" + block("old"), "foo\n" + begin, "foo\n" + block("new"), "foo\n" + begin, true},
		{"damaged there", "foo\n", "bar\n", "foo\n" + end, "bar\n", true},
		{"no lists of ours", "foo\n", "bar\n", "foo\n", "bar\n", false},
	} {
		got, conflict := packages.MergeLocks([]byte(c.base), []byte(c.mine), []byte(c.theirs), take)
		if string(got) != c.want || conflict != c.conflict {
			t.Errorf("%s: MergeLocks() = %q, %v; want %q, %v", c.name, got, conflict, c.want, c.conflict)
		}
	}
}
