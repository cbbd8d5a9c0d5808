package host

import (
	"fmt"

	units "github.com/docker/go-units"

	"imgbase/internal/boot"
	"imgbase/internal/filesystem"
	"imgbase/internal/lvm"
)

const (
	// bootSize is the least size of /boot in bytes, as the original asks:
	// decimal, because installers' "1 GB" may miss a GiB.
	bootSize = 1_000_000_000
	// poolMetadata is what a pool's metadata should have: a pool whose
	// metadata is full turns read-only (BZ 1432359, BZ 1473175).
	poolMetadata = 1 << 30
	// margin is the part of the pool's data that a plan leaves free, one in
	// so many: the layers that run write as well.
	margin = 50
	// threshold is the share of data or metadata, in percent, above which LVM
	// refuses new volumes: of data when the pool has our profile, of metadata
	// always (measured on 2.03.16: 75; the rest is for what the plan itself
	// takes).
	threshold = 70
	// mappingCost is the metadata one mapped chunk takes at worst, in bytes:
	// 16 in a B-tree node that is at least a third full, with what is copied
	// on write.
	mappingCost = 64
)

// fit says whether the host can be worked on at all.
func (h *Host) fit(s *state) error {
	if !s.root.ThinVolume {
		return fmt.Errorf("root %s/%s: %w", s.root.VG, s.root.Name, ErrNotThin)
	}
	if err := filesystem.Supported(s.rootFS); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	if _, ok := s.mounts.At("/var"); !ok {
		return ErrVarNotSeparate
	}
	if _, ok := s.mounts.At("/boot"); !ok {
		return fmt.Errorf("%w: it is not a mount of its own", ErrBoot)
	}
	return nil
}

// fitBoot opens the boot loader and checks the size of /boot.
func (h *Host) fitBoot(s *state) (*boot.Boot, error) {
	b, err := h.loader(s)
	if err != nil {
		return nil, err
	}
	if err := b.CheckDefault(); err != nil {
		return nil, fmt.Errorf("boot loader: %w", err)
	}
	size, err := b.Size()
	if err != nil {
		return nil, fmt.Errorf("size of /boot: %w", err)
	}
	if size < bootSize {
		return nil, fmt.Errorf("%w: %d bytes; at least %d, so ask an installer for 1.1 GB", ErrBoot, size, bootSize)
	}
	return b, nil
}

// room says whether the pool can take need more bytes of data, and by how
// many bytes its metadata has to be extended first.
func (s *state) room(pool lvm.LV, need uint64) (extend uint64, note string, err error) {
	if pool.NeedsCheck || pool.Health != "" {
		return 0, "", fmt.Errorf("thin pool %s: %w: it needs repair (%s)", pool.Name, ErrPool, pool.Health)
	}
	if !pool.DataPercent.Known || !pool.MetadataPercent.Known {
		return 0, "", fmt.Errorf("thin pool %s: %w: it is not active", pool.Name, ErrPool)
	}
	free := unused(pool.Size, pool.DataPercent)
	want := need + pool.Size/margin
	if free < want {
		return 0, "", fmt.Errorf("thin pool %s: %w: %s of data free, %s wanted", pool.Name, ErrPoolRoom, size(free), size(want))
	}
	if pool.Profile == profileName && pool.DataPercent.Value >= threshold {
		return 0, "", fmt.Errorf("thin pool %s: %w: %.1f %% of its data is in use, and LVM makes no volumes above %d %%",
			pool.Name, ErrPoolRoom, pool.DataPercent.Value, threshold)
	}
	if pool.MetadataSize < poolMetadata {
		missing := poolMetadata - pool.MetadataSize
		if s.vg.Free >= missing {
			return missing, "", nil
		}
		note = fmt.Sprintf("thin pool %s has %s for metadata, %s is advised; volume group %s has %s free",
			pool.Name, size(pool.MetadataSize), size(poolMetadata), s.vg.Name, size(s.vg.Free))
	}
	wantMeta := need/max(pool.ChunkSize, 1<<16)*mappingCost + pool.MetadataSize*(100-threshold)/100
	if freeMeta := unused(pool.MetadataSize, pool.MetadataPercent); freeMeta < wantMeta {
		return 0, note, fmt.Errorf("thin pool %s: %w: %s of metadata free, %s wanted", pool.Name, ErrPoolRoom, size(freeMeta), size(wantMeta))
	}
	return 0, note, nil
}

// unused is what is left of size bytes of which a share is in use.
func unused(size uint64, used lvm.Percent) uint64 {
	return uint64(float64(size) * max(0, 100-used.Value) / 100)
}

// size renders bytes as a user reads them.
func size(n uint64) string { return units.BytesSize(float64(n)) }
