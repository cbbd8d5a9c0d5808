package layout_test

import (
	"slices"
	"strings"
	"testing"

	"imgbase/internal/layout"
)

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "Image-1-2", "Image-1-2+1", "a-1-2+01", "a-1-2+1+1", "c++-1-2+3", "+0", "a-1-\xff+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		i, err := layout.Parse(s)
		if err != nil {
			return
		}
		if i.String() != s {
			t.Errorf("Parse(%q).String() = %q; want the same text", s, i)
		}
		base, err := layout.Parse(i.Base().String())
		if err != nil || base != i.Base() {
			t.Errorf("Parse(%q) has base %v, which reads back as %v, %v", s, i.Base(), base, err)
		}
		if layout.CheckNew(i.NVR) != nil {
			return
		}
		next, err := layout.New([]string{s}).Next(i)
		if back, parseErr := layout.Parse(next.String()); err == nil && (parseErr != nil || back != next) {
			t.Errorf("Next(%q) = %v, which reads back as %v, %v", s, next, back, parseErr)
		}
	})
}

// FuzzLayout takes names divided by newlines and checks what holds of any
// host.
func FuzzLayout(f *testing.F) {
	f.Add("Image-1-0\nImage-13-0\nImage-13-0+1\nImage-2-0+1\nhome\n\nOther-1-1+0", 2)
	f.Add("a-1-0\na-01-0\na-1-00\na-1-0+1\na-1-0.1\na-1~-0", -1)
	f.Fuzz(func(t *testing.T, text string, keep int) {
		names := strings.Split(text, "\n")
		l := layout.New(names)
		if !slices.IsSortedFunc(l.Bases(), layout.Compare) || !slices.IsSortedFunc(l.Layers(), layout.Compare) {
			t.Errorf("New(%q): bases %v, layers %v; want both sorted", names, l.Bases(), l.Layers())
		}
		everythingIsSomewhere(t, l, names)
		collectionIsSafe(t, l, keep)
		for _, layer := range l.Layers() {
			before, ok := l.Before(layer)
			if ok && (layout.Compare(before, layer) >= 0 || before.Product() != layer.Product() || !l.Has(before)) {
				t.Errorf("Before(%v) = %v; want an older one of the same product", layer, before)
			}
			if next, err := l.Next(layer); err == nil && (l.Has(next) || next.Base() != layer.Base()) {
				t.Errorf("Next(%v) = %v; want a new one on the same base", layer, next)
			}
		}
	})
}

func everythingIsSomewhere(t *testing.T, l layout.Layout, names []string) {
	t.Helper()
	got := slices.Clone(l.Others())
	for _, i := range slices.Concat(l.Bases(), l.Layers()) {
		got = append(got, i.String())
		if !l.Has(i) {
			t.Errorf("Has(%v) = false; want true", i)
		}
	}
	want := slices.Clone(names)
	slices.Sort(want)
	slices.Sort(got)
	if want = slices.Compact(want); !slices.Equal(want, got) {
		t.Errorf("bases, layers and others = %q; want %q", got, want)
	}
}

func collectionIsSafe(t *testing.T, l layout.Layout, keep int) {
	t.Helper()
	layers := l.Layers()
	if len(layers) == 0 {
		return
	}
	running, protected := layers[0], layers[len(layers)-1]
	gone := l.Collectable(keep, running, protected)
	left := len(l.Bases()) - len(gone)
	for _, i := range gone {
		if i == running.Base() || i == protected.Base() || i.Product() != running.Product() || !l.Has(i) || i.IsLayer {
			t.Errorf("Collectable(%d, %v, %v) holds %v", keep, running, protected, i)
		}
	}
	if len(gone) > 0 && left < keep {
		t.Errorf("Collectable(%d, %v) = %v; want %d bases left, not %d", keep, running, gone, keep, left)
	}
}
