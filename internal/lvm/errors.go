package lvm

import (
	"errors"
	"fmt"
	"strings"

	"imgbase/internal/run"
)

// What LVM refused. LVM ends with code 5 whatever the reason, so the reason
// is told by the text it prints in the C locale.
var (
	ErrNotFound        = errors.New("no such volume or volume group")
	ErrExists          = errors.New("volume exists already")
	ErrNoSpace         = errors.New("no space left in the volume group or thin pool")
	ErrNoMetadataSpace = errors.New("no space left for the metadata of the thin pool")
	ErrInUse           = errors.New("volume is in use")
)

// codeFailed is what LVM ends with when it could not do what it was asked.
const codeFailed = 5

// reason tells what LVM refused from what it printed. The particular stands
// before the general: a pool without room for metadata is said to have
// "reached threshold" just as one without room for data, after a warning
// that makes the difference.
func reason(stderr string) error {
	s := strings.ToLower(stderr)
	for _, r := range []struct {
		text string
		err  error
	}{
		{"remaining free space in metadata of thin pool", ErrNoMetadataSpace},
		{"with read only metadata", ErrNoMetadataSpace},
		{"already exists in volume group", ErrExists},
		{"reached threshold", ErrNoSpace},
		{"insufficient free space", ErrNoSpace},
		{"insufficient suitable", ErrNoSpace},
		{" in use.", ErrInUse},
		{"is used by another device", ErrInUse},
		{"failed to find logical volume", ErrNotFound},
		{"not found in volume group", ErrNotFound},
		{"cannot process volume group", ErrNotFound},
	} {
		if strings.Contains(s, r.text) {
			return r.err
		}
	}
	return nil
}

// classify adds to a process's error the sentinel that its text amounts to.
// Code 3 is a command that LVM did not understand, which is nobody's state.
func classify(subject string, err error) error {
	var failed *run.Error
	if errors.As(err, &failed) && failed.Code == codeFailed {
		if why := reason(failed.Stderr); why != nil {
			return fmt.Errorf("%s: %w: %w", subject, why, err)
		}
	}
	return fmt.Errorf("%s: %w", subject, err)
}

// unlessSettled drops the error of a process that LVM failed only because
// what it was asked for is so already.
func unlessSettled(err error) error {
	var failed *run.Error
	if !errors.As(err, &failed) || failed.Code != codeFailed {
		return err
	}
	settled := false
	for line := range strings.Lines(failed.Stderr) {
		switch line = strings.TrimSpace(line); {
		case line == "" || strings.HasPrefix(line, "WARNING:"):
		case saysSettled(line):
			settled = true
		default:
			return err
		}
	}
	if settled {
		return nil
	}
	return err
}

func saysSettled(line string) bool {
	for _, text := range []string{
		"is already read only", "is already writable", // lvchange --permission
		"matches existing size", "not larger than existing size", "No size change", // lvextend --size
	} {
		if strings.Contains(line, text) {
			return true
		}
	}
	return false
}
