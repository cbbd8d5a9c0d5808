package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"imgbase/internal/persist"
)

// databases are package databases in /var, which all layers share, although
// what they say is true of one layer only: each layer keeps its own at home
// and mounts it over the shared one.
var databases = [...]struct{ shared, home string }{
	{"var/lib/dpkg", "usr/lib/sysimage/dpkg"},
	{"var/lib/rpm", "usr/lib/sysimage/rpm"},
}

// settleDatabases gives the tree mounted at dir its package databases: those
// that its image has in /var, or, for a layer of the system that runs, those
// of that.
func (h *Host) settleDatabases(ctx context.Context, dir string, ofRunning bool) error {
	for _, db := range databases {
		from := filepath.Join(dir, db.shared)
		if ofRunning {
			from = h.path(db.shared)
		}
		if err := settleDatabase(ctx, dir, from, db.shared, db.home); err != nil {
			return fmt.Errorf("package database %s: %w", db.shared, err)
		}
	}
	return nil
}

func settleDatabase(ctx context.Context, dir, from, shared, home string) error {
	if has, err := within(dir, home); has || err != nil {
		return err
	}
	info, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil // none, or a link to where the image keeps it
	}
	if err != nil {
		return err
	}
	path, err := placeIn(dir, home)
	if err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	// A merge into nothing is a copy with every attribute.
	copied, err := persist.Compare(path, from, path, persist.Rules{Labels: true})
	if err == nil {
		err = copied.Apply(ctx, path)
	}
	if err != nil {
		return err
	}
	return mountOver(dir, shared, home)
}

// mountOver has systemd mount a directory of the tree over one in /var.
func mountOver(dir, shared, home string) error {
	name := strings.ReplaceAll(strings.ReplaceAll(shared, "-", `\x2d`), "/", "-") + ".mount"
	text := fmt.Sprintf(`[Unit]
Description=Package database of this layer
RequiresMountsFor=/var

[Mount]
What=/%s
Where=/%s
Type=none
Options=bind
`, home, shared)
	const units = "usr/lib/systemd/system/"
	if err := writeIn(dir, units+name, []byte(text), 0o644); err != nil {
		return err
	}
	link, err := placeIn(dir, units+"local-fs.target.wants/"+name)
	if err != nil {
		return err
	}
	if err := os.Symlink("../"+name, link); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
