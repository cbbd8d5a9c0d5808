package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"imgbase/internal/run"
)

// cacheDir is where everything built is kept between runs, and where failed
// cases leave their traces.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, "imgbase-lab")
	return dir, os.MkdirAll(dir, 0o755)
}

// key names an artifact after everything it is made from.
func key(kind string, from ...any) (string, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(from); err != nil {
		return "", fmt.Errorf("%s: recipe: %w", kind, err)
	}
	return kind + "-" + hex.EncodeToString(h.Sum(nil))[:16], nil
}

// cached returns the path of an artifact in the cache and builds it when it
// is not there. Only one process builds it, the others wait for it, and a
// build that is cut off leaves nothing that is taken for the artifact.
func cached(ctx context.Context, name string, build func(ctx context.Context, dir string) error) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, name)
	if used(path) {
		return path, nil
	}
	unlock, err := lock(ctx, path+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if used(path) {
		return path, nil
	}
	tmp := path + ".tmp"
	if err := discard(ctx, tmp); err != nil {
		return "", err
	}
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return "", err
	}
	if err := build(ctx, tmp); err != nil {
		return "", errors.Join(fmt.Errorf("build %s: %w", name, err), discard(context.WithoutCancel(ctx), tmp))
	}
	return path, os.Rename(tmp, path)
}

// used tells whether the artifact is there, and marks it as used now: what
// was not used for long is [prune]d.
func used(path string) bool {
	now := time.Now()
	return os.Chtimes(path, now, now) == nil
}

// discard removes a directory that a build may have left in the middle, with
// an overlay still mounted in it.
func discard(ctx context.Context, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, merged)); err == nil {
		// It is an error, and as it should be, if it was never mounted.
		_, _ = run.OS{}.Run(ctx, run.Cmd{Name: "umount", Args: []string{"-l", filepath.Join(dir, merged)}})
	}
	return os.RemoveAll(dir)
}

// prune removes artifacts, and traces of failures, that no run used for long.
func prune(ctx context.Context, unused time.Duration) error {
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(cache)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || time.Since(info.ModTime()) < unused {
			continue
		}
		unlock, err := lock(ctx, filepath.Join(cache, e.Name()+".lock"))
		if err != nil {
			return err
		}
		err = discard(ctx, filepath.Join(cache, e.Name()))
		unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// lock takes the lock file, waiting for whoever holds it. The kernel drops
// the lock when the process ends, however it ends.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	for {
		unlock, err := tryLock(path)
		if err != nil || unlock != nil {
			return unlock, err
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
}

// tryLock returns nil when another holds the lock.
func tryLock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err {
	case nil:
		return func() { f.Close() }, nil
	case unix.EWOULDBLOCK:
		return nil, f.Close()
	default:
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
}

// slot takes one of n places for a running machine, across all test
// processes of this user: emulation with more machines than processors makes
// all of them miss their time limits.
func slot(ctx context.Context, n int) (release func(), err error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	for {
		for i := range n {
			release, err := tryLock(filepath.Join(cache, fmt.Sprintf("slot-%d", i)))
			if err != nil || release != nil {
				return release, err
			}
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return nil, fmt.Errorf("place for a machine: %w", err)
		}
	}
}

// sleep waits, but not longer than the context.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// command runs a program on the building machine.
func command(ctx context.Context, name string, args ...string) error {
	_, err := run.OS{}.Run(ctx, run.Cmd{Name: name, Args: args})
	return err
}
