package layout_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/layout"
)

func TestEmpty(t *testing.T) {
	l := layout.New([]string{"home", "pool00", "", "swap"})
	if got, err := l.LatestBase("Image"); !errors.Is(err, layout.ErrNoBases) {
		t.Errorf("LatestBase() = %v, %v; want ErrNoBases", got, err)
	}
	if got, err := l.LatestLayer("Image"); !errors.Is(err, layout.ErrNoLayers) {
		t.Errorf("LatestLayer() = %v, %v; want ErrNoLayers", got, err)
	}
	if got, err := l.Tree(); !errors.Is(err, layout.ErrNoBases) {
		t.Errorf("Tree() = %q, %v; want ErrNoBases", got, err)
	}
	if diff := cmp.Diff([]string{"", "home", "pool00", "swap"}, l.Others()); diff != "" {
		t.Errorf("Others() (-want +got):\n%s", diff)
	}
}

func TestTree(t *testing.T) {
	for _, tc := range []struct {
		name  string
		names string
		want  []string
	}{
		{
			"sorted by number", "Image-1-0 Image-13-0 Image-13-0+1 Image-2-0+1 Image-2-0",
			[]string{"Image-1-0", "Image-2-0", " +- Image-2-0+1", "Image-13-0", " +- Image-13-0+1"},
		},
		{
			"base without layers", "Image-0-0 Image-13-0 Image-2-0+1 Image-2-0",
			[]string{"Image-0-0", "Image-2-0", " +- Image-2-0+1", "Image-13-0"},
		},
		{
			"several layers", "Image-2-0+1 Image-2-0 Image-2-0+2 Image-3-0 Image-3-0+1",
			[]string{"Image-2-0", " +- Image-2-0+1", " +- Image-2-0+2", "Image-3-0", " +- Image-3-0+1"},
		},
		{
			"ten layers", "I-1-0+10 I-1-0+9 I-1-0",
			[]string{"I-1-0", " +- I-1-0+9", " +- I-1-0+10"},
		},
		{
			"orphans", "I-2-0+2 I-2-0+1 I-1-0 I-3-0",
			[]string{"I-1-0", "I-2-0 (base missing)", " +- I-2-0+1", " +- I-2-0+2", "I-3-0"},
		},
		{
			"only orphans", "I-2-0+2",
			[]string{"I-2-0 (base missing)", " +- I-2-0+2"},
		},
		{
			"two products", "b-1-0 a-2-0 b-0-9+1 a-10-0",
			[]string{"a-2-0", "a-10-0", "b-0-9 (base missing)", " +- b-0-9+1", "b-1-0"},
		},
		{
			"equal to rpm, not to us", "I-1.0-0+1 I-1.00-0 I-1.0-0 I-1-0.1 I-1-0 I-1-0+1",
			[]string{"I-1-0", " +- I-1-0+1", "I-1-0.1", "I-1.0-0", " +- I-1.0-0+1", "I-1.00-0"},
		},
		{"twice", "I-1-0 I-1-0+1 I-1-0 I-1-0+1", []string{"I-1-0", " +- I-1-0+1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := layout.New(strings.Fields(tc.names)).Tree()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Join(tc.want, "\n"), got); diff != "" {
				t.Errorf("Tree() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLatest(t *testing.T) {
	l := layout.New(strings.Fields("Image-1-0 Image-13-0 Image-2-0+1 Image-2-0 Image-13-0+1 Other-99-0 Other-99-0+1 Zero-1-0"))
	for product, want := range map[string][2]string{
		"Image": {"Image-13-0", "Image-13-0+1"},
		"Other": {"Other-99-0", "Other-99-0+1"},
	} {
		if got, err := l.LatestBase(product); err != nil || got.String() != want[0] {
			t.Errorf("LatestBase(%s) = %v, %v; want %s", product, got, err, want[0])
		}
		if got, err := l.LatestLayer(product); err != nil || got.String() != want[1] {
			t.Errorf("LatestLayer(%s) = %v, %v; want %s", product, got, err, want[1])
		}
	}
	if got, err := l.LatestLayer("Zero"); !errors.Is(err, layout.ErrNoLayers) {
		t.Errorf("LatestLayer(Zero) = %v, %v; want ErrNoLayers", got, err)
	}
	if got, err := l.LatestBase("Imag"); !errors.Is(err, layout.ErrNoBases) {
		t.Errorf("LatestBase(Imag) = %v, %v; want ErrNoBases", got, err)
	}
	if diff := cmp.Diff([]string{"Image", "Other", "Zero"}, l.Products()); diff != "" {
		t.Errorf("Products() (-want +got):\n%s", diff)
	}
}

func TestBelonging(t *testing.T) {
	l := layout.New(strings.Fields("I-1-0 I-1-0+1 I-1-0+2 I-2-0+1 I-3-0"))
	equal(t, "Bases()", "I-1-0 I-3-0", l.Bases())
	equal(t, "Layers()", "I-1-0+1 I-1-0+2 I-2-0+1", l.Layers())
	equal(t, "LayersOf(I-1-0)", "I-1-0+1 I-1-0+2", l.LayersOf(image(t, "I-1-0")))
	equal(t, "LayersOf(I-1-0+7)", "I-1-0+1 I-1-0+2", l.LayersOf(image(t, "I-1-0+7")))
	equal(t, "LayersOf(I-3-0)", "", l.LayersOf(image(t, "I-3-0")))
	equal(t, "LayersOf(I-9-0)", "", l.LayersOf(image(t, "I-9-0")))
	for name, want := range map[string]bool{
		"I-1-0": true, "I-1-0+2": true, "I-2-0+1": true, "I-2-0": false, "I-1-0+3": false, "I-9-0": false, "I-9-0+1": false,
	} {
		if got := l.Has(image(t, name)); got != want {
			t.Errorf("Has(%s) = %t; want %t", name, got, want)
		}
	}
	for layer, want := range map[string]bool{"I-1-0+2": true, "I-2-0+1": false} {
		base, ok := l.BaseOf(image(t, layer))
		if wantBase := layer[:len(layer)-2]; base.String() != wantBase || ok != want {
			t.Errorf("BaseOf(%s) = %s, %t; want %s, %t", layer, base, ok, wantBase, want)
		}
	}
}

func TestNext(t *testing.T) {
	long := strings.Repeat("n", 48) + "-1-2" // the longest CheckNew allows
	free := strings.Repeat("m", 48) + "-1-2"
	l := layout.New(strings.Fields("Image-0-0 Image-13-0 Image-13-0+1 Image-2-0+1 Image-2-0 G-1-0+7 G-1-0+3 " + long + "+99 " + free + "+98"))
	for _, tc := range []struct{ of, want string }{
		{"Image-0-0", "Image-0-0+1"},
		{"Image-13-0", "Image-13-0+2"},
		{"Image-2-0+1", "Image-2-0+2"},
		{"G-1-0", "G-1-0+8"},     // orphans count
		{"G-1-0+3", "G-1-0+8"},   // never one that exists
		{"G-1-0+20", "G-1-0+21"}, // not there itself
		{"New-1-0", "New-1-0+1"},
		{free, free + "+99"},
	} {
		if got, err := l.Next(image(t, tc.of)); err != nil || got.String() != tc.want {
			t.Errorf("Next(%s) = %v, %v; want %s", tc.of, got, err, tc.want)
		}
	}
	for _, of := range []string{long, long + "+5", fmt.Sprintf("I-1-0+%d", math.MaxInt)} {
		if got, err := l.Next(image(t, of)); !errors.Is(err, layout.ErrNameTooLong) {
			t.Errorf("Next(%s) = %v, %v; want ErrNameTooLong", of, got, err)
		}
	}
}

func TestBefore(t *testing.T) {
	l := layout.New(strings.Fields("A-9-9+1 I-1-0 I-1-0+1 I-1-0+2 I-1-0+10 I-2-0+1 I-3-0"))
	for _, tc := range []struct{ layer, want string }{
		{"I-2-0+1", "I-1-0+10"},
		{"I-1-0+10", "I-1-0+2"},
		{"I-1-0+2", "I-1-0+1"},
		{"I-1-0+1", ""}, // neither the last nor another product's
		{"A-9-9+1", ""},
		{"I-1-0+5", "I-1-0+2"}, // not there itself
		{"B-1-0+1", ""},
	} {
		got, ok := l.Before(image(t, tc.layer))
		if ok != (tc.want != "") || ok && got.String() != tc.want {
			t.Errorf("Before(%s) = %v, %t; want %q", tc.layer, got, ok, tc.want)
		}
	}
}

func TestCollectable(t *testing.T) {
	const three = "I-1-0 I-1-0+1 I-2-0 I-2-0+1 I-3-0 I-3-0+1"
	for _, tc := range []struct {
		name      string
		names     string
		keep      int
		running   string
		protected string
		want      string
	}{
		{"oldest runs", three, 2, "I-1-0+1", "I-3-0", "I-2-0"},
		{"middle runs", three, 2, "I-2-0+1", "I-3-0", "I-1-0"},
		{"newest runs", three, 2, "I-3-0+1", "I-3-0", "I-1-0"},
		{"room for all", three, 3, "I-1-0+1", "I-3-0", ""},
		{"more room", three, 9, "I-1-0+1", "I-3-0", ""},
		{"keep one keeps two", three, 1, "I-1-0+1", "I-3-0+1", "I-2-0"},
		{"keep one, same", three, 1, "I-3-0+1", "I-3-0", "I-1-0 I-2-0"},
		{"keep none is keep what must stay", three, 0, "I-2-0+1", "", "I-1-0 I-3-0"},
		{"keep negative", three, -5, "I-2-0+1", "", "I-1-0 I-3-0"},
		{"default is protected", three, 1, "I-3-0+1", "I-3-0 I-1-0+1", "I-2-0"},
		{"all protected", three, 1, "I-3-0+1", "I-2-0+1 I-1-0+1", ""},
		{"new one is older", three, 2, "I-3-0+1", "I-1-0", "I-2-0"},
		{"numbers, not text", "I-9-0 I-10-0 I-11-0", 2, "I-9-0+1", "I-11-0", "I-10-0"},
		{"other products stay", three + " A-1-0 Z-1-0 Z-2-0", 1, "I-3-0+1", "", "I-1-0 I-2-0"},
		{"other product's default takes no room", three + " Z-2-0", 2, "I-3-0+1", "Z-2-0+1", "I-1-0"},
		{"nothing of ours runs", three, 1, "", "I-3-0", ""},
		{"running base is gone", "I-1-0 I-2-0+1 I-3-0", 1, "I-2-0+1", "", "I-1-0"},
		{"orphans stay", "I-1-0+1 I-2-0 I-3-0", 1, "I-3-0+1", "", "I-2-0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var running layout.Image
			if tc.running != "" {
				running = image(t, tc.running)
			}
			var protected []layout.Image
			for _, name := range strings.Fields(tc.protected) {
				protected = append(protected, image(t, name))
			}
			got := layout.New(strings.Fields(tc.names)).Collectable(tc.keep, running, protected...)
			equal(t, "Collectable()", tc.want, got)
		})
	}
}

func equal(t *testing.T, call, want string, got []layout.Image) {
	t.Helper()
	var names []string
	for _, i := range got {
		names = append(names, i.String())
	}
	if text := strings.Join(names, " "); text != want {
		t.Errorf("%s = %s; want %s", call, text, want)
	}
}

func BenchmarkNew(b *testing.B) {
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("node-4.5-%d", i), fmt.Sprintf("node-4.5-%d+1", i))
	}
	for b.Loop() {
		layout.New(names)
	}
}
