package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNoBootloader says that no boot loader was found that is understood.
var ErrNoBootloader = errors.New("no boot loader that is understood")

// ErrFixedDefault says that GRUB's configuration does not ask for the saved
// default, so that choosing one would have no effect.
var ErrFixedDefault = errors.New("GRUB does not use the saved default; set GRUB_DEFAULT=saved and run grub-mkconfig")

// maxConfig bounds grub.cfg, in bytes.
const maxConfig = 4 << 20

// grub is an installed GRUB.
type grub struct {
	dir     string   // of grub.cfg and custom.cfg
	env     string   // the environment block; it may be missing
	include bool     // entries reach it through custom.cfg only
	saved   bool     // the default is saved_entry
	layers  []string // that grub.cfg's own entries boot
}

// probe finds the grub.cfg that is in use, and how it comes by its entries.
func probe(root string) (grub, error) {
	var seen []string
	for _, name := range configs(root) {
		path, err := resolve(root, name)
		if err != nil {
			return grub{}, err
		}
		data, err := readFile(path, maxConfig)
		if errors.Is(err, fs.ErrNotExist) {
			seen = append(seen, name+": missing")
			continue
		}
		if err != nil {
			return grub{}, err
		}
		g, ok := classify(string(data))
		if !ok {
			seen = append(seen, name+": has neither blscfg nor custom.cfg")
			continue
		}
		g.dir = filepath.Dir(path)
		// The block may be a link to the EFI system partition.
		rel, err := filepath.Rel(root, g.dir)
		if err != nil {
			return grub{}, err
		}
		g.env, err = resolve(root, filepath.Join("/", rel, "grubenv"))
		return g, err
	}
	return grub{}, fmt.Errorf("%w: %s", ErrNoBootloader, strings.Join(seen, ", "))
}

// configs are the places of grub.cfg. The links in /etc are what Fedora's
// tools go by; with both packages installed the firmware decides.
func configs(root string) []string {
	links := []string{"/etc/grub2.cfg", "/etc/grub2-efi.cfg"}
	efi, err := resolve(root, "/sys/firmware/efi")
	if err == nil && isDir(efi) {
		slices.Reverse(links)
	}
	return append(links, "/boot/grub2/grub.cfg", "/boot/grub/grub.cfg")
}

// classify reads the commands of a grub.cfg that matter here.
func classify(config string) (g grub, ok bool) {
	bls, custom := false, false
	for line := range strings.Lines(config) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		switch {
		case words[0] == "blscfg":
			bls = true
		case words[0] == "source" && len(words) > 1 && strings.HasSuffix(strings.Trim(words[1], `"`), "/custom.cfg"):
			custom = true
		case words[0] == "set" && strings.Contains(line, "default=") && strings.Contains(line, "${saved_entry}"):
			g.saved = true
		case strings.HasPrefix(words[0], "linux"):
			if layer, ok := Args(words).Get(bootID); ok {
				g.layers = append(g.layers, layer)
			}
		}
	}
	// Fedora's grub.cfg sources custom.cfg as well: blscfg comes first.
	g.include = custom && !bls
	// The include sets the default itself.
	g.saved = g.saved || g.include
	return g, bls || custom
}
