package derive

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"imgbase/internal/mount"
)

// Kernel is a kernel of the tree.
type Kernel struct {
	Version   string // as uname -r says it
	Initramfs bool   // it has one already
}

// version is what a kernel's version can be: it becomes an argument and a
// part of paths.
var version = regexp.MustCompile(`^[0-9][0-9A-Za-z.+_~-]{0,127}$`)

// initramfsLimit is the time for one initramfs. In emulation, dracut takes
// five minutes.
const initramfsLimit = 20 * time.Minute

// initramfsName is the change's name for a kernel's initramfs.
func initramfsName(kernel string) string { return "initramfs of " + kernel }

// PlanInitramfs decides for each kernel whether it needs another initramfs
// than the tree base has for it, in the kernels' order.
func (t Tree) PlanInitramfs(base string, kernels ...Kernel) ([]Change, error) {
	by, ok, err := t.tool()
	if err != nil {
		return nil, fmt.Errorf("plan initramfs: %w", err)
	}
	if !ok {
		by = either
	}
	plan := make([]Change, 0, len(kernels))
	for _, k := range kernels {
		found, err := t.reasons(base, k, by)
		if err != nil {
			return nil, fmt.Errorf("plan %s: %w", initramfsName(k.Version), err)
		}
		plan = append(plan, decide(k, found, ok))
	}
	return plan, nil
}

// ExpectInitramfs is [Tree.PlanInitramfs] when the layer is not there yet: of
// the tree of its base, and the paths that will differ from that, relative to
// it. It may expect more than will be needed, when a difference turns out to
// be a comment, and knows of no package.
func (t Tree) ExpectInitramfs(paths []string, kernels ...Kernel) ([]Change, error) {
	by, ok, err := t.tool()
	if err != nil {
		return nil, fmt.Errorf("expect initramfs: %w", err)
	}
	if !ok {
		by = either
	}
	plan := make([]Change, 0, len(kernels))
	for _, k := range kernels {
		found := expected(paths, k.Version, by)
		if !k.Initramfs {
			found = []string{noInitramfs}
		}
		plan = append(plan, decide(k, found, ok))
	}
	return plan, nil
}

// Reasons and causes that are said in two places.
const (
	noInitramfs = "the kernel has none"
	noTool      = "there is neither dracut nor mkinitramfs"
)

// decide is the change for a kernel, in a tree that has a tool or not.
func decide(k Kernel, found []string, tool bool) Change {
	c := change(initramfsName(k.Version), found)
	if c.Op == Make && !tool {
		c.Op = Lack
		c.Why = append(c.Why, noTool)
	}
	return c
}

// tool is what makes an initramfs in this tree. With both it is Debian's own:
// dracut-core can be installed beside initramfs-tools, dracut cannot.
func (t Tree) tool() (by tool, ok bool, err error) {
	if ok, err = t.has("usr/sbin/mkinitramfs"); ok || err != nil {
		return initramfsTools, ok, err
	}
	ok, err = t.has("usr/bin/dracut", "usr/sbin/dracut")
	return dracut, ok, err
}

func (t Tree) reasons(base string, k Kernel, by tool) ([]string, error) {
	if !version.MatchString(k.Version) {
		return nil, fmt.Errorf("kernel version %.100q", k.Version)
	}
	if !k.Initramfs {
		return []string{noInitramfs}, nil
	}
	for _, name := range []string{"usr/lib/modules/" + k.Version, "boot/vmlinuz-" + k.Version} {
		_, info, err := t.find(base, name)
		if err != nil {
			return nil, err
		}
		if info != nil {
			return t.differences(base, k.Version, by)
		}
	}
	// What the package made was made in a room without disks, maybe for
	// "this" machine.
	return []string{"the kernel is not in the image"}, nil
}

// Initramfs is an initramfs to be made.
type Initramfs struct {
	Kernel string   // version
	File   string   // where it is put, on the host; no such file exists
	Unlock []string // crypt mappings that the root is on, see [Encrypted]
}

