// Package config reads the administrator's settings.
//
// The files are INI files as Python's ConfigParser reads them, the original's
// format: "=" or ":" between key and value, names of keys in any case,
// comments on lines of their own, quotes part of the value. Later files win,
// key by key:
//
//	/usr/lib/imgbased/imgbased.conf
//	/usr/lib/imgbased/imgbased.conf.d/*.conf, sorted
//	/etc/imgbased.conf
//	/etc/imgbased.conf.d/*.conf, sorted
//
// A key in [DEFAULT], or above the first section, stands for that key in
// every section. A value that makes no sense is an error that names file and
// key; whatever has no effect is a warning, so that a mistyped key does not
// pass for a setting. Where each value came from is kept.
//
// Three things of ConfigParser are left out, none of which a setting of ours
// needs: a value is one line, "%(name)s" in it is not replaced (a circle of
// such references would have no end), and what is named twice is not refused,
// the later wins.
package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/ini.v1"
)

// ErrInvalid is a configuration file that cannot be read as one, or a value
// that makes no sense.
var ErrInvalid = errors.New("invalid configuration")

// Config is every setting there is.
type Config struct {
	// ImagesToKeep is the number of bases that an update leaves, at least 1.
	ImagesToKeep int
	// Carry are the paths besides /etc that an update carries into the new
	// layer, each with all beneath it.
	Carry []string
	// Mine and Vendor are patterns of files in /etc, relative to it, that are
	// always the administrator's, or always the vendor's.
	Mine, Vendor []string
	// Debug turns the debug log on.
	Debug bool

	origins map[string]string
}

// Setting is one value and the file it came from, "default" if from none.
type Setting struct {
	Section, Key, Value, Origin string
}

// Default is the configuration of a host without any file.
func Default() Config {
	return Config{ImagesToKeep: 2, Carry: []string{"/root", "/home", "/srv", "/opt", "/usr/local"}}
}

// Settings are all settings in a fixed order.
func (c Config) Settings() []Setting {
	var settings []Setting
	for _, k := range keys {
		s := Setting{Section: k.section, Key: k.name, Value: k.get(c), Origin: "default"}
		if from, ok := c.origins[k.String()]; ok {
			s.Origin = from
		}
		settings = append(settings, s)
	}
	return settings
}

// Merge is c with the settings of the INI file data on top of it; origin
// names the file. Warnings tell what in the file has no effect. The error is
// [ErrInvalid].
func (c Config) Merge(origin string, data []byte) (merged Config, warnings []string, err error) {
	file, err := ini.LoadSources(ini.LoadOptions{
		IgnoreContinuation:      true,
		IgnoreInlineComment:     true,
		InsensitiveKeys:         true,
		PreserveSurroundedQuote: true,
		KeyValueDelimiters:      "=:",
	}, data)
	if err != nil {
		return Config{}, nil, fmt.Errorf("%s: %w: %.120q", origin, ErrInvalid, strings.TrimSpace(err.Error()))
	}
	merged = c
	merged.origins = make(map[string]string)
	for k, v := range c.origins {
		merged.origins[k] = v
	}
	// DEFAULT is the library's first section, so what a section says itself wins.
	for _, section := range file.Sections() {
		for _, name := range section.KeyStrings() {
			// Value, not String: String replaces %(name)s and never returns
			// from a circle of them.
			value := strings.TrimSpace(section.Key(name).Value())
			warning, err := merged.set(section.Name(), name, value, origin)
			if err != nil {
				return Config{}, nil, err
			}
			if warning != "" {
				warnings = append(warnings, fmt.Sprintf("%s: %s", origin, warning))
			}
		}
	}
	return merged, warnings, nil
}

// set gives a value to every key that section and name stand for.
func (c *Config) set(section, name, value, origin string) (warning string, err error) {
	known := false
	for _, k := range keys {
		if k.name != name || k.section != section && section != ini.DefaultSection {
			continue
		}
		known = true
		if err := k.set(c, value); err != nil {
			return "", fmt.Errorf("%s: %s: %w: %.80q: %v", origin, k, ErrInvalid, value, err)
		}
		c.origins[k.String()] = origin
	}
	if known {
		return "", nil
	}
	text := section + "." + name
	if slices.Contains(withoutEffect, text) {
		return text + ": has no effect", nil
	}
	return fmt.Sprintf("%.80s: unknown, ignored; the nearest is %s", text, nearest(text)), nil
}
