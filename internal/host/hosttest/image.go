package hosttest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"imgbase/internal/image"
	"imgbase/internal/lvm"
	"imgbase/internal/nvr"
)

// Files of the host and of its images.
const (
	InitProgram = "usr/lib/systemd/systemd"
	metadata    = "usr/share/imgbase/build/meta/nvr"
)

// Image makes an image: this host's first system with files changed or added
// (content "-" removes).
func (h *Host) Image(name string, changes map[string]string) string {
	dir := filepath.Join(h.Dir, "images", name)
	h.write(dir, system)
	h.write(dir, map[string]string{
		metadata:         name + "\n",
		"etc/os-release": "ID=node\nVERSION_ID=" + name + "\n",
	})
	kver := imageKernel(name)
	h.write(dir, map[string]string{
		"boot/vmlinuz-" + kver:                     "kernel of " + name,
		"boot/initrd.img-" + kver:                  "initrd of " + name,
		"usr/lib/modules/" + kver + "/modules.dep": "",
	})
	for _, d := range shared[1:] {
		must(h.T, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	h.executable(filepath.Join(dir, InitProgram))
	h.write(dir, changes)
	return dir
}

// SystemFile is a file of the first system, which images have as well.
func (h *Host) SystemFile(name string) string { return system[name] }

// Install makes a thin volume that holds an image's system, as another
// installer would have left it: active, or not.
func (h *Host) Install(name, image string, active bool) {
	h.T.Helper()
	must(h.T, h.LVM.AddLV(lvm.LV{VG: VG, Name: name, Size: GiB, Pool: Pool, Active: true}))
	must(h.T, h.fill("/dev/"+VG+"/"+name, image))
	if !active {
		must(h.T, lvm.New(h.LVM).Deactivate(h.T.Context(), VG, name))
	}
}

func imageKernel(name string) string {
	return "6.1.0-" + name[strings.LastIndex(name, "-")+1:] + "-amd64"
}

// ForeignProgram is the head of a program for another machine than this one,
// to be the init of an image (see [InitProgram]).
func (h *Host) ForeignProgram() string {
	head := []byte(h.Read(InitProgram))
	const machine, s390 = 18, 22 // e_machine of elf(5), EM_S390
	head[4], head[5] = 2, 2      // 64 bit, big endian
	binary.BigEndian.PutUint16(head[machine:], s390)
	return string(head)
}

// Rubbish makes a file that is no image: size bytes that begin like a
// squashfs that claims to be longer, or like nothing at all.
func (h *Host) Rubbish(name string, squashfs bool, size int) string {
	data := bytes.Repeat([]byte("no image "), size/9+1)[:size]
	if squashfs {
		const blockSize, compression, blockLog, major, used = 12, 20, 22, 28, 40
		copy(data, make([]byte, 96))
		copy(data, "hsqs")
		binary.LittleEndian.PutUint32(data[blockSize:], 1<<17)
		binary.LittleEndian.PutUint16(data[compression:], 1)
		binary.LittleEndian.PutUint16(data[blockLog:], 17)
		binary.LittleEndian.PutUint16(data[major:], 4)
		binary.LittleEndian.PutUint64(data[used:], 1<<30)
	}
	path := filepath.Join(h.Dir, name)
	must(h.T, os.WriteFile(path, data, 0o644))
	return path
}

// openImage opens what [Host.Image] made; anything else is looked at by the
// real code, as far as that comes without mounting it.
func (h *Host) openImage(ctx context.Context, path string) (image.Source, error) {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return image.OpenLiveimg(ctx, mounter{h}, path)
	}
	data, err := os.ReadFile(filepath.Join(path, metadata))
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", path, image.ErrNoNVR)
	}
	n, err := nvr.Parse(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, fmt.Errorf("image %s: %w: %w", path, image.ErrNoNVR, err)
	}
	return source{h: h, dir: path, info: image.Info{NVR: n, Size: 3 * GiB, Used: GiB, FSType: "ext4"}}, nil
}

// source is an image on the modelled machine: a directory.
type source struct {
	h    *Host
	info image.Info
	dir  string
}

func (s source) Info() image.Info { return s.info }
func (s source) Root() string     { return s.dir }
func (s source) Close() error     { return nil }

func (s source) Write(ctx context.Context, device string, o image.WriteOptions) error {
	return s.h.Power.effect("write "+device, func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if o.Progress != nil {
			o.Progress(s.info.Size, s.info.Size)
		}
		return s.h.fill(device, s.dir)
	})
}
