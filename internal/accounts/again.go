package accounts

import (
	"maps"
	"strings"
)

// Reowned are the account files of an image as its tree has them after
// [Reown]: every id is the host's. It is the third tree of a merge that is
// done again because the host changed after the layer was made. The owners
// of that plan are what is still to be moved in the layer, which is nothing
// unless the host has given out an id meanwhile.
func (t Tree) Reowned(o Owners) Tree {
	names := parse(passwd, t.Files[passwd].Text)
	out := Tree{Files: maps.Clone(t.Files), Limits: t.Limits}
	out.rewrite(passwd, func(e []string) {
		e[idField] = formatID(o.UID(idOf(e, idField)))
		e[primaryField] = formatID(o.GID(idOf(e, primaryField)))
	})
	out.rewrite(group, func(e []string) { e[idField] = formatID(o.GID(idOf(e, idField))) })
	for _, file := range []string{subuid, subgid} {
		out.rewrite(file, func(e []string) {
			if id, ok := parseID(e[0]); ok && names.get(e[0]) == nil {
				e[0] = formatID(o.UID(id))
			}
		})
	}
	for name, f := range out.Files {
		f.UID, f.GID = o.UID(f.UID), o.GID(f.GID)
		out.Files[name] = f
	}
	return out
}

// rewrite changes the entries of one file; other lines stay.
func (t Tree) rewrite(file string, change func(e []string)) {
	f, ok := t.Files[file]
	if !ok {
		return
	}
	var w strings.Builder
	for _, l := range parse(file, f.Text).lines {
		if l.kind == entry {
			change(l.fields)
			l.raw = strings.Join(l.fields, ":") + "\n"
		}
		w.WriteString(l.raw)
	}
	f.Text = []byte(w.String())
	t.Files[file] = f
}

// Then is the map of a tree that was re-owned by o and then by next.
func (o Owners) Then(next Owners) Owners {
	return Owners{UIDs: compose(o.UIDs, next.UIDs), GIDs: compose(o.GIDs, next.GIDs)}
}

func compose(first, next map[uint32]uint32) map[uint32]uint32 {
	out := maps.Clone(next)
	if out == nil {
		out = make(map[uint32]uint32)
	}
	for from, to := range first {
		out[from] = mapped(next, to)
	}
	maps.DeleteFunc(out, func(from, to uint32) bool { return from == to })
	return out
}
