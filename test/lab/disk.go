package lab

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"imgbase/internal/run"
)

// The disk of the golden host, in bytes. The volume group keeps over 2 GiB
// free: room to grow the pool's metadata, and its spare with it, to 1 GiB.
const (
	mib      = 1 << 20
	sector   = 512
	extent   = 4 * mib
	biosAt   = 1 * mib // BIOS boot partition: GRUB's core
	bootAt   = 2 * mib
	bootSize = 1300 * mib
	pvAt     = bootAt + bootSize
	pvSize   = peStart + (spareExtents+metaExtents+dataExtents+freeExtents)*extent
	peStart  = 1 * mib
	diskSize = pvAt + pvSize + 1*mib // the GPT's second copy

	spareExtents = 16
	metaExtents  = 16
	dataExtents  = 12 << 30 / extent
	freeExtents  = 3 << 30 / extent

	chunk    = 64 << 10 // of the thin pool
	rootSize = 4 << 30
	varSize  = 5 << 30
)

// Names on the golden host.
const (
	VG   = "HostVG"
	Pool = "pool00"
)

// thin is one thin volume of the golden host. image holds its content, of at
// most size bytes.
type thin struct {
	name  string
	image string
	size  int64
}

// writeDisk makes the disk: partitions, the boot file system's image, and a
// volume group with a thin pool and the volumes. Device mapper is not used:
// the metadata are written as text, and the pool is filled as the pool's own
// metadata say.
func writeDisk(ctx context.Context, disk, boot string, volumes []thin) error {
	f, err := os.OpenFile(disk, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(diskSize); err != nil {
		return err
	}
	last := func(at, size int64) int64 { return (at+size)/sector - 1 }
	err = command(ctx, "sgdisk", "--set-alignment=1",
		fmt.Sprintf("--new=1:%d:%d", biosAt/sector, last(biosAt, bootAt-biosAt)), "--typecode=1:ef02",
		fmt.Sprintf("--new=2:%d:%d", bootAt/sector, last(bootAt, bootSize)), "--typecode=2:8300",
		fmt.Sprintf("--new=3:%d:%d", pvAt/sector, last(pvAt, pvSize)), "--typecode=3:8e00", disk)
	if err != nil {
		return err
	}
	if _, err := copySparse(f, bootAt, boot, nil); err != nil {
		return err
	}
	if err := writeGroup(ctx, disk, volumes); err != nil {
		return err
	}
	return fillPool(ctx, f, filepath.Dir(disk), volumes)
}

// writeGroup makes the physical volume and the volume group on a loop device
// over the partition, and gives it its volumes by restoring an edited backup.
func writeGroup(ctx context.Context, disk string, volumes []thin) error {
	out, err := run.OS{}.Run(ctx, run.Cmd{Name: "losetup", Args: []string{
		"--find", "--show",
		"--offset", fmt.Sprint(pvAt), "--sizelimit", fmt.Sprint(pvSize), disk,
	}})
	if err != nil {
		return err
	}
	loop := strings.TrimSpace(string(out.Stdout))
	defer func() { _ = command(context.WithoutCancel(ctx), "losetup", "--detach", loop) }()

	// The building machine's own configuration, devices and archives are
	// kept out of it.
	config := fmt.Sprintf(`devices { filter=["a|^%s$|","r|.*|"] use_devicesfile=0 } backup { backup=0 archive=0 } activation { udev_sync=0 udev_rules=0 }`, loop)
	lvm := func(args ...string) error {
		return command(ctx, "lvm", append(args, "--config", config)...)
	}
	text := disk + ".vg"
	defer os.Remove(text)
	if err := lvm("pvcreate", "-ff", "-y", "--dataalignment", "1m", loop); err != nil {
		return err
	}
	if err := lvm("vgcreate", "--physicalextentsize", fmt.Sprintf("%db", extent), VG, loop); err != nil {
		return err
	}
	if err := lvm("vgcfgbackup", "-f", text, VG); err != nil {
		return err
	}
	backup, err := os.ReadFile(text)
	if err != nil {
		return err
	}
	edited, err := addVolumes(string(backup), volumes)
	if err != nil {
		return err
	}
	if err := os.WriteFile(text, []byte(edited), 0o644); err != nil {
		return err
	}
	return lvm("vgcfgrestore", "--force", "-f", text, VG)
}

// addVolumes inserts the logical volumes before the end of the volume group
// in a metadata backup (lvm.conf(5), vgcfgbackup(8)).
func addVolumes(backup string, volumes []thin) (string, error) {
	start := strings.Index(backup, "\n"+VG+" {")
	if start < 0 {
		return "", fmt.Errorf("metadata backup: no section %s", VG)
	}
	end := strings.Index(backup[start:], "\n}")
	if end < 0 {
		return "", fmt.Errorf("metadata backup: section %s has no end", VG)
	}
	var b strings.Builder
	b.WriteString(backup[:start+end] + "\n\tlogical_volumes {\n")
	segment := func(name, status, lines string, extents int64) {
		fmt.Fprintf(&b, "%s {\nid = %q\nstatus = [%s]\nflags = []\ncreation_time = 1700000000\ncreation_host = \"lab\"\n", name, volumeID(name), status)
		fmt.Fprintf(&b, "segment_count = 1\nsegment1 {\nstart_extent = 0\nextent_count = %d\n%s}\n}\n", extents, lines)
	}
	linear := func(at int64) string {
		return fmt.Sprintf("type = \"striped\"\nstripe_count = 1\nstripes = [ \"pv0\", %d ]\n", at)
	}
	const hidden, visible = `"READ", "WRITE"`, `"READ", "WRITE", "VISIBLE"`
	segment(Pool, visible, fmt.Sprintf("type = \"thin-pool\"\nmetadata = \"%[1]s_tmeta\"\npool = \"%[1]s_tdata\"\ntransaction_id = %[2]d\nchunk_size = %[3]d\ndiscards = \"passdown\"\nzero_new_blocks = 1\n",
		Pool, len(volumes), chunk/sector), dataExtents)
	for i, v := range volumes {
		segment(v.name, visible, fmt.Sprintf("type = \"thin\"\nthin_pool = %q\ntransaction_id = %d\ndevice_id = %d\n", Pool, i, i+1), v.size/extent)
	}
	segment("lvol0_pmspare", hidden, linear(0), spareExtents)
	segment(Pool+"_tmeta", hidden, linear(spareExtents), metaExtents)
	segment(Pool+"_tdata", hidden, linear(spareExtents+metaExtents), dataExtents)
	b.WriteString("\t}" + backup[start+end:])
	return b.String(), nil
}

// volumeID makes a UUID of LVM's form, the same one for the same name.
func volumeID(name string) string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	sum := sha256.Sum256([]byte(name))
	var b strings.Builder
	for i, c := range sum {
		switch i {
		case 6, 10, 14, 18, 22, 26:
			b.WriteByte('-')
		}
		b.WriteByte(letters[int(c)%len(letters)])
	}
	return b.String()
}

