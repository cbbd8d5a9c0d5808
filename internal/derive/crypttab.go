package derive

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// crypttab is /etc/crypttab as an initramfs has to see it, because its tool
// cannot: in a room nothing tells which entries root is on. unlock names
// these. Nothing is no file.
func (t Tree) crypttab(by tool, unlock []string) ([]byte, error) {
	data, err := t.read(t.Root, "etc/crypttab")
	return earlyCrypttab(data, by, unlock), err
}

// earlyCrypttab is, for dracut, just the entries that are for the initrd:
// they are all unlocked there. mkinitramfs picks them itself, by the option.
func earlyCrypttab(crypttab []byte, by tool, unlock []string) []byte {
	if by == initramfsTools && len(unlock) == 0 {
		return nil
	}
	var out bytes.Buffer
	for line := range strings.Lines(string(crypttab)) {
		e := parseEntry(line)
		needed := e.name != "" && slices.Contains(unlock, e.name)
		switch {
		case by == dracut && (needed || e.early()):
			out.WriteString(strings.TrimSuffix(line, "\n") + "\n")
		case by == initramfsTools && needed && !e.early():
			out.WriteString(e.marked() + "\n")
		case by == initramfsTools:
			out.WriteString(line)
		}
	}
	return out.Bytes()
}

// entry is a line of crypttab(5).
type entry struct {
	name, device, key string
	options           []string
}

func parseEntry(line string) entry {
	f := strings.Fields(line)
	if len(f) < 2 || f[0][0] == '#' {
		return entry{}
	}
	e := entry{name: f[0], device: f[1], key: "none"}
	if len(f) > 2 {
		e.key = f[2]
	}
	if len(f) > 3 && f[3] != "none" && f[3] != "-" {
		e.options = strings.Split(f[3], ",")
	}
	return e
}

// early says whether the entry itself asks to be in the initramfs, in the
// words of systemd, dracut or Debian.
func (e entry) early() bool {
	return slices.ContainsFunc(e.options, func(o string) bool {
		return o == "x-initrd.attach" || o == "force" || o == "initramfs"
	})
}

// marked is the entry's line with Debian's word for it.
func (e entry) marked() string {
	return strings.Join([]string{e.name, e.device, e.key, strings.Join(append(slices.Clone(e.options), "initramfs"), ",")}, " ")
}

// maxStack bounds how many block devices lie below one.
const maxStack = 1000

// Encrypted names the crypt mappings that a block device is on, however deep
// below, sorted. The device is "major:minor", sys is what sysfs shows.
func Encrypted(sys fs.FS, device string) ([]string, error) {
	var names []string
	seen := map[string]bool{}
	todo := []string{path.Join("dev/block", device)}
	for len(todo) > 0 {
		dir := todo[0]
		todo = todo[1:]
		slaves, err := fs.ReadDir(sys, path.Join(dir, "slaves"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("devices below %s: %w", device, err)
		}
		for _, s := range slaves {
			if seen[s.Name()] {
				continue
			}
			if seen[s.Name()] = true; len(seen) > maxStack {
				return nil, fmt.Errorf("devices below %s: more than %d", device, maxStack)
			}
			todo = append(todo, path.Join("class/block", s.Name()))
		}
		name, err := mapping(sys, dir)
		if err != nil {
			return nil, fmt.Errorf("devices below %s: %w", device, err)
		}
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// mapping is the name of the crypt mapping in dir, "" when it is none.
// cryptsetup begins the UUID of its mappings with its name.
func mapping(sys fs.FS, dir string) (string, error) {
	uuid, err := fs.ReadFile(sys, path.Join(dir, "dm/uuid"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !bytes.HasPrefix(uuid, []byte("CRYPT-")) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	name, err := fs.ReadFile(sys, path.Join(dir, "dm/name"))
	return strings.TrimSpace(string(name)), err
}
