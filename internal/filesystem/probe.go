package filesystem

import (
	"context"
	"fmt"
	"strings"

	"imgbase/internal/run"
)

// Info is what blkid(8) says of a device. A label or UUID that is not there
// is empty.
type Info struct {
	Type  string
	UUID  string
	Label string
}

// Probe asks what the device holds, from the disk and not from a cache. The
// error is [ErrUnknown] when nothing, or more than one thing, is recognised.
func (t Tools) Probe(ctx context.Context, dev string) (Info, error) {
	out, err := t.Runner.Run(ctx, run.Cmd{Name: "blkid", Args: []string{"-p", "-o", "export", dev}})
	switch exitCode(err) {
	case 2: // nothing found, and silently also a device that cannot be read
		return Info{}, fmt.Errorf("%s: %w", dev, ErrUnknown)
	case 8:
		return Info{}, fmt.Errorf("%s: %w: signatures of several", dev, ErrUnknown)
	}
	if err != nil {
		return Info{}, fmt.Errorf("%s: %w", dev, err)
	}
	info := parseExport(string(out.Stdout))
	if info.Type == "" {
		return Info{}, fmt.Errorf("%s: %w", dev, ErrUnknown)
	}
	return info, nil
}

// parseExport reads "KEY=value" lines. Keys we do not use are many and change
// with blkid's version.
func parseExport(out string) Info {
	var info Info
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch value = unescape(value); key {
		case "TYPE":
			info.Type = value
		case "UUID":
			info.UUID = value
		case "LABEL":
			info.Label = value
		}
	}
	return info
}

// unescape undoes the backslashes that blkid puts before what a shell would
// interpret.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
