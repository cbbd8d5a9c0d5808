package accounts_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"imgbase/internal/accounts"
)

// Any text in any file is merged or refused, and the host's lines that are no
// entries of a known name survive.
func FuzzMerge(f *testing.F) {
	f.Add("", "", "")
	f.Add("a:x:1:1::/:/x\n+::::::\nbad", "a:x:2:2::/:/\nb:x:1:1:::\n", "a:x:1:1:::\n")
	f.Add("a:1:5", "b:4294967290:10\nc:1:99999999999\n", "\x00\n#\n\n")
	f.Add(strings.Repeat(":", 50), "root:x:4294967295:0:::\n", "é\xff:x:1:1:::\r\n")
	f.Fuzz(func(t *testing.T, mine, theirs, was string) {
		files := func(text string) accounts.Tree {
			out := make(map[string]string)
			for _, name := range fileNames() {
				out[name] = "root:0:0:" + "\n" + text
			}
			out["passwd"] = "root:x:0:0:::\n" + text
			out["group"] = "root:x:0:\n" + text
			return tree(out)
		}
		plan, err := accounts.Merge(files(was), files(mine), files(theirs))
		if err != nil {
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "\x00") {
				t.Fatalf("Merge() = %q; want one line", err)
			}
			return
		}
		if _, err := json.Marshal(plan); err != nil {
			t.Fatalf("Marshal() = %v; want no error", err)
		}
		for _, name := range fileNames() {
			if got, want := bytes.Count(plan.Files[name].Text, []byte("\n")), bytes.Count(files(mine).Files[name].Text, []byte("\n")); got < want {
				t.Fatalf("%s has %d lines; want at least the host's %d", name, got, want)
			}
		}
		for _, c := range plan.Changes {
			if strings.Contains(c.String(), "\n") {
				t.Fatalf("String() = %q; want one line", c)
			}
		}
		again, err := accounts.Merge(files(theirs), accounts.Tree{Files: plan.Files}, files(theirs))
		if err != nil {
			t.Fatalf("Merge() again = %v; want no error", err)
		}
		for _, name := range fileNames() {
			if !bytes.Equal(plan.Files[name].Text, again.Files[name].Text) {
				t.Fatalf("%s = %q, again %q", name, plan.Files[name].Text, again.Files[name].Text)
			}
		}
	})
}

func FuzzParseLimits(f *testing.F) {
	f.Add([]byte("UID_MIN 500\nSYS_UID_MAX 0x99\n#\nSUB_GID_MIN -1\n"))
	if defs, err := os.ReadFile("/etc/login.defs"); err == nil {
		f.Add(defs)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l := accounts.ParseLimits(text)
		for _, r := range []accounts.Range{l.SystemUID, l.UID, l.SubUID, l.SystemGID, l.GID, l.SubGID} {
			if r.Min == 0 || r.Min > r.Max || r.Max == 1<<32-1 {
				t.Fatalf("ParseLimits() = %+v; want ranges that hold ids", l)
			}
		}
	})
}
