package hosttest

import (
	"os"
	"testing"
)

// tempDir is a directory for a test, in memory where there is such a place:
// the host on it loses what a cut loses by the model's rules, and waiting for
// a real disk thousands of times would prove nothing more.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "hosttest")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}
