package run

import (
	"io"
	"os"
)

// stream keeps of what is written to it the first max bytes, or the last
// (tail), and swallows the rest, so that the program is not stopped by a full
// pipe.
type stream struct {
	max  int
	tail bool
	cut  bool
	buf  []byte
}

// Write implements io.Writer. It never fails.
func (s *stream) Write(p []byte) (int, error) {
	n := len(p)
	if !s.tail {
		room := s.max - len(s.buf)
		s.cut = s.cut || n > room
		s.buf = append(s.buf, p[:min(n, room)]...)
		return n, nil
	}
	// Twice the room, so that what is kept is moved once in max bytes.
	p = p[max(0, n-s.max):]
	if len(s.buf)+len(p) > 2*s.max {
		s.buf = append(s.buf[:0], s.buf[len(s.buf)+len(p)-s.max:]...)
	}
	s.buf = append(s.buf, p...)
	return n, nil
}

func (s *stream) bytes() []byte {
	if s.tail {
		return s.buf[max(0, len(s.buf)-s.max):]
	}
	return s.buf
}

// pipe is a stream's way from the program: w is the program's end.
type pipe struct {
	r, w *os.File
	to   *stream
	done chan struct{}
}

func (s *stream) pipe() (*pipe, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &pipe{r: r, w: w, to: s}, nil
}

// listen hands the writing end over to the program that was started and
// collects what arrives.
func (p *pipe) listen() {
	p.w.Close()
	p.done = make(chan struct{})
	go func() {
		defer close(p.done)
		// A read fails when close ends the listening; what came before counts.
		_, _ = io.Copy(p.to, p.r)
	}()
}

// outlives waits until nobody can write to the pipe any more. It reports that
// somebody still can when patience ends, and stops listening then.
func (p *pipe) outlives(patience <-chan struct{}) bool {
	select {
	case <-p.done:
		return false
	case <-patience:
	}
	p.r.Close()
	<-p.done
	return true
}

func (p *pipe) close() {
	p.r.Close()
	p.w.Close()
}
