// Package layout knows the images of a host by their names: which are bases,
// which are layers, what belongs to what, what comes next and what may go.
//
// It is pure: it is built from a list of names and never looks at a disk. An
// image's name is an NVR; a layer's is that of its base, a "+" and its index.
// A product is the set of images that share the NVR's name. An orphan is a
// layer whose base is not there.
//
// What always holds: images are in one order (name, version, release, base
// before layers, index as a number) and their identity is the text of their
// name. Names of several products, orphans and names that are no images are
// sorted, grouped and shown; none of them is an error. "Latest" and "before"
// never cross from one product into another.
package layout

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"imgbase/internal/nvr"
)

// Sentinels of a layout that holds too little.
var (
	// ErrNoBases is a layout without the base that was asked for.
	ErrNoBases = errors.New("no bases found")
	// ErrNoLayers is a layout without the layer that was asked for.
	ErrNoLayers = errors.New("no layers found")
)

// Branch is a base with its layers, in order. Missing says that the base
// itself is not there and the layers are orphans.
type Branch struct {
	Base    Image
	Missing bool
	Layers  []Image
}

// Layout is a host's images. The zero value has none.
type Layout struct {
	branches []Branch
	others   []string
}

// New arranges the volumes' names. A name given twice counts once.
func New(names []string) Layout {
	var l Layout
	var images []Image
	for _, name := range names {
		if image, err := Parse(name); err == nil {
			images = append(images, image)
		} else {
			l.others = append(l.others, name)
		}
	}
	slices.Sort(l.others)
	l.others = slices.Compact(l.others)
	slices.SortFunc(images, Compare)
	for _, image := range slices.Compact(images) {
		l.add(image)
	}
	return l
}

// add relies on the order: a base comes right before its layers.
func (l *Layout) add(i Image) {
	last := len(l.branches) - 1
	switch {
	case !i.IsLayer:
		l.branches = append(l.branches, Branch{Base: i})
	case last >= 0 && l.branches[last].Base == i.Base():
		l.branches[last].Layers = append(l.branches[last].Layers, i)
	default:
		l.branches = append(l.branches, Branch{Base: i.Base(), Missing: true, Layers: []Image{i}})
	}
}

// Branches are the bases with their layers, missing bases among them. The
// caller must not change them.
func (l Layout) Branches() []Branch { return l.branches }

// Others are the names that are no images, sorted.
func (l Layout) Others() []string { return l.others }

// Products are the names of the products, sorted.
func (l Layout) Products() []string {
	var products []string
	for _, b := range l.branches {
		products = append(products, b.Base.Product())
	}
	return slices.Compact(products)
}

// Bases are all bases, in order.
func (l Layout) Bases() []Image {
	var bases []Image
	for _, b := range l.branches {
		if !b.Missing {
			bases = append(bases, b.Base)
		}
	}
	return bases
}

// Layers are all layers, orphans included, in order.
func (l Layout) Layers() []Image {
	var layers []Image
	for _, b := range l.branches {
		layers = append(layers, b.Layers...)
	}
	return layers
}

// LayersOf are the layers of i's base, in order.
func (l Layout) LayersOf(i Image) []Image {
	if b, ok := l.branch(i); ok {
		return slices.Clone(b.Layers)
	}
	return nil
}

// Has says whether i is there.
func (l Layout) Has(i Image) bool {
	b, ok := l.branch(i)
	if !i.IsLayer {
		return ok && !b.Missing
	}
	return slices.Contains(b.Layers, i)
}

// BaseOf is the base of a layer; ok is false when it is not there.
func (l Layout) BaseOf(layer Image) (base Image, ok bool) {
	base = layer.Base()
	return base, l.Has(base)
}

// LatestBase is the newest base of a product, or [ErrNoBases].
func (l Layout) LatestBase(product string) (Image, error) {
	return latest(l.Bases(), product, ErrNoBases)
}

// LatestLayer is the newest layer of a product, whichever base it is on, or
// [ErrNoLayers].
func (l Layout) LatestLayer(product string) (Image, error) {
	return latest(l.Layers(), product, ErrNoLayers)
}

func latest(images []Image, product string, none error) (Image, error) {
	for _, i := range slices.Backward(images) {
		if i.Product() == product {
			return i, nil
		}
	}
	return Image{}, fmt.Errorf("%s: %w", product, none)
}

// Next is the layer to create on i, a base or a layer: its number is one more
// than the highest of i's base, so that it never meets one that exists. The
// base need not be there. The error is [ErrNameTooLong].
func (l Layout) Next(i Image) (Image, error) {
	next := Image{NVR: i.NVR, IsLayer: true, Index: i.Index}
	if layers := l.LayersOf(i); len(layers) > 0 {
		next.Index = max(next.Index, layers[len(layers)-1].Index)
	}
	if next.Index == math.MaxInt {
		return Image{}, fmt.Errorf("%.80q: %w: no higher number", next, ErrNameTooLong)
	}
	next.Index++
	if name := next.String(); len(name) > maxName {
		return Image{}, fmt.Errorf("%.80q: %w: %d characters; want at most %d", name, ErrNameTooLong, len(name), maxName)
	}
	return next, nil
}

// Before is the newest layer of the same product that is older than layer; ok
// is false when there is none.
func (l Layout) Before(layer Image) (before Image, ok bool) {
	for _, i := range slices.Backward(l.Layers()) {
		if i.Product() == layer.Product() && Compare(i, layer) < 0 {
			return i, true
		}
	}
	return Image{}, false
}

// Tree shows the layout, one line for every base and below it one for each of
// its layers, without a newline at the end. A missing base is marked as such.
// An empty layout is [ErrNoBases].
func (l Layout) Tree() (string, error) {
	if len(l.branches) == 0 {
		return "", ErrNoBases
	}
	var lines []string
	for _, b := range l.branches {
		line := b.Base.String()
		if b.Missing {
			line += " (base missing)"
		}
		lines = append(lines, line)
		for _, i := range b.Layers {
			lines = append(lines, " +- "+i.String())
		}
	}
	return strings.Join(lines, "\n"), nil
}

// Collectable are the bases that may be removed with their layers so that
// keep bases are left, oldest first. The base of the running image and those
// of the protected ones (the new one, the default boot entry's) always stay,
// even if they are more than keep; the room left goes to the newest. Images
// of other products, and orphans, are never collected; nor is anything when
// nothing of ours is running.
func (l Layout) Collectable(keep int, running Image, protected ...Image) []Image {
	bases := slices.DeleteFunc(l.Bases(), func(i Image) bool {
		return running.NVR == (nvr.NVR{}) || i.Product() != running.Product()
	})
	stays := make(map[Image]bool)
	for _, i := range append([]Image{running}, protected...) {
		if slices.Contains(bases, i.Base()) {
			stays[i.Base()] = true
		}
	}
	for _, base := range slices.Backward(bases) {
		if len(stays) < keep {
			stays[base] = true
		}
	}
	return slices.DeleteFunc(bases, func(i Image) bool { return stays[i] })
}

func (l Layout) branch(i Image) (Branch, bool) {
	at, ok := slices.BinarySearchFunc(l.branches, i.Base(), func(b Branch, base Image) int {
		return Compare(b.Base, base)
	})
	if !ok {
		return Branch{}, false
	}
	return l.branches[at], true
}
