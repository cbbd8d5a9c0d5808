package image_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/filesystem"
	"imgbase/internal/image"
	"imgbase/internal/mount"
	"imgbase/internal/nvr"
)

func TestOpenLiveimg(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		typ          string
		size         int64
	}{
		{"ext4", makeLiveimg, "ext4", 100 << 20},
		{"xfs", makeTree + makeXFS + makeSquashfs, "xfs", 320 << 20},
		{"xz, other name, padded", makeTree + makeExt4 + `mv $1/s/LiveOS $1/s/os; mv $1/s/os/rootfs.img "$1/s/os/a b.img"
			truncate -s +1M "$1/s/os/a b.img"; mkdir $1/s/other; touch $1/s/other/x.txt $1/s/top.img $1/s/os/.hidden.img
			ln -s "a b.img" $1/s/os/link.img; ln -s os $1/s/linked
			mksquashfs $1/s $1/live.img -quiet -no-progress -comp xz; cat /dev/zero | head -c 5000 >>$1/live.img`, "ext4", 100 << 20},
	} {
		s := open(t, build(t, tc.script))
		got := s.Info()
		want := image.Info{
			NVR:  nvr.NVR{Name: "node", Version: "4.5.1", Release: "0.20260101.0"},
			Size: tc.size, Used: got.Used, FSType: tc.typ,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: Info() (-want +got):\n%s", tc.name, diff)
		}
		if got.Used < 4<<20 || got.Used > 100<<20 {
			t.Errorf("%s: Info().Used = %d; want between 4 and 100 MiB", tc.name, got.Used)
		}
		if b, err := os.ReadFile(filepath.Join(s.Root(), "etc/text")); err != nil || !strings.HasSuffix(string(b), "\n200000\n") {
			t.Errorf("%s: a file in Root() has %d bytes, %v", tc.name, len(b), err)
		}
	}
}

func TestOpenLiveimgRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		want         error
		why          string
	}{
		{"missing", ``, fs.ErrNotExist, "no such file"},
		{"directory", `mkdir $1/live.img`, image.ErrNotImage, "not a regular file (d"},
		{"fifo", `mkfifo $1/live.img`, image.ErrNotImage, "not a regular file (p"},
		{"device", `ln -s /dev/zero $1/live.img`, image.ErrNotImage, "not a regular file (D"},
		{"empty", `touch $1/live.img`, image.ErrNotImage, "empty"},
		{"random", `head -c 1M /dev/urandom >$1/live.img`, image.ErrNotImage, ""},
		{"text", `seq 1 1000 >$1/live.img`, image.ErrNotImage, ""},
		{"bare ext4", makeTree + makeExt4 + `mv $1/s/LiveOS/rootfs.img $1/live.img`, image.ErrNotImage, "holds ext4"},
		{"head only", makeLiveimg + `truncate -s 96 $1/live.img`, image.ErrTruncated, "96 of "},
		{"less than a head", makeLiveimg + `truncate -s 95 $1/live.img`, filesystem.ErrDamaged, "cut short"},
		{"half", makeLiveimg + `truncate -s 2M $1/live.img`, image.ErrTruncated, "2097152 of "},
		{"last block", makeLiveimg + `truncate -s -4096 $1/live.img`, image.ErrTruncated, ""},
		{"no directory", `mkdir $1/s; echo x >$1/s/rootfs.img;` + makeSquashfs, image.ErrNotImage, "no file */*.img"},
		{"too deep", `mkdir -p $1/s/a/b; echo x >$1/s/a/b/x.img;` + makeSquashfs, image.ErrNotImage, "no file */*.img"},
		{"a link", `mkdir -p $1/s/a; ln -s /etc/passwd $1/s/a/x.img;` + makeSquashfs, image.ErrNotImage, "no file */*.img"},
		{"a directory", `mkdir -p $1/s/a/x.img;` + makeSquashfs, image.ErrNotImage, "no file */*.img"},
		{"several", `mkdir -p $1/s/a $1/s/b; echo >$1/s/b/1.img; echo >$1/s/a/2.img;` + makeSquashfs, image.ErrNotImage, `2 files */*.img in it: ["a/2.img" "b/1.img"]`},
		{"many", `mkdir -p $1/s/a; for i in $(seq 10 40); do echo >$1/s/a/$i.img; done;` + makeSquashfs, image.ErrNotImage, `31 files */*.img in it, the first ["a/10.img" "a/11.img" "a/12.img" "a/13.img" "a/14.img"]`},
		{"inner empty", `mkdir -p $1/s/a; touch $1/s/a/x.img;` + makeSquashfs, image.ErrNotImage, "a/x.img: not an image"},
		{"inner random", `mkdir -p $1/s/a; head -c 1M /dev/urandom >$1/s/a/x.img;` + makeSquashfs, image.ErrNotImage, "a/x.img"},
		{"inner ext3", makeTree + `mkfs.ext3 -q $1/s/LiveOS/x.img 64M;` + makeSquashfs, filesystem.ErrUnsupported, `"ext3"`},
		{"inner squashfs", makeLiveimg + `mv $1/live.img $1/s/LiveOS/rootfs.img;` + makeSquashfs, filesystem.ErrUnsupported, `"squashfs"`},
		{"inner cut", makeTree + makeExt4 + `truncate -s 50M $1/s/LiveOS/rootfs.img;` + makeSquashfs, image.ErrTruncated, "52428800 of 104857600"},
		{"inner damaged", makeTree + makeExt4 + `printf x | dd of=$1/s/LiveOS/rootfs.img bs=1 seek=1100 conv=notrunc status=none;` + makeSquashfs, filesystem.ErrDamaged, "checksum"},
		{"unclean ext4", makeTree + makeExt4 + unclean + makeSquashfs, image.ErrNotClean, "LiveOS/rootfs.img: "},
		{"unclean xfs", makeTree + makeXFS + unclean + makeSquashfs, image.ErrNotClean, "LiveOS/rootfs.img: "},
		{"no NVR", makeTree + `rm -r $1/t/usr;` + makeExt4 + makeSquashfs, image.ErrNoNVR, "no such file"},
		{"empty NVR", makeTree + `: >$1/t/$n;` + makeExt4 + makeSquashfs, image.ErrNoNVR, "no dash"},
		{"bad NVR", makeTree + `echo a/b-1-2 >$1/t/$n;` + makeExt4 + makeSquashfs, nvr.ErrMalformed, "character '/'"},
		{"two lines", makeTree + `printf 'a-1-2\n\n' >$1/t/$n;` + makeExt4 + makeSquashfs, image.ErrNoNVR, `character '\n'`},
		{"enormous NVR", makeTree + `truncate -s 10M $1/t/$n;` + makeExt4 + makeSquashfs, image.ErrNoNVR, "longer than"},
		{"NVR elsewhere", makeTree + `echo a-1-2 >$1/x; ln -sf $1/x $1/t/$n;` + makeExt4 + makeSquashfs, image.ErrNoNVR, "escapes"},
		{"NVR a directory", makeTree + `rm $1/t/$n; mkdir $1/t/$n;` + makeExt4 + makeSquashfs, image.ErrNoNVR, "is a directory"},
		{"NVR a FIFO", makeTree + `rm $1/t/$n; mkfifo $1/t/$n;` + makeExt4 + makeSquashfs, image.ErrNoNVR, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := build(t, "n=usr/share/imgbase/build/meta/nvr;"+tc.script)
			s, err := image.OpenLiveimg(t.Context(), mount.OS{}, path)
			if err == nil {
				t.Fatalf("OpenLiveimg = %+v; want an error", errors.Join(s.Close()))
			}
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.why) || !strings.HasPrefix(err.Error(), "image "+path+": ") {
				t.Errorf("OpenLiveimg = %v; want %v with %q", err, tc.want, tc.why)
			}
			nothingLeft(t, path)
		})
	}
}

// unclean replaces the file system by a copy made while it was mounted.
const unclean = `dev=$(losetup -f --show $1/s/LiveOS/rootfs.img); mkdir -p $1/m; mount $dev $1/m; touch $1/m/etc/new; sync -f $1/m
	cp --sparse=always $1/s/LiveOS/rootfs.img $1/copy; umount $1/m; losetup -d $dev; mv $1/copy $1/s/LiveOS/rootfs.img
	`

// nothingLeft checks that no mount and no loop device is there for path.
func nothingLeft(t *testing.T, path string) {
	t.Helper()
	if left, err := os.ReadDir("/proc/driver"); err != nil || len(left) != 0 {
		t.Errorf("mounts left = %v, %v; want none", left, err)
	}
	// The kernel frees a loop device some time after its last close.
	var loops string
	for range 100 {
		if loops = sh(t, `losetup -n -O NAME -j "$1"`, path); loops == "" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("loop devices left = %q; want none", loops)
}

func TestOpenLiveimgEnded(t *testing.T) {
	path := build(t, makeLiveimg)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := image.OpenLiveimg(ctx, mount.OS{}, path); !errors.Is(err, context.Canceled) {
		t.Errorf("OpenLiveimg after the end = %v; want canceled", err)
	}
	nothingLeft(t, path)
}

func TestCloseLeavesNothing(t *testing.T) {
	path := build(t, makeLiveimg)
	s, err := image.OpenLiveimg(t.Context(), mount.OS{}, path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
	nothingLeft(t, path)
}
