package persist_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"imgbase/internal/persist"

	"golang.org/x/sys/unix"
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

// A terabyte that holds three bytes is compared and carried in no time.
func TestSparseFile(t *testing.T) {
	root := t.TempDir()
	const size = 1 << 40
	for _, name := range []string{"base", "mine", "theirs", "target"} {
		files{"f": text("")}.write(t, root+"/"+name)
		f, err := os.OpenFile(root+"/"+name+"/f", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(size); err != nil {
			t.Skipf("no sparse file of %d bytes here: %v", size, err)
		}
		if name == "mine" {
			if _, err := f.WriteAt([]byte("end"), size-3); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
	}
	plan, err := persist.Compare(root+"/base", root+"/mine", root+"/theirs", persist.Rules{})
	if err != nil || len(plan.Changes) != 1 || plan.Changes[0].Op != persist.Carry {
		t.Fatalf("Compare() = %v, %v; want f carried", plan.Changes, err)
	}
	if err := plan.Apply(context.Background(), root+"/target"); err != nil {
		t.Fatalf("Apply() = %v; want no error", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(root+"/target/f", &st); err != nil || st.Size != size || st.Blocks > 1024 {
		t.Errorf("carried file: size %d, %d blocks, %v; want %d bytes, sparse", st.Size, st.Blocks, err, int64(size))
	}
}
