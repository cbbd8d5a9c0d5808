package host_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgbase/internal/hooks"
	"imgbase/internal/host"
	"imgbase/internal/host/hosttest"
)

// hook installs a hook of the administrator's on the running system.
func hook(h *hosttest.Host, name, script string) {
	h.T.Helper()
	path := "etc/imgbased/hooks.d/" + name
	h.Write(map[string]string{path: "#!/bin/sh\n" + script})
	h.Must(nil, os.Chmod(filepath.Join(h.Root(), path), 0o755))
}

// noted is a hook that writes down what it is told.
const noted = `echo "$IMGBASE_MODE $*" >>"$IMGBASE_PREVIOUS_ROOT/../../../told"` + "\n"

// told is what the hooks wrote down, and forgets it.
func told(h *hosttest.Host) []string {
	h.T.Helper()
	path := filepath.Join(h.Root(), "../../../told")
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	h.Must(nil, err)
	h.Must(nil, os.Remove(path))
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

func TestHooksAreTold(t *testing.T) {
	h := hosttest.New(t)
	hook(h, "note", noted)
	wants := func(what string, want ...string) {
		t.Helper()
		if got := told(h); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: hooks were told %q; want %q", what, got, want)
		}
	}
	const v = hosttest.VG + "/"
	h.Must(h.Init("node-1.0-1"))
	wants("init",
		"init pre-init-layout "+v+"root "+v+"node-1.0-1 "+v+"node-1.0-1+1", "init pre-new-layer-added "+v+"root "+v+"node-1.0-1+1",
		"init new-layer-added "+v+"root "+v+"node-1.0-1+1", "init post-init-layout "+v+"root "+v+"node-1.0-1 "+v+"node-1.0-1+1")
	h.Boot()
	h.Must(h.Update(h.Image("node-1.1-1", nil)))
	both := v + "node-1.0-1+1 " + v + "node-1.1-1+1"
	wants("update",
		"update pre-new-base-with-tree-added "+v+"node-1.1-1", "update pre-new-layer-added "+both,
		"update pre-os-upgraded "+both, "update os-upgraded "+both,
		"update new-base-with-tree-added "+v+"node-1.1-1", "update new-layer-added "+both)
	h.Boot()
	h.Must(h.Do(func(ctx context.Context, on *host.Host) (*host.Change, error) {
		return on.PlanRemove(ctx, "node-1.0-1")
	}))
	wants("remove",
		"remove pre-layer-removed "+v+"node-1.0-1+1", "remove pre-base-removed "+v+"node-1.0-1",
		"remove layer-removed "+v+"node-1.0-1+1", "remove base-removed "+v+"node-1.0-1")
}

// A hook sees the new layer mounted, and what it changes there stays.
func TestHookChangesTheLayer(t *testing.T) {
	h := taken(t)
	hook(h, "rebase", `test "$1" = os-upgraded && echo hooked >"$IMGBASE_LAYER_ROOT/etc/hooked"; true`)
	h.Must(h.Update(h.Image("node-1.1-1", nil)))
	h.Boot()
	if got := h.Read("etc/hooked"); got != "hooked\n" {
		t.Errorf("what the hook wrote = %q; want it in the new layer", got)
	}
}

// A hook that says no is asked before the first effect, or undoes the update.
func TestHookStops(t *testing.T) {
	for _, event := range []hooks.Event{hooks.PreNewBaseAdded, hooks.PreNewLayerAdded, hooks.PreOSUpgraded} {
		h := taken(t)
		hook(h, "no", `test "$1" != `+string(event)+` || { echo not today; exit 7; }`)
		image, before := h.Image("node-1.1-1", nil), h.String()
		_, err := h.Update(image)
		if !errors.Is(err, hooks.ErrStopped) || !strings.Contains(err.Error(), "not today") {
			t.Errorf("%s: error = %v; want ErrStopped with what the hook printed", event, err)
		}
		h.Unchanged(before)
	}
	h := taken(t)
	h.Must(h.Update(h.Image("node-1.1-1", nil)))
	hook(h, "no", `test "$1" != pre-base-removed`)
	h.Boot()
	hook(h, "no", `test "$1" != pre-base-removed`)
	before := h.String()
	_, err := h.Do(func(ctx context.Context, on *host.Host) (*host.Change, error) {
		return on.PlanRemove(ctx, "node-1.0-1")
	})
	if !errors.Is(err, hooks.ErrStopped) {
		t.Errorf("remove: error = %v; want ErrStopped", err)
	}
	h.Unchanged(before)
}

// A hook that fails afterwards is a note; what happened has happened.
func TestHookFailsAfterwards(t *testing.T) {
	h := taken(t)
	hook(h, "late", `test "$1" != new-layer-added || { echo too late; exit 3; }`)
	c := h.Must(h.Update(h.Image("node-1.1-1", nil)))
	if notes := strings.Join(c.Notes, "\n"); !strings.Contains(notes, "too late") {
		t.Errorf("notes %q; want the hook's last words", notes)
	}
	h.Boot()
	running(t, h, "node-1.1-1+1")
}
