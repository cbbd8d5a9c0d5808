package boot

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrEnvBlock says that a file is no GRUB environment block; it is left
// alone.
var ErrEnvBlock = errors.New("not a GRUB environment block")

const (
	envSize      = 1024
	envSignature = "# GRUB Environment Block\n"
	sectorSize   = 512

	// slotSize is the width, in bytes, of the slot of our variables. It fits
	// two entry ids of the longest names (a layer of 55 characters and a
	// kernel version of 64) with their variables' names, ends within the
	// first sector, and leaves 679 bytes to others.
	slotSize = 320

	savedEntry = "saved_entry"
	ownPrefix  = "imgbase_"
)

// Env is GRUB's environment block: a file of 1024 bytes with a signature
// line, variables as lines name=value (a backslash before a backslash or a
// newline), comment lines, and '#' up to the end.
//
// Our variables (saved_entry and those named imgbase_*) are kept in a slot
// of fixed width right after the signature: the variables, then a comment
// line of '#' that takes what is left of the width. Changing them moves
// nothing else and touches the first 512 bytes only. GRUB itself moves what
// follows when it saves a variable of another length; [Env.Prepare] lays the
// slot out again. All other lines stay as they are, in their order.
type Env struct {
	fixed bool      // the slot is laid out
	slot  []envItem // when fixed: our variables
	rest  []envItem
}

// envItem is a variable, a comment line, or (last only) bytes that GRUB does
// not understand and stops at.
type envItem struct {
	raw   string
	name  string // "" unless a variable
	value string
}

// NewEnv returns an empty block, prepared.
func NewEnv() *Env { return &Env{fixed: true} }

// ParseEnv parses an environment block. The error is [ErrEnvBlock] with the
// reason.
func ParseEnv(data []byte) (*Env, error) {
	if len(data) != envSize {
		return nil, fmt.Errorf("%w: %d bytes instead of %d", ErrEnvBlock, len(data), envSize)
	}
	if !bytes.HasPrefix(data, []byte(envSignature)) {
		return nil, fmt.Errorf("%w: no signature", ErrEnvBlock)
	}
	text := strings.TrimRight(string(data), "#")
	if !strings.HasSuffix(text, "\n") {
		return nil, fmt.Errorf("%w: its last line has no end", ErrEnvBlock)
	}
	e := &Env{}
	for text = text[len(envSignature):]; text != ""; {
		item := nextItem(text)
		e.rest = append(e.rest, item)
		text = text[len(item.raw):]
	}
	e.findSlot()
	return e, nil
}

// nextItem follows grub_envblk_iterate: a line that begins with '#' is
// skipped; a name goes up to the next '=', over line ends if need be; a value
// ends at a newline without a backslash before it.
func nextItem(text string) envItem {
	if text[0] == '#' {
		return envItem{raw: text[:strings.IndexByte(text, '\n')+1]}
	}
	eq := strings.IndexByte(text, '=')
	if eq < 0 {
		return envItem{raw: text}
	}
	var value strings.Builder
	for i := eq + 1; i < len(text); i++ {
		switch {
		case text[i] == '\n':
			return envItem{raw: text[:i+1], name: text[:eq], value: value.String()}
		case text[i] == '\\' && i+1 < len(text):
			i++
		}
		value.WriteByte(text[i])
	}
	return envItem{raw: text}
}

