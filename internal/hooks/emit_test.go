package hooks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"imgbase/internal/hooks"

	"github.com/google/go-cmp/cmp"
)

func volume(nvr string) hooks.Volume {
	return hooks.Volume{NVR: nvr, LV: "vg/" + nvr, Device: "/dev/vg/" + nvr, Root: "/run/" + nvr}
}

func call(event hooks.Event) hooks.Call {
	return hooks.Call{
		Event: event, Mode: hooks.Update,
		Previous: volume("node-1-1+1"), Base: volume("node-2-1"), Layer: volume("node-2-1+1"),
	}
}

// What the specification's table says of each event.
func TestArguments(t *testing.T) {
	const previous, base, layer = "vg/node-1-1+1", "vg/node-2-1", "vg/node-2-1+1"
	for event, want := range map[hooks.Event][]string{
		"new-layer-added":          {previous, layer},
		"os-upgraded":              {previous, layer},
		"rpms-persisted":           {previous, layer},
		"new-base-with-tree-added": {base},
		"pre-base-removed":         {base},
		"base-removed":             {base},
		"pre-layer-removed":        {layer},
		"layer-removed":            {layer},
		"post-init-layout":         {previous, base, layer},

		"pre-new-layer-added":          {previous, layer},
		"pre-os-upgraded":              {previous, layer},
		"pre-rpms-persisted":           {previous, layer},
		"pre-new-base-with-tree-added": {base},
		"pre-init-layout":              {previous, base, layer},
	} {
		t.Run(string(event), func(t *testing.T) {
			s := newSystem(t)
			s.hook(etc+"a", `printf '%s\n' "$@"`)
			report, err := s.Emit(t.Context(), call(event))
			s.must(err)
			got := strings.Fields(report.Results[0].Stdout)
			if diff := cmp.Diff(append([]string{string(event)}, want...), got); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	withoutTestsOwn(t)
	t.Setenv("IMGBASE_LAYER_NVR", "of an outer imgbase")
	t.Setenv("PATH", "/bin:/usr/bin:/nowhere")
	s := newSystem(t)
	s.hook(etc+"a", `pwd; env | grep -E '^(IMGBASE|PATH|LC_ALL)' | sort; wc -c`)
	c := call(hooks.BaseRemoved)
	c.Layer, c.Previous.Root = hooks.Volume{}, ""
	report, err := s.Emit(t.Context(), c)
	s.must(err)
	want := `/
IMGBASE_BASE_DEVICE=/dev/vg/node-2-1
IMGBASE_BASE_LV=vg/node-2-1
IMGBASE_BASE_NVR=node-2-1
IMGBASE_BASE_ROOT=/run/node-2-1
IMGBASE_EVENT=base-removed
IMGBASE_HOOK=/etc/imgbased/hooks.d/a
IMGBASE_LAYER_DEVICE=
IMGBASE_LAYER_LV=
IMGBASE_LAYER_NVR=
IMGBASE_LAYER_ROOT=
IMGBASE_MODE=update
IMGBASE_PREVIOUS_DEVICE=/dev/vg/node-1-1+1
IMGBASE_PREVIOUS_LV=vg/node-1-1+1
IMGBASE_PREVIOUS_NVR=node-1-1+1
IMGBASE_PREVIOUS_ROOT=
LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
0
`
	if diff := cmp.Diff(want, report.Results[0].Stdout); diff != "" {
		t.Errorf("what a hook sees (-want +got):\n%s", diff)
	}
}

// The documented variables are those of the package comment, and none else.
func TestEnvironmentIsDocumented(t *testing.T) {
	withoutTestsOwn(t)
	data, err := os.ReadFile("hooks.go")
	if err != nil {
		t.Fatal(err)
	}
	doc, _, _ := strings.Cut(string(data), "\npackage hooks")
	s := newSystem(t)
	s.hook(etc+"a", `env | grep ^IMGBASE_ | sed 's/=.*//'`)
	report, err := s.Emit(t.Context(), call(hooks.BaseRemoved))
	s.must(err)
	names := strings.Fields(report.Results[0].Stdout)
	if len(names) != 15 {
		t.Errorf("%d variables %v; want 15", len(names), names)
	}
	for _, name := range names {
		for _, v := range []string{"PREVIOUS", "BASE", "LAYER"} {
			if !strings.HasSuffix(name, "_NVR") {
				name = strings.Replace(name, "IMGBASE_"+v+"_", "IMGBASE_<VOLUME>_", 1)
			}
		}
		if !strings.Contains(doc, "//\t"+name+" ") {
			t.Errorf("%s is not in the package comment", name)
		}
	}
}

// Three hooks, of which the second fails.
func TestPreStopsOthersGoOn(t *testing.T) {
	for _, c := range []struct {
		event hooks.Event
		want  []string
		err   string
	}{
		{hooks.PreLayerRemoved, []string{"10-a", "20-b"}, "pre-layer-removed: /etc/imgbased/hooks.d/20-b: stopped by a hook: exit code 3: the disk is\\011busy"},
		{hooks.LayerRemoved, []string{"10-a", "20-b", "30-c"}, ""},
	} {
		s := newSystem(t)
		s.hook(lib+"30-c", `basename "$0" >>`+s.path("log"))
		s.hook(share+"10-a", `basename "$0" >>`+s.path("log"))
		s.hook(etc+"20-b", `basename "$0" >>`+s.path("log")+`; echo never mind; { echo first; printf 'the disk is\tbusy\n\n'; } >&2; exit 3`)
		report, err := s.Emit(t.Context(), call(c.event))
		log, readErr := os.ReadFile(s.path("log"))
		s.must(readErr)
		if got := strings.Fields(string(log)); !slices.Equal(got, c.want) || len(report.Results) != len(got) {
			t.Errorf("%s: ran %v, %d reported; want %v", c.event, got, len(report.Results), c.want)
		}
		switch {
		case c.err == "" && err != nil:
			t.Errorf("%s: error %v; want none", c.event, err)
		case c.err != "" && (!errors.Is(err, hooks.ErrStopped) || err.Error() != c.err):
			t.Errorf("%s: error %v; want %s", c.event, err, c.err)
		}
		want := hooks.Result{
			Hook: "/etc/imgbased/hooks.d/20-b", Code: 3, Cause: "exit code 3: the disk is\\011busy",
			Stdout: "never mind\n", Stderr: "first\nthe disk is\tbusy\n\n",
		}
		if diff := cmp.Diff([]hooks.Result{want}, report.Failed()); diff != "" {
			t.Errorf("%s: Failed() (-want +got):\n%s", c.event, diff)
		}
	}
}

// How hooks go wrong. The mark tells what of their output is in the line.
func TestFailures(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"silent":             {"exit 1", "exit code 1"},
		"on standard output": {"echo why; exit 2", "exit code 2: why"},
		"a signal":           {"echo dying; kill -SEGV $$", "signal: segmentation fault: dying"},
		"carriage returns":   {`printf '10%%\r100%%'; exit 1`, "exit code 1: 100%"},
		"terminal's language": {
			`printf '\033[31mred\n' >&2; exit 1`, `exit code 1: \033[31mred`,
		},
		"not UTF-8":       {`printf '\377\376' >&2; exit 1`, `exit code 1: \377\376`},
		"an endless line": {`head -c 100000 /dev/zero | tr '\0' x >&2; exit 1`, "exit code 1: " + strings.Repeat("x", 200)},
		"blanks only":     {`printf '  \n \n' >&2; exit 1`, "exit code 1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t)
			s.hook(etc+"a", c.script)
			report, err := s.Emit(t.Context(), call(hooks.PreOSUpgraded))
			want := "pre-os-upgraded: /etc/imgbased/hooks.d/a: stopped by a hook: " + c.want
			if err == nil || err.Error() != want {
				t.Errorf("Emit() = %v; want %s", err, want)
			}
			if got, want := report.Results[0].String(), "hook /etc/imgbased/hooks.d/a: "+c.want; got != want {
				t.Errorf("String() = %s; want %s", got, want)
			}
		})
	}
}

func TestNotStarted(t *testing.T) {
	s := newSystem(t)
	s.file(etc+"1", "#!/no/interpreter\n", 0o755)
	s.file(etc+"2", "\x7fELF", 0o755)
	s.hook(etc+"3", "echo well")
	report, err := s.Emit(t.Context(), call(hooks.OSUpgraded))
	s.must(err)
	var got []string
	for _, r := range report.Results {
		got = append(got, r.String())
	}
	want := []string{
		"hook /etc/imgbased/hooks.d/1: no such file or directory",
		"hook /etc/imgbased/hooks.d/2: exec format error",
		"hook /etc/imgbased/hooks.d/3: ended well",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
}

func TestOddNames(t *testing.T) {
	s := newSystem(t)
	names := []string{"-rf", " ", "*", "$(x)", "a b", "new\nline", "q'\"", strings.Repeat("n", 255), "\xff\xfe"}
	for _, name := range names {
		s.hook(etc+name, `printf '%s' "$IMGBASE_HOOK"; exit 1`)
	}
	slices.Sort(names)
	report, err := s.Emit(t.Context(), call(hooks.OSUpgraded))
	s.must(err)
	if len(report.Results) != len(names) {
		t.Fatalf("%d hooks ran; want %d", len(report.Results), len(names))
	}
	for i, r := range report.Results {
		if want := "/" + etc + names[i]; r.Stdout != want {
			t.Errorf("hook %d = %q; want %q", i, r.Stdout, want)
		}
		if line := r.String(); strings.Contains(line, "\n") || !utf8.ValidString(line) {
			t.Errorf("String() = %q; want one printable line", line)
		}
	}
}

func TestOutputIsBounded(t *testing.T) {
	s := newSystem(t)
	s.hook(etc+"a", `head -c 30000000 /dev/zero; head -c 30000000 /dev/zero >&2; echo end; echo "end of it" >&2; exit 1`)
	report, err := s.Emit(t.Context(), call(hooks.PreOSUpgraded))
	if !errors.Is(err, hooks.ErrStopped) || !strings.HasSuffix(err.Error(), `end of it`) && !strings.Contains(err.Error(), `\000`) {
		t.Errorf("Emit() = %v; want it stopped, with the last line", err)
	}
	r := report.Results[0]
	if len(r.Stdout) != hooks.MaxOutput || len(r.Stderr) != hooks.MaxOutput || !strings.HasSuffix(r.Stdout, "end\n") {
		t.Errorf("kept %d and %d bytes that end in %q; want %d of the end", len(r.Stdout), len(r.Stderr), r.Stdout[max(0, len(r.Stdout)-5):], hooks.MaxOutput)
	}
}

func TestTimeLimit(t *testing.T) {
	for name, c := range map[string]struct{ event, script string }{
		"sleeps":          {"pre-os-upgraded", "sleep 60"},
		"ignores SIGTERM": {"pre-os-upgraded", "trap '' TERM; while :; do sleep 0.2; done"},
		"an event's hook": {"os-upgraded", "sleep 60"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t)
			s.Limit = 300 * time.Millisecond
			s.hook(etc+"a", `echo $$ >`+s.path("pid")+"; echo at work; "+c.script)
			s.hook(etc+"b", "")
			start := time.Now()
			report, err := s.Emit(t.Context(), call(hooks.Event(c.event)))
			if took := time.Since(start); took > 15*time.Second {
				t.Errorf("took %s", took)
			}
			want, ran := "hook /etc/imgbased/hooks.d/a: did not end within 300ms: at work", 1
			if hooks.Event(c.event).Pre() != errors.Is(err, hooks.ErrStopped) {
				t.Errorf("Emit() = %v; want it stopped before the event only", err)
			}
			if !hooks.Event(c.event).Pre() {
				ran = 2
			}
			if len(report.Results) != ran || report.Results[0].String() != want || report.Results[0].Code != -1 {
				t.Errorf("results = %v; want %d, the first %s", report.Results, ran, want)
			}
			s.gone("pid")
		})
	}
}

