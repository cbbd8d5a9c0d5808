package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/config"
)

func TestLoadWithoutFiles(t *testing.T) {
	got, warnings, err := config.Load(t.TempDir())
	if err != nil || warnings != nil {
		t.Fatalf("Load() = %v, %v; want neither", warnings, err)
	}
	want := []config.Setting{
		{Section: "core", Key: "debug", Value: "false", Origin: "default"},
		{Section: "etc", Key: "mine", Value: "", Origin: "default"},
		{Section: "etc", Key: "vendor", Value: "", Origin: "default"},
		{Section: "update", Key: "carry", Value: "/root /home /srv /opt /usr/local", Origin: "default"},
		{Section: "update", Key: "images_to_keep", Value: "2", Origin: "default"},
	}
	if diff := cmp.Diff(want, got.Settings()); diff != "" {
		t.Errorf("Settings() (-want +got):\n%s", diff)
	}
}

func TestCarry(t *testing.T) {
	for value, want := range map[string][]string{"": {}, "/srv": {"/srv"}, " /srv\t/opt/a ": {"/srv", "/opt/a"}} {
		got, _, err := config.Default().Merge("one", []byte("[update]\ncarry="+value+"\n"))
		if diff := cmp.Diff(want, got.Carry); err != nil || diff != "" {
			t.Errorf("carry=%q: %v (-want +got):\n%s", value, err, diff)
		}
	}
	for _, value := range []string{"srv", "/", "/srv relative", "/.."} {
		if _, _, err := config.Default().Merge("one", []byte("[update]\ncarry="+value+"\n")); !errors.Is(err, config.ErrInvalid) {
			t.Errorf("carry=%q: error %v; want ErrInvalid", value, err)
		}
	}
}

func TestEtcPatterns(t *testing.T) {
	for value, want := range map[string][]string{"": {}, "motd": {"motd"}, " ssh/*.conf\tpki ": {"ssh/*.conf", "pki"}} {
		got, _, err := config.Default().Merge("one", []byte("[etc]\nmine="+value+"\nvendor="+value+"\n"))
		if diff := cmp.Diff([][]string{want, want}, [][]string{got.Mine, got.Vendor}); err != nil || diff != "" {
			t.Errorf("mine=%q: %v (-want +got):\n%s", value, err, diff)
		}
	}
	for _, value := range []string{"/etc/motd", "..", "../x", ".", "a//b", "x/", "a [", "[z-"} {
		if _, _, err := config.Default().Merge("one", []byte("[etc]\nvendor="+value+"\n")); !errors.Is(err, config.ErrInvalid) {
			t.Errorf("vendor=%q: error %v; want ErrInvalid", value, err)
		}
	}
}

func TestLoadLaterWins(t *testing.T) {
	const (
		vendor   = "/usr/lib/imgbased/imgbased.conf"
		vendorD  = "/usr/lib/imgbased/imgbased.conf.d/"
		admin    = "/etc/imgbased.conf"
		adminD   = "/etc/imgbased.conf.d/"
		keepFour = "[update]\nimages_to_keep = 4\n"
	)
	keep := func(n string) string { return "[update]\nimages_to_keep=" + n + "\n" }
	for _, tc := range []struct {
		name   string
		files  map[string]string
		want   int
		origin string
	}{
		{"vendor", map[string]string{vendor: keepFour}, 4, vendor},
		{"vendor drop-in", map[string]string{vendor: keepFour, vendorD + "a.conf": keep("5")}, 5, vendorD + "a.conf"},
		{"sorted", map[string]string{vendorD + "10.conf": keep("10"), vendorD + "20.conf": keep("20"), vendorD + "15.conf": keep("15")}, 20, vendorD + "20.conf"},
		{"admin over vendor's drop-in", map[string]string{admin: keep("3"), vendorD + "z.conf": keep("9")}, 3, admin},
		{"admin's drop-in", map[string]string{admin: keep("3"), adminD + "a.conf": keep("7"), vendor: keepFour}, 7, adminD + "a.conf"},
		{"silent file changes nothing", map[string]string{vendor: keepFour, admin: "[core]\ndebug=1\n"}, 4, vendor},
		{"back to the default's value", map[string]string{vendor: keepFour, admin: keep("2")}, 2, admin},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, warnings, err := config.Load(host(t, tc.files))
			if err != nil || len(warnings) > 0 {
				t.Fatalf("Load() = %v, %v; want neither", warnings, err)
			}
			if got.ImagesToKeep != tc.want || got.Settings()[4].Origin != tc.origin {
				t.Errorf("Load() = %d from %s; want %d from %s", got.ImagesToKeep, got.Settings()[4].Origin, tc.want, tc.origin)
			}
		})
	}
}

