package imgbase_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"imgbase/internal/cli"
	"imgbase/internal/hooks"
	"imgbase/internal/host"
	"imgbase/internal/host/hosttest"
)

const hooksDocument = "docs/hooks.md"

// installHook makes a hook of the administrator's.
func installHook(t *testing.T, h *hosttest.Host, name, script string) {
	t.Helper()
	name = "etc/imgbased/hooks.d/" + name
	h.Write(map[string]string{name: script})
	if err := os.Chmod(filepath.Join(h.Root(), name), 0o755); err != nil {
		t.Fatal(err)
	}
}

// listening is a hook that writes events down as docs/hooks.md lists them,
// and the variables that it finds.
const listening = `#!/bin/sh
line=$(printf %-29s "$1")
shift
for volume; do
	case $volume in
	"$IMGBASE_PREVIOUS_LV") line="$line PREVIOUS" ;;
	"$IMGBASE_BASE_LV") line="$line BASE" ;;
	"$IMGBASE_LAYER_LV") line="$line LAYER" ;;
	*) line="$line $volume" ;;
	esac
done
[ -z "$IMGBASE_LAYER_ROOT" ] || line="$line, mounted"
echo "$line" >>"$IMGBASE_PREVIOUS_ROOT/var/heard"
env | sed -n 's/^\(IMGBASE_[A-Z_]*\)=.*/\1/p' >>"$IMGBASE_PREVIOUS_ROOT/var/variables"
`

// doings are changes of a host by the names of their lists of events: the
// host before, and the change.
func doings() map[string]func(t *testing.T, h *hosttest.Host) {
	do := func(h *hosttest.Host, plan func(ctx context.Context, on *host.Host) (*host.Change, error)) {
		h.T.Helper()
		h.Must(h.Do(plan))
	}
	layer := func(h *hosttest.Host, of string) {
		do(h, func(ctx context.Context, on *host.Host) (*host.Change, error) { return on.PlanLayer(ctx, of) })
	}
	return map[string]func(t *testing.T, h *hosttest.Host){
		"init":  func(_ *testing.T, h *hosttest.Host) { h.Must(h.Init("node-1.0-1")) },
		"copy":  func(_ *testing.T, h *hosttest.Host) { layer(h, "node-1.1-1+1") },
		"layer": func(_ *testing.T, h *hosttest.Host) { layer(h, "node-1.0-1") },
		"update": func(t *testing.T, h *hosttest.Host) {
			if c := h.Must(h.Update(h.Image("node-1.2-1", nil))); !slices.Equal(c.Removed, []string{"node-1.0-1"}) {
				t.Errorf("update removed %q; want the oldest base", c.Removed)
			}
		},
		"base": func(_ *testing.T, h *hosttest.Host) {
			do(h, func(ctx context.Context, on *host.Host) (*host.Change, error) {
				return on.PlanBase(ctx, host.BaseOptions{NVR: "node-1.2-1", Size: 6 * hosttest.GiB, Image: h.Image("node-1.2-1", nil)})
			})
		},
		"remove": func(_ *testing.T, h *hosttest.Host) {
			do(h, func(ctx context.Context, on *host.Host) (*host.Change, error) {
				return on.PlanRemove(ctx, "node-1.0-1")
			})
		},
		"recover": func(_ *testing.T, h *hosttest.Host) {
			do(h, func(ctx context.Context, on *host.Host) (*host.Change, error) {
				return on.PlanDiscard(ctx, "node-1.0-1+1")
			})
		},
	}
}

// hear is a host on which a change was made, with what a hook heard of it.
// But for "init" it runs the first layer of node-1.1-1; node-1.0-1 has one
// layer, for "remove" two.
func hear(t *testing.T, doing string) (heard, variables string) {
	t.Helper()
	h := hosttest.New(t)
	if doing != "init" {
		h.Must(h.Init("node-1.0-1"))
		h.Boot()
		if doing == "remove" {
			h.Must(h.Do(func(ctx context.Context, on *host.Host) (*host.Change, error) { return on.PlanLayer(ctx, "") }))
		}
		h.Must(h.Update(h.Image("node-1.1-1", nil)))
		h.Boot()
	}
	installHook(t, h, "listen", listening)
	doings()[doing](t, h)
	return h.Read("var/heard"), h.Read("var/variables")
}

var eventList = regexp.MustCompile("(?m)^<!-- events: (\\w+) -->\n```\n((?s:.*?))^```$")

