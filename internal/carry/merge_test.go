package carry_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"imgbase/internal/carry"
	"imgbase/internal/run"

	"pgregory.net/rapid"
)

// spread writes a file of one line for each word, "." being a blank line.
func spread(words string) string {
	var b strings.Builder
	for word := range strings.FieldsSeq(words) {
		b.WriteString(strings.TrimPrefix(word, ".") + "\n")
	}
	return b.String()
}

func TestMerge3(t *testing.T) {
	const conflict = "conflict"
	for name, c := range map[string][4]string{
		"nothing":                        {"a b", "a b", "a b", "a b"},
		"mine":                           {"a b c", "a B c", "a b c", "a B c"},
		"theirs":                         {"a b c", "a b c", "a B c", "a B c"},
		"both, apart":                    {"a b c d e", "A b c d e", "a b c d E", "A b c d E"},
		"both, one line between":         {"a b c", "A b c", "a b C", "A b C"},
		"both, touching":                 {"a b", "A b", "a B", conflict},
		"both, the same line":            {"a b c", "a 1 c", "a 2 c", conflict},
		"both the same":                  {"a b c", "a B c", "a B c", "a B c"},
		"both the same, and each more":   {"a b c d e f g", "A b c D e f g", "a b c D e f G", "A b c D e f G"},
		"insert before and after":        {"a b", "0 a b", "a b 9", "0 a b 9"},
		"insert at one place":            {"a b", "a 1 b", "a 2 b", conflict},
		"insert the same at one place":   {"a b", "a 1 b", "a 1 b", "a 1 b"},
		"insert and change beside it":    {"a b", "a 1 b", "a B", conflict},
		"remove and remove":              {"a b c d e", "b c d e", "a b c d", "b c d"},
		"remove what they change":        {"a b c", "a c", "a B c", conflict},
		"remove all, they add":           {"a b c", "", "a b c d", conflict},
		"both remove, one more":          {"a b c d", "a d", "a c d", conflict},
		"added by both, otherwise":       {"", "a", "b", conflict},
		"moved, and changed elsewhere":   {"a b c d e f", "b c a d e f", "a b c d e F", "b c a d e F"},
		"append what ends alike":         {"a { 1 } b", "a { 1 } c { 2 } b", "A { 1 } b", "A { 1 } c { 2 } b"},
		"their section beside mine":      {"[x] 1 . [y] 2", "[x] 1 0 . [y] 2", "[x] 1 . [y] 2 . [z] 3", "[x] 1 0 . [y] 2 . [z] 3"},
		"lines that repeat":              {". a . b . c .", ". A . b . c .", ". a . b . C .", ". A . b . C ."},
		"one overlaps two":               {"a b c d e", "a B c D e", "a 1 2 3 e", conflict},
		"put in beside one like it":      {"a x b", "a x x b", "a x 9 b", conflict},
		"taken out beside one like it":   {"a x x b", "a x b", "A x x b", conflict},
		"put in apart from one like it":  {"a x 1 b", "a x x 1 b", "a x 1 B", "a x x 1 B"},
		"put in beside two like it":      {". }", "b . } }", ". } end", conflict},
		"sections alike inside":          {"[x] 1 2 3 4 5 [y] 1 2 3 4 5 [z]", "[x] A 2 3 4 B [y] 1 2 3 4 5 [z] E", "[x] 1 2 C 4 5 [y] 1 2 3 4 5 [z]", "[x] A 2 C 4 B [y] 1 2 3 4 5 [z] E"},
		"large against small, identical": {"a b c d e", "a 1 2 3 e", "a 1 2 3 e E", "a 1 2 3 e E"},
	} {
		t.Run(name, func(t *testing.T) {
			base, mine, theirs := spread(c[0]), spread(c[1]), spread(c[2])
			wantMerge(t, [3]string{base, mine, theirs}, spread(c[3]), c[3] == conflict)
			wantMerge(t, [3]string{base, theirs, mine}, spread(c[3]), c[3] == conflict)
		})
	}
}

// wantMerge merges base, mine and theirs.
func wantMerge(t *testing.T, files [3]string, want string, conflict bool) {
	t.Helper()
	if conflict {
		want = files[1]
	}
	got, ok := carry.Merge3([]byte(files[0]), []byte(files[1]), []byte(files[2]))
	if string(got) != want || ok != conflict {
		t.Errorf("Merge3(%.60q) = %.200q, %v; want %.200q, %v", files, got, ok, want, conflict)
	}
}

