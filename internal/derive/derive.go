// Package derive makes anew what a layer has made out of other files of it.
//
// A new layer starts as its base. When /etc has been merged and packages have
// been added, some files no longer are what their sources say: the initramfs
// of a kernel, the cache of the dynamic linker, SELinux labels. And chrony's
// configuration takes over ntp's sources on a host that had ntpd and loses it
// with the image.
//
// A [Tree] is the layer's root tree. Its Plan methods only read; they compare
// it with the tree of the base and yield a [Change]: make it, keep it, or
// that the tree lacks the program. Its Make and Set methods carry one out;
// doing so twice is doing it once.
//
// What makes an initramfs differ is a table (inputs.go). Its idea: whatever
// the tool copies out of /etc or obeys, plus what a package can add: drivers,
// firmware, hooks. Not in it, because an initramfs that is not made for one
// machine holds none of it or gets it from the kernel command line: sysctl,
// passwords, the iSCSI and NVMe names of the host, and of fstab the root.
//
// What always holds: a path of a tree is resolved inside the tree. Programs
// of the tree run in a [mount.Room], within a time limit, and find no disk
// there: an initramfs is for any machine, with the administrator's files in
// it (BZ 1837864; BZ 1652519 is what became of one for the host alone).
//
// Followed: dracut(8), mkinitramfs(8), initramfs.conf(5), crypttab(5),
// setfiles(8), ldconfig(8), ntp.conf(5), chrony.conf(5), and the kernel's
// early-userspace/buffer-format.
package derive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"imgbase/internal/mount"
	"imgbase/internal/run"

	"golang.org/x/sys/unix"
)

// Tree is the root tree of a new layer that nobody uses yet.
type Tree struct {
	Root   string
	Runner run.Runner
	// Resolve returns the path of name with every link resolved inside root.
	// The last component need not exist.
	Resolve func(root, name string) (string, error)
	// Ours are paths, relative to the tree, that every layer is given and that
	// nothing is made of.
	Ours []string
}

// Op is what becomes of a derived thing.
type Op string

// The operations.
const (
	Make Op = "make" // has to be made anew
	Keep Op = "keep" // stays as it is
	Lack Op = "lack" // has to be made anew, and the tree has no program for it
)

// Change is one derived thing and what becomes of it.
type Change struct {
	Op   Op       `json:"op"`
	Name string   `json:"name"` // the thing, "initramfs of 6.1.0-18-amd64", "labels"
	Why  []string `json:"why"`  // at least one reason, each in words
}

// String is the change on one line: operation, thing, reasons.
func (c Change) String() string {
	return fmt.Sprintf("%-10s %s: %s", c.Op, c.Name, strings.Join(c.Why, ", "))
}

// maxReasons bounds how many differences a change tells.
const maxReasons = 5

// change is the decision that the differences lead to.
func change(name string, found []string) Change {
	if len(found) == 0 {
		return Change{Keep, name, []string{"nothing that it is made of differs from the image"}}
	}
	if more := len(found) - maxReasons; more > 1 {
		found = append(found[:maxReasons:maxReasons], fmt.Sprintf("and %d more", more))
	}
	return Change{Make, name, found}
}

// find returns the resolved path and the kind of what name is in the tree
// root, "" when there is nothing or a link leads nowhere.
func (t Tree) find(root, name string) (string, fs.FileInfo, error) {
	path, err := t.Resolve(root, name)
	var info fs.FileInfo
	if err == nil {
		info, err = os.Lstat(path)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return "", nil, nil
	}
	return path, info, err
}

// has says whether one of the names is a regular file in the tree.
func (t Tree) has(names ...string) (bool, error) {
	for _, name := range names {
		_, info, err := t.find(t.Root, name)
		if err != nil || info != nil && info.Mode().IsRegular() {
			return err == nil, err
		}
	}
	return false, nil
}

// maxText bounds in bytes a configuration file that is read as a whole.
const maxText = 1 << 20

// read returns what is in a configuration file of the tree root, nothing when
// it is missing or no regular file.
func (t Tree) read(root, name string) ([]byte, error) {
	path, info, err := t.find(root, name)
	switch {
	case err != nil || info == nil || !info.Mode().IsRegular():
		return nil, err
	case info.Size() > maxText:
		return nil, fmt.Errorf("%s: larger than %d bytes", filepath.Join(root, name), maxText)
	}
	return os.ReadFile(path)
}

// kept bounds in bytes what is remembered of what a program prints.
const kept = 64 << 10

// confined runs argv, a program of the tree called name in errors, for at
// most limit.
func (t Tree) confined(ctx context.Context, limit time.Duration, room mount.Room, argv ...string) error {
	room.Root = t.Root
	p, err := room.Program(argv...)
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %v", limit))
	defer stop()
	_, err = t.Runner.Run(ctx, run.Cmd{Name: p.Name, Args: p.Args, Stdin: p.Stdin, Tail: kept})
	if e, ok := errors.AsType[*run.Error](err); ok {
		e.Cmd.Name = argv[0]
	}
	return err
}

// printable is a path as it is written in a report.
func printable(path string) string {
	if q := strconv.Quote(path); q[1:len(q)-1] != path {
		return q
	}
	return path
}
