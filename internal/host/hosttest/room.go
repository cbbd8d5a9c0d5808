package hosttest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"imgbase/internal/run"
)

// Initramfs is what makes one on Debian. A tree that has a file of this name
// makes initramfs; one in which the file says "broken" fails.
const Initramfs = "usr/sbin/mkinitramfs"

// room runs a program in a tree (mount.Room): mkinitramfs puts what it makes
// where the tree's work directory is, as if made of multipath.conf alone.
func (r modelRunner) room(c run.Cmd) (run.Output, error) {
	at := slices.Index(c.Args, "confine")
	if at < 0 || !slices.Contains(c.Args, "mkinitramfs") {
		return run.Output{}, &run.Error{Cmd: c, Code: 127, Err: errors.New("no such program in the model")}
	}
	root := c.Args[at+1]
	program, err := os.ReadFile(filepath.Join(root, Initramfs))
	if err != nil {
		return run.Output{}, err
	}
	if strings.Contains(string(program), "broken") {
		return run.Output{}, &run.Error{Cmd: c, Code: 1, Stderr: "mkinitramfs: no room left", Err: errors.New("exit status 1")}
	}
	conf, err := os.ReadFile(filepath.Join(root, "etc/multipath.conf"))
	if err != nil {
		return run.Output{}, err
	}
	const gzip = "\x1f\x8b"
	made := gzip + "initramfs with " + string(conf) + strings.Repeat("x", 600<<10)
	return run.Output{}, os.WriteFile(filepath.Join(root, ".imgbase-initramfs", "initramfs"), []byte(made), 0o600)
}
