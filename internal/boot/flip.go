package boot

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Default is what GRUB's environment block holds as saved_entry: the id of
// the entry that boots by default, or "" when none is set. It need not be an
// entry of ours.
func (b *Boot) Default() (string, error) {
	e, _, err := b.readEnv()
	if err != nil {
		return "", err
	}
	id, _ := e.Get(savedEntry)
	return id, nil
}

// SetDefault makes the entry the one that boots by default. This is the flip
// of an update: one write of one sector decides. After an error [Boot.Default]
// tells whether it happened.
//
// The errors are [ErrNoEntry], [ErrFixedDefault] and [ErrEnvBlock] besides
// those of the file system.
func (b *Boot) SetDefault(id string) error {
	m, err := b.Entries()
	if err != nil {
		return err
	}
	e, ok := m.find(id)
	if !ok {
		return fmt.Errorf("%s: %w", id, ErrNoEntry)
	}
	if b.grub.include && e.Layer() == "" {
		return fmt.Errorf("%s: not on GRUB's menu: %w", id, ErrNoEntry)
	}
	if e.Layer() != "" && !b.startable(e) {
		return fmt.Errorf("%s: its files are missing: %w", id, ErrNoEntry)
	}
	if err := b.CheckDefault(); err != nil {
		return err
	}
	// A run that was cut may have left the menu behind the entries.
	if err := b.publish(m); err != nil {
		return err
	}
	if err := b.files.Settle(b.dir); err != nil {
		return err
	}
	return b.flip(func(e *Env) error { return e.Set(savedEntry, id) })
}

// CheckDefault says, and changes nothing, whether GRUB's configuration and
// its environment block let the default be chosen. The errors are
// [ErrFixedDefault] and [ErrEnvBlock].
func (b *Boot) CheckDefault() error {
	if !b.grub.saved {
		return fmt.Errorf("%s: %w", b.grub.dir, ErrFixedDefault)
	}
	_, _, err := b.readEnv()
	return err
}

// ClearDefault leaves the choice of the default to GRUB's own configuration.
func (b *Boot) ClearDefault() error {
	return b.flip(func(e *Env) error { return e.Unset(savedEntry) })
}

// flip changes our variables in the environment block, all at once or not at
// all.
func (b *Boot) flip(change func(*Env) error) error {
	e, err := b.prepareEnv()
	if err != nil {
		return err
	}
	before := e.Bytes()
	if err := change(e); err != nil {
		return err
	}
	after := e.Bytes()
	if bytes.Equal(before, after) {
		// A run that was cut may have written it and not settled it.
		return b.settleEnv()
	}
	if !bytes.Equal(before[sectorSize:], after[sectorSize:]) {
		return fmt.Errorf("%s: the change is not within one sector", b.grub.env)
	}
	if err := b.files.Overwrite(b.grub.env, after); err != nil {
		return err
	}
	if err := b.settleEnv(); err != nil {
		return err
	}
	back, err := readFile(b.grub.env, envSize)
	if err == nil && !bytes.Equal(back, after) {
		err = fmt.Errorf("%s: reads back other than written", b.grub.env)
	}
	return err
}

// prepareEnv lays the block out for a flip, before it and apart from it. The
// values stay the same, so a cut is harmless if no variable is lost on the
// way: where both sectors change, the block is replaced by a rename.
func (b *Boot) prepareEnv() (*Env, error) {
	e, old, err := b.readEnv()
	if err != nil {
		return nil, err
	}
	if err := e.Prepare(); err != nil {
		return nil, fmt.Errorf("%s: %w", b.grub.env, err)
	}
	next := e.Bytes()
	switch {
	case bytes.Equal(old, next):
		return e, nil
	case old != nil && (bytes.Equal(old[sectorSize:], next[sectorSize:]) || bytes.Equal(old[:sectorSize], next[:sectorSize])):
		err = b.files.Overwrite(b.grub.env, next)
	default:
		err = b.files.Replace(b.grub.env, 0o600, bytes.NewReader(next))
	}
	if err != nil {
		return nil, err
	}
	return e, b.settleEnv()
}

// readEnv reads the block. A missing one is empty, and data nil.
func (b *Boot) readEnv() (e *Env, data []byte, err error) {
	data, err = readFile(b.grub.env, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return NewEnv(), nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	e, err = ParseEnv(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", b.grub.env, err)
	}
	return e, data, nil
}

// settleEnv settles the file system of the block, which may be the EFI system
// partition and not /boot.
func (b *Boot) settleEnv() error { return b.files.Settle(filepath.Dir(b.grub.env)) }
