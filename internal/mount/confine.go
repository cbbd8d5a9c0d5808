package mount

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Room is a root tree, other than the running one, in which programs of that
// tree run without an effect on this host. They see no process, device,
// network, host name or mount of it and cannot set a kernel parameter; /run
// and /tmp are empty, and every process that a program leaves behind is
// killed with it. What they can write is the tree. That is a guard against
// what scripts do by habit, not against malice: they are still root.
//
// The namespaces are unshare(1)'s, so the room and its mounts are gone when
// the program is, and [Isolate] is not needed.
type Room struct {
	Root   string   // the tree
	Shares []Share  // directories of the host that are seen in it
	Env    []string // "KEY=value"; the environment is empty otherwise, but for PATH, HOME and LC_ALL
}

// Share is a directory of the host that a room sees, read-only, as
// /run/imgbase/Name.
type Share struct {
	Name string // letters and digits
	Dir  string
}

// Inside is where a room sees the share.
func (s Share) Inside() string { return "/run/imgbase/" + s.Name }

// Program is a command line that starts a program in a room.
type Program struct {
	Name  string
	Args  []string
	Stdin io.Reader
}

//go:embed confine.sh
var furnish string

// enter starts unshare(1) so that the room ends when this shell is told to.
// unshare itself blocks SIGTERM while it waits (sys-utils/unshare.c, 2.32 and
// later), also the one that the kernel sends when our process dies.
const enter = `exec 3<&0
unshare --mount --propagation private --uts --ipc --net --pid --fork --kill-child sh -s -- "$@" <&3 &
room=$!
trap 'kill -KILL "$room"' TERM INT HUP
wait "$room"`

// points are the directories that a room mounts something on.
var points = [...]string{"proc", "sys", "run", "tmp", "dev"}

// Program returns the command line for argv, whose first word is looked up
// in the tree. Its standard input is /dev/null. A tree without one of the
// directories proc, sys, run, tmp and dev, or with a link there, is refused.
func (r Room) Program(argv ...string) (Program, error) {
	p, err := r.program(argv)
	if err != nil {
		return Program{}, fmt.Errorf("confine to %s: %w", r.Root, err)
	}
	return p, nil
}

func (r Room) program(argv []string) (Program, error) {
	root, err := filepath.Abs(r.Root)
	if err != nil {
		return Program{}, err
	}
	if err := furnishable(root); err != nil {
		return Program{}, err
	}
	args := append([]string{
		"-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C",
	}, r.Env...)
	args = append(args, "sh", "-c", enter, "confine", root)
	for _, s := range r.Shares {
		if !plain(s.Name) {
			return Program{}, fmt.Errorf("share %q: not a plain name", s.Name)
		}
		dir, err := filepath.Abs(s.Dir)
		if err != nil {
			return Program{}, err
		}
		args = append(args, s.Name, dir)
	}
	return Program{Name: "env", Args: append(append(args, "--"), argv...), Stdin: strings.NewReader(furnish)}, nil
}

// furnishable refuses the running root, and a tree in which a mount would
// follow a link.
func furnishable(root string) error {
	var here, there unix.Stat_t
	if err := errors.Join(unix.Stat("/", &here), unix.Stat(root, &there)); err != nil {
		return err
	}
	if here.Dev == there.Dev && here.Ino == there.Ino {
		return errors.New("it is the running system")
	}
	tree, err := os.OpenRoot(root)
	if err != nil {
		return cause(err)
	}
	defer tree.Close()
	for _, name := range points {
		info, err := tree.Lstat(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, cause(err))
		}
		if !info.IsDir() {
			return fmt.Errorf("%s: %w", name, unix.ENOTDIR)
		}
	}
	return nil
}

func plain(name string) bool {
	return name != "" && strings.IndexFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}) < 0
}
