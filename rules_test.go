// Package imgbase_test holds the house rules as tests: what may import what,
// which package alone may start a program, mount or rename, how long things
// may get, and what has to be documented.
//
// A rule is a function from the sources to violations, each at a line of a
// file. Every rule has a snippet in testdata/rules that breaks it, so that a
// rule which no longer bites fails as well. CODING.md says why the rules are
// what they are.
package imgbase_test

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// rule is one house rule; about is what it asks for.
type rule struct {
	name  string
	about string
	check func(*tree) []violation
}

var rules = []rule{
	{"levels", "a package imports only packages of lower levels", checkLevels},
	{"helpers", "test helpers are imported by tests only", checkHelpers},
	{"seams", "one package starts programs, one mounts, one renames", checkSeams},
	{"exit", "only a main package ends the process, and nothing panics", checkExit},
	{"globals", "no init functions and no package variables that change", checkGlobals},
	{"budgets", "files, functions, parameters and interfaces stay small", checkBudgets},
	{"percentile", "nine functions of ten have at most 40 lines", checkPercentile},
	{"errors", "an error reads subject: cause, in lower case", checkErrorForm},
	{"names", "packages are named for what they hold", checkNames},
	{"external", "tests are outside the package they test", checkExternal},
	{"pkgdoc", "a package has one package comment", checkPackageDocs},
	{"docs", "what is exported is documented", checkDocs},
	{"unfinished", "nothing is left to be done later", checkUnfinished},
	{"paths", "no file names a directory of the machine it was written on", checkPaths},
	{"licence", "the licence is in the tree", checkLicence},
}

// violation is a broken rule. Line 0 is the file as a whole.
type violation struct {
	path string
	line int
	what string
}

// tree is the sources of the project, or of a snippet.
type tree struct {
	fset    *token.FileSet
	sources []source
	texts   []text
}

// source is a Go file. Paths are slashed and relative to the tree's root.
type source struct {
	path string
	dir  string
	test bool // its name ends in _test.go
	ast  *ast.File
}

// lab says whether the file belongs to the suites under test, which drive
// virtual machines and are not part of the program.
func (s source) lab() bool { return s.dir == "test" || strings.HasPrefix(s.dir, "test/") }

// text is a file that people read or edit, Go or not.
type text struct {
	path  string
	lines []string
}

func (t *tree) line(n interface{ Pos() token.Pos }) int { return t.fset.Position(n.Pos()).Line }

func (t *tree) add(name string, data []byte) error {
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return nil
	}
	t.texts = append(t.texts, text{name, strings.Split(string(data), "\n")})
	if path.Ext(name) != ".go" || strings.Contains(name, "testdata/") {
		return nil
	}
	file, err := parser.ParseFile(t.fset, name, data, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	t.sources = append(t.sources, source{
		path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), ast: file,
	})
	return nil
}

func readTree(root fs.FS) (*tree, error) {
	t := &tree{fset: token.NewFileSet()}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (name == ".git" || name == "bin" || name == "testdata/rules") {
			return fs.SkipDir
		}
		if info, err := d.Info(); err != nil || !info.Mode().IsRegular() || info.Size() > 1<<20 {
			return err
		}
		data, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		return t.add(name, data)
	})
	return t, err
}

func TestHouseRules(t *testing.T) {
	project, err := readTree(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	if len(project.sources) < 10 {
		t.Fatalf("found %d Go files; want the project's", len(project.sources))
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, v := range r.check(project) {
				t.Errorf("%s:%d: %s (%s)", v.path, v.line, v.what, r.about)
			}
		})
	}
}

// TestRulesBite runs every rule on its snippet. A line that holds "BAD" must
// be reported, any other must not; "BAD path:line" before the first file
// marks what is not in a file.
func TestRulesBite(t *testing.T) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			snippet, want := readSnippet(t, r.name)
			var got []string
			for _, v := range r.check(snippet) {
				got = append(got, fmt.Sprintf("%s:%d", v.path, v.line))
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := gocmp.Diff(want, slices.Compact(got)); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
			if len(want) == 0 {
				t.Error("the snippet breaks nothing")
			}
		})
	}
}

func readSnippet(t *testing.T, name string) (snippet *tree, want []string) {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/rules/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(archive.Comment), "\n") {
		if at, ok := strings.CutPrefix(line, "BAD "); ok {
			want = append(want, at)
		}
	}
	snippet = &tree{fset: token.NewFileSet()}
	for _, f := range archive.Files {
		data := repeat(f.Data)
		if err := snippet.add(f.Name, data); err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(data), "\n") {
			if strings.Contains(line, "BAD") {
				want = append(want, fmt.Sprintf("%s:%d", f.Name, i+1))
			}
		}
	}
	return snippet, want
}

var repeated = regexp.MustCompile(`(?m)^(.*\S)[ \t]*// times (\d+)\n`)

// repeat writes out lines that end in "// times N".
func repeat(data []byte) []byte {
	return repeated.ReplaceAllFunc(data, func(line []byte) []byte {
		part := repeated.FindSubmatch(line)
		n, err := strconv.Atoi(string(part[2]))
		if err != nil {
			return line
		}
		return bytes.Repeat(append(part[1], '\n'), n)
	})
}

// packages are the non-test files of each directory, directories sorted.
func (t *tree) packages() [][]source {
	byDir := make(map[string][]source)
	for _, s := range t.sources {
		if !s.test {
			byDir[s.dir] = append(byDir[s.dir], s)
		}
	}
	var packages [][]source
	for _, files := range byDir {
		packages = append(packages, files)
	}
	slices.SortFunc(packages, func(a, b []source) int { return cmp.Compare(a[0].dir, b[0].dir) })
	return packages
}

// functions calls f for every function with a body.
func (t *tree) functions(f func(source, *ast.FuncDecl)) {
	for _, s := range t.sources {
		for _, d := range s.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				f(s, fn)
			}
		}
	}
}

// selectors calls f for every use of a name of another package, as in
// "os.Exit", with the package's import path.
func (s source) selectors(f func(importPath, name string, at ast.Node)) {
	imports := make(map[string]string)
	for _, spec := range s.ast.Imports {
		importPath, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		local := path.Base(importPath)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		imports[local] = importPath
	}
	ast.Inspect(s.ast, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && imports[x.Name] != "" {
				f(imports[x.Name], sel.Sel.Name, sel)
			}
		}
		return true
	})
}
