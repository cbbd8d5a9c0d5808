package image_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/image"
	"imgbase/internal/mount"
	"imgbase/internal/run"
)

func TestMain(m *testing.M) {
	if os.Geteuid() == 0 {
		if err := mount.Isolate(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts")
	}
}

func sh(t testing.TB, script string, args ...string) string {
	t.Helper()
	out, err := run.OS{}.Run(t.Context(), run.Cmd{Name: "sh", Args: append([]string{"-ec", script, "sh"}, args...)})
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return strings.TrimSpace(string(out.Stdout))
}

// Scripts that make parts of an image in the directory $1: the tree "t", the
// file system "s/LiveOS/rootfs.img", the image "live.img".
const (
	makeTree = `mkdir -p $1/t/usr/share/imgbase/build/meta $1/t/etc $1/s/LiveOS
		echo node-4.5.1-0.20260101.0 >$1/t/usr/share/imgbase/build/meta/nvr
		head -c 3000000 /dev/urandom >$1/t/etc/random; truncate -s 20M $1/t/etc/sparse
		seq 1 200000 >$1/t/etc/text; echo end >>$1/t/etc/sparse
		`
	makeExt4 = `truncate -s 100M $1/s/LiveOS/rootfs.img; mkfs.ext4 -q -d $1/t $1/s/LiveOS/rootfs.img
		`
	makeXFS = `truncate -s 320M $1/s/LiveOS/rootfs.img; mkfs.xfs -q $1/s/LiveOS/rootfs.img
		dev=$(losetup -f --show $1/s/LiveOS/rootfs.img); mkdir $1/m; mount $dev $1/m; cp -a $1/t/. $1/m; umount $1/m; losetup -d $dev
		`
	makeSquashfs = `mksquashfs $1/s $1/live.img -quiet -no-progress -comp zstd
		`
	makeLiveimg = makeTree + makeExt4 + makeSquashfs
)

// build runs a script with a fresh directory and names the image in it.
func build(t testing.TB, script string) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	sh(t, script, dir)
	return filepath.Join(dir, "live.img")
}

func open(t testing.TB, path string) image.Source {
	t.Helper()
	s, err := image.OpenLiveimg(t.Context(), mount.OS{}, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
