package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
)

// performance is what the lab needs of a test, outside of one: somebody to
// report to, and to clean up afterwards. The embedded interface is nil; it
// is there because only package testing can implement all of [testing.TB].
type performance struct {
	testing.TB
	ctx      context.Context
	cleanups []func()
	failed   bool
}

// play runs do to its end, or to its first failure, cleans up, and says
// whether it went well.
func play(ctx context.Context, do func(*performance)) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &performance{ctx: ctx}
	ended := make(chan struct{})
	// Its own goroutine, because FailNow ends the one it is called on.
	go func() {
		defer close(ended)
		defer p.clean()
		do(p)
	}()
	<-ended
	return !p.failed
}

// clean runs the cleanups, the last first; they may add more.
func (p *performance) clean() {
	for len(p.cleanups) > 0 {
		last := p.cleanups[len(p.cleanups)-1]
		p.cleanups = p.cleanups[:len(p.cleanups)-1]
		last()
	}
}

func (p *performance) Helper()                  {}
func (p *performance) Name() string             { return "demo" }
func (p *performance) Context() context.Context { return p.ctx }
func (p *performance) Cleanup(f func())         { p.cleanups = append(p.cleanups, f) }

// Failed says whether there are traces worth keeping: not of what the user
// interrupted.
func (p *performance) Failed() bool { return p.failed && p.ctx.Err() == nil }

func (p *performance) Logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

func (p *performance) Errorf(format string, args ...any) {
	p.failed = true
	p.Logf(format, args...)
}

func (p *performance) FailNow() {
	p.failed = true
	runtime.Goexit()
}

func (p *performance) Fatalf(format string, args ...any) {
	p.Logf(format, args...)
	p.FailNow()
}

func (p *performance) Fatal(args ...any) { p.Fatalf("%s", fmt.Sprint(args...)) }

// Skip is for a test; a demo that cannot be given has failed.
func (p *performance) Skip(args ...any) { p.Fatal(args...) }
