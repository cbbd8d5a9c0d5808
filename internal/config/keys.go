package config

import (
	"errors"
	"path"
	"strconv"
	"strings"
)

// key is one setting: its place in the files and in [Config].
type key struct {
	section, name string
	get           func(Config) string
	set           func(*Config, string) error
}

func (k key) String() string { return k.section + "." + k.name }

var keys = []key{
	{
		section: "core", name: "debug",
		get: func(c Config) string { return strconv.FormatBool(c.Debug) },
		set: func(c *Config, s string) (err error) {
			c.Debug, err = parseBool(s)
			return err
		},
	},
	{
		section: "etc", name: "mine",
		get: func(c Config) string { return strings.Join(c.Mine, " ") },
		set: func(c *Config, s string) (err error) {
			c.Mine, err = parsePatterns(s)
			return err
		},
	},
	{
		section: "etc", name: "vendor",
		get: func(c Config) string { return strings.Join(c.Vendor, " ") },
		set: func(c *Config, s string) (err error) {
			c.Vendor, err = parsePatterns(s)
			return err
		},
	},
	{
		section: "update", name: "carry",
		get: func(c Config) string { return strings.Join(c.Carry, " ") },
		set: func(c *Config, s string) (err error) {
			c.Carry, err = parsePaths(s)
			return err
		},
	},
	{
		section: "update", name: "images_to_keep",
		get: func(c Config) string { return strconv.Itoa(c.ImagesToKeep) },
		set: func(c *Config, s string) (err error) {
			c.ImagesToKeep, err = parseCount(s)
			return err
		},
	},
}

// withoutEffect are keys of the original that never did anything.
var withoutEffect = []string{"core.experimental"}

// parseBool takes the original's words; it read all digits as a number.
func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "y", "yes", "on", "true", "1":
		return true, nil
	case "n", "no", "off", "false", "0":
		return false, nil
	}
	return false, errors.New("want yes or no")
}

// parsePaths takes paths from the root, with blanks between them; none is a
// choice as well.
func parsePaths(s string) ([]string, error) {
	paths := strings.Fields(s)
	for _, p := range paths {
		if !strings.HasPrefix(p, "/") || strings.Trim(p, "/.") == "" {
			return nil, errors.New("want paths from the root, as /opt /usr/local")
		}
	}
	return paths, nil
}

// parsePatterns takes patterns of path.Match relative to /etc, with blanks
// between them.
func parsePatterns(s string) ([]string, error) {
	patterns := strings.Fields(s)
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return nil, err
		}
		if strings.HasPrefix(p, "/") || p != path.Clean(p) || p == "." || p == ".." || strings.HasPrefix(p, "../") {
			return nil, errors.New("want patterns relative to /etc, as ssh/*.conf")
		}
	}
	return patterns, nil
}

// parseCount takes digits only: Atoi alone would allow a sign.
func parseCount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || strings.Trim(s, "0123456789") != "" {
		return 0, errors.New("want a whole number above 0")
	}
	return n, nil
}

// nearest is the known key that takes the fewest changes to type.
func nearest(text string) string {
	const longest = 80 // beyond that it is no typing mistake, and work for nothing
	text = text[:min(len(text), longest)]
	best, fewest := "", longest+1
	for _, k := range keys {
		if d := distance(text, k.String()); d < fewest {
			best, fewest = k.String(), d
		}
	}
	return best
}

// distance is the Levenshtein distance of a and b in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
