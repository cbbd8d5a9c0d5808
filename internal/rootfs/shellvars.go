package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// maxShell bounds a file of shell assignments, and every value in it. The
// parser recurses with the nesting of its input, so that the size bounds its
// stack too.
const maxShell = 64 << 10

// ShellVars is a file of shell assignments, such as /etc/default/grub or
// os-release. It may hold other shell as well, which is left alone and never
// run.
type ShellVars struct {
	data    []byte
	assigns []assignment // in order
}

// assignment is one place that gives a variable a value.
type assignment struct {
	*syntax.Assign
	sure bool // at the top, not in an if, a function, a pipe
}

// ParseShellVars reads a file of shell assignments, UTF-8, of at most 64 KiB. What
// no shell would read, and NUL bytes, are errors.
func ParseShellVars(data []byte) (*ShellVars, error) {
	if len(data) > maxShell {
		return nil, fmt.Errorf("shell variables: larger than %d bytes", maxShell)
	}
	if at := bytes.IndexByte(data, 0); at >= 0 {
		return nil, fmt.Errorf("shell variables: NUL byte at offset %d", at)
	}
	file, err := syntax.NewParser(syntax.KeepComments(false)).Parse(bytes.NewReader(data), "")
	if err != nil {
		return nil, fmt.Errorf("shell variables: %w", err)
	}
	v := &ShellVars{data: bytes.Clone(data)}
	sure := make(map[*syntax.Assign]bool)
	for _, stmt := range file.Stmts {
		for _, a := range assigned(stmt) {
			sure[a] = true
		}
	}
	passing := make(map[*syntax.Assign]bool)
	for node := range syntax.Preorder(file) {
		switch n := node.(type) {
		case *syntax.CallExpr:
			for _, a := range n.Assigns { // "A=x program" sets A for the program only
				passing[a] = len(n.Args) > 0
			}
		case *syntax.Assign:
			if !n.Naked && n.Name != nil && !passing[n] {
				v.assigns = append(v.assigns, assignment{n, sure[n]})
			}
		}
	}
	return v, nil
}

// assigned lists the assignments that a statement surely makes.
func assigned(stmt *syntax.Stmt) []*syntax.Assign {
	if stmt.Background || stmt.Coprocess || stmt.Negated || len(stmt.Redirs) > 0 {
		return nil
	}
	switch cmd := stmt.Cmd.(type) {
	case *syntax.CallExpr:
		return cmd.Assigns
	case *syntax.DeclClause:
		return cmd.Args
	}
	return nil
}

// errShell says that only a shell could tell a value.
var errShell = errors.New("only a shell can compute the value")

// Get is the value of a variable, quotes removed and earlier variables of
// the file expanded; ok is false when the file does not set it. A value that
// only a shell can compute, such as $(…), or one that is set under a
// condition, is an error.
func (v *ShellVars) Get(name string) (value string, ok bool, err error) {
	vars := variables{values: make(map[string]string), broken: make(map[string]bool)}
	for _, a := range v.assigns {
		vars.assign(a)
	}
	if vars.broken[name] {
		return "", true, fmt.Errorf("variable %s: %w", name, errShell)
	}
	value, ok = vars.values[name]
	return value, ok, nil
}

// variables is what was assigned so far.
type variables struct {
	values map[string]string
	broken map[string]bool // assigned, and no one knows what
}

func (vs *variables) assign(a assignment) {
	name := a.Name.Value
	value, err := "", error(nil)
	if a.Value != nil {
		value, err = vs.literal(a.Value)
	}
	if a.Append {
		value = vs.values[name] + value
	}
	if err != nil || !a.sure || a.Array != nil || a.Index != nil || len(value) > maxShell || a.Append && vs.broken[name] {
		vs.broken[name] = true
		return
	}
	delete(vs.broken, name)
	vs.values[name] = value
}