// A hook that ends well while a child goes on and holds its output: nobody
// waits for the child, and it is gone.
func TestChildHoldsTheOutput(t *testing.T) {
	s := newSystem(t)
	s.hook(etc+"a", `trap '' TERM HUP; sleep 60 & echo $! >`+s.path("pid")+"; echo done")
	start := time.Now()
	report, err := s.Emit(t.Context(), call(hooks.PreOSUpgraded))
	if err != nil || report.Results[0].Stdout != "done\n" {
		t.Errorf("Emit() = %v, %v; want it to end well", report.Results, err)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("took %s; want no waiting for the child", took)
	}
	s.gone("pid")
}

func (s system) gone(pidfile string) {
	s.Helper()
	data, err := os.ReadFile(s.path(pidfile))
	s.must(err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	s.must(err)
	for range 100 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.Errorf("process %d goes on; want it killed", pid)
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

func TestInterrupted(t *testing.T) {
	cause := errors.New("interrupted")
	for _, event := range []hooks.Event{hooks.PreOSUpgraded, hooks.OSUpgraded} {
		s := newSystem(t)
		ctx, stop := context.WithCancelCause(t.Context())
		s.hook(etc+"a", "touch "+s.path("started")+"; sleep 60")
		s.hook(etc+"b", "touch "+s.path("second"))
		go func() {
			for {
				if _, err := os.Stat(s.path("started")); err == nil {
					stop(cause)
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		}()
		_, err := s.Emit(ctx, call(event))
		if !errors.Is(err, cause) || errors.Is(err, hooks.ErrStopped) {
			t.Errorf("%s: Emit() = %v; want %v", event, err, cause)
		}
		if _, err := os.Stat(s.path("second")); err == nil {
			t.Errorf("%s: the second hook ran after the end", event)
		}
		if report, err := s.Emit(ctx, call(event)); !errors.Is(err, cause) || len(report.Results) > 0 {
			t.Errorf("%s: Emit() again = %v, %v; want nothing started", event, report, err)
		}
	}
}

func TestCallsThatMakeNoSense(t *testing.T) {
	s := newSystem(t)
	s.hook(etc+"a", "touch "+s.path("ran"))
	lacks := call(hooks.NewLayerAdded)
	lacks.Layer.LV = ""
	for _, c := range []struct {
		call hooks.Call
		want string
	}{
		{call("pre-arg-parse"), `event "pre-arg-parse": no hook knows it`},
		{call(""), `event "": no hook knows it`},
		{lacks, "event new-layer-added: no layer volume given"},
	} {
		if _, err := s.Emit(t.Context(), c.call); err == nil || err.Error() != c.want {
			t.Errorf("Emit(%s) = %v; want %s", c.call.Event, err, c.want)
		}
	}
	if _, err := os.Stat(s.path("ran")); err == nil {
		t.Error("a hook ran")
	}
}

func TestUnreadableDirectories(t *testing.T) {
	s := newSystem(t)
	s.hook(lib+"a", "")
	s.file("etc/imgbased/hooks.d", "", 0o644)
	if _, err := s.Emit(t.Context(), call(hooks.PreBaseRemoved)); err == nil || !strings.HasSuffix(err.Error(), "not a directory") {
		t.Errorf("Emit() = %v; want not a directory", err)
	}
	report, err := s.Emit(t.Context(), call(hooks.BaseRemoved))
	if err != nil || len(report.Warnings) != 1 || !strings.HasSuffix(report.Warnings[0], "not a directory") {
		t.Errorf("Emit() = %v, %v; want a warning", report, err)
	}
}

func TestReportJSON(t *testing.T) {
	s := newSystem(t)
	s.hook(lib+"a", `printf '\377'; exit 4`)
	s.hook(lib+"b", "")
	s.must(os.Chmod(s.path(lib+"b"), 0o777))
	report, err := s.Emit(t.Context(), call(hooks.BaseRemoved))
	s.must(err)
	got, err := json.Marshal(report)
	s.must(err)
	want := `{"event":"base-removed","results":[{"hook":"/usr/lib/imgbased/hooks.d/a","code":4,"cause":"exit code 4: \\377","stdout":"\ufffd"}],` +
		`"warnings":["hook /usr/lib/imgbased/hooks.d/b refused: ROOT/usr/lib/imgbased/hooks.d/b may be written by others"]}`
	if got := strings.ReplaceAll(string(got), s.Root, "ROOT"); got != want {
		t.Errorf("Marshal(report) = %s; want %s", got, want)
	}
}