func TestMerge3Bytes(t *testing.T) {
	lines := func(n int) string { return strings.Repeat("x\n", n) }
	for name, c := range map[string]struct {
		base, mine, theirs, want string // want "" is a conflict
	}{
		"two ends of line":             {"a\r\nb\r\nc\r\n", "A\r\nb\r\nc\r\n", "a\r\nb\r\nC\r\n", "A\r\nb\r\nC\r\n"},
		"they change the end of lines": {"a\nb\nc\n", "A\nb\nc\n", "a\r\nb\r\nc\r\n", ""},
		"no end of line, kept":         {"a\nb\nc", "A\nb\nc", "a\nb\nc", "A\nb\nc"},
		"no end of line, both":         {"a\nb\nc", "A\nb\nc", "a\nb\nC", "A\nb\nC"},
		"end of line added":            {"a\nb\nc", "A\nb\nc", "a\nb\nc\n", "A\nb\nc\n"},
		"end of line taken":            {"a\nb\nc\n", "A\nb\nc\n", "a\nb\nc", "A\nb\nc"},
		"appended behind no end":       {"a\nb\nc", "A\nb\nc", "a\nb\nc\nd", "A\nb\nc\nd"},
		"appended by both":             {"a\nb", "a\nb\nc", "a\nb\nd", ""},
		"end and append":               {"a\nb", "a\nb\n", "a\nb\nd\n", ""},
		"Latin-1":                      {"\xe4\nb\nc\n", "\xe4\xff\nb\nc\n", "\xe4\nb\n\xfc\n", "\xe4\xff\nb\n\xfc\n"},
		"not UTF-8, not the same":      {"\xff\nb\nc\n", "\xfe\nb\nc\n", "\xff\nb\nC\n", "\xfe\nb\nC\n"},
		"a lone carriage return":       {"a\rb\nc\nd\n", "a\rB\nc\nd\n", "a\rb\nc\nD\n", "a\rB\nc\nD\n"},
		"NUL in mine":                  {"a\nb\nc\n", "a\x00\nb\nc\n", "a\nb\nC\n", ""},
		"NUL in theirs":                {"a\nb\nc\n", "A\nb\nc\n", "a\nb\nC\x00\n", ""},
		"NUL in the ancestor":          {"a\x00\nb\nc\n", "A\nb\nc\n", "a\nb\nC\n", ""},
		"NUL, and mine as it was":      {"a\x00", "a\x00", "b\x00", "b\x00"},
		"NUL, and theirs as it was":    {"a\x00", "b\x00", "a\x00", "b\x00"},
		"NUL, and both the same":       {"a\x00", "b\x00", "b\x00", "b\x00"},
		"as many lines as may be":      {lines(carry.MaxMergeLines), "y\n" + lines(carry.MaxMergeLines-1), lines(carry.MaxMergeLines-1) + "z\n", "y\n" + lines(carry.MaxMergeLines-2) + "z\n"},
		"one line more":                {lines(carry.MaxMergeLines + 1), "y\n" + lines(carry.MaxMergeLines), lines(carry.MaxMergeLines) + "z\n", ""},
		"too large":                    {"a\n" + strings.Repeat("x", carry.MaxMerge) + "\nb\n", "A\n" + strings.Repeat("x", carry.MaxMerge) + "\nb\n", "a\n" + strings.Repeat("x", carry.MaxMerge) + "\nB\n", ""},
		"large, mine as it was":        {strings.Repeat("x", carry.MaxMerge+1), strings.Repeat("x", carry.MaxMerge+1), "y", "y"},
	} {
		t.Run(name, func(t *testing.T) {
			wantMerge(t, [3]string{c.base, c.mine, c.theirs}, c.want, c.want == "")
		})
	}
}

