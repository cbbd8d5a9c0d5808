package derive

import (
	"slices"
	"strconv"
	"strings"
)

// sources are the directives that name where time comes from. ntpd's replace
// chrony's, all of them.
var sources = []string{"server", "pool", "peer"}

// bounds are those of a number, both allowed.
type bounds struct{ min, max int }

// sourceOptions are the options of a source that mean the same to both, with
// what the number after them can be; nil is no number. Any other option would
// keep chronyd from starting.
var sourceOptions = map[string]*bounds{
	"burst": nil, "iburst": nil, "noselect": nil, "nts": nil, "prefer": nil, "xleave": nil,
	"key": {1, 65535}, "maxpoll": {-6, 24}, "minpoll": {-6, 24}, "version": {1, 4},
}

// settings are the directives of chrony that the original took over when they
// stand in an ntp.conf.
var settings = []string{
	"acquisitionport", "clientloglimit", "cmdport", "cmdratelimit", "combinelimit", "corrtimeratio",
	"dumpdir", "hwclockfile", "keyfile", "leapsecmode", "leapsectz", "local", "lock_all", "log",
	"logbanner", "logchange", "logdir", "manual", "maxclockerror", "maxdistance", "maxdrift",
	"maxjitter", "maxsamples", "maxslewrate", "maxupdateskew", "minsamples", "minsources",
	"noclientlog", "ntpsigndsocket", "port", "ratelimit", "reselectdist", "rtcautotrim",
	"rtcdevice", "rtcfile", "rtconutc", "rtcsync", "sched_priority", "stratumweight", "user",
}

// localClock begins the addresses of ntpd's driver for the undisciplined
// local clock; other addresses in this network are other drivers.
const (
	localClock = "127.127.1."
	drivers    = "127.127."
	// localStratum is what ntpd gives the local clock by itself.
	localStratum = "5"
	maxStratum   = 15
)

// ConvertNTP makes chrony take over what ntp says: its sources in place of
// chrony's own, its local clock, and settings that both know. Every line of
// chrony stays, those that no longer hold as a comment; a comment of ntp
// comes along with the line it stands on or above. Repeated lines stay
// repeated. It returns what chrony has no words for, line by line. A chrony
// that was converted already is returned as it is.
func ConvertNTP(ntp, chrony string) (conf string, lost []string) {
	if converted(chrony) {
		return chrony, nil
	}
	c := conversion{strata: strata(ntp)}
	for line := range strings.Lines(ntp) {
		c.line(printableLine(line))
	}
	var out strings.Builder
	for line := range strings.Lines(chrony) {
		if words := strings.Fields(line); len(words) > 0 && c.replaces(words[0]) {
			out.WriteString("#")
		}
		out.WriteString(strings.TrimSuffix(line, "\n") + "\n")
	}
	out.WriteString("\n" + marker + "\n")
	for _, line := range c.lines {
		out.WriteString(line + "\n")
	}
	return out.String(), c.lost
}

// printableLine is a line without its end and without bytes that neither
// program takes for anything but a mistake.
func printableLine(line string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' {
			return ' '
		}
		return r
	}, line))
}

// conversion is ntp.conf, read up to some line.
type conversion struct {
	strata   map[string]string // of local clocks, by address
	comments []string          // directly above
	lines    []string          // of chrony
	taken    []string          // directives that lines has
	lost     []string
}

func (c *conversion) line(line string) {
	directive, comment, found := strings.Cut(line, "#")
	if found {
		comment = strings.TrimRight("#"+comment, " \t")
	}
	words := strings.Fields(directive)
	if len(words) == 0 {
		// A blank line ends what a comment is about.
		if c.comments = append(c.comments, comment); comment == "" {
			c.comments = nil
		}
		return
	}
	if comment != "" {
		// chrony has comments on lines of their own only.
		c.comments = append(c.comments, comment)
	}
	defer func() { c.comments = nil }()
	name := strings.ToLower(words[0])
	switch {
	case slices.Contains(sources, name) && len(words) > 1:
		c.source(name, words[1:])
	case slices.Contains(settings, name):
		c.take(name, strings.Join(append([]string{name}, words[1:]...), " "))
	case name == "driftfile" || name == "fudge" && len(words) > 1 && strings.HasPrefix(words[1], localClock):
		// chrony has a file of its own, of another form; the stratum is in c.strata.
	default:
		c.lost = append(c.lost, strings.Join(words, " "))
	}
}

func (c *conversion) take(name, line string) {
	c.lines = append(append(c.lines, c.comments...), line)
	if !slices.Contains(c.taken, name) {
		c.taken = append(c.taken, name)
	}
}

// replaces says whether a line of chrony with the directive gives way.
func (c *conversion) replaces(directive string) bool {
	directive = strings.ToLower(directive)
	if slices.Contains(sources, directive) {
		return slices.ContainsFunc(c.taken, func(t string) bool { return slices.Contains(sources, t) })
	}
	return slices.Contains(c.taken, directive)
}

// source takes a source over without the options that chrony has not.
func (c *conversion) source(name string, words []string) {
	var dropped []string
	for len(words) > 1 && (words[0] == "-4" || words[0] == "-6") {
		dropped, words = append(dropped, words[0]), words[1:]
	}
	address := words[0]
	if strings.HasPrefix(address, localClock) {
		stratum := c.strata[address]
		if stratum == "" {
			stratum = localStratum
		}
		c.take("local", "local stratum "+stratum)
		return
	}
	if strings.HasPrefix(address, drivers) || strings.HasPrefix(address, "-") {
		c.lost = append(c.lost, name+" "+strings.Join(words, " "))
		return
	}
	line := []string{name, address}
	for words = words[1:]; len(words) > 0; {
		option := strings.ToLower(words[0])
		limits, known := sourceOptions[option]
		switch {
		case known && limits == nil:
			line, words = append(line, option), words[1:]
		case known && len(words) > 1 && limits.allow(words[1]):
			line, words = append(line, option, words[1]), words[2:]
		default:
			dropped, words = append(dropped, words[0]), words[1:]
		}
	}
	if len(dropped) > 0 {
		c.lost = append(c.lost, strings.Join(dropped, " ")+" of "+name+" "+address)
	}
	c.take(name, strings.Join(line, " "))
}

// strata are the strata that fudge gives local clocks.
func strata(ntp string) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(ntp) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) < 4 || !strings.EqualFold(words[0], "fudge") {
			continue
		}
		for i := 2; i+1 < len(words); i++ {
			if strings.EqualFold(words[i], "stratum") && (&bounds{1, maxStratum}).allow(words[i+1]) {
				found[words[1]] = words[i+1]
			}
		}
	}
	return found
}

// allow says whether a word is a number within the bounds.
func (b *bounds) allow(word string) bool {
	n, err := strconv.Atoi(word)
	return err == nil && b.min <= n && n <= b.max
}
