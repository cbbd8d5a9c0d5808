package hosttest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// String is everything that must not change when a change is refused or
// undone: volumes and tags, /boot, the running /etc, mounts.
func (h *Host) String() string {
	var b strings.Builder
	b.WriteString(h.LVM.String())
	for _, dir := range []string{"boot", "etc"} {
		b.WriteString(listing(h.T, filepath.Join(h.Root(), dir), dir))
	}
	var mounts []string
	for dev := range h.open {
		mounts = append(mounts, "mounted "+dev+"\n")
	}
	sort.Strings(mounts)
	b.WriteString(strings.Join(mounts, ""))
	return b.String()
}

// Unchanged fails the test if the host is not what it was.
func (h *Host) Unchanged(before string) {
	h.T.Helper()
	if diff := cmp.Diff(before, h.String()); diff != "" {
		h.T.Errorf("the host has changed (-before +after):\n%s", diff)
	}
}

// listing is a tree as text: mode, path and content of every file.
func listing(t testing.TB, dir, name string) string {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content := ""
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			content, err = os.Readlink(path)
		case d.Type().IsRegular():
			var data []byte
			data, err = os.ReadFile(path)
			content = fmt.Sprintf("%q", data)
		}
		fmt.Fprintf(&b, "%s %s %s\n", info.Mode(), filepath.Join(name, rel), content)
		return err
	})
	must(t, err)
	return b.String()
}
