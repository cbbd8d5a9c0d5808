package boot

import (
	"slices"
	"strings"
)

// Args are the words of a kernel command line, quotes included: a word is
// `root=/dev/x`, `quiet` or `dyndbg="file x.c +p"`. The methods leave their
// receiver as it is.
type Args []string

// ParseArgs splits a command line at white space outside of double quotes,
// as the kernel does (next_arg in lib/cmdline.c): there is no escape, and no
// other quote. A quote left open ends with the line and is closed here, so
// that words can follow.
func ParseArgs(line string) Args {
	var args Args
	start, quoted := -1, false
	for i := range len(line) {
		switch c := line[i]; {
		case isSpace(c) && !quoted:
			if start >= 0 {
				args = append(args, line[start:i])
			}
			start = -1
			continue
		case c == '"':
			quoted = !quoted
		}
		if start < 0 {
			start = i
		}
	}
	if start >= 0 {
		last := line[start:]
		if quoted {
			last += `"`
		}
		args = append(args, last)
	}
	return args
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// String joins the words to a command line.
func (a Args) String() string { return strings.Join(a, " ") }

// Get returns the value of the last word key=value, without its quotes: of
// several, the kernel takes the last. A bare key has the value "".
func (a Args) Get(key string) (string, bool) {
	for _, word := range slices.Backward(a) {
		if k, v := splitArg(word); k == key {
			return v, true
		}
	}
	return "", false
}

// Set returns the words with key=value in place of the first word of that
// key and without the others, or at the end. The value is quoted when it
// holds white space.
func (a Args) Set(key, value string) Args {
	word := key + "=" + value
	if strings.ContainsAny(value, " \t\n\v\f\r") {
		word = key + `="` + value + `"`
	}
	var args Args
	done := false
	for _, w := range a {
		if k, _ := splitArg(w); k != key {
			args = append(args, w)
		} else if !done {
			args, done = append(args, word), true
		}
	}
	if !done {
		args = append(args, word)
	}
	return args
}

// Drop returns the words without those of the key, bare or with a value.
func (a Args) Drop(key string) Args {
	return slices.DeleteFunc(slices.Clone(a), func(w string) bool {
		k, _ := splitArg(w)
		return k == key
	})
}

// Append returns the words followed by those given that are not yet among
// them, compared as whole words.
func (a Args) Append(words ...string) Args {
	args := slices.Clone(a)
	for _, w := range words {
		if !slices.Contains(args, w) {
			args = append(args, w)
		}
	}
	return args
}

// splitArg returns a word's key and value without quotes. Quotes may enclose
// the value or the whole word.
func splitArg(word string) (key, value string) {
	key, value, _ = strings.Cut(unquoteArg(word), "=")
	return key, value
}

func unquoteArg(word string) string { return strings.ReplaceAll(word, `"`, "") }