// work is where in the tree an initramfs is made: shares of a room cannot be
// written, and its /tmp is memory. dracut writes the name into what it makes.
const work = ".imgbase-initramfs"

// MakeInitramfs makes an initramfs with the tree's own tool. It needs room in
// the tree for some hundred megabytes, which it frees. When it fails there is
// no file.
func (t Tree) MakeInitramfs(ctx context.Context, i Initramfs) error {
	err := t.makeInitramfs(ctx, i)
	if err != nil {
		return fmt.Errorf("%s: %w", initramfsName(i.Kernel), err)
	}
	return nil
}

func (t Tree) makeInitramfs(ctx context.Context, i Initramfs) (err error) {
	if !version.MatchString(i.Kernel) {
		return fmt.Errorf("kernel version %.100q", i.Kernel)
	}
	by, ok, err := t.tool()
	if err != nil {
		return err
	}
	if !ok {
		return errors.New(noTool)
	}
	root, err := os.OpenRoot(t.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := errors.Join(root.RemoveAll(work), root.Mkdir(work, 0o700)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.RemoveAll(work)) }()
	argv, err := t.command(by, i, root)
	if err != nil {
		return err
	}
	// A fixed time makes equal sources an equal file, which is then stored
	// once in /boot. ZIP cannot tell an earlier one.
	room := mount.Room{Env: []string{"SOURCE_DATE_EPOCH=315532800"}}
	if err := t.confined(ctx, initramfsLimit, room, argv...); err != nil {
		return err
	}
	return fetch(root, filepath.Join(work, "initramfs"), i.File)
}

//go:embed initramfs-tools.sh
var initramfsToolsScript string

// command is the command line that makes work/initramfs. What it needs to
// read is put beside.
func (t Tree) command(by tool, i Initramfs, root *os.Root) ([]string, error) {
	crypttab, err := t.crypttab(by, i.Unlock)
	if err != nil {
		return nil, err
	}
	if len(crypttab) > 0 {
		if err := root.WriteFile(filepath.Join(work, "crypttab"), crypttab, 0o600); err != nil {
			return nil, err
		}
	}
	inside := "/" + work
	if by == initramfsTools {
		fstab, err := t.read(t.Root, "etc/fstab")
		types := strings.Join(fstabTypes(fstab, "/", "/usr"), ",")
		return []string{"sh", "-c", initramfsToolsScript, "mkinitramfs", inside, i.Kernel, types}, err
	}
	argv := []string{
		"dracut", "--force", "--no-hostonly", "--no-hostonly-cmdline", "--reproducible",
		"--lvmconf", "--mdadmconf", "--tmpdir", inside,
	}
	if len(crypttab) > 0 {
		argv = append(argv, "--include", inside+"/crypttab", "/etc/crypttab")
	}
	multipath, err := t.multipath()
	if err != nil {
		return nil, err
	}
	if multipath {
		argv = append(argv, "--add", "multipath")
	}
	given, err := t.given()
	return append(append(argv, given...), inside+"/initramfs", i.Kernel), err
}

// multipath says whether the host uses it: it is configured, and installed,
// without which dracut would refuse.
func (t Tree) multipath() (bool, error) {
	configured, err := t.has("etc/multipath.conf")
	if err != nil || !configured {
		return false, err
	}
	return t.has("usr/sbin/multipath", "usr/bin/multipath", "sbin/multipath")
}

// maxInitramfs bounds one in bytes. With all drivers and firmware it has
// some hundred megabytes.
const maxInitramfs = 2 << 30

// fetch looks whether name in root is an initramfs and copies it to the new
// file to.
func fetch(root *os.Root, name, to string) (err error) {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > maxInitramfs {
		return fmt.Errorf("%v of %d bytes was made", info.Mode().Type(), info.Size())
	}
	from, err := root.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	if _, err := ProbeInitramfs(from, info.Size()); err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}
