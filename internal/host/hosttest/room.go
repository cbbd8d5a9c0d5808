package hosttest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"imgbase/internal/mount"
	"imgbase/internal/run"
)

// Initramfs is what makes one on Debian. A tree that has a file of this name
// makes initramfs; one in which the file says "broken" fails.
const Initramfs = "usr/sbin/mkinitramfs"

// room runs a program in a tree (mount.Room): rpm is this computer's, on the
// tree; mkinitramfs puts what it makes where the tree's work directory is, as if
// made of multipath.conf alone.
func (r modelRunner) room(ctx context.Context, c run.Cmd) (run.Output, error) {
	at := slices.Index(c.Args, "confine")
	if i := slices.Index(c.Args, "--"); at >= 0 && i > at && c.Args[i+1] == "rpm" {
		return roomRPM(ctx, c.Args[at+1], c.Args[at+2:i], c.Args[i+2:])
	}
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

// roomRPM is rpm in a tree that sees directories of the computer: name and
// directory by turns.
func roomRPM(ctx context.Context, root string, shares, args []string) (run.Output, error) {
	args = append([]string{"--root", root}, args...)
	for i := 0; i+1 < len(shares); i += 2 {
		inside := mount.Share{Name: shares[i]}.Inside()
		for j, a := range args {
			args[j] = strings.Replace(a, inside, shares[i+1], 1)
		}
	}
	return run.OS{}.Run(ctx, run.Cmd{Name: "rpm", Args: args})
}
