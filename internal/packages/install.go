package packages

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"imgbase/internal/mount"
	"imgbase/internal/run"
)

// FailedError is an installation that failed. Packages are those that are not
// in the tree now although they should be; where the program named some of
// them, only these. Nothing of the transaction that failed is in the tree
// when a dependency is missing; when a script of a package fails, the package
// may be there in part.
type FailedError struct {
	Packages []Package
	Output   []string // the last lines that the program printed
	Err      error
}

func (e *FailedError) Error() string {
	names := make([]string, 0, 3)
	for _, p := range e.Packages {
		if len(names) == cap(names) {
			names = append(names, fmt.Sprintf("and %d more", len(e.Packages)-len(names)))
			break
		}
		names = append(names, p.String())
	}
	return "install " + strings.Join(names, ", ") + ": " + strings.Join(e.Output, "; ")
}

func (e *FailedError) Unwrap() error { return e.Err }

// outputLines is how many lines of a program's output an error shows.
const outputLines = 8

// environment of the programs: nothing asks, nothing waits for a service, and
// whatever looks for it finds that it is in a container, which keeps
// update-grub and the like from looking for disks.
func environment() []string {
	return []string{
		"container=imgbase", "SYSTEMD_OFFLINE=1",
		"DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true",
	}
}

// Install installs the kept packages into the tree, which must not be the
// running system, with the tree's own programs and without network. Packages
// that it has already are left out, so that a second call does nothing. The
// tree's machine-id and host name are what they were, and services are not
// started. The error is a [*FailedError] when a package could not be
// installed.
func (s System) Install(ctx context.Context, kept []Kept) error {
	if len(kept) == 0 {
		return nil
	}
	todo, err := s.absent(ctx, kept)
	if err != nil {
		return err
	}
	if len(todo) == 0 {
		return nil
	}
	out, err := s.install(ctx, todo)
	left, absentErr := s.absent(context.WithoutCancel(ctx), todo)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("install packages into %s: %w", s.Root, context.Cause(ctx))
	case absentErr != nil:
		return errors.Join(err, absentErr)
	case err == nil && len(left) == 0:
		return nil
	case len(left) == 0:
		left = todo
	}
	return failed(left, out, err)
}

// absent are those of the kept packages that are not in the tree.
func (s System) absent(ctx context.Context, kept []Kept) ([]Kept, error) {
	installed, err := s.Installed(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(kept), func(k Kept) bool {
		return slices.ContainsFunc(installed, func(p Package) bool { return p.nevra() == k.nevra() })
	}), nil
}

// failed composes the error for packages that are not in the tree.
func failed(left []Kept, out run.Output, err error) error {
	e := &FailedError{Err: err}
	for line := range strings.Lines(string(out.Stdout) + "\n" + string(out.Stderr)) {
		if line = strings.TrimSpace(line); line != "" {
			e.Output = append(e.Output, line)
		}
	}
	e.Output = e.Output[max(0, len(e.Output)-outputLines):]
	if e.Output == nil && err != nil {
		e.Output = []string{err.Error()}
	}
	// What was refused together with the culprit is not in the tree either.
	text := strings.Join(e.Output, "\n")
	for _, k := range left {
		if k.mentioned(text) {
			e.Packages = append(e.Packages, k.Package)
		}
	}
	if e.Packages == nil {
		for _, k := range left {
			e.Packages = append(e.Packages, k.Package)
		}
	}
	return e
}

// mentioned says whether a program's output speaks of the package: rpm names
// it with its version, dpkg and apt without.
func (p Package) mentioned(text string) bool {
	if p.Format == RPM {
		return strings.Contains(text, p.String()) || strings.Contains(text, p.nevra().String())
	}
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\n:;,()_'/", r) })
	return slices.Contains(words, p.Name)
}

// install runs the transactions, one after the other, until one fails. A
// Debian package and an rpm in one tree know nothing of each other.
func (s System) install(ctx context.Context, kept []Kept) (out run.Output, err error) {
	release, err := s.hold()
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, release()) }()
	room, inside := share(kept)
	rpms, debs := inside[RPM], inside[Deb]
	if len(rpms) > 0 {
		if out, err = s.installRPMs(ctx, room, rpms); err != nil {
			return out, err
		}
	}
	if len(debs) > 0 {
		return s.installDebs(ctx, room, debs)
	}
	return out, nil
}

