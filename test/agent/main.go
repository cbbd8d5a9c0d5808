// Command agent answers the lab from inside a guest, over a virtio-serial
// port: it starts programs, carries files and describes trees. It is part of
// the guest's root tree, so it is there in every layer and image, and it
// needs nothing but the kernel and /dev, so it answers on a sick host too.
// Package proto describes the conversation.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"imgbase/test/agent/proto"
)

func main() {
	for {
		p, err := openPort()
		if err != nil {
			// The module may not be loaded or /dev not be filled yet.
			time.Sleep(100 * time.Millisecond)
			continue
		}
		serve(p)
	}
}

// openPort finds the port by its name in sysfs and not by udev's link, which
// appears later and not at all on a host whose udev is down.
func openPort() (*port, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		text, err := os.ReadFile(n)
		if err != nil || strings.TrimSpace(string(text)) != proto.Port {
			continue
		}
		fd, err := syscall.Open("/dev/"+filepath.Base(filepath.Dir(n)), syscall.O_RDWR|syscall.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		return &port{fd: fd}, nil
	}
	return nil, os.ErrNotExist
}

// port is the serial port, read and written with blocking system calls: the
// kernel reports "no host connected" as end of file and as a hang-up, both
// of which the runtime's poller would take for the end.
type port struct {
	fd int
	mu sync.Mutex // held over one whole message
}

// Read waits for the lab as long as it takes.
func (p *port) Read(b []byte) (int, error) {
	for {
		n, err := syscall.Read(p.fd, b)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 0, err
		case n > 0:
			return n, nil
		default:
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// send writes one reply. An error means that the port is gone, and then the
// reader notices as well.
func (p *port) send(r proto.Reply) {
	line, err := json.Marshal(r)
	if err != nil {
		line = fmt.Appendf(nil, `{"ID":%d,"Err":"reply cannot be written"}`, r.ID)
	}
	line = append(line, '\n')
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(line) > 0 {
		n, err := syscall.Write(p.fd, line)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return
		}
		line = line[n:]
	}
}

func serve(p *port) {
	defer syscall.Close(p.fd)
	p.send(proto.Reply{BootID: bootID()})
	procs := &procs{byID: map[int]*proc{}}
	in := bufio.NewReaderSize(p, 64<<10)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var req proto.Request
		if json.Unmarshal(line, &req) != nil || req.ID == 0 {
			continue
		}
		go func() {
			r, err := answer(procs, req)
			if err != nil {
				r.Err = err.Error()
			}
			r.ID = req.ID
			p.send(r)
		}()
	}
}

func answer(ps *procs, req proto.Request) (proto.Reply, error) {
	switch req.Op {
	case proto.OpSync:
		return proto.Reply{BootID: bootID()}, setClock(req.Time)
	case proto.OpStart:
		return ps.start(req)
	case proto.OpAwait:
		return ps.await(req)
	case proto.OpWait:
		return ps.wait(req)
	case proto.OpKill:
		return ps.kill(req)
	case proto.OpPut:
		return proto.Reply{}, put(req)
	case proto.OpGet:
		return get(req)
	case proto.OpTree:
		files, err := tree(req)
		return proto.Reply{Files: files}, err
	}
	return proto.Reply{}, fmt.Errorf("%s: unknown operation", req.Op)
}

func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// setClock repairs the clock of a guest restored from a saved state, which
// goes on from the moment it was saved. A small difference stays: steps
// confuse whoever measures.
func setClock(ns int64) error {
	now := time.Unix(0, ns)
	if d := time.Since(now).Abs(); ns == 0 || d < 2*time.Second {
		return nil
	}
	tv := syscall.NsecToTimeval(ns)
	return syscall.Settimeofday(&tv)
}
