package derive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"imgbase/internal/mount"
)

// labelsLimit is the time for all labels; setfiles sets thousands a second.
const labelsLimit = 30 * time.Minute

// PlanLabels decides whether paths, relative to the tree, get the labels that
// the tree's own policy says.
func (t Tree) PlanLabels(paths []string) (Change, error) {
	contexts, why, err := t.contexts()
	if err != nil {
		return Change{}, fmt.Errorf("plan labels: %w", err)
	}
	switch {
	case contexts == "":
		return Change{Keep, "labels", []string{why}}, nil
	case len(paths) == 0:
		return Change{Keep, "labels", []string{"nothing was written"}}, nil
	}
	c := Change{Make, "labels", []string{fmt.Sprintf("%d paths were written", len(paths))}}
	ok, err := t.has("usr/sbin/setfiles", "sbin/setfiles")
	if err != nil {
		return Change{}, fmt.Errorf("plan labels: %w", err)
	}
	if !ok {
		c.Op = Lack
		c.Why = append(c.Why, "there is no setfiles")
	}
	return c, nil
}

// contexts is the path of the policy's file contexts in the tree, or "" and
// why there are none.
func (t Tree) contexts() (name, why string, err error) {
	config, err := t.read(t.Root, "etc/selinux/config")
	if err != nil {
		return "", "", err
	}
	mode, policy := parseSELinux(string(config))
	if mode == "" || mode == "disabled" {
		return "", "SELinux is disabled", nil
	}
	if policy == "" || strings.ContainsRune(policy, '/') || policy == ".." {
		return "", "", fmt.Errorf("etc/selinux/config: SELINUXTYPE %q", policy)
	}
	name = path.Join("etc/selinux", policy, "contexts/files/file_contexts")
	ok, err := t.has(name)
	if err != nil || !ok {
		return "", "there is no policy " + printable(policy), err
	}
	return name, "", nil
}

// parseSELinux reads the configuration as libselinux does: of modes the first
// that is one counts, of policies the last.
func parseSELinux(config string) (mode, policy string) {
	for line := range strings.Lines(config) {
		if v, ok := strings.CutPrefix(line, "SELINUX="); ok && mode == "" {
			for _, m := range []string{"enforcing", "permissive", "disabled"} {
				if len(v) >= len(m) && strings.EqualFold(v[:len(m)], m) {
					mode = m
				}
			}
		}
		if v, ok := strings.CutPrefix(strings.TrimLeft(line, " \t"), "SELINUXTYPE="); ok {
			policy = strings.TrimRight(v, " \t\r\n;")
		}
	}
	return mode, policy
}

// SetLabels gives paths, relative to the tree, the labels that the tree's own
// policy says; a directory with all beneath it, as setfiles does. Missing
// ones are left out. Nothing in another mount is touched: a room has none.
func (t Tree) SetLabels(ctx context.Context, paths []string) error {
	if err := t.setLabels(ctx, paths); err != nil {
		return fmt.Errorf("set labels: %w", err)
	}
	return nil
}

func (t Tree) setLabels(ctx context.Context, paths []string) (err error) {
	contexts, why, err := t.contexts()
	if err != nil || len(paths) == 0 {
		return err
	}
	if contexts == "" {
		return errors.New(why)
	}
	list, err := labelList(paths)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "imgbase-labels-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.WriteFile(filepath.Join(dir, "paths"), list, 0o600); err != nil {
		return err
	}
	share := mount.Share{Name: "labels", Dir: dir}
	// -F: whatever label such a file has is an accident of how it was written.
	argv := []string{"setfiles", "-F", "-i"}
	for _, mounted := range []string{"/dev", "/proc", "/run", "/sys", "/tmp"} {
		argv = append(argv, "-e", mounted)
	}
	argv = append(argv, "-0", "-f", share.Inside()+"/paths", "/"+contexts)
	return t.confined(ctx, labelsLimit, mount.Room{Shares: []mount.Share{share}}, argv...)
}

// labelList is what setfiles -0 reads. It takes each path for a pattern of
// glob(3), with braces.
func labelList(paths []string) ([]byte, error) {
	var b strings.Builder
	for _, p := range paths {
		if !filepath.IsLocal(p) || strings.ContainsRune(p, 0) {
			return nil, fmt.Errorf("path %.100q: not in the tree", p)
		}
		b.WriteByte('/')
		for _, c := range []byte(path.Clean(p)) {
			if strings.IndexByte(`*?[]{}\`, c) >= 0 {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		}
		b.WriteByte(0)
	}
	return []byte(b.String()), nil
}