func newVariable(name, value string) envItem {
	escaped := strings.NewReplacer(`\`, `\\`, "\n", "\\\n").Replace(value)
	return envItem{raw: name + "=" + escaped + "\n", name: name, value: value}
}

func (i envItem) own() bool { return i.name == savedEntry || strings.HasPrefix(i.name, ownPrefix) }

// filler tells a comment line of nothing but '#'.
func (i envItem) filler() bool { return i.raw[0] == '#' && strings.Trim(i.raw, "#") == "\n" }

// findSlot recognises a block that is prepared: the slot has its width, and
// none of our variables lies outside.
func (e *Env) findSlot() {
	n, width := 0, 0
	for n < len(e.rest) && e.rest[n].own() {
		width += len(e.rest[n].raw)
		n++
	}
	if n == len(e.rest) || !e.rest[n].filler() || width+len(e.rest[n].raw) != slotSize {
		return
	}
	if slices.ContainsFunc(e.rest[n:], envItem.own) {
		return
	}
	e.fixed, e.slot, e.rest = true, slices.Clone(e.rest[:n]), e.rest[n+1:]
}

// Prepare lays the slot out. It changes no variable's value, and nothing in a
// block that is prepared. The error says that the variables leave no room.
func (e *Env) Prepare() error {
	if e.fixed {
		return nil
	}
	next := &Env{fixed: true}
	wasOwn := true // a filler at the very start is an empty slot's
	for _, item := range e.rest {
		switch {
		case item.own():
			next.slot = put(next.slot, item)
		case wasOwn && item.filler():
		default:
			next.rest = append(next.rest, item)
		}
		wasOwn = item.own()
	}
	// GRUB looks for "saved_entry=" byte by byte when it saves it, and finds
	// it in "prev_saved_entry=" too: ours must come first.
	slices.SortStableFunc(next.slot, func(a, b envItem) int {
		switch {
		case a.name == savedEntry:
			return -1
		case b.name == savedEntry:
			return 1
		}
		return 0
	})
	if err := next.fits(); err != nil {
		return err
	}
	*e = *next
	return nil
}

// put replaces the variable of the item's name or adds the item.
func put(items []envItem, item envItem) []envItem {
	i := slices.IndexFunc(items, func(o envItem) bool { return o.name == item.name })
	if i < 0 {
		return append(items, item)
	}
	items = slices.Clone(items)
	items[i] = item
	return items
}

// fits checks the sizes. The filler takes two bytes at least: a line end of
// its own would become part of the next variable's name.
func (e *Env) fits() error {
	size := len(envSignature) + length(e.rest)
	if e.fixed {
		if n := length(e.slot); n > slotSize-2 {
			return fmt.Errorf("environment block: %d bytes of variables do not fit a slot of %d", n, slotSize)
		}
		size += slotSize
	}
	if size > envSize {
		return fmt.Errorf("environment block: its variables need %d bytes of %d", size, envSize)
	}
	return nil
}

func length(items []envItem) int {
	n := 0
	for _, i := range items {
		n += len(i.raw)
	}
	return n
}

// Get returns the variable's value. Of several of that name GRUB takes the
// last.
func (e *Env) Get(name string) (string, bool) {
	for _, items := range [][]envItem{e.rest, e.slot} {
		for _, i := range slices.Backward(items) {
			if i.name == name && name != "" {
				return i.value, true
			}
		}
	}
	return "", false
}

// Set gives the variable a value, in its place or as a new one. One of ours
// goes into the slot, which is prepared for it. On error nothing changed.
func (e *Env) Set(name, value string) error {
	if name == "" || name[0] == '#' || strings.ContainsAny(name, "=\n\\\x00") || strings.Contains(value, "\x00") {
		return fmt.Errorf("environment block: %q=%q cannot be stored", name, value)
	}
	item := newVariable(name, value)
	next := *e
	if item.own() {
		if err := next.Prepare(); err != nil {
			return err
		}
		next.slot = put(next.slot, item)
		if name == savedEntry && next.slot[0].name != savedEntry {
			next.slot = append([]envItem{item}, next.slot[:len(next.slot)-1]...)
		}
	} else {
		next.rest = setForeign(e.rest, item)
	}
	if err := next.fits(); err != nil {
		return err
	}
	*e = next
	return nil
}

// setForeign replaces the last variable of that name, the one GRUB takes, or
// adds it before what GRUB would stop at.
func setForeign(rest []envItem, item envItem) []envItem {
	rest = slices.Clone(rest)
	for i := range slices.Backward(rest) {
		if rest[i].name == item.name {
			rest[i] = item
			return rest
		}
	}
	end := len(rest)
	if end > 0 && rest[end-1].name == "" && rest[end-1].raw[0] != '#' {
		end--
	}
	return slices.Insert(rest, end, item)
}

// Unset removes the variable. A missing one is no error.
func (e *Env) Unset(name string) error {
	next := *e
	if (envItem{name: name}).own() {
		if err := next.Prepare(); err != nil {
			return err
		}
	}
	named := func(i envItem) bool { return i.name == name && name != "" }
	next.slot = slices.DeleteFunc(slices.Clone(next.slot), named)
	next.rest = slices.DeleteFunc(slices.Clone(next.rest), named)
	*e = next
	return nil
}

// Bytes returns the block, 1024 bytes.
func (e *Env) Bytes() []byte {
	b := append(make([]byte, 0, envSize), envSignature...)
	for _, i := range e.slot {
		b = append(b, i.raw...)
	}
	if e.fixed {
		end := len(envSignature) + slotSize - 1
		b = append(b, strings.Repeat("#", end-len(b))...)
		b = append(b, '\n')
	}
	for _, i := range e.rest {
		b = append(b, i.raw...)
	}
	return append(b, strings.Repeat("#", envSize-len(b))...)
}
