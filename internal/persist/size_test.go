package persist_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"imgbase/internal/persist"
)

// An /etc of 3,000 files is merged in flat memory.
func TestMemoryIsFlat(t *testing.T) {
	root, tree := t.TempDir(), files{}
	for i := range 3000 {
		tree[fmt.Sprintf("d%02d/f%d", i%60, i)] = text(strings.Repeat("x", i))
	}
	tree["big"] = text(string(bytes.Repeat([]byte("y"), 8<<20)))
	for _, name := range []string{"base", "mine", "theirs"} {
		tree.write(t, root+"/"+name)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	plan, err := persist.Compare(root+"/base", root+"/mine", root+"/theirs", persist.Rules{})
	if err != nil || len(plan.Changes) != 0 {
		t.Fatalf("Compare() = %v, %v; want no change", plan.Changes, err)
	}
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	t.Logf("3,000 files: %v, %d KiB allocated in all", took, allocated>>10)
	if allocated > 32<<20 {
		t.Errorf("allocated %d bytes; want less than 32 MiB", allocated)
	}
}
