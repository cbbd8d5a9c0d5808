package derive_test

import (
	"fmt"
	"strings"
	"testing"

	"imgbase/internal/derive"
)

var linked = files{
	"etc/ld.so.cache":         "cache",
	"etc/ld.so.conf":          "include /etc/ld.so.conf.d/*.conf\n",
	"etc/ld.so.conf.d/a.conf": "# libraries\n/opt/a/lib\n",
	"opt/a/lib/liba.so.1":     "a",
	"usr/lib/libc.so.6":       "c",
	"usr/lib/other":           "x",
	"lib":                     "-> usr/lib",
	"usr/sbin/ldconfig":       "#!/bin/sh\necho made >/etc/ld.so.cache\n",
}

func TestPlanLdCache(t *testing.T) {
	for _, c := range []struct {
		name   string
		change files
		want   string
	}{
		{"nothing", nil, "keep       etc/ld.so.cache: nothing that it is made of differs from the image"},
		{"a comment", files{"etc/ld.so.conf.d/a.conf": "/opt/a/lib\n# other words\n"}, "keep       etc/ld.so.cache: nothing that it is made of differs from the image"},
		{"no library", files{"usr/lib/other2": "x", "usr/lib/python/x.so": "x"}, "keep       etc/ld.so.cache: nothing that it is made of differs from the image"},
		{"library", files{"usr/lib/libd.so": "-> libd.so.1", "usr/lib/libd.so.1": "d"}, "make       etc/ld.so.cache: usr/lib/libd.so added, usr/lib/libd.so.1 added"},
		{"library in a directory of the configuration", files{"opt/a/lib/liba.so.1": "larger"}, "make       etc/ld.so.cache: opt/a/lib/liba.so.1 changed"},
		{"new directory", files{"etc/ld.so.conf.d/b.conf": "/opt/b\n", "opt/b/libb.so": "b"}, "make       etc/ld.so.cache: etc/ld.so.conf.d/b.conf added, opt/b/libb.so added"},
		{"includes in a circle", files{"etc/ld.so.conf": "include ld.so.conf\ninclude ../etc/ld.so.conf.d/*\n"}, "make       etc/ld.so.cache: etc/ld.so.conf changed"},
		{"leads out", files{"etc/ld.so.conf": "/../../../../tmp\ninclude ../../../../../etc/passwd\n"}, "make       etc/ld.so.cache: etc/ld.so.conf changed"},
		{"no cache", files{"etc/ld.so.cache": ""}, "make       etc/ld.so.cache: etc/ld.so.cache is missing"},
		{"no ldconfig", files{"usr/lib/libd.so": "d", "usr/sbin/ldconfig": ""}, "lack       etc/ld.so.cache: usr/lib/libd.so added, there is no ldconfig"},
		{"another libc", files{"etc/ld.so.cache": "", "usr/sbin/ldconfig": ""}, "keep       etc/ld.so.cache: this system has none"},
		{"enormous", files{"etc/ld.so.conf": strings.Repeat("/a\n", 1<<20)}, "larger than 1048576 bytes"},
		{"too many", files{"etc/ld.so.conf": directories(1100)}, "plan etc/ld.so.cache: etc/ld.so.conf: more than 1000 directories"},
	} {
		got, err := linked.with(c.change).place(t).PlanLdCache(linked.place(t).Root)
		line := got.String()
		if err != nil {
			line = err.Error()
		}
		if !strings.HasSuffix(line, c.want) {
			t.Errorf("%s: PlanLdCache() = %s; want %s", c.name, line, c.want)
		}
	}
}

func directories(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "/d%d\n", i)
	}
	return b.String()
}

func TestMakeLdCache(t *testing.T) {
	tr := runs(t, linked.with(files{"lib": ""}).place(t))
	if err := tr.MakeLdCache(t.Context()); err != nil || read(t, tr.Root, "etc/ld.so.cache") != "made\n" {
		t.Errorf("MakeLdCache() = %v; want it made", err)
	}
	failing := runs(t, linked.with(files{"lib": "", "usr/sbin/ldconfig": "#!/bin/sh\necho because >&2\nexit 1\n"}).place(t))
	if err := failing.MakeLdCache(t.Context()); err == nil || err.Error() != "etc/ld.so.cache: ldconfig: because" {
		t.Errorf("MakeLdCache() = %v; want what ldconfig said", err)
	}
}

func TestRealLdCache(t *testing.T) {
	root := realTools(t)
	base := realTools(t)
	sh(t, `mkdir -p "$1/opt/mine"; cp -L /lib/x86_64-linux-gnu/libm.so.6 "$1/opt/mine/libmine.so.1"; echo /opt/mine >"$1/etc/ld.so.conf.d/mine.conf"`, root)
	tr := tree(root)
	got, err := tr.PlanLdCache(base)
	if want := "make       etc/ld.so.cache: etc/ld.so.conf.d/mine.conf added, opt/mine/libmine.so.1 added"; err != nil || got.String() != want {
		t.Errorf("PlanLdCache() = %v, %v; want %s", got, err, want)
	}
	if err := tr.MakeLdCache(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text := read(t, root, "etc/ld.so.cache"); !strings.Contains(text, "/opt/mine/lib") {
		t.Error("the cache does not have the library")
	}
}

func TestParseLdConf(t *testing.T) {
	dirs, includes := derive.ParseLdConf("# x\n/a /b:/c,/d\t\nlibs\nhwcap 1 nosegneg\n/old=libc5 # y\r\ninclude x/*.conf /y\ninclude\n/last")
	if got := strings.Join(dirs, " ") + "; " + strings.Join(includes, " "); got != "/a /b /c /d /old /last; x/*.conf /y" {
		t.Errorf("ParseLdConf() = %s", got)
	}
}

func FuzzParseLdConf(f *testing.F) {
	f.Add("/a /b:/c\ninclude /x/*.conf\nhwcap 0 x\n/d=libc6\n\x00\xff")
	f.Fuzz(func(t *testing.T, conf string) {
		dirs, _ := derive.ParseLdConf(conf)
		for _, d := range dirs {
			if !strings.HasPrefix(d, "/") || strings.ContainsAny(d, " \t\n:,#=") {
				t.Errorf("ParseLdConf(%q) has directory %q", conf, d)
			}
		}
	})
}
