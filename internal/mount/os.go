package mount

import (
	"context"
	"errors"
)

// ErrNotIsolated is a mount asked for before [Isolate]: it would be seen by
// the host and outlive us.
var ErrNotIsolated = errors.New("not in a mount namespace of its own")

// OS mounts file systems on this machine. The zero value is ready; it needs
// root and [Isolate].
type OS struct{}

// Mount implements [Mounter].
func (OS) Mount(ctx context.Context, s Spec) (Mount, error) { return nil, ErrNotIsolated }

// Isolate puts this process into a mount namespace of its own, in which
// mounts of the host still arrive and from which none leave. It starts the
// program anew, with the same arguments, because only a fresh process has
// all its threads in the namespace: call it first in main or TestMain. It
// returns in the new process; there, and in the programs that one starts, it
// does nothing.
func Isolate() error { return ErrNotIsolated }
