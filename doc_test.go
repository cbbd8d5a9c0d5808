package imgbase_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
)

func checkPackageDocs(t *tree) (found []violation) {
	for _, files := range t.packages() {
		var documented []source
		for _, s := range files {
			if s.ast.Doc != nil {
				documented = append(documented, s)
			}
		}
		first := files[0]
		switch {
		case len(documented) == 0:
			found = append(found, violation{first.path, t.line(first.ast.Name), "no package comment in " + first.dir})
		case len(documented) > 1:
			for _, s := range documented[1:] {
				found = append(found, violation{s.path, t.line(s.ast.Name), "another package comment in " + documented[0].path})
			}
		default:
			s := documented[0]
			name := s.ast.Name.Name
			if name != "main" && !strings.HasPrefix(s.ast.Doc.Text(), "Package "+name+" ") {
				found = append(found, violation{s.path, t.line(s.ast.Name), "its comment does not start with Package " + name})
			}
		}
	}
	return found
}

// wellKnown are methods that say by their name all there is to say.
var wellKnown = []string{"Error", "Unwrap", "Is", "As"}

func checkDocs(t *tree) (found []violation) {
	for _, s := range t.sources {
		if s.test {
			continue
		}
		for _, d := range s.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && !slices.Contains(wellKnown, d.Name.Name) && exportedReceiver(d) {
					found = append(found, violation{s.path, t.line(d), "no comment on " + d.Name.Name})
				}
			case *ast.GenDecl:
				found = append(found, t.undocumented(s, d)...)
			}
		}
	}
	return found
}

func exportedReceiver(fn *ast.FuncDecl) bool {
	if fn.Recv == nil {
		return true
	}
	id := receiver(fn.Recv.List[0].Type)
	return id != nil && id.IsExported()
}

func receiver(e ast.Expr) *ast.Ident {
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	if generic, ok := e.(*ast.IndexExpr); ok {
		e = generic.X
	}
	id, _ := e.(*ast.Ident)
	return id
}

// undocumented takes the comment above a group of constants or variables for
// all of them.
func (t *tree) undocumented(s source, d *ast.GenDecl) (found []violation) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if spec.Name.IsExported() && spec.Doc == nil && (d.Doc == nil || d.Lparen.IsValid()) {
				found = append(found, violation{s.path, t.line(spec), "no comment on " + spec.Name.Name})
			}
		case *ast.ValueSpec:
			exported := slices.ContainsFunc(spec.Names, (*ast.Ident).IsExported)
			if exported && spec.Doc == nil && spec.Comment == nil && d.Doc == nil {
				found = append(found, violation{s.path, t.line(spec), "no comment on " + spec.Names[0].Name})
			}
		}
	}
	return found
}

// The words are put together here so that this file does not hold them.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX|(?i:not (yet )?impl` + `emented))\b`)

func checkUnfinished(t *tree) (found []violation) {
	return t.grep(unfinished)
}

// homes are directories in which people build; /home alone is a file system
// that hosts have.
var homes = regexp.MustCompile(`/(home/\w+|Users/\w+|root)/(go|src|git|code|work|projects|\.cache|\.local)\b`)

func checkPaths(t *tree) (found []violation) {
	found = t.grep(homes)
	// A short path, such as /src, is a word that may mean something else.
	if here, err := os.Getwd(); err == nil && strings.Count(here, "/") > 1 {
		found = append(found, t.grep(regexp.MustCompile(regexp.QuoteMeta(here)+`\b`))...)
	}
	return found
}

func (t *tree) grep(pattern *regexp.Regexp) (found []violation) {
	for _, f := range t.texts {
		for i, line := range f.lines {
			if match := pattern.FindString(line); match != "" {
				found = append(found, violation{f.path, i + 1, fmt.Sprintf("%q", match)})
			}
		}
	}
	return found
}

func checkLicence(t *tree) []violation {
	for _, f := range t.texts {
		text := strings.Join(f.lines, "\n")
		if path.Base(f.path) == f.path && f.path == "LICENSE" && strings.Contains(text, "Apache License") && strings.Contains(text, "Version 2.0") {
			return nil
		}
	}
	return []violation{{"LICENSE", int(token.NoPos), "no Apache-2.0 licence"}}
}
