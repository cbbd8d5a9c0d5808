package lvm

import (
	"errors"
	"fmt"
	"strings"

	"imgbase/internal/run"
)

// What LVM refused. LVM ends with code 5 whatever the reason (lvm(8), EXIT
// CODES has no more), so the reason is told by the text it prints in the C
// locale.
var (
	ErrNotFound        = errors.New("no such volume or volume group")
	ErrExists          = errors.New("volume exists already")
	ErrNoSpace         = errors.New("no space left in the volume group or thin pool")
	ErrNoMetadataSpace = errors.New("no space left for the metadata of the thin pool")
	ErrInUse           = errors.New("volume is in use")
)

// refusals pair what LVM says with what it means; the first that matches
// decides, so the particular stand before the general.
func meaning(stderr string) error {
	for _, r := range []struct {
		text string
		err  error
	}{
		{"free space in metadata of thin pool", ErrNoMetadataSpace},
		{"already exists in volume group", ErrExists},
		{"already exists in Volume group", ErrExists},
		{"insufficient free space", ErrNoSpace},
		{"Insufficient free space", ErrNoSpace},
		{"Insufficient suitable allocatable extents", ErrNoSpace},
		{"in use", ErrInUse},
		{"Failed to find logical volume", ErrNotFound},
		{"not found", ErrNotFound},
	} {
		if strings.Contains(stderr, r.text) {
			return r.err
		}
	}
	return nil
}

// classify adds to a process's error the sentinel that its text amounts to.
func classify(subject string, err error) error {
	var failed *run.Error
	if errors.As(err, &failed) {
		if reason := meaning(failed.Stderr); reason != nil {
			return fmt.Errorf("%s: %w: %w", subject, reason, err)
		}
	}
	return fmt.Errorf("%s: %w", subject, err)
}
