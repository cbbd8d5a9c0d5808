package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
)

// stage is what the lab needs of a test, outside of one. The embedded
// interface is nil: only package testing can implement all of [testing.TB].
type stage struct {
	testing.TB
	ctx      context.Context
	cleanups []func()
	err      error
}

// perform runs do until its end or its first failure, and cleans up.
func perform(ctx context.Context, do func(*stage)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &stage{ctx: ctx}
	ended := make(chan struct{})
	// Its own goroutine, because FailNow ends the one it is called on.
	go func() {
		defer close(ended)
		defer s.clean()
		do(s)
	}()
	<-ended
	return s.err
}

func (s *stage) clean() {
	for len(s.cleanups) > 0 {
		last := s.cleanups[len(s.cleanups)-1]
		s.cleanups = s.cleanups[:len(s.cleanups)-1]
		last()
	}
}

func (s *stage) Helper()                    {}
func (s *stage) Name() string               { return "bench" }
func (s *stage) Failed() bool               { return s.err != nil }
func (s *stage) Context() context.Context   { return s.ctx }
func (s *stage) Cleanup(f func())           { s.cleanups = append(s.cleanups, f) }
func (s *stage) Logf(f string, args ...any) { fmt.Fprintf(os.Stderr, f+"\n", args...) }

func (s *stage) Errorf(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
		return
	}
	s.Logf(format, args...)
}

func (s *stage) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	runtime.Goexit()
}

func (s *stage) Fatal(args ...any) { s.Fatalf("%s", fmt.Sprint(args...)) }

// Skip is for a test; what cannot be measured here is an error.
func (s *stage) Skip(args ...any) { s.Fatal(args...) }
