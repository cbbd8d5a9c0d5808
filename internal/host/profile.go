package host

import (
	"context"
	_ "embed"
	"errors"
	"io/fs"
	"os"
)

// profileName is the metadata profile of our thin pool (lvm.conf(5)): dmeventd
// extends the pool before it is full. The name and what it says are the
// original's.
const profileName = "imgbased-pool"

const profilePath = "etc/lvm/profile/" + profileName + ".profile"

//go:embed units/imgbased-pool.profile
var profile []byte

// installProfile gives a tree the profile, unless it has one.
func installProfile(dir string) error {
	if has, err := within(dir, profilePath); has || err != nil {
		return err
	}
	return writeIn(dir, profilePath, profile, 0o444)
}

// Upkeep gives the thin pool its profile if it has none. LVM wants the file
// where it looks for profiles, so this is for a running layer; `recover` does
// it, which every layer runs at boot. A pool with another profile is left
// alone.
func (h *Host) Upkeep(ctx context.Context) error {
	s, err := h.read(ctx)
	if err != nil || s.taken() != nil || !s.isLayer {
		return err
	}
	pool, err := s.pool()
	if err != nil || pool.Profile != "" {
		return err
	}
	if _, err := os.Stat(h.path(profilePath)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return h.lvm.SetProfile(ctx, s.vg.Name, pool.Name, profileName)
}