// TestHookEvents keeps the lists of events in docs/hooks.md what hooks are
// told, and wants every variable that they find to be explained there.
func TestHookEvents(t *testing.T) {
	data, err := os.ReadFile(hooksDocument)
	if err != nil {
		t.Fatal(err)
	}
	missing := doings()
	want := eventList.ReplaceAllStringFunc(string(data), func(block string) string {
		doing := eventList.FindStringSubmatch(block)[1]
		if missing[doing] == nil {
			t.Errorf("a second list of the events of %q, or nobody knows what that is", doing)
			return block
		}
		delete(missing, doing)
		heard, variables := hear(t, doing)
		for name := range strings.Lines(variables) {
			name = strings.TrimSpace(name)
			if _, ours := os.LookupEnv(name); !ours && !strings.Contains(string(data), "`"+name+"`") {
				t.Errorf("%s: variable %s is not explained", doing, name)
			}
		}
		if len(strings.Fields(variables)) < 15 {
			t.Errorf("%s: hooks find the variables %q; want all of them", doing, variables)
		}
		return fmt.Sprintf("<!-- events: %s -->\n```\n%s```", doing, heard)
	})
	for doing := range missing {
		t.Errorf("no list of the events of %q", doing)
	}
	checkDocument(t, hooksDocument, want)
}

// TestHooksDocument wants every event and mode, and the limits, to be named in
// docs/hooks.md as they are.
func TestHooksDocument(t *testing.T) {
	text := read(".", hooksDocument, "")
	words := slices.Concat(constants(t, "internal/hooks", "Event"), constants(t, "internal/hooks", "Mode"))
	if len(words) < 20 {
		t.Errorf("found %q; want all events and modes", words)
	}
	for i := range words {
		words[i] = "`" + words[i] + "`"
	}
	row := slices.IndexFunc(cli.Rows(), func(r cli.Row) bool { return errors.Is(r.Err, hooks.ErrStopped) })
	words = append(words, fmt.Sprintf("exit code %d", cli.Rows()[row].Code),
		fmt.Sprintf("within %.0f minutes", hooks.DefaultLimit.Minutes()), fmt.Sprintf("last %d KiB", hooks.MaxOutput>>10))
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%s does not say %q", hooksDocument, word)
		}
	}
}

// constants are the values of a package's constants of a named string type.
func constants(t *testing.T, dir, typeName string) (values []string) {
	t.Helper()
	project, err := readTree(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range project.sources {
		ast.Inspect(s.ast, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if is, ok := spec.Type.(*ast.Ident); !ok || is.Name != typeName {
				return true
			}
			for _, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					value, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					values = append(values, value)
				}
			}
			return true
		})
	}
	return values
}

var hookScript = regexp.MustCompile("(?m)^<!-- hook: (\\S+) -->\n```sh\n((?s:.*?))^```$")

// TestExampleHooks updates a host with the hooks of docs/hooks.md.
func TestExampleHooks(t *testing.T) {
	h, newer := hostIn(t, "taken")
	scripts := hookScript.FindAllStringSubmatch(read(".", hooksDocument, ""), -1)
	for _, s := range scripts {
		installHook(t, h, s[1], s[2])
	}
	if len(scripts) != 2 {
		t.Fatalf("found %d hooks; want the two of the text", len(scripts))
	}
	const licence = "usr/lib/agent/licence"
	h.Write(map[string]string{"run/backup.pid": "1\n", licence: "this machine's\n"})
	before := h.String()
	if _, err := h.Update(newer); !errors.Is(err, hooks.ErrStopped) || !strings.Contains(err.Error(), "a backup is at work") {
		t.Errorf("update during a backup: error = %v; want ErrStopped with what the hook printed", err)
	}
	h.Unchanged(before)
	h.Write(map[string]string{"run/backup.pid": "-"})

	// An image without the agent, then one with it.
	for _, c := range []struct {
		nvr  string
		has  map[string]string
		want string
	}{
		{"node-1.1-1", nil, "none"},
		{"node-1.2-1", map[string]string{"usr/lib/agent/program": "agent"}, "this machine's\n"},
	} {
		if done := h.Must(h.Update(h.Image(c.nvr, c.has))); len(done.Notes) > 0 {
			t.Errorf("notes of an update to %s: %q; want none", c.nvr, done.Notes)
		}
		if got := read(h.LVM.Dir(hosttest.VG, c.nvr+"+1"), licence, "none"); got != c.want {
			t.Errorf("%s of %s = %q; want %q", licence, c.nvr, got, c.want)
		}
	}
}
