// Package host is what an administrator does with a host that is kept as
// bases and layers: take it over, add a base or a layer, update, roll back,
// remove, collect, recover, look.
//
// It is the only place where volumes, boot entries, file systems and /etc
// meet, and therefore the only one that decides an order. A verb that
// changes something has two parts. Its Plan method reads, makes every
// refusal, and returns a [Change] that has not happened yet: printing it is a
// dry run. [Host.Run] carries it out as one transaction (package txn).
//
// Words: a base is a read-only thin volume that holds one system image; a
// layer is a writable thin snapshot that boots; the running layer is the one
// mounted at /; the host is taken over once its volume group carries
// [TagVG]. Ours is the volume group that holds the running root, whatever
// tags others carry.
//
// What always holds: there is no state but that of LVM, /boot and the boot
// loader. A refusal leaves no trace. Whatever an interrupted run left is
// settled before the next change begins.
package host

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"

	"imgbase/internal/boot"
	"imgbase/internal/durable"
	"imgbase/internal/filesystem"
	"imgbase/internal/image"
	"imgbase/internal/lvm"
	"imgbase/internal/mount"
	"imgbase/internal/run"
)

// Config wires a [Host]. Every field but Log and Observe is needed.
type Config struct {
	Root    string // directory of the running system, "/"
	Runner  run.Runner
	Mounter mount.Mounter
	Files   durable.Files
	// Filesystems identifies and changes file systems on devices.
	Filesystems Filesystems
	// OpenImage opens what an update comes from.
	OpenImage func(ctx context.Context, path string) (image.Source, error)
	// Machine is the architecture of this host as Go names it.
	Machine string
	// Carry are the paths besides /etc that come into each new layer, a line
	// of package carry each.
	Carry []string
	// EtcMine and EtcVendor are added to the rules of /etc: what is always
	// the administrator's, and what is always the vendor's.
	EtcMine, EtcVendor []string
	// Program is the path of the running imgbase, put into layers whose image
	// has none.
	Program string
	Log     *slog.Logger
	// Observe is told what is being done.
	Observe func(Event)
}

// Filesystems are the file systems on devices; [filesystem.Tools] has the
// contract.
type Filesystems interface {
	Probe(ctx context.Context, dev string) (filesystem.Info, error)
	NewUUID(ctx context.Context, dev, typ string) error
	Grow(ctx context.Context, dev, typ string) error
}

// Event is progress: a step that begins (Total 0), or how far it is in bytes.
type Event struct {
	Step        string
	Done, Total int64
}

// Host is this machine.
type Host struct {
	Config
	lvm *lvm.Client
	// settled is what [Host.Settle] read and found in order; the plan that
	// follows it under the same lock need not read that again.
	settled *state
}

// New returns the host that c describes. Nothing is read yet.
func New(c Config) *Host {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Observe == nil {
		c.Observe = func(Event) {}
	}
	return &Host{Config: c, lvm: lvm.New(c.Runner)}
}

// path is a path in the running system.
func (h *Host) path(elem ...string) string {
	return filepath.Join(append([]string{h.Root}, elem...)...)
}

// Lock keeps every other changing run away until it is closed or the process
// ends. The error is [durable.ErrLocked].
func (h *Host) Lock() (*durable.Lock, error) {
	lock, err := durable.Acquire(h.path("run/imgbase.lock"))
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	return lock, nil
}

// loader opens the boot loader of the running system.
func (h *Host) loader(s *state) (*boot.Boot, error) {
	b, err := boot.Open(boot.Options{Root: h.Root, UUID: s.bootUUID, Files: h.Files})
	if err != nil {
		return nil, fmt.Errorf("boot loader: %w", err)
	}
	return b, nil
}
