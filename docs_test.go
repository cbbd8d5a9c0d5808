package imgbase_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/token"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"imgbase/internal/cli"
	"imgbase/internal/config"
	"imgbase/internal/host"
	"imgbase/internal/host/hosttest"
	"imgbase/internal/lvm"
	"imgbase/internal/packages"
	"imgbase/internal/txn"
)

var update = flag.Bool("update", false, "write the generated parts of the documents anew")

// checkDocument compares a page with what belongs there, or writes it.
func checkDocument(t *testing.T, name, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is stale; go test -run %s -update . (-want +got):\n%s", name, t.Name(), diff)
	}
}

const errorsHead = `# Exit codes

Made from the table in ` + "`internal/cli/errors.go`" + `; do not edit.

A failed run prints one line, ` + "`imgbase: subject: cause`" + `, and where something
can be done about it a second one, ` + "`hint: …`" + `, both on standard error. A refusal
is made before the first effect and leaves no trace. Of several causes the one
that stands first in that table decides. A code keeps its meaning for ever;
new codes may come, so treat an unknown one as 1.

| code | cause | hint |
|---:|---|---|
| 0 | done | |
| 1 | failed in a way that has no code of its own: the message says how | |
`

// TestErrorsDocument keeps docs/errors.md what the command line does.
func TestErrorsDocument(t *testing.T) {
	rows := cli.Rows()
	slices.SortStableFunc(rows, func(a, b cli.Row) int { return a.Code - b.Code })
	var text strings.Builder
	text.WriteString(errorsHead)
	for _, r := range rows {
		fmt.Fprintf(&text, "| %d | %s | %s |\n", r.Code, r.Err, r.Hint)
	}
	checkDocument(t, "docs/errors.md", text.String())
}

// withoutRow are sentinels that no user meets, with the reason.
var withoutRow = map[string]string{
	"internal/mount.ErrNotIsolated": "the command line isolates itself before it mounts",
	"internal/rootfs.ErrNoEntry":    "package host looks a line of fstab up before it replaces it",
}

// TestSentinelsHaveRows wants a decision of the command line for every
// sentinel error that a package exports.
func TestSentinelsHaveRows(t *testing.T) {
	project, err := readTree(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	const table = "internal/cli/errors.go"
	rows := map[string]bool{}
	for _, s := range project.sources {
		if s.path != table {
			continue
		}
		s.selectors(func(importPath, name string, _ ast.Node) {
			rows[strings.TrimPrefix(importPath, module+"/")+"."+name] = true
		})
	}
	if len(rows) < 20 {
		t.Fatalf("%s names %d errors; want the table", table, len(rows))
	}
	for _, s := range project.sources {
		if s.test || s.path == table || !strings.HasPrefix(s.dir, "internal/") || helper(s.dir) {
			continue
		}
		for _, name := range sentinels(s.ast) {
			if name = s.dir + "." + name; rows[name] == (withoutRow[name] != "") {
				t.Errorf("%s: %s has a row in %s: %t; want one, or a reason in withoutRow", s.path, name, table, rows[name])
			}
		}
	}
}

// sentinels are the exported errors among a file's variables.
func sentinels(file *ast.File) (names []string) {
	for _, d := range file.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.VAR {
			continue
		}
		for _, spec := range decl.Specs {
			for _, id := range spec.(*ast.ValueSpec).Names {
				if strings.HasPrefix(id.Name, "Err") {
					names = append(names, id.Name)
				}
			}
		}
	}
	return names
}

// example is a command in a document with what it prints on standard output.
// The comment above it says on which host, see [hostIn].
var example = regexp.MustCompile("(?m)^<!-- host: (\\w+) -->\n```console\n\\$ imgbase (.*)\n((?s:.*?))^```$")

// excerpt is a file in a document, as a host in that state has it.
var excerpt = regexp.MustCompile("(?m)^<!-- file: (\\w+) (\\S+) -->\n```\n((?s:.*?))^```$")

// TestExamples runs the commands in the documents on a modelled host, and
// looks up the files.
func TestExamples(t *testing.T) {
	names, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, name := range append(names, "README.md") {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			want := example.ReplaceAllStringFunc(string(data), func(block string) string {
				ran++
				part := example.FindStringSubmatch(block)
				return fmt.Sprintf("<!-- host: %s -->\n```console\n$ imgbase %s\n%s```", part[1], part[2], onHost(t, part[1], part[2]))
			})
			want = excerpt.ReplaceAllStringFunc(want, func(block string) string {
				ran++
				part := excerpt.FindStringSubmatch(block)
				h, _ := hostIn(t, part[1])
				return fmt.Sprintf("<!-- file: %s %s -->\n```\n%s```", part[1], part[2], h.Read(part[2]))
			})
			checkDocument(t, name, want)
		})
	}
	if ran < 10 {
		t.Errorf("ran %d examples; want those of docs/json.md at least", ran)
	}
}

