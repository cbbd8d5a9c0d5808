package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another process holds the lock.
var ErrLocked = errors.New("another run is at work")

// Lock is a lock held by this process until Close, or until its end, however
// it ends: the kernel holds it, not the file's existence or content.
type Lock struct{ f *os.File }

// holderSize bounds what is read and written of the holder's description.
const holderSize = 256

// Acquire takes the lock on the file at path, which it creates when missing,
// and does not wait. When another process holds it the error is [ErrLocked]
// and names the holder's process id and command.
func Acquire(path string) (*Lock, error) {
	// os.OpenFile sets close-on-exec: a program started by the holder must
	// not keep the lock after the holder's end.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		err = fmt.Errorf("%s: held by %s: %w", path, holder(f), ErrLocked)
	} else if err == nil {
		err = sign(f)
	} else {
		err = &os.PathError{Op: "flock", Path: path, Err: err}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Lock{f: f}, nil
}

// Close gives the lock back. The file stays, empty: removing it would let
// two processes lock two files of the same name.
func (l *Lock) Close() error {
	// Closing alone is not enough: a program that is being started by another
	// thread has a copy of the descriptor until it runs, and flock(2) counts
	// copies.
	return errors.Join(l.f.Truncate(0), unix.Flock(int(l.f.Fd()), unix.LOCK_UN), l.f.Close())
}

// sign writes who holds the lock, for the message only.
func sign(f *os.File) error {
	words := append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...)
	who := fmt.Sprintf("process %d (%s)", os.Getpid(), strings.Join(words, " "))
	who = who[:min(len(who), holderSize)]
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(who), 0)
	return err
}

func holder(f *os.File) string {
	b, err := io.ReadAll(io.LimitReader(f, holderSize))
	who := bytes.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, b)
	if err != nil || len(who) == 0 {
		return "a process that did not say its name"
	}
	return string(who)
}
