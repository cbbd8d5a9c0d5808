package accounts

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"imgbase/internal/owners"
)

// Counts are what [Reown] did.
type Counts struct {
	Files   int `json:"files"`   // looked at, by name
	Reowned int `json:"reowned"` // given another owner or group
	Lists   int `json:"lists"`   // access lists rewritten
	Mounts  int `json:"mounts"`  // mount points not entered
}

func (c *Counts) add(o Counts) {
	c.Files += o.Files
	c.Reowned += o.Reowned
	c.Lists += o.Lists
	c.Mounts += o.Mounts
}

// marker is an extended attribute of the tree's root that tells whether the
// tree still has the image's ids.
const marker = "trusted.imgbase.owners"

// Reown gives the files of an image's tree the host's ids. Only files with
// an id of the map, as owner, group or in an access list, are touched; they
// keep their set-id bits, capabilities and immutable flag. Links are leaves;
// a file with several names is done once; other file systems below are not
// entered. It has to run before anything of the host's is put into the tree,
// and nobody may use the tree meanwhile.
//
// Ids may change places, so that doing a tree twice would undo it. The tree's
// root therefore says in an extended attribute (trusted.imgbase.owners) which
// map it was done by: the same one again does nothing. A tree in which an
// earlier run was cut short is refused, since nobody knows which files were
// done; its layer is to be made anew.
func Reown(ctx context.Context, root *os.Root, o owners.Map) (Counts, error) {
	if o.Empty() {
		return Counts{}, nil
	}
	top, err := root.Open(".")
	if err != nil {
		return Counts{}, fmt.Errorf("re-own: %w", err)
	}
	defer top.Close()
	begun, done := "begun "+digest(o), "done "+digest(o)
	state, err := xattr(procPath(top, "."), marker, make([]byte, 128))
	switch {
	case err != nil:
		return Counts{}, fmt.Errorf("re-own: %s: %w", marker, err)
	case string(state) == done:
		return Counts{}, nil
	case len(state) > 5 && string(state[:5]) == "begun":
		return Counts{}, errors.New("re-own: an earlier run was cut short in this tree")
	}
	if err := unix.Fsetxattr(int(top.Fd()), marker, []byte(begun), 0); err != nil {
		return Counts{}, fmt.Errorf("re-own: %s: %w", marker, err)
	}
	r, err := newReowner(top, o)
	if err != nil {
		return Counts{}, fmt.Errorf("re-own: %w", err)
	}
	if err := r.run(ctx); err != nil {
		return r.counts, fmt.Errorf("re-own: %w", err)
	}
	if err := unix.Fsetxattr(int(top.Fd()), marker, []byte(done), 0); err != nil {
		return r.counts, fmt.Errorf("re-own: %s: %w", marker, err)
	}
	return r.counts, nil
}

// digest tells maps apart.
func digest(o owners.Map) string {
	h := sha256.New()
	for _, ids := range []map[uint32]uint32{o.UIDs, o.GIDs} {
		for _, id := range slices.Sorted(maps.Keys(ids)) {
			fmt.Fprintf(h, "%d %d\n", id, ids[id])
		}
		fmt.Fprintln(h)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:16])
}

// reowner is the walk of a tree. Directories wait in a stack, as paths, for
// the workers; a stack and not a queue, so that few wait.
type reowner struct {
	owners owners.Map
	top    *os.File
	major  uint32 // the file system's device
	minor  uint32

	mu     sync.Mutex
	wake   *sync.Cond
	stack  []string
	busy   int
	err    error
	counts Counts
	linked map[uint64]uint32 // inodes that were done: names still to come
}

func newReowner(top *os.File, o owners.Map) (*reowner, error) {
	var st unix.Statx_t
	if err := unix.Statx(int(top.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: top.Name(), Err: err}
	}
	r := &reowner{owners: o, top: top, major: st.Dev_major, minor: st.Dev_minor, linked: make(map[uint64]uint32)}
	r.wake = sync.NewCond(&r.mu)
	r.stack = []string{"."}
	w := worker{reowner: r, buf: make([]byte, 64<<10), dir: top, path: "."}
	err := w.file(".", &st)
	r.counts = w.counts
	return r, err
}

// run walks the tree. Most time is spent in system calls that end in memory,
// so there are as many workers as processors.
func (r *reowner) run(ctx context.Context) error {
	var group sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 8) {
		group.Go(func() {
			w := worker{reowner: r, buf: make([]byte, 64<<10)}
			for {
				path, ok := r.pop()
				if !ok {
					break
				}
				r.done(w.walk(ctx, path))
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.counts.add(w.counts)
		})
	}
	group.Wait()
	return r.err
}

// pop waits for a directory. There is none any more when the stack is empty
// and no worker can fill it.
func (r *reowner) pop() (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.stack) == 0 && r.busy > 0 && r.err == nil {
		r.wake.Wait()
	}
	if len(r.stack) == 0 || r.err != nil {
		return "", false
	}
	last := len(r.stack) - 1
	path := r.stack[last]
	r.stack = r.stack[:last]
	r.busy++
	return path, true
}

func (r *reowner) push(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stack = append(r.stack, path)
	r.wake.Signal()
}

func (r *reowner) done(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy--
	if r.err == nil {
		r.err = err
	}
	r.wake.Broadcast()
}

// first reports whether a file with several names is met the first time. It
// is forgotten with its last name.
func (r *reowner) first(st *unix.Statx_t) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	left, met := r.linked[st.Ino]
	if !met {
		left = st.Nlink
	}
	if left--; left == 0 {
		delete(r.linked, st.Ino)
	} else {
		r.linked[st.Ino] = left
	}
	return !met
}

// worker does one directory at a time.
type worker struct {
	*reowner
	buf    []byte // for extended attributes
	dir    *os.File
	path   string // of dir, for messages
	counts Counts
}

// batch is how many names of a directory are held at once.
const batch = 1024

func (w *worker) walk(ctx context.Context, path string) error {
	dir, err := w.openDir(path)
	if err != nil {
		return &os.PathError{Op: "open", Path: escape(path), Err: err}
	}
	defer dir.Close()
	w.dir, w.path = dir, path
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		found, err := dir.Readdirnames(batch)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, name := range found {
			if err := w.visit(name); err != nil {
				return err
			}
		}
	}
}

func (w *worker) visit(name string) error {
	var st unix.Statx_t
	err := retry(func() error {
		return unix.Statx(int(w.dir.Fd()), name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS, &st)
	})
	if err != nil {
		return w.failed("stat", name, err)
	}
	// Linux before 5.8 has no such attribute; a bind mount of the same file
	// system is then not told apart.
	if st.Dev_major != w.major || st.Dev_minor != w.minor || st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		w.counts.Mounts++
		return nil
	}
	if err := w.file(name, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		w.push(w.path + "/" + name)
	}
	return nil
}

// openDir opens a directory of the tree, never through a link. Most paths go
// in one call; a long one, or a kernel before 5.6, needs one per component.
func (w *worker) openDir(path string) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd := -1
	err := retry(func() (err error) {
		fd, err = unix.Openat2(int(w.top.Fd()), path, &how)
		return err
	})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENAMETOOLONG) || errors.Is(err, unix.EPERM) {
		fd, err = openByStep(int(w.top.Fd()), path)
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}
