package lab

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
)

// play is what the lab needs of a test, outside of one: somebody to report
// to, and to clean up afterwards. The embedded interface is nil; it is there
// because only package testing can implement all of [testing.TB].
type play struct {
	testing.TB
	name     string
	ctx      context.Context
	cleanups []func()
	err      error
}

// Perform runs do as a test would be run: to its end, or to its first failure.
// It cleans up, and returns the first error.
func Perform(ctx context.Context, name string, do func(testing.TB)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &play{name: name, ctx: ctx}
	ended := make(chan struct{})
	// Its own goroutine, because FailNow ends the one it is called on.
	go func() {
		defer close(ended)
		defer p.clean()
		do(p)
	}()
	<-ended
	return p.err
}

// clean runs the cleanups, the last first; they may add more.
func (p *play) clean() {
	for len(p.cleanups) > 0 {
		last := p.cleanups[len(p.cleanups)-1]
		p.cleanups = p.cleanups[:len(p.cleanups)-1]
		last()
	}
}

func (p *play) Helper()                  {}
func (p *play) Name() string             { return p.name }
func (p *play) Context() context.Context { return p.ctx }
func (p *play) Cleanup(f func())         { p.cleanups = append(p.cleanups, f) }

// Failed says whether there are traces worth keeping: not of what the user
// interrupted.
func (p *play) Failed() bool { return p.err != nil && p.ctx.Err() == nil }

func (p *play) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// Errorf keeps the first error for [Perform] to return; others are logged.
func (p *play) Errorf(format string, args ...any) {
	if p.err != nil {
		p.Logf(format, args...)
		return
	}
	p.err = fmt.Errorf(format, args...)
}

func (p *play) Fatalf(format string, args ...any) {
	p.Errorf(format, args...)
	runtime.Goexit()
}

func (p *play) Fatal(args ...any) { p.Fatalf("%s", fmt.Sprint(args...)) }

// Skip is for a test; what cannot be performed has failed.
func (p *play) Skip(args ...any) { p.Fatal(args...) }
