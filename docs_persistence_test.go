package imgbase_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"imgbase/internal/accounts"
	"imgbase/internal/config"
	"imgbase/internal/persist"
)

// TestPersistenceTable carries every row of the table in docs/persistence.md
// out, and wants every default rule to be named there.
func TestPersistenceTable(t *testing.T) {
	rows := tableRows("| base | mine | theirs |")
	for _, cells := range rows {
		trees, want := cells[:3], cells[3:6]
		if got := mergeRow(t, trees); !slices.Equal(got, want) {
			t.Errorf("base, mine, theirs %q: new layer, beside, report = %q; want %q", trees, got, want)
		}
	}
	if len(rows) != 14 {
		t.Errorf("found %d rows; want the 14 of base, mine and theirs", len(rows))
	}
	text, rules := read(".", persistence, ""), persist.DefaultRules()
	for _, pattern := range slices.Concat(rules.Carry, rules.Drop) {
		if !strings.Contains(text, "`"+pattern+"`") {
			t.Errorf("rule %q is not in %s", pattern, persistence)
		}
	}
	if carry := "carry = " + strings.Join(config.Default().Carry, " "); !strings.Contains(text, "[update]\n"+carry+"\n") {
		t.Errorf("%s does not say %q", persistence, carry)
	}
}

const persistence = "docs/persistence.md"

// tableRows are the rows below a table's head in docs/persistence.md, seven
// cells each.
func tableRows(head string) (rows [][]string) {
	_, table, _ := strings.Cut(read(".", persistence, ""), head)
	_, table, _ = strings.Cut(table, "---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, slices.Grow(cells, 7)[:7])
	}
	return rows
}

// TestAccountsTable merges the accounts of every row of the table in
// docs/persistence.md.
func TestAccountsTable(t *testing.T) {
	rows := tableRows("| base | mine | image |")
	for _, cells := range rows {
		trees, want := cells[:3], cells[3:6]
		if got := accountsRow(t, trees); !slices.Equal(got, want) {
			t.Errorf("base, mine, image %q: new layer, files, report = %q; want %q", trees, got, want)
		}
	}
	if len(rows) != 8 {
		t.Errorf("found %d rows; want 8", len(rows))
	}
}

// accountsRow merges a user, and says what became of him.
func accountsRow(t *testing.T, numbers []string) []string {
	t.Helper()
	var trees []accounts.Tree
	for _, number := range numbers {
		users, groups := "root:x:0:0::/:/\n", "root:x:0:\n"
		name := "him"
		if taken, ok := strings.CutSuffix(number, " is another's)"); ok {
			name, number = "another", strings.TrimPrefix(taken, "– (")
		}
		if number != "–" {
			users += fmt.Sprintf("%s:x:%s:%s::/:/\n", name, number, number)
			groups += fmt.Sprintf("%s:x:%s:\n", name, number)
		}
		trees = append(trees, accounts.Tree{Files: map[string]accounts.File{
			"passwd": {Text: []byte(users)}, "group": {Text: []byte(groups)}, "shadow": {Text: []byte("root:*:1::::::\n")},
		}})
	}
	plan, err := accounts.Merge(trees[0], trees[1], trees[2])
	if err != nil {
		t.Fatal(err)
	}
	result, files, report := "–", "", ""
	if _, line, ok := strings.Cut(string(plan.Files["passwd"].Text), "\nhim:"); ok {
		result = strings.Split(line, ":")[1]
	}
	for from, to := range plan.Owners.UIDs {
		files += fmt.Sprintf("%d → %d", from, to)
	}
	for _, c := range plan.Changes {
		if c.File == "passwd" {
			report += string(c.Op)
		}
	}
	return []string{result, files, report}
}

// mergeRow merges one file, and says what became of it.
func mergeRow(t *testing.T, contents []string) []string {
	t.Helper()
	var dirs []string
	for _, content := range contents {
		dir := t.TempDir()
		if content != "–" {
			if err := os.WriteFile(filepath.Join(dir, "x"), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		dirs = append(dirs, dir)
	}
	plan, err := persist.Compare(dirs[0], dirs[1], dirs[2], persist.Rules{})
	if err == nil {
		err = plan.Apply(t.Context(), dirs[2])
	}
	if err != nil {
		t.Fatal(err)
	}
	report := ""
	for _, c := range plan.Changes {
		report += string(c.Op)
		if c.Conflict {
			report += ", conflict"
		}
	}
	return []string{read(dirs[2], "x", "–"), read(dirs[2], "x"+persist.Suffix, ""), report}
}

func read(dir, name, missing string) string {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if os.IsNotExist(err) {
		return missing
	}
	if err != nil {
		return fmt.Sprint(err)
	}
	return string(data)
}

// link is one to a file or a heading of ours.
var link = regexp.MustCompile(`\]\(([^):#]*)(#[^)]*)?\)`)

// TestLinks wants what the documents lead to to be there.
func TestLinks(t *testing.T) {
	names, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range append(names, more...) {
		for _, match := range link.FindAllStringSubmatch(read(".", name, ""), -1) {
			found++
			target := name
			if match[1] != "" {
				target = filepath.Join(filepath.Dir(name), match[1])
			}
			text := read(".", target, "")
			if text == "" || match[2] != "" && !slices.Contains(headings(text), match[2]) {
				t.Errorf("%s: %s leads nowhere", name, match[0])
			}
		}
	}
	if found < 10 {
		t.Errorf("found %d links; want those of README.md at least", found)
	}
}

// headings are the anchors of a page, as forges make them.
func headings(text string) (anchors []string) {
	for line := range strings.Lines(text) {
		if title := strings.TrimLeft(line, "#"); title != line {
			title = strings.ToLower(strings.TrimSpace(title))
			anchors = append(anchors, "#"+strings.NewReplacer(" ", "-", "/", "").Replace(strings.Trim(title, ".")))
		}
	}
	return anchors
}
