package imgbase_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What one reader holds in the head, measured on code bases we admire.
const (
	maxFileLines     = 400
	maxFunctionLines = 80
	maxUsualLines    = 40 // of nine functions in ten
	maxParameters    = 4  // a context, and a test's *testing.T, come on top
	maxMethods       = 5  // of an interface
)

func checkBudgets(t *tree) (found []violation) {
	for _, s := range t.sources {
		if n := t.fset.File(s.ast.FileStart).LineCount(); n > maxFileLines && !s.lab() {
			found = append(found, violation{s.path, 0, fmt.Sprintf("%d lines; at most %d", n, maxFileLines)})
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if i, ok := n.(*ast.InterfaceType); ok && i.Methods.NumFields() > maxMethods {
				found = append(found, violation{s.path, t.line(i), fmt.Sprintf("%d methods; at most %d", i.Methods.NumFields(), maxMethods)})
			}
			return true
		})
	}
	t.functions(func(s source, fn *ast.FuncDecl) {
		if n := t.length(s, fn); n > maxFunctionLines {
			found = append(found, violation{s.path, t.line(fn), fmt.Sprintf("%s: %d lines; at most %d", fn.Name.Name, n, maxFunctionLines)})
		}
		if n := parameters(fn); n > maxParameters && !s.test {
			found = append(found, violation{s.path, t.line(fn), fmt.Sprintf("%s: %d parameters; at most %d", fn.Name.Name, n, maxParameters)})
		}
	})
	return found
}

// length of a function in lines, braces included. In a test the cases do not
// count: a table is as long as it has to be.
func (t *tree) length(s source, fn *ast.FuncDecl) int {
	span := func(n ast.Node) int { return t.fset.Position(n.End()).Line - t.line(n) }
	lines := span(fn) + 1
	if !s.test && !s.lab() && !helper(s.dir) {
		return lines
	}
	ast.Inspect(fn, func(n ast.Node) bool {
		table, ok := n.(*ast.CompositeLit)
		if ok {
			lines -= span(table)
		}
		return !ok
	})
	return lines
}

func parameters(fn *ast.FuncDecl) int {
	n := fn.Type.Params.NumFields()
	for _, field := range fn.Type.Params.List {
		typ := field.Type
		if star, ok := typ.(*ast.StarExpr); ok {
			typ = star.X
		}
		if sel, ok := typ.(*ast.SelectorExpr); ok {
			x, _ := sel.X.(*ast.Ident)
			if x != nil && (x.Name == "context" && sel.Sel.Name == "Context" || x.Name == "testing") {
				n -= len(field.Names)
			}
		}
	}
	return n
}

// checkPercentile looks at the program alone.
func checkPercentile(t *tree) (found []violation) {
	var lengths []int
	var long []violation
	t.functions(func(s source, fn *ast.FuncDecl) {
		if s.test || s.lab() || helper(s.dir) {
			return
		}
		n := t.length(s, fn)
		lengths = append(lengths, n)
		if n > maxUsualLines {
			long = append(long, violation{s.path, t.line(fn), fmt.Sprintf("%s: %d lines", fn.Name.Name, n)})
		}
	})
	slices.Sort(lengths)
	if len(lengths) == 0 || lengths[len(lengths)*9/10] <= maxUsualLines {
		return nil
	}
	return long
}

var (
	capital = regexp.MustCompile(`^[A-Z][a-z]`) // not LVM, nor a format verb
	padding = regexp.MustCompile(`(?i)\b(failed to|unable to|error (while|when|in)|an error occurred)\b`)
)

func checkErrorForm(t *tree) (found []violation) {
	for _, s := range t.sources {
		ast.Inspect(s.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || s.test || len(call.Args) == 0 {
				return true
			}
			message, ok := call.Args[0].(*ast.BasicLit)
			if !ok || message.Kind != token.STRING || !makesError(call.Fun) {
				return true
			}
			text, err := strconv.Unquote(message.Value)
			if err != nil || capital.MatchString(text) || padding.MatchString(text) || strings.HasSuffix(text, ".") || strings.HasSuffix(text, "\n") {
				found = append(found, violation{s.path, t.line(message), "error text " + message.Value})
			}
			return true
		})
	}
	return found
}

func makesError(fn ast.Expr) bool {
	sel, ok := fn.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && (x.Name == "errors" && sel.Sel.Name == "New" || x.Name == "fmt" && sel.Sel.Name == "Errorf")
}
