package rootfs

import (
	"bytes"
	"crypto/md5" // the digest that dpkg records
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Release is what a tree says about itself, os-release(5). Missing values
// are empty, except that ID is "linux" then.
type Release struct{ ID, VersionID, PrettyName string }

// OSRelease reads etc/os-release of the tree, or usr/lib/os-release.
// [ErrNoSystem] when neither exists.
func OSRelease(root string) (Release, error) {
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		data, err := ReadFile(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Release{}, err
		}
		release, err := parseRelease(data)
		if err != nil {
			return Release{}, fmt.Errorf("%s: %w", filepath.Join(root, name), err)
		}
		return release, nil
	}
	return Release{}, fmt.Errorf("%s: %w", root, ErrNoSystem)
}

func parseRelease(data []byte) (Release, error) {
	vars, err := ParseShellVars(data)
	if err != nil {
		return Release{}, err
	}
	r := Release{}
	for name, value := range map[string]*string{"ID": &r.ID, "VERSION_ID": &r.VersionID, "PRETTY_NAME": &r.PrettyName} {
		if *value, _, err = vars.Get(name); err != nil {
			return Release{}, err
		}
	}
	if r.ID == "" {
		r.ID = "linux"
	}
	return r, nil
}

// Machine is a processor architecture.
type Machine struct {
	GOARCH string // "amd64", as OCI images name it
	Uname  string // "x86_64", as uname -m and packages name it
}

// programs are where a system has its first process or its shell. Some are
// scripts in some systems; the first one that is ELF tells.
var programs = [...]string{
	"usr/lib/systemd/systemd", "lib/systemd/systemd", "sbin/init", "usr/sbin/init",
	"bin/bash", "usr/bin/bash", "bin/sh", "usr/bin/sh", "bin/busybox",
}

// Arch reads the architecture of the tree from the ELF header of its init
// program or shell. [ErrNoSystem] when it has none.
func Arch(root string) (Machine, error) {
	for _, name := range programs {
		f, err := Open(root, name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return Machine{}, err
		}
		var head [elfHead]byte
		_, err = io.ReadFull(f, head[:])
		f.Close()
		if err != nil || !bytes.HasPrefix(head[:], []byte("\x7fELF")) {
			continue // a script, or cut short
		}
		m, err := elfMachine(head)
		if err != nil {
			return Machine{}, fmt.Errorf("%s: %w", name, err)
		}
		return m, nil
	}
	return Machine{}, fmt.Errorf("%w: none of %s", ErrNoSystem, strings.Join(programs[:], ", "))
}

// elfHead is how much of an ELF header tells the machine (elf(5)): e_ident
// with class at 4 and byte order at 5, e_type, e_machine at 18.
const elfHead = 20

func elfMachine(head [elfHead]byte) (Machine, error) {
	var order binary.ByteOrder = binary.LittleEndian
	if head[5] == 2 {
		order = binary.BigEndian
	}
	class, machine := head[4], order.Uint16(head[18:])
	for _, known := range []struct {
		machine     uint16 // EM_… of elf.h
		class, data byte   // 1 32-bit, 2 64-bit; 1 little, 2 big endian
		is          Machine
	}{
		{62, 2, 1, Machine{"amd64", "x86_64"}},
		{183, 2, 1, Machine{"arm64", "aarch64"}},
		{21, 2, 1, Machine{"ppc64le", "ppc64le"}},
		{22, 2, 2, Machine{"s390x", "s390x"}},
		{243, 2, 1, Machine{"riscv64", "riscv64"}},
		{258, 2, 1, Machine{"loong64", "loongarch64"}},
		{3, 1, 1, Machine{"386", "i686"}},
		{40, 1, 1, Machine{"arm", "armv7l"}},
	} {
		if known.machine == machine && known.class == class && known.data == head[5] {
			return known.is, nil
		}
	}
	return Machine{}, fmt.Errorf("unknown machine %d in its ELF header", machine)
}

// Pristine returns an oracle for the files below /etc of the tree root: it
// reports whether the file at a path relative to /etc is what a package
// shipped, as it is in usr/share/factory/etc or as dpkg's digest of the
// configuration file says. Where neither knows the file it says no.
func Pristine(root string) (func(path string) bool, error) {
	status, err := ReadFile(root, "var/lib/dpkg/status")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	digests := conffiles(status)
	return func(path string) bool {
		mine, err := readLeaf(root, filepath.Join("etc", path))
		if err != nil {
			return false
		}
		factory, err := readLeaf(root, filepath.Join("usr/share/factory/etc", path))
		if err == nil && factory == mine {
			return true
		}
		want, ok := digests[path]
		return ok && !mine.link && mine.digest == want
	}, nil
}

// conffiles reads the digests of configuration files below /etc out of
// dpkg's status file, by path relative to /etc. Lines it does not understand
// tell nothing; two packages that disagree tell nothing either.
func conffiles(status []byte) map[string][md5.Size]byte {
	out := make(map[string][md5.Size]byte)
	within := false
	for line := range strings.Lines(string(status)) {
		line = strings.TrimRight(line, "\n")
		if !strings.HasPrefix(line, " ") {
			within = strings.EqualFold(line, "Conffiles:")
			continue
		}
		if !within {
			continue
		}
		// " /etc/name digest", then words such as "obsolete"; names may hold blanks.
		fields := strings.Split(strings.TrimSuffix(strings.TrimSuffix(line[1:], " remove-on-upgrade"), " obsolete"), " ")
		last := len(fields) - 1
		name, below := strings.CutPrefix(strings.Join(fields[:last], " "), "/etc/")
		sum, err := hex.DecodeString(fields[last])
		if !below || err != nil || len(sum) != md5.Size {
			continue
		}
		if old, ok := out[name]; ok && old != [md5.Size]byte(sum) {
			sum = make([]byte, md5.Size) // no file has this digest
		}
		out[name] = [md5.Size]byte(sum)
	}
	return out
}

// leaf is a file's content as far as it is compared.
type leaf struct {
	link   bool
	target string
	digest [md5.Size]byte
}

// readLeaf reads a file or link of the tree root, not following it.
func readLeaf(root, name string) (leaf, error) {
	dir, err := Open(root, filepath.Dir(name))
	if err != nil {
		return leaf{}, err
	}
	defer dir.Close()
	tree, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	if err != nil {
		return leaf{}, err
	}
	defer tree.Close()
	base := filepath.Base(name)
	st, err := tree.Lstat(base)
	if err != nil {
		return leaf{}, err
	}
	if st.Mode()&fs.ModeSymlink != 0 {
		target, err := tree.Readlink(base)
		return leaf{link: true, target: target}, err
	}
	if !st.Mode().IsRegular() {
		return leaf{}, fs.ErrInvalid
	}
	f, err := tree.OpenFile(base, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return leaf{}, err
	}
	defer f.Close()
	sum := md5.New()
	_, err = io.Copy(sum, f)
	return leaf{digest: [md5.Size]byte(sum.Sum(nil))}, err
}
