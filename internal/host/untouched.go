package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"imgbase/internal/rootfs"
)

// withUntouched has do know which files of /var nobody changed since an image
// brought them: those that lie just so in the own /var of the layer that ran
// before, under the mount point. When that cannot be looked at none is known to
// be, and what is not known stays the host's.
func (h *Host) withUntouched(ctx context.Context, s *state, do func(untouched func(path string) bool) error) error {
	before, known := s.before(s.running)
	lv, ok := s.lv(before.String())
	if !known || !ok {
		return do(nil)
	}
	looked := false
	err := h.inside(ctx, lv, func(dir string) error {
		looked = true
		return do(func(path string) bool { return sameFile(filepath.Join(dir, "var"), h.path("var"), path) })
	})
	if looked || ctx.Err() != nil {
		return err
	}
	h.Log.WarnContext(ctx, fmt.Sprintf("/var of %s, as its image had it: %v", before, err))
	return do(nil)
}

// sameFile says whether two trees have the same regular file at a path, with
// its owner and mode, and no link on the way to it.
func sameFile(a, b, path string) bool {
	x, xdata, err := plainFile(a, path)
	if err != nil {
		return false
	}
	y, ydata, err := plainFile(b, path)
	return err == nil && x.Mode == y.Mode && x.Uid == y.Uid && x.Gid == y.Gid && bytes.Equal(xdata, ydata)
}

var errNotPlain = errors.New("no regular file, or behind a link")

// plainFile reads a regular file that no link leads to.
func plainFile(root, path string) (st unix.Stat_t, data []byte, err error) {
	name, err := rootfs.Resolve(root, path)
	if err == nil {
		err = unix.Lstat(name, &st)
	}
	if err == nil && (name != filepath.Join(root, path) || st.Mode&unix.S_IFMT != unix.S_IFREG) {
		err = errNotPlain
	}
	if err != nil {
		return st, nil, err
	}
	data, err = rootfs.ReadFile(root, path)
	return st, data, err
}
