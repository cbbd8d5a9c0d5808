package persist

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxLines is the size, in bytes, of the largest file whose lines are merged.
const maxLines = 1 << 20

// rebase merges the lines of a file that both sides changed, if a rule asks
// for it and they can be. A file that cannot be read so is an ordinary
// conflict.
func (c *comparer) rebase(e *entry, change *Change) bool {
	if e.unresolved || c.rules.Merge == nil || !c.rules.Rebase(e.rel) {
		return false
	}
	var texts [3][]byte
	for i, n := range e.nodes {
		if n == nil || n.kind != unix.S_IFREG || n.size > maxLines {
			return false
		}
		var err error
		if texts[i], err = readRegular(e.dirs[i], e.name(), n); err != nil {
			return false
		}
	}
	merged, conflict := c.rules.Merge(texts[base], texts[mine], texts[theirs])
	if conflict {
		return false
	}
	change.Op, change.Why = Rebase, "changed by the administrator and by the vendor, in different lines"
	change.content = merged
	return true
}

func readRegular(dir *os.File, name string, n *node) ([]byte, error) {
	f, err := openRegular(dir, name, n)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, 0, maxLines+1))
	if err == nil && len(data) > maxLines {
		err = fmt.Errorf("%s: more than %d bytes", escape(name), maxLines)
	}
	return data, err
}

// write puts merged lines in a file's place.
func (a *applier) write(c Change, dst *os.File, name string) error {
	return place(dst, name, func() error {
		out, err := openat(dst, staged, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = out.Write(c.content)
		if err = errors.Join(err, out.Close()); err != nil {
			return err
		}
		return a.setAttributes(dst, staged, unix.S_IFREG, c.attrs)
	})
}
