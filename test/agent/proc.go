package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"imgbase/test/agent/proto"
)

// procs are the programs started and not yet waited for.
type procs struct {
	mu   sync.Mutex
	byID map[int]*proc
	last int
}

// proc is one started program. printed is closed and replaced whenever there
// is new output; done is closed at its end.
type proc struct {
	cmd  *exec.Cmd
	done chan struct{}

	mu             sync.Mutex
	stdout, stderr bytes.Buffer
	printed        chan struct{}
}

// output appends to one of the buffers and tells those who await a text.
type output struct {
	p   *proc
	buf *bytes.Buffer
}

// maxOutput bounds what is kept of each output, in bytes.
const maxOutput = 16 << 20

func (o output) Write(b []byte) (int, error) {
	o.p.mu.Lock()
	defer o.p.mu.Unlock()
	if o.buf.Len() < maxOutput {
		o.buf.Write(b)
	}
	close(o.p.printed)
	o.p.printed = make(chan struct{})
	return len(b), nil
}

func (ps *procs) start(req proto.Request) (proto.Reply, error) {
	if len(req.Args) == 0 {
		return proto.Reply{}, fmt.Errorf("start: no program")
	}
	p := &proc{done: make(chan struct{}), printed: make(chan struct{})}
	p.cmd = exec.Command(req.Args[0], req.Args[1:]...)
	p.cmd.Env = append(os.Environ(), req.Env...)
	p.cmd.Dir = "/"
	p.cmd.Stdout, p.cmd.Stderr = output{p, &p.stdout}, output{p, &p.stderr}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A daemon the program leaves behind keeps its outputs open.
	p.cmd.WaitDelay = 2 * time.Second
	if err := p.cmd.Start(); err != nil {
		return proto.Reply{}, err
	}
	go func() {
		p.cmd.Wait() // the state tells how it ended
		close(p.done)
	}()
	p.killLater(req.Kill)

	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.last++
	ps.byID[ps.last] = p
	return proto.Reply{Proc: ps.last}, nil
}

func (p *proc) killLater(k proto.Kill) {
	if k.After > 0 {
		time.AfterFunc(time.Duration(k.After), p.kill)
	}
	if k.On != "" {
		go func() {
			if p.await(k.On) {
				p.kill()
			}
		}()
	}
}

// kill ends the program and its process group. After its end it does
// nothing: the number may belong to somebody else by then.
func (p *proc) kill() {
	select {
	case <-p.done:
	default:
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
}

// await waits until text was printed; false means that the program ended
// without it.
func (p *proc) await(text string) bool {
	for {
		p.mu.Lock()
		found := bytes.Contains(p.stdout.Bytes(), []byte(text)) || bytes.Contains(p.stderr.Bytes(), []byte(text))
		more := p.printed
		p.mu.Unlock()
		if found {
			return true
		}
		select {
		case <-more:
		case <-p.done:
			// What it printed last came before its end.
			select {
			case <-more:
			default:
				return false
			}
		}
	}
}

func (ps *procs) get(id int) (*proc, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p := ps.byID[id]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("process %d: not started, or waited for", id)
}

func (ps *procs) await(req proto.Request) (proto.Reply, error) {
	p, err := ps.get(req.Proc)
	if err != nil {
		return proto.Reply{}, err
	}
	return proto.Reply{Found: p.await(req.Text)}, nil
}

func (ps *procs) kill(req proto.Request) (proto.Reply, error) {
	p, err := ps.get(req.Proc)
	if err != nil {
		return proto.Reply{}, err
	}
	p.kill()
	return proto.Reply{}, nil
}

func (ps *procs) wait(req proto.Request) (proto.Reply, error) {
	p, err := ps.get(req.Proc)
	if err != nil {
		return proto.Reply{}, err
	}
	<-p.done
	ps.mu.Lock()
	delete(ps.byID, req.Proc)
	ps.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	r := proto.Reply{Code: p.cmd.ProcessState.ExitCode(), Stdout: p.stdout.Bytes(), Stderr: p.stderr.Bytes()}
	if ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		r.Code = 128 + int(ws.Signal())
	}
	return r, nil
}
