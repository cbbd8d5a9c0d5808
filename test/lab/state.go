package lab

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"imgbase/test/agent/proto"
)

// State is what a host consists of and a refused or failed operation must
// leave as it was. Two of them are compared with cmp.Diff, which then names
// just what differs.
type State struct {
	Groups  map[string]string // volume group: tags, sizes, number of volumes
	Volumes map[string]string // vg/lv: size, tags, permission, skip flag, activity, origin, pool
	Mounts  map[string]string // directory: source, type, options
	Devices map[string]string // device mapper and loop devices: what they are
	Files   map[string]string // path: type, mode, owner, size, SHA-256, link target, xattrs
}

// left out of a [State]: LVM's own diary, which grows with each of its
// programs, and systemd's per-service mounts, which come and go.
var (
	skippedFiles  = [...]string{"/etc/lvm/archive", "/etc/lvm/backup"}
	skippedMounts = [...]string{"/run/credentials/"}
)

// stateScript prints the parts of a state, each line "part|name|rest".
const stateScript = `set -e
vgs --noheadings --separator '|' --units b -o vg_name,vg_tags,vg_size,vg_free,lv_count | sed 's/^ */group|/'
lvs -a --noheadings --separator '|' --units b -o lv_full_name,lv_size,lv_tags,lv_permissions,lv_skip_activation,lv_active,origin,pool_lv | sed 's/^ */volume|/'
findmnt -rno TARGET,SOURCE,FSTYPE,OPTIONS | sed 's/ /|/; s/^/mount|/'
dmsetup table | sed 's/: /|/; s/^/device|/'
losetup -nO NAME,BACK-FILE | sed 's/  */|/; s/^/device|/'
`

// State takes a snapshot of the host: its volumes and their tags, its mounts
// and devices, and every byte below /boot and /etc; more directories can be
// named. Time stamps are not part of it.
func (vm *VM) State(t testing.TB, roots ...string) State {
	t.Helper()
	s := State{map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}}
	parts := map[string]map[string]string{"group": s.Groups, "volume": s.Volumes, "mount": s.Mounts, "device": s.Devices}
	for line := range strings.Lines(vm.Must(t, stateScript)) {
		part, rest, _ := strings.Cut(strings.TrimSpace(line), "|")
		name, value, _ := strings.Cut(rest, "|")
		if part == "mount" && skipped(name) {
			continue
		}
		// A directory can be mounted on several times.
		if old, ok := parts[part][name]; ok {
			value = old + "\n" + value
		}
		parts[part][name] = value
	}
	for _, f := range vm.tree(t, append([]string{"/boot", "/etc"}, roots...)) {
		s.Files[f.Path] = describe(f)
	}
	return s
}

func skipped(mount string) bool {
	for _, m := range skippedMounts {
		if strings.HasPrefix(mount, m) {
			return true
		}
	}
	return false
}

func (vm *VM) tree(t testing.TB, roots []string) []proto.File {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	r, err := vm.m.agent.call(ctx, proto.Request{Op: proto.OpTree, Roots: roots, Skip: skippedFiles[:]})
	if err != nil {
		t.Fatalf("lab: state: %v", vm.m.explain(err))
	}
	return r.Files
}

// Tree describes every file below the directory, by path, as [State] does.
func (vm *VM) Tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, f := range vm.tree(t, []string{dir}) {
		files[f.Path] = describe(f)
	}
	return files
}

func describe(f proto.File) string {
	words := []string{f.Mode, f.Owner}
	if f.Sum != "" {
		words = append(words, strconv.FormatInt(f.Size, 10), f.Sum)
	}
	if f.Link != "" {
		words = append(words, "-> "+f.Link)
	}
	return strings.Join(append(words, f.Xattrs...), " ")
}
