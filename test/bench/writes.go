package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"imgbase/internal/image"
	"imgbase/internal/mount"
	"imgbase/internal/run"
)

// makeImage makes a liveimg of about 0.5 GB of this computer's programs and
// headers, in an ext4 file system of 2 GiB.
const makeImage = `cd "$1"; mkdir -p s/LiveOS t/usr/share/imgbase/build/meta
	echo big-1-1 >t/usr/share/imgbase/build/meta/nvr
	cp -a /usr/bin /usr/sbin /usr/include t/usr
	truncate -s 2G s/LiveOS/rootfs.img; mkfs.ext4 -q -d t s/LiveOS/rootfs.img; rm -r t
	mksquashfs s live.img -quiet -no-progress -comp zstd; rm -r s
	mkdir outer inner target`

// attach gives each run a fresh device, and the ways that need it a mounted
// image. The cache is cold.
const attach = `cd "$1"; truncate -s 2G disk; losetup -f --show disk
	mount -o loop,ro live.img outer; mount -o loop,ro outer/LiveOS/rootfs.img inner
	sync; echo 3 >/proc/sys/vm/drop_caches`

const detach = `cd "$1"; umount inner outer; losetup -d "$2"; rm disk`

// The ways, in sh, with the directory and the device as arguments: ours from
// opening the image to closing it, dd from the mounted squashfs, and what
// imgbased does, mkfs and two tars from the mounted tree. Reading alone, which
// is decompression, is what no copier that leaves it to the kernel can save.
const (
	ours = "imgbase"
	dd   = "dd"
	tars = "mkfs and tar"
	read = "reading alone"
)

var ways = map[string]string{
	ours: `exec /proc/$PPID/exe write "$1/live.img" "$2"`,
	dd:   `exec dd if="$1/outer/LiveOS/rootfs.img" of="$2" bs=1M conv=sparse,fsync status=none`,
	read: `exec dd if="$1/outer/LiveOS/rootfs.img" of=/dev/null bs=1M status=none`,
	tars: `cd "$1"; mkfs.ext4 -q "$2"; mount "$2" target
		tar --selinux --xattrs --acls --xattrs-include='*' -cf - -C inner . | tar --selinux --xattrs --acls --xattrs-include='*' -xBf - -C target
		umount target; sync "$2"`,
}

// writes compares the ways to bring an image onto a device.
func writes(ctx context.Context, r *report, rounds int) (err error) {
	dir, err := os.MkdirTemp("", "imgbase-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if _, err := shell(ctx, makeImage, dir); err != nil {
		return err
	}
	order := [...]string{ours, dd, tars, read}
	timings := map[string]*timing{}
	for _, way := range order {
		timings[way] = &timing{Group: "write a base", Way: way}
	}
	for round := range rounds {
		for i := range order {
			way := order[(i+round)%len(order)]
			s, err := writeOnce(ctx, dir, ways[way])
			if err != nil {
				return fmt.Errorf("%s: %w", way, err)
			}
			timings[way].Samples = append(timings[way].Samples, s)
		}
	}
	for _, way := range order {
		r.Timings = append(r.Timings, *timings[way])
	}
	onClock, onCPU := ratio(*timings[ours], *timings[dd])
	r.find("write a base", ours+" / dd", &goal{Limit: 0.5}, onClock, onCPU)
	onClock, onCPU = ratio(*timings[tars], *timings[ours])
	r.find("write a base", tars+" / "+ours, &goal{Limit: 3, AtLeast: true}, onClock, onCPU)
	onClock, onCPU = ratio(*timings[ours], *timings[read])
	r.find("write a base", ours+" / "+read, nil, onClock, onCPU)
	return nil
}

// writeOnce runs a way on a fresh device.
func writeOnce(ctx context.Context, dir, script string) (_ sample, err error) {
	device, err := shell(ctx, attach, dir)
	if err != nil {
		return sample{}, err
	}
	defer func() {
		_, cleanup := shell(context.WithoutCancel(ctx), detach, dir, device)
		err = errors.Join(err, cleanup)
	}()
	if err := warm(); err != nil {
		return sample{}, err
	}
	return measure(ctx, "/bin/sh", "-ec", script, "sh", dir, device)
}

// memory is what a run touches: the image, what is in it, and what it becomes.
const memory = 2 << 30

// warm touches memory and gives it back. In a virtual machine whose free
// memory returns to the computer below it, the first to touch a page pays for
// getting it again: measured, up to twice the time for the same copy. So
// that happens before the clock runs, for every way alike.
func warm() error {
	b, err := unix.Mmap(-1, 0, memory, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	return unix.Munmap(b)
}

func shell(ctx context.Context, script string, args ...string) (string, error) {
	out, err := run.OS{}.Run(ctx, run.Cmd{Name: "/bin/sh", Args: append([]string{"-ec", script, "sh"}, args...)})
	return strings.TrimSpace(string(out.Stdout)), err
}

// write is our way: IMAGE DEVICE.
func write(ctx context.Context, args []string) (err error) {
	if len(args) != 2 {
		return errors.New("write: want an image and a device")
	}
	s, err := image.OpenLiveimg(ctx, mount.OS{}, filepath.Clean(args[0]))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.Write(ctx, args[1], image.WriteOptions{})
}
