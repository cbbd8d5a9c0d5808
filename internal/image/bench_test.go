package image_test

import (
	"path/filepath"
	"testing"

	"imgbase/internal/image"
	"imgbase/internal/mount"
)

// makeBig makes a liveimg of about 0.5 GB of this machine's programs and
// headers in an ext4 file system of 2 GiB.
const makeBig = `mkdir -p $1/s/LiveOS $1/t/usr/share/imgbase/build/meta
	echo big-1-1 >$1/t/usr/share/imgbase/build/meta/nvr
	cp -a /usr/bin /usr/sbin /usr/include $1/t/usr
	truncate -s 2G $1/s/LiveOS/rootfs.img; mkfs.ext4 -q -d $1/t $1/s/LiveOS/rootfs.img; rm -r $1/t
	` + makeSquashfs

// BenchmarkWrite compares ways to bring one liveimg onto a fresh loop device,
// from a cold cache to a synced disk: ours from open to close; dd from the
// squashfs, which is mounted beforehand; and what imgbased does, mkfs and two
// tars from the mounted tree. Run it with -benchtime=1x -count=3 on an idle
// machine and compare medians. In a virtual machine whose free memory goes
// back to the host, the way that touches it first pays for it: measured, up to
// twice the time for the same copy, so that small differences mean nothing.
func BenchmarkWrite(b *testing.B) {
	path := build(b, makeBig)
	for _, way := range []struct {
		name  string
		write func(b *testing.B, device string)
	}{
		{"imgbase", func(b *testing.B, device string) {
			s, err := image.OpenLiveimg(b.Context(), mount.OS{}, path)
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Write(b.Context(), device, image.WriteOptions{}); err != nil {
				b.Fatal(err)
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}},
		{"dd", func(b *testing.B, device string) {
			sh(b, `dd if=$1.m/LiveOS/rootfs.img of=$2 bs=1M conv=sparse,fsync status=none`, path, device)
		}},
		{"mkfs+tar", func(b *testing.B, device string) {
			sh(b, `mkfs.ext4 -q $2; mkdir -p $1.d; mount $2 $1.d
				tar --selinux --xattrs --acls --xattrs-include='*' -cf - -C $1.r . | tar --selinux --xattrs --acls --xattrs-include='*' -xBf - -C $1.d
				umount $1.d; sync $2`, path, device)
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				file := filepath.Join(b.TempDir(), "target")
				device := sh(b, `truncate -s 2G $1; losetup -f --show $1`, file)
				sh(b, `mkdir -p $1.m $1.r; mount -o loop,ro $1 $1.m; mount -o loop,ro $1.m/LiveOS/rootfs.img $1.r
					sync; echo 3 >/proc/sys/vm/drop_caches`, path)
				b.StartTimer()
				way.write(b, device)
				b.StopTimer()
				sh(b, `umount $1.r $1.m; losetup -d $2; rm $3`, path, device, file)
				b.StartTimer()
			}
		})
	}
}
