package packages

import (
	"bytes"
	"fmt"
	"strings"
)

// The lines around our block of a version lock list.
const (
	lockBegin = "# imgbase: begin of the packages of the image; written by every update"
	lockEnd   = "# imgbase: end of the packages of the image"
)

// LockVersions returns a version lock list of dnf or yum
// (dnf-versionlock(8)) in which our block names the packages, or is gone when
// there are none. Every byte outside of it stays: the locks there are the
// administrator's. The block stays where it was, or comes at the end; of
// several one is left. A block without its end or beginning is refused,
// because nobody can tell which locks are whose. Packages that bring an image
// are not locked, nor is anything but an rpm.
func LockVersions(list []byte, locked []Package) ([]byte, error) {
	before, _, after, err := cutBlock(list)
	if err != nil {
		return nil, fmt.Errorf("version lock list: %w", err)
	}
	end := "\n"
	if line, _, ok := bytes.Cut(list, []byte{'\n'}); ok && bytes.HasSuffix(line, []byte{'\r'}) {
		end = "\r\n"
	}
	block := lockBlock(locked, end)
	if len(block) > 0 && len(before) > 0 && before[len(before)-1] != '\n' {
		before = append(before, end...)
	}
	return append(append(before, block...), after...), nil
}

func lockBlock(locked []Package, end string) []byte {
	var b bytes.Buffer
	for _, p := range locked {
		if p.Format != RPM || strings.Contains(p.Name, "image-update") {
			continue
		}
		if b.Len() == 0 {
			b.WriteString(lockBegin + end)
		}
		b.WriteString(p.nevra().String() + end)
	}
	if b.Len() > 0 {
		b.WriteString(lockEnd + end)
	}
	return b.Bytes()
}

// MergeLocks merges version lock lists that two sides changed since base: the
// administrator's lines by merge, while our block is theirs, at the end. It is
// a conflict when merge says so, and when a block is damaged; what is merged is
// mine then. A list that has no block is merged like any other text.
func MergeLocks(base, mine, theirs []byte, merge func(base, mine, theirs []byte) ([]byte, bool)) (merged []byte, conflict bool) {
	var own [3][]byte
	var block []byte
	for i, list := range [...][]byte{base, mine, theirs} {
		before, ours, after, err := cutBlock(list)
		if err != nil {
			return mine, true
		}
		own[i], block = append(before, after...), ours
	}
	if merged, conflict = merge(own[0], own[1], own[2]); conflict {
		return mine, true
	}
	if len(block) > 0 && len(merged) > 0 && merged[len(merged)-1] != '\n' {
		merged = append(bytes.Clone(merged), '\n')
	}
	return append(merged[:len(merged):len(merged)], block...), false
}

// cutBlock is the list before and after our first block, and that block; the
// others are in none of them.
func cutBlock(list []byte) (before, block, after []byte, err error) {
	out := &before
	begun, n := 0, 0
	var lines []byte
	for line := range bytes.Lines(list) {
		n++
		if begun > 0 {
			lines = append(lines, line...)
		}
		switch string(bytes.TrimRight(line, " \t\r\n")) {
		case lockBegin:
			if begun > 0 {
				return nil, nil, nil, fmt.Errorf("line %d: our block begins twice", n)
			}
			begun, out, lines = n, &after, bytes.Clone(line)
		case lockEnd:
			if begun == 0 {
				return nil, nil, nil, fmt.Errorf("line %d: our block ends without a beginning", n)
			}
			if begun = 0; block == nil {
				block = lines
			}
		default:
			if begun == 0 {
				*out = append(*out, line...)
			}
		}
	}
	if begun > 0 {
		return nil, nil, nil, fmt.Errorf("line %d: our block has no end", begun)
	}
	return before, block, after, nil
}