// hostIn makes a host in a state: "taken" runs its first layer; on "updated"
// another boots next; on "edited" a file was changed since; on "booted" it
// boots for the first time; on "interrupted" an update lost its power. newer is
// an image to update to.
func hostIn(t *testing.T, state string) (h *hosttest.Host, newer string) {
	t.Helper()
	h = hosttest.New(t)
	h.Must(h.Init("node-1.0-1"))
	h.Boot()
	h.Write(map[string]string{"etc/motd": "mine\n", "etc/local.conf": "added\n"})
	newer = h.Image("node-1.1-1", map[string]string{"etc/motd": "vendor\n", "etc/new.conf": "new\n", "var/lib/new/data": ""})
	switch state {
	case "taken":
	case "updated":
		h.Must(h.Update(newer))
	case "edited":
		h.Must(h.Update(newer))
		h.Write(map[string]string{"etc/late.conf": "late\n"})
	case "booted":
		h.Must(h.Update(newer))
		h.Boot()
	case "interrupted":
		record := txn.Record{Verb: "update", Name: "node-1.1-1+1"}
		h.Must(nil, lvm.New(h.LVM).ChangeVGTags(t.Context(), hosttest.VG, []string{record.Tag()}, nil))
	default:
		t.Fatalf("no host %q", state)
	}
	return h, newer
}

// onHost is what a command prints on standard output.
func onHost(t *testing.T, state, command string) string {
	t.Helper()
	h, newer := hostIn(t, state)
	args := strings.Fields(command)
	for i, a := range args {
		if a == "node-1.1-1.img" {
			args[i] = newer
		}
	}
	var stdout, stderr bytes.Buffer
	code := cli.Main(t.Context(), cli.Env{
		Args: args, Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Root: true, Version: "dev",
		Open:    func(*slog.Logger, func(host.Event)) *host.Host { return h.Host() },
		Isolate: func() error { return nil },
		Config:  func() (config.Config, []string, error) { return config.Default(), nil, nil },
	})
	if code != 0 {
		t.Errorf("imgbase %s: exit %d\n%s", command, code, &stderr)
	}
	return stdout.String()
}

// These are documents whose types are the command line's own.
type (
	branch struct {
		Base   string   `json:"base"`
		Orphan bool     `json:"orphan,omitempty"`
		Layers []string `json:"layers"`
	}
	recovered struct {
		Settled []host.Settled `json:"settled"`
		Removed []string       `json:"removed"`
	}
	plan struct {
		host.Change
		Steps []string `json:"steps"`
	}
)

// kinds are the types of the JSON documents.
func kinds() map[string]any {
	return map[string]any{
		"layout": new([]branch), "bases": new([]string), "layers": new([]string), "free-space": new(map[string]uint64),
		"image": new(string), "path": new(string), "running": new(string),
		"entries": new([]host.Entry), "entry": new(host.Entry), "status": new(host.Status),
		"leftovers": new(host.Leftovers), "recovered": new(recovered), "plan": new(plan), "change": new(host.Change),
		"packages": new([]packages.Kept), "started": new(host.Started), "carried": new(host.Carried),
	}
}

// TestJSONDocument reads the examples in docs/json.md as a program would that
// knows the types, and wants every kind and every field to be explained.
func TestJSONDocument(t *testing.T) {
	data, err := os.ReadFile("docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	missing := kinds()
	for _, part := range example.FindAllStringSubmatch(string(data), -1) {
		var frame struct {
			Version int             `json:"version"`
			Kind    string          `json:"kind"`
			Value   json.RawMessage `json:"value"`
		}
		if err := strict(part[3], &frame); err != nil {
			t.Errorf("imgbase %s: %v", part[2], err)
			continue
		}
		if frame.Version != cli.SchemaVersion {
			t.Errorf("imgbase %s: version %d; want %d", part[2], frame.Version, cli.SchemaVersion)
		}
		value, ok := kinds()[frame.Kind]
		if !ok {
			t.Errorf("imgbase %s: kind %q is not known", part[2], frame.Kind)
			continue
		}
		if err := strict(string(frame.Value), value); err != nil {
			t.Errorf("imgbase %s: %v", part[2], err)
		}
		delete(missing, frame.Kind)
	}
	for kind := range missing {
		t.Errorf("kind %q has no example", kind)
	}
	for _, dir := range []string{"persist", "accounts", "packages", "varmerge", "derive"} {
		for _, op := range constants(t, "internal/"+dir, "Op") {
			if !strings.Contains(string(data), "`"+op+"`") {
				t.Errorf("operation %q of package %s is not explained", op, dir)
			}
		}
	}
	for kind, value := range kinds() {
		for _, name := range fields(reflect.TypeOf(value)) {
			if !strings.Contains(string(data), "`"+name+"`") {
				t.Errorf("field %q of kind %q is not explained", name, kind)
			}
		}
	}
}

// TestConfigurationDocument wants every setting and its default in
// docs/on-disk.md.
func TestConfigurationDocument(t *testing.T) {
	text := read(".", "docs/on-disk.md", "")
	for _, s := range config.Default().Settings() {
		if row := fmt.Sprintf("| `%s` | `%s` | %s |", s.Section, s.Key, s.Value); !strings.Contains(text, row) {
			t.Errorf("docs/on-disk.md has no row %q", row)
		}
	}
}

func strict(text string, value any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(value)
}

// fields are the names of all JSON fields of a type and of those it holds.
func fields(t reflect.Type) (names []string) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		return fields(t.Elem())
	case reflect.Struct:
	default:
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if name == "" && f.IsExported() && !f.Anonymous {
			name = strings.ToLower(f.Name) // of a type that writes itself
		}
		if name != "" {
			names = append(names, name)
		}
		if f.IsExported() {
			names = append(names, fields(f.Type)...)
		}
	}
	return names
}
