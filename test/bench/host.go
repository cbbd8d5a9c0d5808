package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"imgbase/test/lab"
)

const (
	program = "/root/bench" // this program, in the guest
	bare    = "lvs"
)

// reads are compared with one bare lvs.
var reads = [...]string{bare, "imgbase layout", "imgbase w"}

// sizes are the numbers of thin volumes that the pool is grown to. A host
// that was taken over has four from the start.
var sizes = [...]int{20, 200}

// onHost measures reads and changes on the lab's host.
func onHost(ctx context.Context, r *report, rounds int) error {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	return perform(ctx, func(s *stage) {
		image := lab.Image{NVR: "lab-2.0-1"}.Build(s)
		vm := lab.Host(s)
		b := &guest{s, vm, r}
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
	s  *stage
	vm *lab.VM
	r  *report
}

func (g *guest) volumes() int {
	n, err := strconv.Atoi(g.vm.Must(g.s, "lvs --noheadings -o lv_name -S lv_layout=~thin,lv_layout!~pool | wc -l"))
	if err != nil {
		g.s.Fatal("number of volumes: ", err)
	}
	return n
}

func (g *guest) few(rounds int) {
	for _, way := range reads[1:] {
		all, ofLVM := g.started(way)
		g.r.find(way, "programs started", nil, float64(all))
		g.r.find(way, "LVM programs started", &goal{Limit: 1}, float64(ofLVM))
	}
	g.read(rounds)
}

// read times the reads with the volumes there are.
func (g *guest) read(rounds int) {
	group := fmt.Sprintf("%d thin volumes", g.volumes())
	script := fmt.Sprintf("%s clock %d '%s'", program, rounds, strings.Join(reads[:], "' '"))
	var samples [][]sample
	if err := json.Unmarshal([]byte(g.vm.Must(g.s, script)), &samples); err != nil || len(samples) != len(reads) {
		g.s.Fatal("the guest's clock: ", err)
	}
	lvs := timing{group, bare, samples[0]}
	for i, way := range reads {
		t := timing{group, way, samples[i]}
		g.r.Timings = append(g.r.Timings, t)
		if way != bare {
			onClock, onCPU := ratio(t, lvs)
			g.r.find(group, way+" / lvs", &goal{Limit: 1.5}, onClock, onCPU)
		}
	}
}

// grow makes bases with a layer each until the pool has n thin volumes, all
// by one LVM process. They are snapshots of the first base, not activated.
const grow = `b=$(imgbase base --latest); n=%d
	for i in $(seq $(( (n - $(lvs --noheadings -S lv_layout=~thin,lv_layout!~pool | wc -l)) / 2 ))); do
		v=lab-0.$n.$i-1
		echo "lvcreate -qq -s -pr -ky -an --addtag imgbased:base -n $v ` + lab.VG + `/$b"
		echo "lvcreate -qq -s -prw -kn -an --addtag imgbased:layer -n $v+1 ` + lab.VG + `/$v"
	done | lvm >/dev/null`

// many times the reads as the pool grows. Flat means that a volume more costs
// us no more than it costs lvs itself.
func (g *guest) many(rounds int) {
	first := len(g.r.Timings) - len(reads)
	for _, n := range sizes {
		g.vm.Must(g.s, fmt.Sprintf(grow, n))
		g.read(rounds)
	}
	few, most := g.r.Timings[first:first+len(reads)], g.r.Timings[len(g.r.Timings)-len(reads):]
	for i, way := range reads {
		onClock, onCPU := ratio(most[i], few[i])
		g.r.find("growth", way+", "+most[i].Group+" / "+few[i].Group, nil, onClock, onCPU)
	}
}

// changes counts the programs that the changing verbs start.
func (g *guest) changes(image string) {
	for _, c := range []struct{ name, script string }{
		{"layer --add", "imgbase layer --add"},
		{"update", "imgbase update " + image},
	} {
		all, ofLVM := g.started(c.script)
		g.r.find(c.name, "programs started", nil, float64(all))
		g.r.find(c.name, "LVM programs started", nil, float64(ofLVM))
	}
}

// lvmPrograms are those of lvm2 that a host uses.
var lvmPrograms = [...]string{
	"lvm", "lvs", "vgs", "pvs", "lvcreate", "lvchange", "lvextend", "lvremove", "lvrename", "lvresize", "vgchange",
	"vgcfgbackup", "lvmconfig",
}

// started counts the programs in a verb's --debug log, which has one line for
// each that package run started, with its time.
func (g *guest) started(verb string) (all, ofLVM int) {
	log := g.vm.Must(g.s, verb+" --debug 2>&1 >/dev/null")
	for line := range strings.Lines(log) {
		_, command, ok := strings.Cut(line, "[DEBUG] ")
		if !ok || !strings.Contains(command, " took=") {
			continue
		}
		all++
		if name, _, _ := strings.Cut(command, " "); slices.Contains(lvmPrograms[:], name) {
			ofLVM++
		}
	}
	if all == 0 {
		g.s.Fatal(verb, ": no program in its log: ", log)
	}
	return all, ofLVM
}
