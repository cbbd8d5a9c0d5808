package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"
)

// qmp is the monitor of one QEMU, in its machine protocol: one JSON object a
// line, events between replies
// (https://www.qemu.org/docs/master/interop/qmp-spec.html).
type qmp struct {
	mu   sync.Mutex
	conn net.Conn
	in   *bufio.Reader
}

// args are the arguments of a monitor command.
type args map[string]any

// dialQMP connects to the monitor's socket, which QEMU makes when it starts.
func dialQMP(ctx context.Context, path string) (*qmp, error) {
	conn, err := dial(ctx, path)
	if err != nil {
		return nil, err
	}
	q := &qmp{conn: conn, in: bufio.NewReader(conn)}
	if _, err := q.in.ReadBytes('\n'); err != nil { // the greeting
		conn.Close()
		return nil, fmt.Errorf("qemu monitor: %w", err)
	}
	if err := q.do(ctx, "qmp_capabilities", nil, nil); err != nil {
		conn.Close()
		return nil, err
	}
	return q, nil
}

// dial connects to a socket that may not be there yet.
func dial(ctx context.Context, path string) (net.Conn, error) {
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn, nil
		}
		if serr := sleep(ctx, 20*time.Millisecond); serr != nil {
			return nil, fmt.Errorf("%w: %w", serr, err)
		}
	}
}

// do executes a command and decodes what it returns into result, if any.
func (q *qmp) do(ctx context.Context, command string, a args, result any) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { q.conn.SetDeadline(time.Now()) })
	defer stop()
	request := args{"execute": command}
	if a != nil {
		request["arguments"] = a
	}
	if err := json.NewEncoder(q.conn).Encode(request); err != nil {
		return fmt.Errorf("qemu %s: %w", command, err)
	}
	for {
		line, err := q.in.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("qemu %s: %w", command, err)
		}
		var reply struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := json.Unmarshal(line, &reply); err != nil {
			return fmt.Errorf("qemu %s: %w", command, err)
		}
		switch {
		case reply.Error != nil:
			return fmt.Errorf("qemu %s: %s", command, reply.Error.Desc)
		case reply.Return != nil && result != nil:
			return json.Unmarshal(reply.Return, result)
		case reply.Return != nil:
			return nil
		}
	}
}

// resume lets a guest run that was started from saved memory, or frozen.
func (q *qmp) resume(ctx context.Context) error {
	for {
		var state struct{ Status string }
		if err := q.do(ctx, "query-status", nil, &state); err != nil {
			return err
		}
		switch state.Status {
		case "inmigrate":
			if err := sleep(ctx, 20*time.Millisecond); err != nil {
				return fmt.Errorf("qemu incoming: %w", err)
			}
		case "running":
			return nil
		default:
			if err := q.do(ctx, "cont", nil, nil); err != nil {
				return err
			}
		}
	}
}