// literal expands a word that holds nothing but text, quotes and variables
// known so far.
func (vs *variables) literal(word *syntax.Word) (string, error) {
	var b strings.Builder
	for i, part := range word.Parts {
		switch p := part.(type) {
		case *syntax.Lit:
			if i == 0 && strings.HasPrefix(p.Value, "~") {
				return "", errShell // a home directory of the running system
			}
			b.WriteString(unquote(p.Value, ""))
		case *syntax.SglQuoted:
			if p.Dollar { // $'…' is not POSIX; dash reads it otherwise
				return "", errShell
			}
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			if err := vs.quoted(&b, p); err != nil {
				return "", err
			}
		default:
			if err := vs.expand(&b, part); err != nil {
				return "", err
			}
		}
	}
	return b.String(), nil
}

func (vs *variables) quoted(b *strings.Builder, q *syntax.DblQuoted) error {
	if q.Dollar { // translated by the locale
		return errShell
	}
	for _, part := range q.Parts {
		if lit, ok := part.(*syntax.Lit); ok {
			b.WriteString(unquote(lit.Value, "$`\"\\"))
		} else if err := vs.expand(b, part); err != nil {
			return err
		}
	}
	return nil
}

// expand writes the value of a variable. The result is bounded: doubling a
// variable 40 times is 40 short lines.
func (vs *variables) expand(b *strings.Builder, part syntax.WordPart) error {
	p, ok := part.(*syntax.ParamExp)
	if !ok || !plain(p) || vs.broken[p.Param.Value] {
		return errShell
	}
	b.WriteString(vs.values[p.Param.Value])
	if b.Len() > maxShell {
		return errShell
	}
	return nil
}

// unquote removes the backslashes that quote, which is before any character
// of special, or before all when special is empty (POSIX XCU 2.2).
func unquote(s, special string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			switch next := s[i+1]; {
			case next == '\n':
				i++
				continue
			case special == "" || strings.IndexByte(special, next) >= 0:
				i++
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// plain reports $name and ${name}: every operator makes it longer. Special
// parameters such as $1 or $? have no name.
func plain(p *syntax.ParamExp) bool {
	if p.Param == nil || !syntax.ValidName(p.Param.Value) {
		return false
	}
	width, name := int(p.End().Offset()-p.Pos().Offset()), len(p.Param.Value)
	return width == name+len("$") || width == name+len("${}")
}

// Set makes the file give the variable this value, single-quoted: only the
// bytes of its last value change, or, where that is no plain assignment, a
// line is added at the end. The value is one line.
func (v *ShellVars) Set(name, value string) error {
	if !syntax.ValidName(name) {
		return fmt.Errorf("variable %q: no name of a shell variable", name)
	}
	if strings.ContainsAny(value, "\x00\n\r") {
		return fmt.Errorf("variable %s: value %q is not one line", name, value)
	}
	quoted := "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
	for _, data := range [][]byte{v.spliced(name, quoted), v.appended(name, quoted)} {
		next, err := ParseShellVars(data)
		if err != nil {
			continue
		}
		if got, ok, err := next.Get(name); err == nil && ok && got == value {
			*v = *next
			return nil
		}
	}
	return fmt.Errorf("variable %s: the file does not take another value", name)
}

// spliced is the file with the last value of name replaced, nil when it has
// none that can be.
func (v *ShellVars) spliced(name, quoted string) []byte {
	at := -1
	for i, a := range v.assigns {
		if a.Name.Value == name {
			at = i
		}
	}
	if at < 0 {
		return v.appended(name, quoted)
	}
	a := v.assigns[at]
	if !a.sure || a.Append || a.Index != nil || a.Array != nil {
		return nil
	}
	from, to := int(a.Name.End().Offset())+1, int(a.End().Offset())
	if a.Value != nil {
		from, to = int(a.Value.Pos().Offset()), int(a.Value.End().Offset())
	}
	if from > to || to > len(v.data) {
		return nil
	}
	for to > from && v.data[to-1] == '\r' { // of the line's end, which the parser counts in
		to--
	}
	return slices.Concat(v.data[:from], []byte(quoted), v.data[to:])
}

func (v *ShellVars) appended(name, quoted string) []byte {
	data := bytes.Clone(v.data)
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(data, '\n')
	}
	return append(data, name+"="+quoted+"\n"...)
}

// Bytes is the file.
func (v *ShellVars) Bytes() []byte { return bytes.Clone(v.data) }
