package hooks

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Report is what became of an event's hooks.
type Report struct {
	Event    Event    `json:"event"`
	Results  []Result `json:"results"` // in the order in which the hooks ran
	Warnings []string `json:"warnings,omitempty"`
}

// Result is how one hook ended.
type Result struct {
	Hook   string `json:"hook"`            // its path, made printable
	Code   int    `json:"code"`            // exit code, -1 when it was not started or was killed
	Cause  string `json:"cause,omitempty"` // why it failed and the last line it printed; "" when it did not fail
	Stdout string `json:"stdout,omitempty"`
	Stderr string `json:"stderr,omitempty"`
}

// Failed are the results of the hooks that failed.
func (r Report) Failed() []Result {
	var failed []Result
	for _, result := range r.Results {
		if result.Cause != "" {
			failed = append(failed, result)
		}
	}
	return failed
}

// String is the result on one line.
func (r Result) String() string {
	if r.Cause == "" {
		return fmt.Sprintf("hook %s: ended well", r.Hook)
	}
	return fmt.Sprintf("hook %s: %s", r.Hook, r.Cause)
}

// Warnings are one line for each refused hook or directory.
func (s Set) Warnings() []string {
	var lines []string
	for _, skipped := range s.Skipped {
		if skipped.Refused {
			lines = append(lines, skipped.String())
		}
	}
	return lines
}

// String is the hook's path, printable.
func (h Hook) String() string { return printable(h.Path) }

// MarshalJSON writes the path as [Hook.String] does, because JSON has no way
// to hold a name that is not UTF-8.
func (h Hook) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Path string `json:"path"`
	}{h.String()})
}

// String says on one line what does not run, and why.
func (s Skipped) String() string {
	verb := "skipped"
	if s.Refused {
		verb = "refused"
	}
	return fmt.Sprintf("hook %s %s: %s", printable(s.Path), verb, s.Why)
}

// MarshalJSON writes the path as [Hook.MarshalJSON] does.
func (s Skipped) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Path    string `json:"path"`
		Why     string `json:"why"`
		Refused bool   `json:"refused,omitempty"`
	}{printable(s.Path), s.Why, s.Refused})
}

// printable writes backslashes and all that is not printable UTF-8 as \ooo,
// the way proc(5) writes paths.
func printable(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if r == '\\' || !unicode.IsPrint(r) || r == utf8.RuneError && n == 1 {
			for _, c := range []byte(text[i : i+n]) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
		} else {
			b.WriteString(text[i : i+n])
		}
		i += n
	}
	return b.String()
}
