package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"imgbase/test/agent/proto"
)

// put writes one piece of a file. The first piece makes the file anew, so a
// program that is running keeps the one it was started from.
func put(req proto.Request) error {
	flags := os.O_WRONLY
	if req.Offset == 0 {
		if err := os.Remove(req.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(req.Path), 0o755); err != nil {
			return err
		}
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(req.Path, flags, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(req.Data, req.Offset); err != nil {
		return err
	}
	// Mode bits of open(2) pass through the umask and know no set-id bits.
	return syscall.Fchmod(int(f.Fd()), req.Mode)
}

func get(req proto.Request) (proto.Reply, error) {
	f, err := os.Open(req.Path)
	if err != nil {
		return proto.Reply{}, err
	}
	defer f.Close()
	buf := make([]byte, proto.Chunk)
	n, err := f.ReadAt(buf, req.Offset)
	if err != nil && err != io.EOF {
		// Files of /proc and /sys cannot be read at an offset, but are small.
		if req.Offset != 0 {
			return proto.Reply{}, err
		}
		if n, err = io.ReadFull(f, buf); err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return proto.Reply{}, err
		}
	}
	return proto.Reply{Data: buf[:n]}, nil
}

// tree describes all files below the roots, in path order, and does not
// cross into other file systems mounted there: those are roots of their own.
func tree(req proto.Request) ([]proto.File, error) {
	var files []proto.File
	for _, root := range req.Roots {
		dev, err := device(root)
		if err != nil {
			return nil, err
		}
		err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if slices.Contains(req.Skip, path) {
				return skip(d)
			}
			if n, err := device(path); err != nil || n != dev {
				return skip(d)
			}
			f, err := describe(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			files = append(files, f)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

func skip(d fs.DirEntry) error {
	if d.IsDir() {
		return fs.SkipDir
	}
	return nil
}

func device(path string) (uint64, error) {
	var st syscall.Stat_t
	err := syscall.Lstat(path, &st)
	return st.Dev, err
}

func describe(path string) (proto.File, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return proto.File{}, err
	}
	st := fi.Sys().(*syscall.Stat_t)
	f := proto.File{Path: path, Mode: fi.Mode().String(), Owner: fmt.Sprintf("%d:%d", st.Uid, st.Gid)}
	switch {
	case fi.Mode().IsRegular():
		f.Size = fi.Size()
		if f.Sum, err = sum(path); err != nil {
			return f, err
		}
	case fi.Mode()&fs.ModeSymlink != 0:
		f.Link, err = os.Readlink(path)
		// Xattrs of a link cannot be asked for by path here, and no
		// user of the lab sets any.
		return f, err
	}
	f.Xattrs, err = xattrs(path)
	return f, err
}

func sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func xattrs(path string) ([]string, error) {
	buf := make([]byte, 64<<10)
	n, err := syscall.Listxattr(path, buf)
	if err == syscall.ENOTSUP {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var list []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := syscall.Getxattr(path, name, value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, fmt.Sprintf("%s=%x", name, value[:n]))
	}
	slices.Sort(list)
	return list, nil
}
