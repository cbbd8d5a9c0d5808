package lvmtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"imgbase/internal/lvm"
	"imgbase/internal/run"
)

// Dir is the directory that holds a volume's contents; the path exists only
// for thin volumes of a model with a store.
func (m *Model) Dir(vg, name string) string { return filepath.Join(m.Store, vg, name) }

// makeDir gives a new thin volume its contents: none, or its origin's.
func (m *Model) makeDir(lv lvm.LV) error {
	if m.Store == "" || !lv.ThinVolume {
		return nil
	}
	dir := m.Dir(lv.VG, lv.Name)
	if lv.Origin == "" {
		return os.MkdirAll(dir, 0o755)
	}
	// cp keeps what a snapshot keeps: owners, modes, times, links, extended
	// attributes, device nodes.
	return do(run.OS{}, run.Cmd{Name: "cp", Args: []string{"-a", "--reflink=auto", "-T", "--", m.Dir(lv.VG, lv.Origin), dir}})
}

func (m *Model) removeDir(lv lvm.LV) error {
	if m.Store == "" || !lv.ThinVolume {
		return nil
	}
	return os.RemoveAll(m.Dir(lv.VG, lv.Name))
}

func (m *Model) moveDir(from, to lvm.LV) error {
	if m.Store == "" || !from.ThinVolume {
		return nil
	}
	return do(run.OS{}, run.Cmd{Name: "mv", Args: []string{"-T", "--", m.Dir(from.VG, from.Name), m.Dir(to.VG, to.Name)}})
}

func do(r run.Runner, c run.Cmd) error {
	if _, err := r.Run(context.Background(), c); err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	return nil
}