// fillPool copies the volumes' contents one after another into the pool's
// data and describes them in its metadata.
func fillPool(ctx context.Context, disk *os.File, dir string, volumes []thin) error {
	const metaAt = pvAt + peStart + spareExtents*extent
	const dataAt = metaAt + metaExtents*extent
	var xml strings.Builder
	fmt.Fprintf(&xml, `<superblock uuid="" time="0" transaction="%d" data_block_size="%d" nr_data_blocks="%d">`+"\n",
		len(volumes), chunk/sector, dataExtents*extent/chunk)
	var used int64
	for i, v := range volumes {
		var ranges strings.Builder
		n, err := copySparse(disk, dataAt+used*chunk, v.image, func(origin, data, length int64) {
			fmt.Fprintf(&ranges, `<range_mapping origin_begin="%d" data_begin="%d" length="%d" time="0"/>`+"\n", origin, used+data, length)
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(&xml, `<device dev_id="%d" mapped_blocks="%d" transaction="%d" creation_time="0" snap_time="0">`+"\n%s</device>\n", i+1, n, i, ranges.String())
		used += n
	}
	xml.WriteString("</superblock>\n")

	in, meta := filepath.Join(dir, "pool.xml"), filepath.Join(dir, "pool.meta")
	defer os.Remove(in)
	defer os.Remove(meta)
	if err := os.WriteFile(in, []byte(xml.String()), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(meta, nil, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(meta, metaExtents*extent); err != nil {
		return err
	}
	if err := command(ctx, "thin_restore", "-i", in, "-o", meta); err != nil {
		return err
	}
	if err := command(ctx, "thin_check", meta); err != nil {
		return err
	}
	_, err := copySparse(disk, metaAt, meta, nil)
	return err
}
