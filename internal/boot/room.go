package boot

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Need is how many bytes [Boot.InstallKernel] would take in /boot, in whole
// blocks. Files that would be hard links to those of other layers, or are in
// place already, take none.
func (b *Boot) Need(layer string, kernels ...Kernel) (int64, error) {
	st, err := b.statfs()
	if err != nil {
		return 0, err
	}
	block := max(int64(st.Bsize), 1)
	var need int64
	for _, k := range kernels {
		if err := checkKernel(layer, k); err != nil {
			return 0, err
		}
		for name, source := range k.Files {
			n, err := b.needFile(layer, name, source)
			if err != nil {
				return 0, err
			}
			need += (n + block - 1) / block * block
		}
	}
	return need, nil
}

func (b *Boot) needFile(layer, name, source string) (int64, error) {
	if same, err := sameFile(source, filepath.Join(b.dir, layer, name)); err != nil || same {
		return 0, err
	}
	if twin, err := b.twin(layer, name, source); err != nil || twin != "" {
		return 0, err
	}
	info, err := os.Lstat(source)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Room is how many bytes are free in /boot, those kept for root not counted.
func (b *Boot) Room() (int64, error) {
	st, err := b.statfs()
	if err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// CheckRoom refuses with [ErrNoRoom] when /boot has not need bytes and a
// margin free. Needing nothing is never refused.
func (b *Boot) CheckRoom(need int64) error {
	room, err := b.Room()
	if err != nil {
		return err
	}
	if need > 0 && room-roomMargin < need {
		return fmt.Errorf("%s: %w: %d bytes free, %d needed and %d to spare", b.dir, ErrNoRoom, room, need, int64(roomMargin))
	}
	return nil
}

// Size is the size in bytes of the file system that holds /boot.
func (b *Boot) Size() (int64, error) {
	st, err := b.statfs()
	if err != nil {
		return 0, err
	}
	return int64(st.Blocks) * int64(st.Bsize), nil
}

func (b *Boot) statfs() (unix.Statfs_t, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(b.dir, &st); err != nil {
		return st, &fs.PathError{Op: "statfs", Path: b.dir, Err: err}
	}
	return st, nil
}
