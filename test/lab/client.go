package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"imgbase/test/agent/proto"
)

// client talks to the agent in a guest. Its methods may be called at the
// same time.
type client struct {
	conn net.Conn

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan proto.Reply
}

func dialAgent(ctx context.Context, path string) (*client, error) {
	conn, err := dial(ctx, path)
	if err != nil {
		return nil, err
	}
	// Numbers start anywhere: an agent in a restored guest may still hold
	// replies to requests of the machine it was saved from.
	c := &client{conn: conn, last: rand.Uint64() >> 1, waiting: map[uint64]chan proto.Reply{}}
	go c.receive()
	return c, nil
}

func (c *client) receive() {
	in := bufio.NewReaderSize(c.conn, 256<<10)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var r proto.Reply
		if json.Unmarshal(line, &r) != nil {
			continue // half a message, from before a reboot
		}
		c.mu.Lock()
		if w := c.waiting[r.ID]; w != nil {
			w <- r
			delete(c.waiting, r.ID)
		}
		c.mu.Unlock()
	}
}

// call sends one request and waits for its reply.
func (c *client) call(ctx context.Context, req proto.Request) (proto.Reply, error) {
	reply := make(chan proto.Reply, 1)
	c.mu.Lock()
	c.last++
	req.ID = c.last
	c.waiting[req.ID] = reply
	err := c.write(req)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, req.ID)
		c.mu.Unlock()
	}()
	if err != nil {
		return proto.Reply{}, fmt.Errorf("agent %s: %w", req.Op, err)
	}
	select {
	case r := <-reply:
		if r.Err != "" {
			return r, fmt.Errorf("agent %s: %s", req.Op, r.Err)
		}
		return r, nil
	case <-ctx.Done():
		return proto.Reply{}, fmt.Errorf("agent %s: no answer: %w", req.Op, context.Cause(ctx))
	}
}

// stuck is how long a guest may leave a message lying before it counts as
// gone.
const stuck = 30 * time.Second

func (c *client) write(req proto.Request) error {
	line, err := json.Marshal(req)
	if err != nil {
		return err
	}
	// The first line feed ends whatever a cut-off message left behind.
	line = append(append([]byte{'\n'}, line...), '\n')
	if err := c.conn.SetWriteDeadline(time.Now().Add(stuck)); err != nil {
		return err
	}
	_, err = c.conn.Write(line)
	return err
}

// sync returns the boot id of the guest as soon as an agent answers from
// another boot than the one given; "" is any.
func (c *client) sync(ctx context.Context, not string) (string, error) {
	for {
		try, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		r, err := c.call(try, proto.Request{Op: proto.OpSync, Time: time.Now().UnixNano()})
		cancel()
		if err == nil && r.BootID != "" && r.BootID != not {
			return r.BootID, nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return "", fmt.Errorf("agent: no answer from the guest: %w", err)
		}
		if errors.Is(err, net.ErrClosed) {
			return "", err
		}
	}
}

// Result is what a program in the guest printed and how it ended.
type Result struct {
	Stdout string
	Stderr string
	Code   int // exit code, or 128 + the signal that ended it
}

func (c *client) wait(ctx context.Context, proc int) (Result, error) {
	r, err := c.call(ctx, proto.Request{Op: proto.OpWait, Proc: proc})
	return Result{Stdout: string(r.Stdout), Stderr: string(r.Stderr), Code: r.Code}, err
}

// exec runs a program to its end, and kills it when the context ends first.
func (c *client) exec(ctx context.Context, argv ...string) (Result, error) {
	r, err := c.call(ctx, proto.Request{Op: proto.OpStart, Args: argv})
	if err != nil {
		return Result{}, err
	}
	result, err := c.wait(ctx, r.Proc)
	if ctx.Err() != nil {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_, kerr := c.call(last, proto.Request{Op: proto.OpKill, Proc: r.Proc})
		return result, errors.Join(err, kerr)
	}
	return result, err
}

// put writes a file, in pieces; one reply is awaited for several pieces.
func (c *client) put(ctx context.Context, path string, data []byte, mode fs.FileMode) error {
	for at := 0; at == 0 || at < len(data); at += proto.Chunk {
		_, err := c.call(ctx, proto.Request{
			Op: proto.OpPut, Path: path, Offset: int64(at), Mode: unixMode(mode),
			Data: data[at:min(at+proto.Chunk, len(data))],
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// unixMode turns Go's set-id and sticky bits into chmod(2)'s.
func unixMode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for _, b := range []struct {
		is  fs.FileMode
		bit uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&b.is != 0 {
			bits |= b.bit
		}
	}
	return bits
}

func (c *client) get(ctx context.Context, path string) ([]byte, error) {
	var data []byte
	for {
		r, err := c.call(ctx, proto.Request{Op: proto.OpGet, Path: path, Offset: int64(len(data))})
		if err != nil {
			return nil, err
		}
		data = append(data, r.Data...)
		if len(r.Data) < proto.Chunk {
			return data, nil
		}
	}
}
