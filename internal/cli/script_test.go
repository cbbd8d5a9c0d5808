package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"imgbase/internal/cli"
	"imgbase/internal/config"
	"imgbase/internal/host"
	"imgbase/internal/host/hosttest"
	"imgbase/internal/lvm"
)

// The scripts in testdata run imgbase on a modelled host. Their own commands:
//
//	host installed|taken|updated   a host: as installed; running its first
//	                               layer; with an update that boots next
//	reboot                         what boots by default now runs
//	image NVR [FILE=CONTENT…]      an image, "NVR.img" to imgbase
//	rubbish NAME empty|random|cut  a file that is no image
//	write FILE=CONTENT…            files of the running system, "-" removes
//	holds FILE CONTENT             a file of the running system is that
//	volume NAME [TAG…]             a thin volume
//	tag TAG…                       tags on the volume group
//	group NAME [TAG…]              another volume group
//	mount TARGET [DEVICE TYPE]     what is mounted there, or nothing
//	usage DATA METADATA            how full the pool is, in percent
//	configuration FILE             settings
//	user                           imgbase is not run as root
//	locked                         another run is at work
//	answer TEXT…                   lines for imgbase to read
//	signal STEP                    Ctrl-C as that step begins
//	[!] imgbase ARG…               succeeds, or not
//	exit N                         its exit code was N
//	prints LINE…                   it printed exactly that on standard output
//	document KIND                  it printed one JSON document of that kind
//	shows REGEXP                   a volume, tag, file of /boot or /etc is so
//	unchanged                      it left the host as it was
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			t, ok := env.T().(testing.TB)
			if !ok {
				return errors.New("not run by go test")
			}
			env.Values[key{}] = &stage{t: t, paths: map[string]string{}, root: true, conf: config.Default()}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"host": on((*stage).host), "reboot": on((*stage).reboot), "image": on((*stage).image), "rubbish": on((*stage).rubbish),
			"write": on((*stage).write), "holds": on((*stage).holds), "volume": on((*stage).volume), "tag": on((*stage).tag), "group": on((*stage).group),
			"mount": on((*stage).mount), "usage": on((*stage).usage), "configuration": on((*stage).configuration),
			"user": on((*stage).user), "locked": on((*stage).locked), "answer": on((*stage).answer), "signal": on((*stage).signal),
			"exit": on((*stage).exit), "prints": on((*stage).prints), "document": on((*stage).document),
			"shows": on((*stage).shows), "unchanged": on((*stage).unchanged), "imgbase": imgbase,
		},
	})
}

type key struct{}

// stage is the state of one script.
type stage struct {
	*testscript.TestScript
	t       testing.TB
	h       *hosttest.Host
	paths   map[string]string // of images, by the name imgbase is given
	root    bool
	conf    config.Config
	confErr error
	stdin   string
	step    string // where a signal arrives
	before  string // the host before imgbase ran
	stdout  string
	code    int
}

// on makes a method a command of the script.
func on(do func(s *stage, args []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("this command takes no !")
		}
		s := ts.Value(key{}).(*stage)
		s.TestScript = ts
		do(s, args)
	}
}

func imgbase(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value(key{}).(*stage)
	s.TestScript = ts
	s.run(args)
	if neg == (s.code == 0) {
		ts.Fatalf("imgbase %s: exit code %d", strings.Join(args, " "), s.code)
	}
}

// run runs the command line in this process.
func (s *stage) run(args []string) {
	if s.h == nil {
		s.host([]string{"installed"})
	}
	var words, names []string
	for _, a := range args {
		if path, ok := s.paths[a]; ok {
			a = path
		}
		words = append(words, a)
	}
	for name, path := range s.paths {
		names = append(names, path, name)
	}
	s.before = s.h.String()
	ctx, stop := context.WithCancelCause(s.t.Context())
	defer stop(nil)
	var stdout, stderr bytes.Buffer
	s.code = cli.Main(ctx, cli.Env{
		Args: words, Stdin: strings.NewReader(s.stdin), Stdout: &stdout, Stderr: &stderr, Root: s.root, Version: "1.2.3",
		Open: func(log *slog.Logger, observe func(host.Event)) *host.Host {
			log.Debug("the host is opened")
			h := s.h.Host()
			h.Log = log
			h.Observe = func(e host.Event) {
				if observe(e); s.step != "" && strings.HasPrefix(e.Step, s.step) {
					stop(cli.ErrStopped)
				}
			}
			return h
		},
		Isolate: func() error { return nil },
		Config:  func() (config.Config, []string, error) { return s.conf, nil, s.confErr },
	})
	s.stdin, s.step = "", ""
	plain := strings.NewReplacer(append(names, s.h.Dir, "DIR")...)
	s.stdout = plain.Replace(stdout.String())
	for w, text := range map[io.Writer]string{s.Stdout(): s.stdout, s.Stderr(): plain.Replace(stderr.String())} {
		_, err := io.WriteString(w, text)
		s.Check(err)
	}
}

