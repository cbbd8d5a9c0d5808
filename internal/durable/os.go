package durable

import (
	"errors"
	"io"
	"io/fs"
)

// OS changes the files of this machine.
type OS struct{}

var _ Files = OS{}

// Replace implements [Files].
func (OS) Replace(path string, mode fs.FileMode, r io.Reader) error { return errors.ErrUnsupported }

// Overwrite implements [Files].
func (OS) Overwrite(path string, data []byte) error { return errors.ErrUnsupported }

// Link implements [Files]. It replaces what was at path.
func (OS) Link(old, path string) error { return errors.ErrUnsupported }

// Remove implements [Files].
func (OS) Remove(path string) error { return errors.ErrUnsupported }

// Settle implements [Files].
func (OS) Settle(dir string) error { return errors.ErrUnsupported }

// Thaw thaws the file system that holds dir. One that is not frozen is no error.
func Thaw(dir string) error { return errors.ErrUnsupported }

// RemoveTemporary removes from dir (not below it) the temporary files that a
// killed process left there.
func RemoveTemporary(dir string) error { return errors.ErrUnsupported }
