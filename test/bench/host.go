package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"imgbase/test/lab"
)

const (
	program = "/root/bench" // this program, in the guest
	bare    = "lvs"
)

// reads are compared with one bare lvs.
var reads = [...]string{"imgbase layout", "imgbase w"}

// sizes are the numbers of thin volumes that the pool is grown to. A host
// that was taken over has four from the start.
var sizes = [...]int{20, 200}

// onHost measures reads and changes on the lab's host.
func onHost(ctx context.Context, r *report, rounds int) error {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	return lab.Perform(ctx, "bench", func(s testing.TB) {
		image := lab.Image{NVR: "lab-2.0-1"}.Build(s)
		vm := lab.Host(s)
		b := &guest{s: s, vm: vm, r: r}
		vm.Must(s, "imgbase layout --init")
		vm.Reboot(s)
		vm.Put(s, program, self, 0o755)
		b.few(rounds)
		dir := vm.Share(s, "images", image)
		saved := vm.Save(s)
		b.changes(dir + "/lab-2.0-1.img")
		vm.Restore(s, saved)
		b.many(rounds)
	})
}

// guest is the host under test.
type guest struct {
	s  testing.TB
	vm *lab.VM
	r  *report

	// ways are the bare lvs, the reads, and the report that these ask LVM
	// for: what is above it is our own.
	ways, commands []string
}

// countThin prints the number of thin volumes: only they have a pool.
const countThin = "lvs --noheadings -o pool_lv | grep -c '[^ ]'"

func (g *guest) volumes() int {
	n, err := strconv.Atoi(g.vm.Must(g.s, countThin))
	if err != nil {
		g.s.Fatal("number of volumes: ", err)
	}
	return n
}

func (g *guest) few(rounds int) {
	g.ways = append([]string{bare}, reads[:]...)
	g.commands = slices.Clone(g.ways)
	for _, way := range reads {
		programs := g.programs(way)
		g.count(way, programs, &goal{Limit: 1})
		if len(g.commands) == len(g.ways) {
			g.commands = append(g.commands, programs[0])
		}
	}
	g.ways = append(g.ways, "the report alone")
	g.read(rounds)
}

// read times the reads with the volumes there are.
func (g *guest) read(rounds int) {
	group := fmt.Sprintf("%d thin volumes", g.volumes())
	script := program + " clock " + strconv.Itoa(rounds)
	for _, c := range g.commands {
		script += " '" + strings.ReplaceAll(c, "'", `'\''`) + "'"
	}
	var samples [][]sample
	if err := json.Unmarshal([]byte(g.vm.Must(g.s, script)), &samples); err != nil || len(samples) != len(g.ways) {
		g.s.Fatal("the guest's clock: ", err)
	}
	lvs := timing{group, bare, samples[0]}
	for i, way := range g.ways {
		t := timing{group, way, samples[i]}
		g.r.Timings = append(g.r.Timings, t)
		if slices.Contains(reads[:], way) {
			onClock, onCPU := ratio(t, lvs)
			g.r.find(group, way+" / lvs", &goal{Limit: 1.5}, onClock, onCPU)
		}
	}
}

// grow makes bases with a layer each until the pool has n thin volumes, all
// by one LVM process. They are snapshots of the first base, not activated.
const grow = `b=$(imgbase base --latest); n=%d
	for i in $(seq $(( (n - $(` + countThin + `)) / 2 ))); do
		v=lab-0.$n.$i-1
		echo "lvcreate -qq -s -pr -ky -an --addtag imgbased:base -n $v ` + lab.VG + `/$b"
		echo "lvcreate -qq -s -prw -kn -an --addtag imgbased:layer -n $v+1 ` + lab.VG + `/$v"
	done | lvm >/dev/null`

// many times the reads as the pool grows. Flat means that a volume more costs
// us no more than it costs lvs itself.
func (g *guest) many(rounds int) {
	few := g.r.Timings[len(g.r.Timings)-len(g.ways):]
	for _, n := range sizes {
		g.vm.Must(g.s, fmt.Sprintf(grow, n))
		g.read(rounds)
	}
	most := g.r.Timings[len(g.r.Timings)-len(g.ways):]
	for i, way := range g.ways {
		onClock, onCPU := ratio(most[i], few[i])
		g.r.find("growth", way+", "+most[i].Group+" / "+few[i].Group, nil, onClock, onCPU)
	}
}

// changes counts the programs that the changing verbs start.
func (g *guest) changes(image string) {
	for _, c := range []struct {
		name, script string
		limit        *goal
	}{
		{"layer --add", "imgbase layer --add", &goal{Limit: 3}},
		{"update", "imgbase update " + image, nil},
	} {
		g.count(c.name, g.programs(c.script), c.limit)
	}
}

// lvmPrograms are those of lvm2 that a host uses.
var lvmPrograms = [...]string{
	"lvm", "lvs", "vgs", "pvs", "lvcreate", "lvchange", "lvextend", "lvremove", "lvrename", "lvresize", "vgchange",
	"vgcfgbackup", "lvmconfig",
}

// count reports how many programs a verb started; the goal is for LVM's.
func (g *guest) count(verb string, programs []string, limit *goal) {
	ofLVM := 0
	for _, p := range programs {
		if name, _, _ := strings.Cut(p, " "); slices.Contains(lvmPrograms[:], name) {
			ofLVM++
		}
	}
	g.r.find(verb, "programs started", nil, float64(len(programs)))
	g.r.find(verb, "LVM programs started", limit, float64(ofLVM))
	g.r.Programs = append(g.r.Programs, verbPrograms{verb, programs})
}

// programs runs a verb and takes the programs it started, as typed, from its
// --debug log, which has one line for each, with its time.
func (g *guest) programs(verb string) []string {
	log := g.vm.Must(g.s, verb+" --debug 2>&1 >/dev/null")
	var started []string
	for line := range strings.Lines(log) {
		_, message, isDebug := strings.Cut(line, "[DEBUG] ")
		command, _, isProgram := strings.Cut(message, " took=")
		if isDebug && isProgram {
			started = append(started, command)
		}
	}
	if len(started) == 0 {
		g.s.Fatal(verb, ": no program in its log: ", log)
	}
	return started
}
