package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// sample is one run of a way.
type sample struct {
	Wall time.Duration `json:"wall_ns"`
	CPU  time.Duration `json:"cpu_ns"`               // user and system, of the program and its children
	Peak int64         `json:"peak_bytes,omitempty"` // memory of its largest process, where that is measured
}

// timing is all runs of a way.
type timing struct {
	Group   string   `json:"group"`
	Way     string   `json:"way"`
	Samples []sample `json:"samples"`
}

// finding is a number that has a goal, or that a goal is asked about.
type finding struct {
	Group string  `json:"group"`
	What  string  `json:"what"`
	Value float64 `json:"value"`
	CPU   float64 `json:"cpu,omitempty"` // the same by processor time
	Goal  *goal   `json:"goal,omitempty"`
}

// goal is a bound on a finding.
type goal struct {
	Limit   float64 `json:"limit"`
	AtLeast bool    `json:"at_least,omitempty"` // a floor and not a ceiling
}

func (g *goal) String() string {
	if g == nil {
		return ""
	}
	if g.AtLeast {
		return fmt.Sprintf("≥ %g", g.Limit)
	}
	return fmt.Sprintf("≤ %g", g.Limit)
}

func (f finding) verdict() string {
	switch {
	case f.Goal == nil:
		return ""
	case f.Goal.AtLeast == (f.Value >= f.Goal.Limit) || f.Value == f.Goal.Limit:
		return "met"
	}
	return "missed"
}

// verbPrograms are the programs that a verb started, in order, as typed.
type verbPrograms struct {
	Verb     string   `json:"verb"`
	Programs []string `json:"programs"`
}

// report is everything measured.
type report struct {
	Timings  []timing       `json:"timings"`
	Findings []finding      `json:"findings"`
	Programs []verbPrograms `json:"programs"` // not printed in the table
}

func median[T ~int64](samples []sample, of func(sample) T) T {
	var all []T
	for _, s := range samples {
		all = append(all, of(s))
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

func wall(s sample) time.Duration { return s.Wall }
func cpu(s sample) time.Duration  { return s.CPU }
func peak(s sample) int64         { return s.Peak }

// ratio is a over b, of their medians.
func ratio(a, b timing) (onClock, onCPU float64) {
	over := func(of func(sample) time.Duration) float64 {
		return float64(median(a.Samples, of)) / float64(max(median(b.Samples, of), 1))
	}
	return over(wall), over(cpu)
}

func (r *report) find(group, what string, g *goal, values ...float64) {
	f := finding{Group: group, What: what, Value: values[0], Goal: g}
	if len(values) > 1 {
		f.CPU = values[1]
	}
	r.Findings = append(r.Findings, f)
}

func (r *report) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	group := ""
	for _, t := range r.Timings {
		if t.Group != group {
			group = t.Group
			memory := ""
			if t.Samples[0].Peak > 0 {
				memory = "memory\t"
			}
			fmt.Fprintf(w, "\n%s\tmedian\tleast\tmost\tprocessor\t%s\n", group, memory)
		}
		by := func(a, b sample) int { return int(a.Wall - b.Wall) }
		ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t", t.Way, ms(median(t.Samples, wall)),
			ms(slices.MinFunc(t.Samples, by).Wall), ms(slices.MaxFunc(t.Samples, by).Wall), ms(median(t.Samples, cpu)))
		if bytes := median(t.Samples, peak); bytes > 0 {
			fmt.Fprintf(w, "%.1f MiB\t", float64(bytes)/(1<<20))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "\nagainst the goals\tvalue\tby processor\tgoal\t\t\n")
	for _, f := range r.Findings {
		byCPU := ""
		if f.CPU != 0 {
			byCPU = fmt.Sprintf("%.2f", f.CPU)
		}
		fmt.Fprintf(w, "  %s: %s\t%.4g\t%s\t%s\t%s\t\n", f.Group, f.What, f.Value, byCPU, f.Goal, f.verdict())
	}
	return w.Flush()
}
