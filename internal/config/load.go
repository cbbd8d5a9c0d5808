package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxFile is the largest file read, in bytes; a real one has a few lines.
const maxFile = 1 << 20

// Load reads the configuration of the host whose root directory is root.
// Files that are missing, or are no regular files, do not count; one that
// cannot be read is an error, since it may hold a setting that matters.
func Load(root string) (cfg Config, warnings []string, err error) {
	cfg = Default()
	for _, place := range []string{"/usr/lib/imgbased/imgbased.conf", "/etc/imgbased.conf"} {
		dropIns, ignored, err := list(root, place+".d")
		if err != nil {
			return Config{}, nil, err
		}
		warnings = append(warnings, ignored...)
		for _, path := range append([]string{place}, dropIns...) {
			data, err := read(filepath.Join(root, path))
			if err != nil {
				return Config{}, nil, fmt.Errorf("%s: %w", path, err)
			}
			var more []string
			if cfg, more, err = cfg.Merge(path, data); err != nil {
				return Config{}, nil, err
			}
			warnings = append(warnings, more...)
		}
	}
	return cfg, warnings, nil
}

// list is the drop-in files of dir, sorted by name.
func list(root, dir string) (paths, warnings []string, err error) {
	entries, err := os.ReadDir(filepath.Join(root, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, bare(err))
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasSuffix(e.Name(), ".conf") {
			paths = append(paths, path)
		} else {
			// The original read these too.
			warnings = append(warnings, path+": ignored; its name does not end in .conf")
		}
	}
	return paths, warnings, nil
}

func read(path string) ([]byte, error) {
	// Opening a named pipe would wait for its writer.
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, nil
	}
	if err != nil {
		return nil, bare(err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, bare(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, bare(err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrInvalid, maxFile)
	}
	return data, nil
}

// bare takes the path off an error that is going to be told with the path as
// the administrator knows it.
func bare(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
