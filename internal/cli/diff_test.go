package cli_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/cli"
	"imgbase/internal/config"
	"imgbase/internal/host"
	"imgbase/internal/host/hosttest"
)

// output runs a command that succeeds, and is what it printed.
func output(h *hosttest.Host, args ...string) (stdout, stderr string) {
	h.T.Helper()
	var out, diagnostics bytes.Buffer
	code := cli.Main(h.T.Context(), cli.Env{
		Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &diagnostics, Root: true,
		Open:    func(*slog.Logger, func(host.Event)) *host.Host { return h.Host() },
		Isolate: func() error { return nil },
		Config:  func() (config.Config, []string, error) { return config.Default(), nil, nil },
	})
	if code != 0 {
		h.T.Fatalf("imgbase %s: exit %d\n%s", strings.Join(args, " "), code, &diagnostics)
	}
	return out.String(), diagnostics.String()
}

// conflicting is a host and an image that each brings something of every kind.
func conflicting(t *testing.T) (h *hosttest.Host, image string) {
	t.Helper()
	h = hosttest.New(t)
	h.Must(h.Init("node-1.0-1"))
	h.Boot()
	h.Write(map[string]string{
		"etc/motd": "mine\n", "etc/local.conf": "added\n", "root/notes": "mine\n", "config/files": "/nothing\n",
		"etc/passwd": h.Read("etc/passwd") + "mine:x:990:990::/:/bin/sh\n", "etc/group": h.Read("etc/group") + "mine:x:990:\n",
	})
	return h, h.Image("node-1.1-1", map[string]string{
		"etc/motd": "vendor\n", "etc/new.conf": "new\n",
		"etc/passwd": h.SystemFile("etc/passwd") + "vendor:x:990:990::/:/usr/sbin/nologin\n",
		"etc/group":  h.SystemFile("etc/group") + "vendor:x:990:\n",
	})
}

// A diff, a dry run and an update print the same lines about the same merge.
func TestCarriedIsOneText(t *testing.T) {
	h, image := conflicting(t)
	want, _ := output(h, "diff", "--etc", image)
	for _, part := range []string{"\n/etc: carry ", "(conflict)", "\naccounts: ", "\naccount: ", "\n/: ", "\nnote: "} {
		if !strings.Contains(want, part) {
			t.Errorf("the diff has no %q:\n%s", part, want)
		}
	}
	if dry, _ := output(h, "update", "--dry-run", image); !strings.Contains(dry, "\n"+want) {
		t.Errorf("the dry run prints\n%s\nwant in it:\n%s", dry, want)
	}
	if _, report := output(h, "update", image); !strings.Contains("\n"+report, "\n"+want) {
		t.Errorf("the update reports\n%s\nwant in it:\n%s", report, want)
	}
}

// So it is in JSON.
func TestCarriedIsOneDocument(t *testing.T) {
	h, image := conflicting(t)
	var diff struct{ Value any }
	var plan, change struct{ Value struct{ Carried any } }
	for _, c := range []struct {
		args  []string
		value any
	}{
		{[]string{"diff", "--etc", image}, &diff},
		{[]string{"update", "--dry-run", image}, &plan},
		{[]string{"update", image}, &change},
	} {
		out, _ := output(h, append(c.args, "--json")...)
		if err := json.Unmarshal([]byte(out), c.value); err != nil {
			t.Fatalf("imgbase %s: %v\n%s", strings.Join(c.args, " "), err, out)
		}
	}
	if d := cmp.Diff(diff.Value, plan.Value.Carried); d != "" || diff.Value == nil {
		t.Errorf("the dry run (-diff +dry run):\n%s", d)
	}
	if d := cmp.Diff(diff.Value, change.Value.Carried); d != "" {
		t.Errorf("the update (-diff +update):\n%s", d)
	}
}
