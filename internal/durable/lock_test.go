package durable_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/durable"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	// What an older run left in the file holds nothing.
	write(t, path, "process 1 (init)")
	lock, err := durable.Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = durable.Acquire(path)
	if !errors.Is(err, durable.ErrLocked) {
		t.Fatalf("Acquire of a held lock = %v; want %v", err, durable.ErrLocked)
	}
	if who := fmt.Sprintf("process %d (", os.Getpid()); !strings.Contains(err.Error(), who) {
		t.Errorf("Acquire of a held lock = %q; want it to name %q", err, who)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := durable.Acquire(path)
	if err != nil {
		t.Fatalf("Acquire after Close = %v; want nil", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLockNamesHostileHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lock, err := durable.Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	write(t, path, "\x1b[2J\n"+strings.Repeat("x", 1<<20))
	_, err = durable.Acquire(path)
	if !errors.Is(err, durable.ErrLocked) {
		t.Fatalf("Acquire = %v; want %v", err, durable.ErrLocked)
	}
	if s := err.Error(); len(s) > 1000 || strings.ContainsAny(s, "\x1b\n") {
		t.Errorf("message of %d bytes %.60q; want a short one without control characters", len(s), s)
	}
}

func TestAcquireRefusesLink(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "precious"), "kept")
	if err := os.Symlink("precious", filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := durable.Acquire(filepath.Join(dir, "lock")); err == nil {
		t.Error("Acquire of a symbolic link = nil; want an error")
	}
	want(t, filepath.Join(dir, "precious"), "kept")
}