// Python's configparser was given the same texts. It reads the same values out
// of all but the last two, which it refuses.
func TestMergeReadsAsPythonDoes(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		keep       int
		debug      bool
	}{
		{"empty", "", 2, false},
		{"plain", "[update]\nimages_to_keep = 3\n", 3, false},
		{"colon", "[update]\nimages_to_keep: 3", 3, false},
		{"any case", "[update]\nImages_To_Keep=3", 3, false},
		{"line ends of DOS", "[update]\r\nimages_to_keep=3\r\n", 3, false},
		{"comments", "# one\n; two\n[update]\n# images_to_keep=9\nimages_to_keep=3\n", 3, false},
		{"indented comment", "[update]\nimages_to_keep = 3\n  # more\n", 3, false},
		{"indented section", "[update]\n  images_to_keep = 3\n[core]\n  debug = 1\n", 3, true},
		{"leading zero", "[update]\nimages_to_keep=03", 3, false},
		{"default section", "[DEFAULT]\nimages_to_keep=5\n[update]\n", 5, false},
		{"section over default", "[update]\nimages_to_keep=3\n[DEFAULT]\nimages_to_keep=5\n", 3, false},
		{"both keys", "[core]\ndebug=1\n[update]\nimages_to_keep=1", 1, true},
		{"byte order mark", "\ufeff[update]\nimages_to_keep=3", 3, false},
		{"twice", "[update]\nimages_to_keep=3\nimages_to_keep=5\n[core]\n[update]\nimages_to_keep=4", 4, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, warnings, err := config.Default().Merge("f", []byte(tc.text))
			if err != nil || len(warnings) > 0 {
				t.Fatalf("Merge(%q) = %v, %v; want neither", tc.text, warnings, err)
			}
			if got.ImagesToKeep != tc.keep || got.Debug != tc.debug {
				t.Errorf("Merge(%q) = %d, %t; want %d, %t", tc.text, got.ImagesToKeep, got.Debug, tc.keep, tc.debug)
			}
		})
	}
}

func TestMergeWords(t *testing.T) {
	for word, want := range map[string]bool{
		"y": true, "yes": true, "on": true, "true": true, "1": true, "YES": true, "True": true,
		"n": false, "no": false, "off": false, "false": false, "0": false, "Off": false,
	} {
		got, _, err := config.Config{ImagesToKeep: 2, Debug: !want}.Merge("f", []byte("[core]\ndebug = "+word))
		if err != nil || got.Debug != want {
			t.Errorf("debug = %s: %t, %v; want %t", word, got.Debug, err, want)
		}
	}
}

func TestMergeWarns(t *testing.T) {
	for _, tc := range []struct {
		text string
		want []string
	}{
		{"[update]\nimages_to_kep=3", []string{"f: update.images_to_kep: unknown, ignored; the nearest is update.images_to_keep"}},
		{"[updates]\nimages_to_keep=3", []string{"f: updates.images_to_keep: unknown, ignored; the nearest is update.images_to_keep"}},
		{"[Update]\nimages_to_keep=3", []string{"f: Update.images_to_keep: unknown, ignored; the nearest is update.images_to_keep"}},
		{"[update other]\nimages_to_keep=3", []string{"f: update other.images_to_keep: unknown, ignored; the nearest is update.images_to_keep"}},
		{"[core]\ndebugg=1\nexperimental=1", []string{
			"f: core.debugg: unknown, ignored; the nearest is core.debug",
			"f: core.experimental: has no effect",
		}},
		{"images_to_kep=3", []string{"f: DEFAULT.images_to_kep: unknown, ignored; the nearest is update.images_to_keep"}},
	} {
		got, warnings, err := config.Default().Merge("f", []byte(tc.text))
		if err != nil {
			t.Errorf("Merge(%q) error: %v", tc.text, err)
		}
		if diff := cmp.Diff(tc.want, warnings); diff != "" {
			t.Errorf("Merge(%q) warnings (-want +got):\n%s", tc.text, diff)
		}
		if got.ImagesToKeep != 2 || got.Debug {
			t.Errorf("Merge(%q) = %+v; want the defaults", tc.text, got)
		}
	}
}

func TestMergeRefuses(t *testing.T) {
	long := strings.Repeat("9", 1<<18)
	for _, tc := range []struct{ text, why string }{
		{"[update]\nimages_to_keep=0", "f: update.images_to_keep: invalid configuration: \"0\": want a whole number above 0"},
		{"[update]\nimages_to_keep=-1", "above 0"},
		{"[update]\nimages_to_keep=+1", "above 0"},
		{"[update]\nimages_to_keep=", "above 0"},
		{"[update]\nimages_to_keep=two", "above 0"},
		{"[update]\nimages_to_keep=1.5", "above 0"},
		{"[update]\nimages_to_keep=yes", "above 0"},
		{"[update]\nimages_to_keep=\"3\"", "above 0"}, // Python keeps quotes
		{"[update]\nimages_to_keep=3 # three", "above 0"},
		{"[update]\nimages_to_keep=3\n 4\n", "f: invalid configuration"},
		{"[update]\nimages_to_keep=\n 4\n", "delimiter not found: 4"},
		{"[update]\nimages_to_keep=" + long, "above 0"},
		{"[update]\nimages_to_keep=%(images_to_keep)s", "above 0"},
		{"a=%(b)s\nb=%(a)s\n[core]\ndebug=%(a)s", "want yes or no"},
		{"[DEFAULT]\ndebug=maybe", "f: core.debug: "},
		{"[core]\ndebug=2", "want yes or no"},
		{"[update\nimages_to_keep=3", "unclosed section"},
		{"[]\nimages_to_keep=3", "f: invalid configuration"},
		{"[update]\nimages_to_keep", "f: invalid configuration"},
		{"[update]\n=3", "f: invalid configuration"},
		{"\x7fELF\x02\x01\x01\x00\x00", "f: invalid configuration"},
	} {
		_, _, err := config.Default().Merge("f", []byte(tc.text))
		if !errors.Is(err, config.ErrInvalid) {
			t.Errorf("Merge(%.60q) error = %v; want ErrInvalid", tc.text, err)
			continue
		}
		if msg := err.Error(); !strings.Contains(msg, tc.why) || len(msg) > 300 {
			t.Errorf("Merge(%.60q) says %.400q; want a short reason with %q", tc.text, msg, tc.why)
		}
	}
}

