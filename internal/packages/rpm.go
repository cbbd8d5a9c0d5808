package packages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// identity is the query format of what [parseRPMs] reads. EPOCHNUM is 0
// without an epoch.
const identity = `%{NAME}\t%{EPOCHNUM}\t%{VERSION}\t%{RELEASE}\t%{ARCH}\n`

func (s System) rpmInstalled(ctx context.Context, dir string) ([]Package, error) {
	out, err := s.rpm(ctx, dir, "-qa", "--nosignature", "--qf", identity)
	if err != nil {
		return nil, err
	}
	return ParseRPMs(out.Stdout)
}

// ParseRPMs reads what rpm prints of packages in the format that this
// package asks for, a line each: name, epoch, version, release, architecture,
// with tabs between. Keys, "gpg-pubkey", are left out.
func ParseRPMs(text []byte) ([]Package, error) {
	var all []Package
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		p, err := parseRPM(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("rpm's line %d: %w", n, err)
		}
		if p.Name != "" {
			all = append(all, p)
		}
	}
	return all, nil
}

// parseRPM reads a line; its package has no name when the line is a key's.
func parseRPM(line string) (Package, error) {
	f := strings.Split(line, "\t")
	if len(f) != 5 {
		return Package{}, fmt.Errorf("%d fields in %.100q; want 5", len(f), line)
	}
	if f[0] == "gpg-pubkey" {
		return Package{}, nil
	}
	if _, err := strconv.ParseUint(f[1], 10, 32); err != nil {
		return Package{}, fmt.Errorf("epoch %q", f[1])
	}
	p := Package{RPM, f[0], f[2] + "-" + f[3], f[4]}
	if strings.ContainsAny(p.Version, ":") || f[2] == "" || f[3] == "" || strings.Contains(f[2]+f[3], "-") {
		return Package{}, fmt.Errorf("version %q", p.Version)
	}
	if epoch := strings.TrimLeft(f[1], "0"); epoch != "" {
		p.Version = epoch + ":" + p.Version
	}
	return p, p.check()
}

// Flags of a file in an rpm (rpmfileAttrs of rpm's lib/rpmfiles.h).
const (
	rpmConfig    = 1 << 0
	rpmNoReplace = 1 << 4
	rpmGhost     = 1 << 6
)

// files is the query format of what [ParseRPMFiles] reads. Quoted, a name may
// hold any byte.
const files = `[%{FILEFLAGS} %{FILENAMES:shescape}\n]`

func (s System) rpmClasses(ctx context.Context, dir string, add func(path []byte, c Class)) error {
	out, err := s.rpm(ctx, dir, "-qa", "--nosignature", "--qf", files)
	if err != nil {
		return err
	}
	return ParseRPMFiles(out.Stdout, add)
}

// ParseRPMFiles reads what rpm prints of files in the format that this
// package asks for: flags as a number, a blank, the name in the shell's
// single quotes. It calls add for each, with a path that is valid until add
// returns: of a large answer little is kept.
func ParseRPMFiles(text []byte, add func(path []byte, c Class)) error {
	for n := 1; len(text) > 0; n++ {
		word, rest, ok := bytes.Cut(text, []byte{' '})
		if !ok || len(word) > 20 {
			return fmt.Errorf("rpm's file %d: no flags in %.100q", n, text)
		}
		name, rest, err := unquote(rest)
		if err != nil {
			return fmt.Errorf("rpm's file %d: %w", n, err)
		}
		text = rest
		if string(word) == "(none)" {
			continue // a package without files, in older releases
		}
		flags, err := strconv.ParseUint(string(word), 10, 32)
		if err != nil {
			return fmt.Errorf("rpm's file %d: flags %q", n, word)
		}
		add(name, rpmClass(flags))
	}
	return nil
}

func rpmClass(flags uint64) Class {
	switch {
	case flags&rpmGhost != 0:
		return Ghost
	case flags&(rpmConfig|rpmNoReplace) == rpmConfig|rpmNoReplace:
		return NoReplace
	case flags&rpmConfig != 0:
		return Config
	}
	return Packaged
}

// unquote reads a word in single quotes and the newline after it. For a quote
// in the word the quoted text is ended, an escaped quote follows, and it
// begins again, as in a shell.
func unquote(text []byte) (word, rest []byte, err error) {
	if len(text) == 0 || text[0] != '\'' {
		return nil, nil, fmt.Errorf("no quoted name in %.100q", text)
	}
	text = text[1:]
	for {
		i := bytes.IndexByte(text, '\'')
		if i < 0 {
			return nil, nil, errors.New("name cut short")
		}
		part := text[:i:i]
		text = text[i+1:]
		if word == nil {
			word = part
		} else {
			word = append(word, part...)
		}
		if rest, ok := bytes.CutPrefix(text, []byte(`\''`)); ok {
			word = append(word, '\'')
			text = rest
			continue
		}
		if len(text) == 0 || text[0] != '\n' {
			return nil, nil, fmt.Errorf("name cut short or not ended at %.100q", word)
		}
		return word, text[1:], nil
	}
}
