package imgbase_test

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strconv"
	"strings"
)

const module = "imgbase"

// levels are the packages by height. A package imports lower ones only, so
// that siblings never know each other and the order of things is decided in
// one place, host.
var levels = [][]string{
	{"nvr", "run", "durable", "mount", "owners"},
	{"layout", "lvm", "boot", "persist", "rootfs", "txn", "config", "filesystem", "accounts", "carry", "hooks", "packages", "varmerge", "derive"},
	{"image"},
	{"host"},
	{"cli"},
}

// level of a directory, -1 for one that is not in the table. A test helper is
// as high as the package it helps.
func level(dir string) int {
	if strings.HasPrefix(dir, "cmd/") {
		return len(levels)
	}
	name := strings.TrimPrefix(dir, "internal/")
	if helper(dir) {
		name = path.Dir(name)
	}
	return slices.IndexFunc(levels, func(names []string) bool { return slices.Contains(names, name) })
}

// helper says whether dir is a package for tests, such as
// internal/lvm/lvmtest.
func helper(dir string) bool {
	parent := path.Base(path.Dir(dir))
	return strings.HasPrefix(dir, "internal/") && path.Base(dir) == parent+"test"
}

// imports calls f for every import of another package of ours.
func (t *tree) imports(f func(s source, dir string, at *ast.ImportSpec)) {
	for _, s := range t.sources {
		for _, spec := range s.ast.Imports {
			importPath, err := strconv.Unquote(spec.Path.Value)
			if dir, ok := strings.CutPrefix(importPath, module+"/"); ok && err == nil {
				f(s, dir, spec)
			}
		}
	}
}

func checkLevels(t *tree) (found []violation) {
	for _, files := range t.packages() {
		s := files[0]
		if inside := strings.HasPrefix(s.dir, "internal/") || strings.HasPrefix(s.dir, "cmd/"); inside && level(s.dir) < 0 {
			found = append(found, violation{s.path, t.line(s.ast), "package " + s.dir + " has no level"})
		}
	}
	t.imports(func(s source, dir string, at *ast.ImportSpec) {
		if s.lab() || s.dir == "." || level(s.dir) < 0 {
			return
		}
		from, to := level(s.dir), level(dir)
		if s.test || helper(s.dir) {
			// These may use their own level: the package itself, and helpers.
			from++
		}
		if to < 0 || to >= from {
			found = append(found, violation{s.path, t.line(at), s.dir + " imports " + dir})
		}
	})
	return found
}

func checkHelpers(t *tree) (found []violation) {
	t.imports(func(s source, dir string, at *ast.ImportSpec) {
		forTests := helper(dir) || dir == "test" || strings.HasPrefix(dir, "test/")
		if forTests && !s.test && !s.lab() && !helper(s.dir) {
			found = append(found, violation{s.path, t.line(at), "the program imports " + dir})
		}
	})
	return found
}

// seam is something only one package may do. Names are "import path.name",
// or an import path alone for all of it.
type seam struct {
	owner string
	tests bool // tests and their helpers are held to it as well
	names []string
}

var seams = []seam{
	{"internal/run", true, []string{
		"os/exec", "os.StartProcess", "syscall.ForkExec", "syscall.StartProcess",
	}},
	{"internal/mount", false, []string{
		"syscall.Mount", "syscall.Unmount", "golang.org/x/sys/unix.Mount", "golang.org/x/sys/unix.Unmount",
		"golang.org/x/sys/unix.MoveMount", "golang.org/x/sys/unix.OpenTree", "golang.org/x/sys/unix.Fsmount",
		"golang.org/x/sys/unix.Fsopen", "golang.org/x/sys/unix.Fsconfig", "golang.org/x/sys/unix.MountSetattr",
	}},
	{"internal/durable", false, []string{
		// Renameat is not here: it renames below an open directory, in a tree
		// that is being built.
		"os.Rename", "syscall.Rename", "golang.org/x/sys/unix.Rename", "github.com/google/renameio/v2",
	}},
}

func checkSeams(t *tree) (found []violation) {
	for _, s := range t.sources {
		if s.lab() {
			continue
		}
		for _, m := range seams {
			if s.dir == m.owner || (s.test || helper(s.dir)) && !m.tests {
				continue
			}
			for _, spec := range s.ast.Imports {
				if importPath, err := strconv.Unquote(spec.Path.Value); err == nil && slices.Contains(m.names, importPath) {
					found = append(found, violation{s.path, t.line(spec), fmt.Sprintf("%s outside %s", importPath, m.owner)})
				}
			}
			s.selectors(func(importPath, name string, at ast.Node) {
				if full := importPath + "." + name; slices.Contains(m.names, full) {
					found = append(found, violation{s.path, t.line(at), fmt.Sprintf("%s outside %s", full, m.owner)})
				}
			})
		}
	}
	return found
}

// checkExit leaves tests alone: they may panic, and TestMain may exit.
func checkExit(t *tree) (found []violation) {
	for _, s := range t.sources {
		if s.test || s.lab() || helper(s.dir) {
			continue
		}
		s.selectors(func(importPath, name string, at ast.Node) {
			ends := importPath == "os" && name == "Exit" || importPath == "log" && strings.HasPrefix(name, "Fatal")
			if ends && s.ast.Name.Name != "main" || importPath == "log" && strings.HasPrefix(name, "Panic") {
				found = append(found, violation{s.path, t.line(at), importPath + "." + name})
			}
		})
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if fn, ok := call.Fun.(*ast.Ident); ok && fn.Name == "panic" {
					found = append(found, violation{s.path, t.line(call), "panic"})
				}
			}
			return true
		})
	}
	return found
}

func checkNames(t *tree) (found []violation) {
	vague := []string{"util", "utils", "helper", "helpers", "common", "misc", "types", "constants", "mock", "mocks", "manager"}
	for _, files := range t.packages() {
		s := files[0]
		if name := s.ast.Name.Name; slices.Contains(vague, name) || strings.ContainsAny(name, "_ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			found = append(found, violation{s.path, t.line(s.ast.Name), "package " + name})
		}
	}
	return found
}

// checkExternal lets export_test.go, and files that say internal, look inside.
func checkExternal(t *tree) (found []violation) {
	for _, s := range t.sources {
		inside := s.path == path.Join(s.dir, "export_test.go") || strings.HasSuffix(s.path, "internal_test.go")
		if s.test && !inside && !s.lab() && !strings.HasSuffix(s.ast.Name.Name, "_test") {
			found = append(found, violation{s.path, t.line(s.ast.Name), "package " + s.ast.Name.Name + " in a test"})
		}
	}
	return found
}
