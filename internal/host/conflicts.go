package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"imgbase/internal/persist"
)

// Conflicts are the paths in /etc beside which a vendor's version lies that
// nobody has looked at. There is no list of them anywhere: a conflict is
// settled when that file is deleted.
func (h *Host) Conflicts() ([]string, error) {
	var found []string
	etc := h.path("etc")
	err := filepath.WalkDir(etc, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, beside := strings.CutSuffix(path, persist.Suffix)
		if !beside || filepath.Base(path) == persist.Suffix {
			return nil
		}
		rel, err := filepath.Rel(etc, name)
		found = append(found, persist.Escape("/etc/"+rel))
		if d.IsDir() && err == nil {
			return filepath.SkipDir // with all that is in it
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("conflicts in /etc: %w", err)
	}
	return found, nil
}

// motd is where login shows a message (pam_motd(8)); it is gone at shutdown.
const motd = "run/motd.d/50-imgbase"

// Announce has login tell of conflicts, or no longer.
func (h *Host) Announce() error {
	found, err := h.Conflicts()
	if err != nil {
		return err
	}
	path := h.path(motd)
	if len(found) == 0 {
		return ignoreMissing(os.Remove(path))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf("imgbase: you and the vendor both changed %d files in /etc; see `imgbase status`\n", len(found))
	return os.WriteFile(path, []byte(text), 0o644)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
