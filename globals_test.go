package imgbase_test

import (
	"errors"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// makers are the calls whose result may be a package variable: it never
// changes.
var makers = []string{
	"errors.New", "fmt.Errorf", "regexp.MustCompile", "strings.NewReplacer", "template.Must", "netip.MustParsePrefix",
}

// checkGlobals allows package variables that are written once, where they are
// declared: error sentinels, tables, embedded files, the version that the
// linker sets.
func checkGlobals(t *tree) (found []violation) {
	t.functions(func(s source, fn *ast.FuncDecl) {
		if fn.Name.Name == "init" && fn.Recv == nil {
			found = append(found, violation{s.path, t.line(fn), "func init"})
		}
	})
	for _, files := range t.packages() {
		uses := t.resolve(files)
		for _, s := range files {
			if !s.lab() {
				found = append(found, t.declared(s)...)
			}
			found = append(found, t.changed(s, uses)...)
		}
	}
	return found
}

// declared finds variables that are declared without a value, or with one
// from a call that may give something that changes.
func (t *tree) declared(s source) (found []violation) {
	for _, d := range s.ast.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.VAR {
			continue
		}
		for _, spec := range decl.Specs {
			v, ok := spec.(*ast.ValueSpec)
			if !ok || v.Names[0].Name == "_" || embedded(decl.Doc) || embedded(v.Doc) {
				continue
			}
			if len(v.Values) == 0 {
				found = append(found, violation{s.path, t.line(v), "variable " + v.Names[0].Name + " without a value"})
			}
			for _, value := range v.Values {
				if call, ok := value.(*ast.CallExpr); ok && !slices.Contains(makers, types.ExprString(call.Fun)) {
					found = append(found, violation{s.path, t.line(v), "variable " + v.Names[0].Name + " from " + types.ExprString(call.Fun)})
				}
			}
		}
	}
	return found
}

func embedded(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
		return strings.HasPrefix(c.Text, "//go:embed ")
	})
}

// changed finds what writes to a package variable, or takes its address.
func (t *tree) changed(s source, uses map[*ast.Ident]types.Object) (found []violation) {
	report := func(e ast.Expr) {
		id := root(e)
		if id == nil {
			return
		}
		if v, ok := uses[id].(*types.Var); ok && v.Parent() != nil && v.Pkg() != nil && v.Parent() == v.Pkg().Scope() {
			found = append(found, violation{s.path, t.line(id), "package variable " + id.Name + " changes"})
		}
	}
	ast.Inspect(s.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				report(e)
			}
		case *ast.IncDecStmt:
			report(n.X)
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				report(n.X)
			}
		case *ast.CallExpr:
			if fn, ok := n.Fun.(*ast.Ident); ok && (fn.Name == "delete" || fn.Name == "clear") {
				report(n.Args[0])
			}
		}
		return true
	})
	s.selectors(func(importPath, name string, at ast.Node) {
		if strings.HasPrefix(importPath, module+"/") && assigned(s.ast, at) {
			found = append(found, violation{s.path, t.line(at), "variable " + name + " of " + importPath + " changes"})
		}
	})
	return found
}

// assigned says whether at stands on the left of an assignment.
func assigned(file *ast.File, at ast.Node) (yes bool) {
	ast.Inspect(file, func(n ast.Node) bool {
		if stmt, ok := n.(*ast.AssignStmt); ok {
			yes = yes || slices.ContainsFunc(stmt.Lhs, func(e ast.Expr) bool { return e == at })
		}
		return !yes
	})
	return yes
}

// root is the variable that an expression like v[i].f is part of. What lies
// behind a call is another value.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// resolve tells what each name of a package means. Other packages are left
// out, which makes errors of no interest here.
func (t *tree) resolve(files []source) map[*ast.Ident]types.Object {
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: noImporter{}, Error: func(error) {}}
	var asts []*ast.File
	for _, s := range files {
		asts = append(asts, s.ast)
	}
	// The error is the first of those passed to config.Error.
	_, _ = config.Check(files[0].dir, t.fset, asts, info)
	return info.Uses
}

type noImporter struct{}

func (noImporter) Import(string) (*types.Package, error) { return nil, errors.New("not looked at") }
