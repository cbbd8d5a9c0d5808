package lab

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Form is how an image is packed.
type Form string

// Forms of images, named by how their files' names end.
const (
	LiveImg  Form = ".img"      // squashfs (zstd) that holds LiveOS/rootfs.img, a file system
	Squashfs Form = ".squashfs" // squashfs (zstd) of the tree itself
	Raw      Form = ".raw"      // the file system
	Tar      Form = ".tar"      // tar archive of the tree
)

// Image says what an image for an update holds: the golden host's system with
// its kernel in /boot, as an installer finds it, and what differs. The program
// under test is not in it unless Files adds it.
//
// The golden host's packages are dpkg's. With RPM set they are an rpm-managed
// system's: the same programs, rpm besides, no database of dpkg's, and in the
// database of rpm the vendor's package alone. Enterprise Linux 8 and 9 have
// the database in /var/lib/rpm, 10 and Fedora in /usr/lib/sysimage/rpm, images
// of the original in /usr/share/rpm. Outside /var, a link in /var/lib/rpm
// leads there. The database is SQLite everywhere: today's rpm cannot read what
// EL 8 has.
type Image struct {
	NVR    string          // build metadata; "" leaves the image without any
	Vendor int             // version of the package "vendor", 1 to 3; 0 is none
	RPM    string          // directory of rpm's database; "" is an image managed by dpkg
	Files  map[string]File // differences to all that, by absolute path
	Form   Form            // "" is LiveImg
	XFS    bool            // the file system is XFS and not ext4
}

// Build returns the path of the image, <NVR><form>, in the cache.
func (im Image) Build(t testing.TB) string {
	t.Helper()
	Require(t)
	path, err := im.build(t.Context())
	if err != nil {
		t.Fatalf("lab: image %s: %v", im.NVR, err)
	}
	return path
}

func (im Image) build(ctx context.Context) (string, error) {
	if im.Form == "" {
		im.Form = LiveImg
	}
	tree, err := tree(ctx)
	if err != nil {
		return "", err
	}
	differences, err := im.differences(tree)
	if err != nil {
		return "", err
	}
	// The making is part of the key: an image is what these files make.
	files := []string{"image.go"}
	if im.managed() {
		files = append(files, "vendor.go", "package.go")
	}
	source, err := sourceText(files...)
	if err != nil {
		return "", err
	}
	name, err := key("image", filepath.Base(tree), im, source)
	if err != nil {
		return "", err
	}
	file := im.NVR + string(im.Form)
	dir, err := cached(ctx, name, func(ctx context.Context, dir string) error {
		return overlay(ctx, tree, dir, nil, func(root string) error {
			if err := im.manage(ctx, root); err != nil {
				return err
			}
			if err := apply(root, differences); err != nil {
				return err
			}
			return im.pack(ctx, root, filepath.Join(dir, file))
		})
	})
	return filepath.Join(dir, file), err
}

// imageSource is what makes images and packages.
//
//go:embed image.go vendor.go package.go
var imageSource embed.FS

func sourceText(names ...string) (string, error) {
	var all strings.Builder
	for _, name := range names {
		text, err := imageSource.ReadFile(name)
		if err != nil {
			return "", err
		}
		all.Write(text)
	}
	return all.String(), nil
}

// versionLine is the line of os-release(5) that tells images apart.
var versionLine = regexp.MustCompile(`(?m)^(PRETTY_NAME|VERSION)=.*$`)

// differences adds the image's identity to what the case asks for.
func (im Image) differences(tree string) (map[string]File, error) {
	const osRelease = "/usr/lib/os-release"
	text, err := os.ReadFile(filepath.Join(tree, osRelease))
	if err != nil {
		return nil, err
	}
	files := map[string]File{
		nvrFile:   {Text: im.NVR},
		osRelease: {Text: versionLine.ReplaceAllString(string(text), fmt.Sprintf("$1=%q", im.NVR))},
	}
	if im.NVR == "" {
		files[nvrFile] = File{Removed: true}
	}
	maps.Copy(files, im.Files)
	return files, nil
}

// pack writes the tree at root in the image's form.
func (im Image) pack(ctx context.Context, root, path string) error {
	switch im.Form {
	case Squashfs:
		return squash(ctx, root, path)
	case Tar:
		return command(ctx, "tar", "-C", root, "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "-cf", path, ".")
	case Raw:
		return im.fileSystem(ctx, root, path)
	case LiveImg:
		live := path + ".d"
		defer os.RemoveAll(live)
		if err := os.MkdirAll(filepath.Join(live, "LiveOS"), 0o755); err != nil {
			return err
		}
		if err := im.fileSystem(ctx, root, filepath.Join(live, "LiveOS/rootfs.img")); err != nil {
			return err
		}
		return squash(ctx, live, path)
	}
	return fmt.Errorf("form %q: unknown", im.Form)
}

// squash packs quickly rather than small.
func squash(ctx context.Context, dir, path string) error {
	return command(ctx, "mksquashfs", dir, path, "-noappend", "-quiet", "-no-progress", "-comp", "zstd", "-Xcompression-level", "3")
}

// fileSystem makes a file system just big enough for the tree.
func (im Image) fileSystem(ctx context.Context, root, path string) error {
	size, err := diskUse(root)
	if err != nil {
		return err
	}
	size = size + size/8 + 64*mib
	if im.XFS {
		return makeXFS(ctx, root, path, max(size, 320*mib))
	}
	return makeExt4(ctx, ext4{tree: root, image: path, size: size, config: root})
}

// diskUse adds up what the files of a tree take, in bytes.
func diskUse(root string) (int64, error) {
	const block = 4096
	var sum int64
	err := filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sum += block // inode, directory entry
		if info.Mode().IsRegular() {
			sum += (info.Size() + block - 1) / block * block
		}
		return nil
	})
	return sum, err
}

// makeXFS fills the file system through a mount: mkfs.xfs's own way, a
// prototype file, knows no extended attributes and no spaces in names.
func makeXFS(ctx context.Context, root, path string, size int64) (err error) {
	if err := command(ctx, "mkfs.xfs", "-q", "-d", fmt.Sprintf("file=1,name=%s,size=%d", path, size/mib*mib)); err != nil {
		return err
	}
	dir := path + ".mnt"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := command(ctx, "mount", "-t", "xfs", "-o", "loop", path, dir); err != nil {
		return err
	}
	defer func() {
		if uerr := command(context.WithoutCancel(ctx), "umount", dir); err == nil {
			err = uerr
		}
	}()
	return command(ctx, "cp", "-a", strings.TrimSuffix(root, "/")+"/.", dir)
}
