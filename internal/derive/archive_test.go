package derive_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"imgbase/internal/derive"
)

// cpio is an archive of empty files, and of one that has content.
func cpio(content string, names ...string) string {
	var b strings.Builder
	for i, name := range append(names, "TRAILER!!!") {
		data := ""
		if i == len(names)-1 {
			data = content
		}
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", i, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
		b.WriteString(pad(name + "\x00" + "\x00\x00")[:(110+len(name)+1+3)/4*4-110])
		b.WriteString(pad(data))
	}
	return b.String()
}

func pad(s string) string { return s + strings.Repeat("\x00", (4-len(s)%4)%4) }

func archives() map[string]string {
	big := strings.Repeat("x", 600<<10)
	micro := cpio(big, "kernel/x86/microcode/GenuineIntel.bin")
	return map[string]string{
		"gzip":                   "\x1f\x8b" + big,
		"zstd":                   micro + strings.Repeat("\x00", 4000) + "\x28\xb5\x2f\xfd" + big,
		"xz":                     micro + cpio("", "a") + "\xfd7zXZ\x00" + big,
		"lz4":                    "\x02\x21\x4c\x18" + big,
		"bzip2":                  "BZh9" + big,
		"cpio":                   micro + cpio(big, "init", "bin/sh") + strings.Repeat("\x00", 9000),
		"no system in 0 bytes":   "",
		"no system in 100 bytes": strings.Repeat("\x00", 100),
		fmt.Sprintf("no system in %d bytes", len(micro)):                              micro,
		"only 4 bytes of zstd archive":                                                micro + "\x28\xb5\x2f\xfd",
		"only 244 bytes of cpio archive":                                              cpio("x", "init"),
		`unknown archive at byte 0: "\x7fELF\x02\x01"`:                                "\x7fELF\x02\x01" + big,
		`unknown archive at byte 0: "x"`:                                              "x",
		"cpio archive at byte 0: unexpected EOF":                                      cpio("", "init")[:200],
		`cpio archive at byte 0: "init": unexpected EOF`:                              cpio(big, "init")[:500<<10],
		`cpio archive at byte 0: number "0000zzzz"`:                                   "070701" + strings.Repeat("0000zzzz", 13),
		"cpio archive at byte 0: name of 0 bytes":                                     "070701" + strings.Repeat("00000000", 13),
		"cpio archive at byte 0: name of 4294967295 bytes":                            "070701" + strings.Repeat("ffffffff", 13),
		"cpio archive at byte 0: no header at byte 116":                               cpio("", "init")[:120] + strings.Repeat("y", 200),
		"cpio archive at byte 0: number \"\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\"": "070701" + strings.Repeat("\x00", 300),
	}
}

func TestProbeInitramfs(t *testing.T) {
	for want, text := range archives() {
		got, err := derive.ProbeInitramfs(strings.NewReader(text), int64(len(text)))
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("ProbeInitramfs(%.20q) = %s; want %s", text, got, want)
		}
	}
}

// TestProbeInitramfsCut wants everything that is cut short refused, where the
// structure can tell.
func TestProbeInitramfsCut(t *testing.T) {
	whole := cpio("x", "kernel/x86/microcode/a", "init") + cpio(strings.Repeat("x", 600<<10), "init")
	for n := 0; n < len(whole)-200; n += 1 + n/20 {
		if got, err := derive.ProbeInitramfs(strings.NewReader(whole[:n]), int64(n)); err == nil {
			t.Errorf("ProbeInitramfs() of %d of %d bytes = %s; want refused", n, len(whole), got)
		}
	}
}

func FuzzProbeInitramfs(f *testing.F) {
	for _, text := range archives() {
		f.Add([]byte(text[:min(len(text), 2000)]))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := derive.ProbeInitramfs(bytes.NewReader(data), int64(len(data)))
		if (got == "") == (err == nil) {
			t.Errorf("ProbeInitramfs() = %q, %v; want one of them", got, err)
		}
		if err == nil && len(data) < 512<<10 {
			t.Errorf("ProbeInitramfs() of %d bytes = %s; want too little", len(data), got)
		}
	})
}
