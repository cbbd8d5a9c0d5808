// Package carry reads the lists on the Config volume, mounted at /config,
// that say what of the running system is carried into a new layer besides
// /etc, and merges files line by line.
//
//	/config/files        paths that are carried over
//	/config/files.d/*    more of them
//	/config/rebase.d/*   files that are merged by lines when both sides changed them;
//	                     carried over as well, wherever they are
//
// # Lists
//
// A list has one path or glob a line, from the system's root:
//
//	# the monitoring agent
//	/opt/agent
//	!/opt/agent/cache
//	/usr/local/lib/*/local.conf
//
// What is listed is listed with all beneath it. "!" takes a path out again;
// where several lines have to do with a path, its own or one above it, the
// last of them decides, the files of a directory being read in the order of
// their names. A glob is a pattern of [path.Match] for each component, which
// matches hidden names too; a backslash takes away what a character means,
// and with three octal digits stands for a byte, as reports print names:
// "\040" is a blank at an end. Blank lines, and those that begin with "#", say
// nothing. Names in files.d and rebase.d that are hidden or end as copies do
// are not read. Anything else that makes no sense is an error that names file
// and line, for a list read by half would lose what it was to keep.
//
// Listed is the path, not what is there: what the administrator removed below
// it is removed from the new layer, as the three-way merge of /etc does it. So
// [List.Expand] looks for globs in the old base as well as in what runs. A
// link is carried as a link; a listed path that leads through one is a path
// that is not there.
//
// # Merging by lines
//
// [Merge3] is what diff3(1) does: both sides' changes since the ancestor, if
// they leave a line between them or are the same. Else it is a conflict, the
// administrator's file stays as it is, and nobody ever finds conflict markers
// in a live file; the vendor's lies beside it as after any other conflict.
//
// Nothing here writes. Lists and trees are read within their directories
// ([os.Root]), whatever links they hold.
package carry

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// Lists are what the Config volume says.
type Lists struct {
	Files  List // what is carried over
	Rebase List // what is merged by lines, and carried over
}

// maxText bounds one list, in bytes, and maxLists the lists in a directory.
const (
	maxText  = 1 << 20
	maxLists = 1000
)

// Load reads the lists of the Config volume that is mounted at dir. What is
// missing lists nothing, dir itself included.
func Load(dir string) (Lists, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Lists{}, nil
	}
	if err != nil {
		return Lists{}, err
	}
	defer root.Close()
	var lists Lists
	if lists.Files, err = load(root, "files"); err == nil {
		err = lists.Files.loadAll(root, "files.d")
	}
	if err == nil {
		err = lists.Rebase.loadAll(root, "rebase.d")
	}
	if err != nil {
		return Lists{}, fmt.Errorf("%s: %w", dir, err)
	}
	return lists, nil
}

// loadAll adds the lists in a directory.
func (l *List) loadAll(root *os.Root, dir string) error {
	names, err := listNames(root, dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		more, err := load(root, path.Join(dir, name))
		if err != nil {
			return err
		}
		if *l, err = l.join(more); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	return nil
}

func listNames(root *os.Root, dir string) ([]string, error) {
	info, err := root.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, bare(err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s: is no directory", dir)
	}
	f, err := root.Open(dir)
	if err != nil {
		return nil, bare(err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, copied)
	if len(names) > maxLists {
		return nil, fmt.Errorf("%s: more than %d lists", dir, maxLists)
	}
	slices.Sort(names)
	return names, nil
}

// copied reports a name that an editor, a package manager or a merge gave to
// a copy.
func copied(name string) bool {
	return strings.HasPrefix(name, ".") || slices.ContainsFunc(
		[]string{"~", ".bak", ".old", ".orig", ".swp", ".rpmnew", ".rpmsave", ".dpkg-old", ".dpkg-new", ".dpkg-dist", ".imgnew", ".imgbak"},
		func(end string) bool { return strings.HasSuffix(name, end) },
	)
}

// load reads one list. A link is refused and not followed.
func load(root *os.Root, name string) (List, error) {
	shown := printable(name)
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return List{}, nil
	}
	if err != nil {
		return List{}, fmt.Errorf("%s: %w", shown, bare(err))
	}
	if !info.Mode().IsRegular() {
		return List{}, fmt.Errorf("%s: is no plain file", shown)
	}
	// A fifo that took its place meanwhile does not block.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return List{}, fmt.Errorf("%s: %w", shown, bare(err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return List{}, fmt.Errorf("%s: %w", shown, bare(err))
	}
	return Parse(shown, text)
}

// bare is the cause without the path, which is given already.
func bare(err error) error {
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		return at.Err
	}
	return err
}