// Many changes on both sides are not too many: a release's php.ini differs in
// some hundred places.
func TestMerge3ManyChanges(t *testing.T) {
	var base, mine, theirs, want strings.Builder
	for i := range 5000 {
		for _, line := range []string{"# about the setting", "", "key" + strings.Repeat("i", i%7) + string(rune('a'+i%26)) + time.Duration(i).String()} {
			m, v := line, line
			if line != "" && line[0] == 'k' {
				if i%4 == 0 {
					m += " = mine"
				}
				if i%4 == 2 {
					v += " = theirs"
				}
			}
			both := m
			if v != line {
				both = v
			}
			for b, s := range map[*strings.Builder]string{&base: line, &mine: m, &theirs: v, &want: both} {
				b.WriteString(s + "\n")
			}
		}
	}
	start := time.Now()
	wantMerge(t, [3]string{base.String(), mine.String(), theirs.String()}, want.String(), false)
	t.Logf("15,000 lines with 2,500 changes in %s", time.Since(start))
}

// The worst files take a moment, not a minute.
func TestMerge3Bounded(t *testing.T) {
	half := carry.MaxMergeLines / 2
	var up, down, pairs strings.Builder
	for i := range half {
		up.WriteString(time.Duration(i).String() + "\n")
		down.WriteString(time.Duration(half-i).String() + "\n")
		pairs.WriteString(time.Duration(i/2).String() + "\n")
	}
	for name, files := range map[string][3]string{
		"reversed": {up.String(), down.String(), "0\n" + up.String()},
		"repeats":  {pairs.String(), up.String(), down.String()},
		"few lines": {
			strings.Repeat("a\nb\n", half), strings.Repeat("b\na\n", half), strings.Repeat("a\nb\na\n", half/2),
		},
	} {
		start := time.Now()
		carry.Merge3([]byte(files[0]), []byte(files[1]), []byte(files[2]))
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
	}
}

// anyText draws a file of few different lines; edit changes one in places.
func anyText(t *rapid.T, name string) []string {
	return rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e", "f", "g", "}", "#"}), 0, 20).Draw(t, name)
}

func edit(t *rapid.T, lines []string, name string) []string {
	var out []string
	for _, line := range append(lines, "end") {
		// Not IntRange, which prefers small numbers.
		switch rapid.SampledFrom([]int{1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}).Draw(t, name) {
		case 3:
			out = append(out, rapid.SampledFrom([]string{"a", "x", "y", "", "}"}).Draw(t, "new"))
		case 1:
			out = append(out, rapid.SampledFrom([]string{"b", "x", "z", "#"}).Draw(t, "new"), line)
		case 2:
		default:
			out = append(out, line)
		}
	}
	return out
}

func joined(t *rapid.T, lines []string) []byte {
	end := rapid.SampledFrom([]string{"\n", "\n", "\n", "", "\r\n"}).Draw(t, "end")
	return []byte(strings.Join(lines, "\n") + end)
}

func TestMerge3Laws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := anyText(t, "base")
		base, mine, theirs := joined(t, lines), joined(t, edit(t, lines, "mine")), joined(t, edit(t, lines, "theirs"))
		checkLaws(t, base, mine, theirs)
	})
}

type failer interface{ Fatalf(string, ...any) }

func checkLaws(t failer, base, mine, theirs []byte) {
	before := [3]string{string(base), string(mine), string(theirs)}
	merged, conflict := carry.Merge3(base, mine, theirs)
	for _, law := range []struct {
		name                     string
		base, mine, theirs, want []byte
	}{
		{"no local change", base, base, theirs, theirs},
		{"no vendor change", base, mine, base, mine},
		{"the same change", base, mine, mine, mine},
	} {
		if got, conflict := carry.Merge3(law.base, law.mine, law.theirs); conflict || !bytes.Equal(got, law.want) {
			t.Fatalf("%s: Merge3(%q, %q, %q) = %q, %v; want %q", law.name, law.base, law.mine, law.theirs, got, conflict, law.want)
		}
	}
	if conflict {
		if !bytes.Equal(merged, mine) {
			t.Fatalf("conflict: Merge3(%q, %q, %q) = %q; want mine", base, mine, theirs, merged)
		}
		if _, also := carry.Merge3(base, theirs, mine); !also {
			t.Fatalf("Merge3(%q, %q, %q): a conflict one way only", base, mine, theirs)
		}
		return
	}
	if swapped, conflict := carry.Merge3(base, theirs, mine); conflict || !bytes.Equal(swapped, merged) {
		t.Fatalf("Merge3(%q, %q, %q) = %q; swapped %q, %v", base, mine, theirs, merged, swapped, conflict)
	}
	// Applied twice is applied once, a cut between the two included.
	if again, _ := carry.Merge3(base, merged, theirs); !bytes.Equal(again, merged) {
		t.Fatalf("Merge3(%q, %q, %q) = %q; merged once more %q", base, mine, theirs, merged, again)
	}
	for _, line := range bytes.SplitAfter(merged, []byte("\n")) {
		if !bytes.Contains(mine, line) && !bytes.Contains(theirs, line) {
			t.Fatalf("Merge3(%q, %q, %q) = %q; nobody wrote %q", base, mine, theirs, merged, line)
		}
	}
	if after := [3]string{string(base), string(mine), string(theirs)}; after != before {
		t.Fatalf("Merge3(%q) changed its arguments to %q", before, after)
	}
}

