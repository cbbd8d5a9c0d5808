package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Entry is one mount of a [Table].
type Entry struct {
	Source  string   // what is mounted: a device node, or a name the file system chose
	Target  string   // where, as seen by the process the table is of
	Root    string   // the directory of the file system that is mounted: "/" unless it is a bind mount
	FSType  string   // "ext4", "xfs"
	Options []string // those of the mount, then those of the file system, each once
	Major   int      // device number
	Minor   int
}

// Table lists mounts in the order they were made.
type Table []Entry

// ReadTable reads a mountinfo file, usually /proc/self/mountinfo.
func ReadTable(path string) (Table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("mount table: %w", err)
	}
	defer f.Close()
	infos, err := mountinfo.GetMountsFromReader(f, nil)
	if err != nil {
		return nil, fmt.Errorf("mount table %s: %w", path, err)
	}
	t := make(Table, 0, len(infos))
	for _, i := range infos {
		t = append(t, Entry{
			Source: i.Source, Target: i.Mountpoint, Root: i.Root, FSType: i.FSType,
			Options: options(i.Options, i.VFSOptions), Major: i.Major, Minor: i.Minor,
		})
	}
	return t, nil
}

// At is the mount that is visible at target: of several mounted over each
// other, the last.
func (t Table) At(target string) (Entry, bool) {
	target = filepath.Clean(target)
	for _, e := range slices.Backward(t) {
		if e.Target == target {
			return e, true
		}
	}
	return Entry{}, false
}

// Holding is the mount that holds path, which is absolute and has no
// symbolic links in it.
func (t Table) Holding(path string) (Entry, bool) {
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		if e, ok := t.At(dir); ok {
			return e, true
		}
		if dir == filepath.Dir(dir) {
			return Entry{}, false
		}
	}
}

// Of are the mounts whose source is source, by name.
func (t Table) Of(source string) []Entry {
	var found []Entry
	for _, e := range t {
		if e.Source == source {
			found = append(found, e)
		}
	}
	return found
}

func options(lists ...string) []string {
	var all []string
	for _, l := range lists {
		for o := range strings.SplitSeq(l, ",") {
			if o != "" && !slices.Contains(all, o) {
				all = append(all, o)
			}
		}
	}
	return all
}
