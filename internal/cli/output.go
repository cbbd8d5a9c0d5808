package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"imgbase/internal/derive"
	"imgbase/internal/host"
)

// SchemaVersion is the version of the JSON documents. It grows when a field
// changes its meaning or goes; a new field does not change it.
const SchemaVersion = 1

// print writes a report: as JSON under its kind, or as text.
func (a *app) print(kind string, value any, text string) error {
	if !a.json {
		_, err := io.WriteString(a.Stdout, text)
		return err
	}
	enc := json.NewEncoder(a.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(document{Version: SchemaVersion, Kind: kind, Value: value})
}

// document is the frame of every JSON report.
type document struct {
	Version int    `json:"version"`
	Kind    string `json:"kind"`
	Value   any    `json:"value"`
}

// lines joins names as the original prints them: one a line, and an empty
// line when there are none.
func lines[T fmt.Stringer](items []T) string {
	names := make([]string, len(items))
	for i, it := range items {
		names[i] = it.String()
	}
	return strings.Join(names, "\n") + "\n"
}

func stringsOf[T fmt.Stringer](items []T) []string {
	names := make([]string, len(items))
	for i, it := range items {
		names[i] = it.String()
	}
	return names
}

// plan is a dry run's report.
type plan struct {
	*host.Change
	Steps []string `json:"steps"`
}

func (a *app) printPlan(c *host.Change) error {
	var text strings.Builder
	for _, s := range c.Steps() {
		fmt.Fprintln(&text, s)
	}
	if c.Carried != nil {
		text.WriteString(carriedText(*c.Carried))
	}
	if c.Packages != nil {
		printAll(&text, "package: ", c.Packages.Changes)
	}
	printAll(&text, "derived: ", c.Derived)
	for _, n := range c.Notes {
		fmt.Fprintf(&text, "note: %s\n", n)
	}
	return a.print("plan", plan{Change: c, Steps: c.Steps()}, text.String())
}

// report says what a change did. On standard output only if asked for JSON:
// the original prints nothing there.
func (a *app) report(c *host.Change) error {
	if a.json {
		return a.print("change", c, "")
	}
	a.bar.clear()
	if c.Carried != nil {
		fmt.Fprint(a.Stderr, carriedText(*c.Carried))
	}
	if c.Packages != nil {
		fmt.Fprintf(a.Stderr, "packages: %s\n", c.Packages)
	}
	printAll(a.Stderr, "mode: ", c.Modes)
	for _, d := range c.Derived {
		if d.Op != derive.Keep {
			fmt.Fprintf(a.Stderr, "derived: %s\n", d)
		}
	}
	for _, r := range c.Removed {
		fmt.Fprintf(a.Stderr, "removed %s\n", r)
	}
	for _, n := range c.Notes {
		fmt.Fprintf(a.Stderr, "note: %s\n", n)
	}
	return nil
}

// printAll prints one line for each item.
func printAll[T any](out io.Writer, prefix string, items []T) {
	for _, item := range items {
		fmt.Fprintf(out, "%s%v\n", prefix, item)
	}
}

// progress shows what is being done, on a terminal and after a second.
type progress struct {
	mu    sync.Mutex
	out   io.Writer // nil: nobody looks
	start time.Time
	bar   *progressbar.ProgressBar
}

func newProgress(out io.Writer, show bool) *progress {
	p := &progress{start: time.Now()}
	if show {
		p.out = out
	}
	return p
}

func (p *progress) event(e host.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil || time.Since(p.start) < time.Second {
		return
	}
	if e.Total > 0 {
		if p.bar == nil {
			p.bar = progressbar.NewOptions64(e.Total, progressbar.OptionSetWriter(p.out),
				progressbar.OptionSetDescription(e.Step), progressbar.OptionShowBytes(true),
				progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
		}
		_ = p.bar.Set64(e.Done)
		return
	}
	p.bar = nil
	fmt.Fprintf(p.out, "\r\x1b[K%s …", e.Step)
}

// clear takes the progress off the screen.
func (p *progress) clear() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out != nil {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

// handler writes log records for people: the time, the level, the message.
// On a terminal the steps are shown by progress, and only what is worth a
// warning is logged.
type handler struct {
	mu    *sync.Mutex
	out   io.Writer
	level slog.Level
	attrs []slog.Attr
}

func newHandler(out io.Writer, level slog.Level, terminal bool) slog.Handler {
	if terminal {
		level = slog.LevelWarn
	}
	return &handler{mu: &sync.Mutex{}, out: out, level: level}
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s [%s] %s", r.Time.Format("2006-01-02 15:04:05,000"), r.Level, r.Message)
	attr := func(a slog.Attr) bool { fmt.Fprintf(&b, " %s=%v", a.Key, a.Value); return true }
	for _, a := range h.attrs {
		attr(a)
	}
	r.Attrs(attr)
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.out, b.String())
	return err
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = append(append([]slog.Attr(nil), h.attrs...), attrs...)
	return &c
}

func (h *handler) WithGroup(string) slog.Handler { return h }
