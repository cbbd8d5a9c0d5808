package derive

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"imgbase/internal/mount"
)

// ldCacheLimit is the time for ldconfig, which takes a second.
const ldCacheLimit = 5 * time.Minute

// ldCache is the cache of the dynamic linker.
const ldCache = "etc/ld.so.cache"

// PlanLdCache decides whether the cache of the dynamic linker is as the
// libraries are: it is, unless a configuration or a library differs from the
// tree base.
func (t Tree) PlanLdCache(base string) (Change, error) {
	c, err := t.planLdCache(base)
	if err != nil {
		return c, fmt.Errorf("plan %s: %w", ldCache, err)
	}
	return c, nil
}

func (t Tree) planLdCache(base string) (Change, error) {
	ok, err := t.has("usr/sbin/ldconfig", "sbin/ldconfig")
	if err != nil {
		return Change{}, err
	}
	cached, err := t.has(ldCache)
	if err != nil {
		return Change{}, err
	}
	if !ok && !cached {
		return Change{Keep, ldCache, []string{"this system has none"}}, nil
	}
	var found []string
	if !cached {
		found = append(found, ldCache+" is missing")
	}
	dirs, err := t.libraryDirs()
	if err != nil {
		return Change{}, err
	}
	all := []input{{path: "etc/ld.so.conf"}, {path: "etc/ld.so.conf.d/*.conf"}}
	for _, dir := range dirs {
		all = append(all, input{path: dir + "/*.so*", as: names})
	}
	for _, in := range all {
		paths, err := t.compare(base, in)
		if err != nil {
			return Change{}, err
		}
		found = append(found, paths...)
	}
	c := change(ldCache, found)
	if c.Op == Make && !ok {
		c.Op = Lack
		c.Why = append(c.Why, "there is no ldconfig")
	}
	return c, nil
}

// MakeLdCache makes the cache of the dynamic linker.
func (t Tree) MakeLdCache(ctx context.Context) error {
	if err := t.confined(ctx, ldCacheLimit, mount.Room{}, "ldconfig"); err != nil {
		return fmt.Errorf("%s: %w", ldCache, err)
	}
	return nil
}

// Bounds of what ld.so.conf can lead to.
const (
	maxIncludes = 1000
	maxDirs     = 1000
)

// libraryDirs are the directories in which the tree's linker looks, relative
// to the tree: those it always does, and those of ld.so.conf.
func (t Tree) libraryDirs() ([]string, error) {
	// lib is a link to usr/lib on most; it is then the same directory twice.
	dirs := []string{"usr/lib64", "usr/lib", "lib64", "lib"}
	todo, seen := []string{"etc/ld.so.conf"}, map[string]bool{}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if seen[name] {
			continue
		}
		if seen[name] = true; len(seen) > maxIncludes {
			return nil, fmt.Errorf("etc/ld.so.conf: includes more than %d files", maxIncludes)
		}
		data, err := t.read(t.Root, name)
		if err != nil {
			return nil, err
		}
		more, patterns := ParseLdConf(string(data))
		for _, dir := range more {
			if dir = strings.TrimPrefix(path.Clean(dir), "/"); dir != "" && !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
		if len(dirs) > maxDirs {
			return nil, fmt.Errorf("etc/ld.so.conf: more than %d directories", maxDirs)
		}
		for _, p := range patterns {
			if !path.IsAbs(p) {
				p = path.Join("/", path.Dir(name), p)
			}
			included, err := t.glob(strings.TrimPrefix(path.Clean(p), "/"))
			if err != nil {
				return nil, err
			}
			todo = append(todo, included...)
		}
	}
	return t.distinct(dirs)
}

// distinct leaves out directories that are another one by a link.
func (t Tree) distinct(dirs []string) ([]string, error) {
	var out, seen []string
	for _, dir := range dirs {
		full, info, err := t.find(t.Root, dir)
		if err != nil {
			return nil, err
		}
		if info != nil && info.IsDir() && slices.Contains(seen, full) {
			continue
		}
		out, seen = append(out, dir), append(seen, full)
	}
	return out, nil
}

// glob names the files that match a pattern, relative to the tree. Only its
// last component is one.
func (t Tree) glob(pattern string) ([]string, error) {
	full, info, err := t.find(t.Root, path.Dir(pattern))
	if err != nil || info == nil || !info.IsDir() {
		return nil, err
	}
	entries, err := os.ReadDir(full)
	var found []string
	for _, e := range entries {
		if ok, err := path.Match(path.Base(pattern), e.Name()); ok && err == nil {
			found = append(found, path.Join(path.Dir(pattern), e.Name()))
		}
	}
	return found, err
}

// ParseLdConf reads a configuration of ldconfig(8): absolute directories, and
// the patterns of the files that it includes.
func ParseLdConf(conf string) (dirs, includes []string) {
	for line := range strings.Lines(conf) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n:,", r) })
		switch {
		case len(words) == 0 || words[0] == "hwcap":
		case words[0] == "include":
			includes = append(includes, strings.Fields(line)[1:]...)
		default:
			for _, w := range words {
				w, _, _ = strings.Cut(w, "=") // "dir=libc6", long ago
				if path.IsAbs(w) {
					dirs = append(dirs, w)
				}
			}
		}
	}
	return dirs, includes
}