func FuzzMerge3(f *testing.F) {
	f.Add([]byte("a\nb\nc\n"), []byte("A\nb\nc\n"), []byte("a\nb\nC"))
	f.Add([]byte("a\r\nb"), []byte(""), []byte("\x00"))
	f.Add([]byte("a\na\nb\nb\n"), []byte("a\nb\na\nb\n"), []byte("b\nb\na\na\n"))
	f.Fuzz(func(t *testing.T, base, mine, theirs []byte) { checkLaws(t, base, mine, theirs) })
}

// Where we see no conflict git and diff3(1) see none either, and the result is
// the same. Files with the same line many times can be lined up in several
// ways, so the files are the same ones in every run.
func TestMerge3AgreesWithOthers(t *testing.T) {
	dir := t.TempDir()
	place := func(name string) string { return filepath.Join(dir, name) }
	programs := []run.Cmd{
		{Name: "diff3", Args: []string{"-m", "-E", place("mine"), place("base"), place("theirs")}},
		{Name: "git", Args: []string{"merge-file", "-p", place("mine"), place("base"), place("theirs")}},
	}
	count := map[string]int{}
	source := rand.New(rand.NewPCG(7, 9))
	for range 150 {
		lines := someLines(source)
		files := map[string]string{"base": ended(source, lines)}
		for _, side := range []string{"mine", "theirs"} {
			files[side] = ended(source, someEdits(source, lines))
		}
		for name, data := range files {
			if err := os.WriteFile(place(name), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		merged, conflict := carry.Merge3([]byte(files["base"]), []byte(files["mine"]), []byte(files["theirs"]))
		for _, program := range programs {
			out, err := run.OS{}.Run(t.Context(), program)
			if errors.Is(err, run.ErrNoProgram) && os.Getenv("IMGBASE_REQUIRE_LAB") == "" {
				continue
			}
			switch {
			case conflict && err == nil:
				count["only we conflict"]++
			case conflict:
				count["both conflict"]++
			case err != nil:
				t.Errorf("Merge3(%q) = %q; %s has a conflict: %q", files, merged, program.Name, out.Stdout)
			case string(out.Stdout) != string(merged):
				t.Errorf("Merge3(%q) = %q; %s gives %q", files, merged, program.Name, out.Stdout)
			default:
				count["both merge"]++
			}
		}
	}
	t.Log(count)
	if count["both merge"] < 50 || count["both conflict"] < 50 || count["only we conflict"] > 10 {
		t.Errorf("%v; want files that merge and files that do not, alike for all", count)
	}
}

func someLines(source *rand.Rand) []string {
	lines := make([]string, source.IntN(40))
	for i := range lines {
		lines[i] = [...]string{"", "#", "}", "key ", "key ", "key ", "other "}[source.IntN(7)]
		if len(lines[i]) > 1 {
			lines[i] += strconv.Itoa(source.IntN(60))
		}
	}
	return lines
}

func someEdits(source *rand.Rand, lines []string) (out []string) {
	for _, line := range lines {
		switch source.IntN(25) {
		case 0:
			out = append(out, "new "+strconv.Itoa(source.IntN(3)))
		case 1:
			out = append(out, line, "added "+strconv.Itoa(source.IntN(3)), "")
		case 2:
		default:
			out = append(out, line)
		}
	}
	return out
}

func ended(source *rand.Rand, lines []string) string {
	return strings.Join(lines, "\n") + [...]string{"\n", "\n", "\n", "\n", "\n", ""}[source.IntN(6)]
}
