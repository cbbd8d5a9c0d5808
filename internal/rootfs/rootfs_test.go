package rootfs_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/rootfs"

	"golang.org/x/sys/unix"
)

// tree makes files in a new directory: a name that ends in a slash is a
// directory, a content that starts with "-> " a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	for name, content := range files {
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, link := strings.CutPrefix(content, "-> "); link {
			err = errors.Join(err, os.Symlink(target, path))
		} else if strings.HasSuffix(name, "/") {
			err = errors.Join(err, os.MkdirAll(path, 0o755))
		} else {
			err = errors.Join(err, os.WriteFile(path, []byte(content), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

var linked = map[string]string{
	"etc/plain":      "plain",
	"etc/abs":        "-> /etc/plain",
	"etc/rel":        "-> ../etc/plain",
	"etc/escape":     "-> ../../../../../../etc/plain",
	"etc/absescape":  "-> /../../../etc/plain",
	"etc/chain":      "-> abs",
	"etc/loop":       "-> loop",
	"etc/dangling":   "-> /etc/none",
	"etc/host":       "-> /proc/self/exe",
	"usr/lib/x/":     "",
	"lib":            "-> usr/lib",
	"lib64":          "-> /lib",
	"etc/through":    "-> ../lib64/../../etc/plain",
	"etc/file-slash": "-> plain/",
}

// The kernel's own resolution is the oracle (openat2(2), RESOLVE_IN_ROOT).
func TestOpenAgreesWithKernel(t *testing.T) {
	root := tree(t, linked)
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	names := []string{"", ".", "/", "..", "etc/../etc/plain", "etc/none", "none/none", "lib/x", "lib64/x/../x", "etc/plain/x", "//etc//plain"}
	for name := range linked {
		names = append(names, name, "/"+name)
	}
	for _, name := range names {
		kernelName := name
		if name == "" {
			kernelName = "."
		}
		var want unix.Stat_t
		fd, wantErr := unix.Openat2(dir, kernelName, &unix.OpenHow{Flags: unix.O_PATH, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
		if errors.Is(wantErr, unix.ENOSYS) {
			t.Skip("needs Linux 5.6: openat2")
		}
		if wantErr == nil {
			wantErr = unix.Fstat(fd, &want)
			unix.Close(fd)
		}
		f, err := rootfs.Open(root, name)
		if strings.HasSuffix(name, "file-slash") {
			if err == nil { // a slash behind a file: more lenient than the kernel, in the tree still
				f.Close()
			}
			continue
		}
		if (err == nil) != (wantErr == nil) {
			t.Errorf("Open(%q) = %v; want %v as the kernel", name, err, wantErr)
			continue
		}
		if err != nil {
			continue
		}
		var got unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &got); err != nil || got.Ino != want.Ino || got.Dev != want.Dev {
			t.Errorf("Open(%q) = inode %d, %v; want %d as the kernel", name, got.Ino, err, want.Ino)
		}
		f.Close()
	}
}

func TestResolve(t *testing.T) {
	root := tree(t, linked)
	for name, want := range map[string]string{
		"etc/abs": "/etc/plain", "etc/escape": "/etc/plain", "lib64/x": "/usr/lib/x", "etc/dangling": "/etc/none",
		"etc/new": "/etc/new", "../../new": "/new", "/": "", "lib/new": "/usr/lib/new",
	} {
		if got, err := rootfs.Resolve(root, name); err != nil || got != root+want {
			t.Errorf("Resolve(%s) = %q, %v; want %q", name, got, err, root+want)
		}
	}
	for name, want := range map[string]error{
		"etc/loop": unix.ELOOP, "none/none": fs.ErrNotExist, "etc/plain/x": unix.ENOTDIR,
		strings.Repeat("x", 300): unix.ENAMETOOLONG,
	} {
		if got, err := rootfs.Resolve(root, name); !errors.Is(err, want) {
			t.Errorf("Resolve(%.20s) = %q, %v; want %v", name, got, err, want)
		}
	}
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	root := tree(t, map[string]string{"dir/f": "x"})
	if err := unix.Mkfifo(root+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := rootfs.Open(root, "fifo"); err == nil {
		t.Errorf("Open(fifo) = %v; want an error, at once", f)
	}
	if _, err := rootfs.ReadFile(root, "dir"); err == nil {
		t.Error("ReadFile(directory) = nil; want an error")
	}
	if err := os.Truncate(root+"/dir/f", 1<<30); err != nil {
		t.Fatal(err)
	}
	if _, err := rootfs.ReadFile(root, "dir/f"); err == nil {
		t.Error("ReadFile(1 GiB) = nil; want an error")
	}
	f, err := rootfs.Open(root, "dir/f")
	if err != nil {
		t.Fatalf("Open(file) = %v; want no error", err)
	}
	defer f.Close()
	if n, err := f.Seek(0, io.SeekEnd); n != 1<<30 || err != nil {
		t.Errorf("Seek(end) = %d, %v; want the file", n, err)
	}
}
