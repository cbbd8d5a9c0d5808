package derive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// marker begins the part of chrony.conf that came from ntp.conf. Where it
// stands nothing is converted again, whatever became of the rest.
const marker = "# imgbase: taken over from ntp.conf, once."

// Link is a link that enables a unit.
type Link struct {
	Path   string `json:"path"` // relative to the tree
	Target string `json:"target"`
}

// Chrony is chrony's configuration on a host that had ntpd. With any other Op
// than [Make] only the change is set.
type Chrony struct {
	Change
	Path string   `json:"path,omitempty"` // of the configuration, relative to the tree
	Lost []string `json:"lost,omitempty"` // lines of ntp.conf that chrony has no words for
	Link Link     `json:"link"`           // enables chronyd

	conf []byte
}

// Where the two are, as distributions have them; the first that is there.
var (
	ntpUnits    = []string{"ntpd.service", "ntp.service", "ntpsec.service"}
	ntpConfs    = []string{"etc/ntp.conf", "etc/ntpsec/ntp.conf"}
	chronyUnits = []string{"chronyd.service", "chrony.service"}
	chronyConfs = []string{"etc/chrony.conf", "etc/chrony/chrony.conf"}
	unitDirs    = []string{"usr/lib/systemd/system", "lib/systemd/system"}
)

// PlanChrony decides whether chrony takes over ntp's sources: ntpd is enabled
// on the system whose root is running, and the tree has chronyd instead.
func (t Tree) PlanChrony(running string) (Chrony, error) {
	c, err := t.planChrony(running)
	if err != nil {
		return c, fmt.Errorf("plan chrony: %w", err)
	}
	return c, nil
}

func (t Tree) planChrony(running string) (Chrony, error) {
	keep := func(why string) (Chrony, error) {
		return Chrony{Change: Change{Keep, "chrony", []string{why}}}, nil
	}
	enabled, err := t.enabled(running, ntpUnits)
	if err != nil {
		return Chrony{}, err
	}
	if !enabled {
		return keep("ntpd is not enabled")
	}
	if still, err := t.unit(t.Root, ntpUnits); err != nil || still != "" {
		c, _ := keep("ntpd is still there")
		return c, err
	}
	unit, err := t.unit(t.Root, chronyUnits)
	if err != nil {
		return Chrony{}, err
	}
	ntpConf, ntp, err := t.first(ntpConfs)
	if err != nil {
		return Chrony{}, err
	}
	chronyConf, chrony, err := t.first(chronyConfs)
	switch {
	case err != nil:
		return Chrony{}, err
	case unit == "" || chronyConf == "":
		return keep("there is no chronyd either")
	case ntpConf == "":
		return keep("there is no ntp.conf")
	case converted(string(chrony)):
		return keep(chronyConf + " was converted before")
	}
	conf, lost := ConvertNTP(string(ntp), string(chrony))
	return Chrony{
		Change: Change{Make, "chrony", []string{"ntpd is enabled and the image has chronyd instead", chronyConf + " takes over " + ntpConf}},
		Path:   chronyConf, Lost: lost, conf: []byte(conf),
		Link: Link{"etc/systemd/system/multi-user.target.wants/" + path.Base(unit), "/" + unit},
	}, nil
}

// MakeChrony writes the configuration into the tree and enables chronyd, when
// that is what c says. It returns the paths that were written.
func (t Tree) MakeChrony(c Chrony) ([]string, error) {
	if c.Op != Make {
		return nil, nil
	}
	written, err := c.apply(t.Root)
	if err != nil {
		return nil, fmt.Errorf("chrony: %w", err)
	}
	return written, nil
}

func (c Chrony) apply(tree string) ([]string, error) {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// A file of its own, even where a link was: what that leads to may be the
	// vendor's.
	if err := root.Remove(c.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := root.WriteFile(c.Path, c.conf, 0o644); err != nil {
		return nil, err
	}
	if err := root.MkdirAll(path.Dir(c.Link.Path), 0o755); err != nil {
		return nil, err
	}
	if err := root.Symlink(c.Link.Target, c.Link.Path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return []string{c.Path, path.Dir(c.Link.Path), c.Link.Path}, nil
}

// first is the first of names that is a file in the tree, with its content.
func (t Tree) first(names []string) (string, []byte, error) {
	for _, name := range names {
		ok, err := t.has(name)
		if err != nil {
			return "", nil, err
		}
		if ok {
			data, err := t.read(t.Root, name)
			return name, data, err
		}
	}
	return "", nil, nil
}

// unit is where the tree root has the first of units, "" when it has none.
func (t Tree) unit(root string, units []string) (string, error) {
	for _, dir := range unitDirs {
		for _, u := range units {
			name := path.Join(dir, u)
			_, info, err := t.find(root, name)
			if err != nil || info != nil && info.Mode().IsRegular() {
				return name, err
			}
		}
	}
	return "", nil
}

// enabled says whether a target or another unit wants one of units, which is
// there and not masked.
func (t Tree) enabled(root string, units []string) (bool, error) {
	const dir = "etc/systemd/system"
	if name, err := t.unit(root, units); err != nil || name == "" {
		return false, err
	}
	full, info, err := t.find(root, dir)
	if err != nil || info == nil || !info.IsDir() {
		return false, err
	}
	entries, err := os.ReadDir(full)
	if err != nil {
		return false, err
	}
	units = slices.DeleteFunc(slices.Clone(units), func(u string) bool {
		target, err := os.Readlink(path.Join(full, u))
		return err == nil && target == "/dev/null"
	})
	for _, e := range entries {
		if ext := path.Ext(e.Name()); !e.IsDir() || ext != ".wants" && ext != ".requires" {
			continue
		}
		for _, u := range units {
			if _, err := os.Lstat(path.Join(full, e.Name(), u)); err == nil {
				return true, nil
			}
		}
	}
	return false, nil
}

// converted says whether the configuration has our part.
func converted(chrony string) bool {
	return slices.ContainsFunc(strings.Split(chrony, "\n"), func(line string) bool {
		return strings.TrimSpace(line) == marker
	})
}