func (s *stage) host(args []string) {
	s.h = hosttest.New(s.t)
	if args[0] == "installed" {
		return
	}
	s.h.Must(s.h.Init("node-1.0-1"))
	s.h.Boot()
	if args[0] == "updated" {
		s.h.Must(s.h.Update(s.h.Image("node-1.1-1", nil)))
	}
}

func (s *stage) reboot([]string) { s.h.Boot() }

// files reads FILE=CONTENT words.
func (s *stage) files(words []string) map[string]string {
	files := map[string]string{}
	for _, w := range words {
		name, content, ok := strings.Cut(w, "=")
		if !ok {
			s.Fatalf("%q is not FILE=CONTENT", w)
		}
		files[name] = content
		if content != "-" && content != "" {
			files[name] += "\n"
		}
	}
	return files
}

func (s *stage) image(args []string) {
	s.paths[args[0]+".img"] = s.h.Image(args[0], s.files(args[1:]))
}

func (s *stage) rubbish(args []string) {
	kinds := map[string]struct {
		squashfs bool
		size     int
	}{"empty": {false, 0}, "random": {false, 1 << 16}, "cut": {true, 1 << 16}}
	kind, ok := kinds[args[1]]
	if !ok {
		s.Fatalf("no kind %q", args[1])
	}
	s.paths[args[0]] = s.h.Rubbish(args[0], kind.squashfs, kind.size)
}

func (s *stage) write(args []string) { s.h.Write(s.files(args)) }

func (s *stage) holds(args []string) {
	if got := strings.TrimSuffix(s.h.Read(args[0]), "\n"); got != args[1] {
		s.Fatalf("%s = %q; want %q", args[0], got, args[1])
	}
}

func (s *stage) volume(args []string) {
	s.Check(s.h.LVM.AddLV(lvm.LV{
		VG: hosttest.VG, Name: args[0], Size: hosttest.GiB, Pool: hosttest.Pool, Tags: args[1:], SkipActivation: true,
	}))
}

func (s *stage) tag(args []string) {
	s.Check(lvm.New(s.h.LVM).ChangeVGTags(s.t.Context(), hosttest.VG, args, nil))
}

func (s *stage) group(args []string) {
	s.h.LVM.AddVG(lvm.VG{Name: args[0], Tags: args[1:], PVs: []string{"/dev/vdb1"}})
}

func (s *stage) mount(args []string) {
	args = append(args, "", "")
	s.h.SetMount(args[0], args[1], args[2])
}

func (s *stage) usage(args []string) {
	var share [2]float64
	for i := range share {
		var err error
		share[i], err = strconv.ParseFloat(args[i], 64)
		s.Check(err)
	}
	s.h.LVM.SetUsage(hosttest.VG, hosttest.Pool, share[0], share[1])
}

func (s *stage) configuration(args []string) {
	s.conf, _, s.confErr = config.Default().Merge("/etc/imgbased.conf", []byte(s.ReadFile(args[0])))
}

func (s *stage) user([]string) { s.root = false }

func (s *stage) locked([]string) {
	lock, err := s.h.Host().Lock()
	s.Check(err)
	s.Defer(func() { s.Check(lock.Close()) })
}

func (s *stage) answer(lines []string) { s.stdin = strings.Join(lines, "\n") + "\n" }

func (s *stage) signal(args []string) { s.step = args[0] }

func (s *stage) exit(args []string) {
	if want, err := strconv.Atoi(args[0]); err != nil || s.code != want {
		s.Fatalf("exit code %d; want %s", s.code, args[0])
	}
}

func (s *stage) prints(lines []string) {
	want := ""
	for _, l := range lines {
		want += l + "\n"
	}
	if diff := cmp.Diff(want, s.stdout); diff != "" {
		s.Fatalf("standard output (-want +got):\n%s", diff)
	}
}

func (s *stage) document(args []string) {
	d := json.NewDecoder(strings.NewReader(s.stdout))
	d.DisallowUnknownFields()
	var doc struct {
		Version int             `json:"version"`
		Kind    string          `json:"kind"`
		Value   json.RawMessage `json:"value"`
	}
	s.Check(d.Decode(&doc))
	if doc.Version != cli.SchemaVersion || doc.Kind != args[0] || len(doc.Value) == 0 || string(doc.Value) == "null" {
		s.Fatalf("document = %+v; want version %d and kind %s", doc, cli.SchemaVersion, args[0])
	}
	if d.More() {
		s.Fatalf("standard output holds more than one document:\n%s", s.stdout)
	}
}

func (s *stage) shows(args []string) {
	re, err := regexp.Compile("(?m)" + args[0])
	s.Check(err)
	if !re.MatchString(s.h.String()) {
		s.Fatalf("no match for %s in\n%s", args[0], s.h)
	}
}

func (s *stage) unchanged([]string) {
	if diff := cmp.Diff(s.before, s.h.String()); diff != "" {
		s.Fatalf("the host has changed (-before +after):\n%s", diff)
	}
}