// share is a room that sees the kept packages, and their names in it.
func share(kept []Kept) (mount.Room, map[Format][]string) {
	room := mount.Room{Env: environment()}
	inside := make(map[Format][]string)
	for _, k := range kept {
		dir := filepath.Dir(k.File)
		i := slices.IndexFunc(room.Shares, func(s mount.Share) bool { return s.Dir == dir })
		if i < 0 {
			i = len(room.Shares)
			room.Shares = append(room.Shares, mount.Share{Name: fmt.Sprintf("packages%d", i), Dir: dir})
		}
		inside[k.Format] = append(inside[k.Format], path.Join(room.Shares[i].Inside(), filepath.Base(k.File)))
	}
	return room, inside
}

// installRPMs installs what may be there once only with -U, which takes the
// image's older version away, and kernels with -i, which leaves the image's.
// A kernel comes last: it may need the firmware that came with it.
func (s System) installRPMs(ctx context.Context, room mount.Room, names []string) (run.Output, error) {
	d, err := s.databases()
	if err != nil {
		return run.Output{}, err
	}
	if d.rpm == "" {
		return run.Output{}, fmt.Errorf("rpm packages: %s has no rpm database", s.Root)
	}
	rpm := []string{"rpm", "--dbpath", "/" + d.rpm, "--nosignature"}
	several, err := s.installOnly(ctx, room, append(slices.Clone(rpm), "-qp", "--qf", provides), names)
	if err != nil {
		return run.Output{}, err
	}
	single := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(several, n) })
	var out run.Output
	for _, t := range []struct {
		how   string
		names []string
	}{{"-U", single}, {"-i", several}} {
		if len(t.names) == 0 {
			continue
		}
		// Labels are given to all new files later, from the new policy.
		argv := append(slices.Clone(rpm), t.how, "--noplugins")
		if out, err = s.confined(ctx, room, append(argv, t.names...)...); err != nil {
			return out, err
		}
	}
	return out, nil
}

// provides is the query format of the words that [System.installOnly] reads.
const provides = `%{NAME}[ %{PROVIDENAME}]\n`

// installOnly are the packages of which a system has several versions beside
// each other, by what dnf goes by (dnf.conf(5), installonlypkgs).
func (s System) installOnly(ctx context.Context, room mount.Room, query, names []string) ([]string, error) {
	out, err := s.confined(ctx, room, append(query, names...)...)
	if err != nil {
		return nil, err
	}
	all := strings.Split(strings.TrimSuffix(string(out.Stdout), "\n"), "\n")
	if len(all) != len(names) {
		return nil, fmt.Errorf("rpm: %d answers for %d packages", len(all), len(names))
	}
	var several []string
	for i, line := range all {
		if words := strings.Fields(line); len(words) > 0 && (words[0] == "kernel" || slices.ContainsFunc(words[1:], marksSeveral)) {
			several = append(several, names[i])
		}
	}
	return several, nil
}

func marksSeveral(provided string) bool {
	return strings.HasPrefix(provided, "installonlypkg(") || provided == "multiversion(kernel)"
}

// aptConf makes apt-get work on the given files and what is installed, and
// on nothing else: no source, no list, no hook and no cache of the tree.
const aptConf = `Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "/tmp/apt/lists";
Dir::Cache "/tmp/apt/cache";
Dir::Log "/tmp/apt/log";
APT::Get::Assume-Yes "true";
APT::Get::Remove "false";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
DPkg::Use-Pty "false";
DPkg::Options { "--force-confdef"; "--force-confold"; };
`

// installDebs prefers apt-get, which refuses a package with an unmet
// dependency before it unpacks anything, and orders what depends on another.
func (s System) installDebs(ctx context.Context, room mount.Room, names []string) (run.Output, error) {
	apt, err := s.own("usr/bin/apt-get")
	if err != nil {
		return run.Output{}, err
	}
	if !apt {
		argv := []string{"dpkg", "--force-confdef", "--force-confold", "--refuse-downgrade", "--install"}
		return s.confined(ctx, room, append(argv, names...)...)
	}
	temp, err := os.MkdirTemp("", "imgbase-apt-")
	if err != nil {
		return run.Output{}, err
	}
	defer os.RemoveAll(temp)
	if err := os.WriteFile(filepath.Join(temp, "apt.conf"), []byte(aptConf), 0o644); err != nil {
		return run.Output{}, err
	}
	conf := mount.Share{Name: "apt", Dir: temp}
	room.Shares = append(room.Shares, conf)
	room.Env = append(room.Env, "APT_CONFIG="+conf.Inside()+"/apt.conf")
	script := `mkdir -p /tmp/apt/lists/partial /tmp/apt/cache/archives/partial /tmp/apt/log; exec apt-get install "$@"`
	out, err := s.confined(ctx, room, append([]string{"sh", "-ec", script, "apt-get"}, names...)...)
	return out, named(err, "apt-get")
}