func TestMergeLeavesItsReceiver(t *testing.T) {
	before := config.Default()
	middle, _, err := before.Merge("one", []byte("[update]\nimages_to_keep=3"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := middle.Merge("two", []byte("[update]\nimages_to_keep=4")); err != nil {
		t.Fatal(err)
	}
	if got := middle.Settings()[4]; got.Value != "3" || got.Origin != "one" {
		t.Errorf("Settings() after another Merge = %+v; want 3 from one", got)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"bad value in a drop-in":   {"/etc/imgbased.conf.d/a.conf": "[update]\nimages_to_keep=no"},
		"enormous":                 {"/etc/imgbased.conf.d/a.conf": strings.Repeat("# comment\n", 1<<17)},
		"the directory is a file":  {"/etc/imgbased.conf.d": ""},
		"its parent is a file too": {"/usr/lib/imgbased": ""},
	} {
		cfg, warnings, err := config.Load(host(t, files))
		if err == nil {
			t.Errorf("%s: Load() = %+v, %v; want an error", name, cfg, warnings)
			continue
		}
		for path := range files {
			if !strings.HasPrefix(err.Error(), path) {
				t.Errorf("%s: Load() says %q; want it to start with %s", name, err, path)
			}
		}
	}
}

func TestLoadUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root reads every file")
	}
	root := host(t, map[string]string{"/etc/imgbased.conf": ""})
	if err := os.Chmod(filepath.Join(root, "etc/imgbased.conf"), 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := config.Load(root); !errors.Is(err, os.ErrPermission) {
		t.Errorf("Load() error = %v; want permission denied", err)
	}
}

func TestLoadPassesOver(t *testing.T) {
	root := host(t, map[string]string{
		"/etc/imgbased.conf.d/a.conf.rpmsave":  "[update]\nimages_to_keep=9",
		"/etc/imgbased.conf.d/dir.conf/x.conf": "[update]\nimages_to_keep=9",
	})
	dir := filepath.Join(root, "etc/imgbased.conf.d")
	if err := os.Symlink("/nowhere/at/all", filepath.Join(dir, "dangling.conf")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.conf"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, warnings, err := config.Load(root)
	if err != nil || got.ImagesToKeep != 2 {
		t.Errorf("Load() = %+v, %v; want the defaults", got, err)
	}
	want := []string{"/etc/imgbased.conf.d/a.conf.rpmsave: ignored; its name does not end in .conf"}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Errorf("Load() warnings (-want +got):\n%s", diff)
	}
}

func FuzzMerge(f *testing.F) {
	for _, s := range []string{
		"", "[update]\nimages_to_keep=3\n", "[core]\ndebug: y\n  more\n", "a=%(b)s\nb=%(a)s", "[DEFAULT]\nDebug=1",
		"\"\"\"k\"\"\"=v", "`k`=`v", "k=\"\"\"v", "\xfe\xff[\x00u", "[update]\nimages_to_keep=\n\t3\n[\n", "-=1\n-=2",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, warnings, err := config.Default().Merge("f", data)
		if err != nil {
			if !errors.Is(err, config.ErrInvalid) || !strings.HasPrefix(err.Error(), "f: ") {
				t.Errorf("Merge(%q) error = %v; want ErrInvalid of f", data, err)
			}
			return
		}
		if got.ImagesToKeep < 1 {
			t.Errorf("Merge(%q) keeps %d images; want at least 1", data, got.ImagesToKeep)
		}
		for _, w := range warnings {
			if !strings.HasPrefix(w, "f: ") || len(w) > 500 {
				t.Errorf("Merge(%q) warns %.600q; want a short one of f", data, w)
			}
		}
		again, _, err := got.Merge("f", data)
		if diff := cmp.Diff(got.Settings(), again.Settings()); err != nil || diff != "" {
			t.Errorf("Merge(%q) twice: %v (-once +twice):\n%s", data, err, diff)
		}
	})
}

// host makes a root directory with the given files.
func host(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}
