package hooks

import (
	"fmt"
	"strings"
)

// Event is something that happens, or is about to.
type Event string

// The events. The package comment tells their arguments.
const (
	PreNewLayerAdded Event = "pre-new-layer-added"
	NewLayerAdded    Event = "new-layer-added"
	PreOSUpgraded    Event = "pre-os-upgraded"
	OSUpgraded       Event = "os-upgraded"
	PreRPMsPersisted Event = "pre-rpms-persisted"
	RPMsPersisted    Event = "rpms-persisted"
	PreNewBaseAdded  Event = "pre-new-base-with-tree-added"
	NewBaseAdded     Event = "new-base-with-tree-added"
	PreBaseRemoved   Event = "pre-base-removed"
	BaseRemoved      Event = "base-removed"
	PreLayerRemoved  Event = "pre-layer-removed"
	LayerRemoved     Event = "layer-removed"
	PreInitLayout    Event = "pre-init-layout"
	PostInitLayout   Event = "post-init-layout"
)

// Mode is what the administrator asked for; an update also removes bases.
type Mode string

// The modes.
const (
	Init    Mode = "init"
	Base    Mode = "base"
	Layer   Mode = "layer"
	Update  Mode = "update"
	Remove  Mode = "remove"
	Recover Mode = "recover"
)

// Pre reports whether the event is about to happen, and hooks can stop it.
func (e Event) Pre() bool { return strings.HasPrefix(string(e), "pre-") }

// search is the PATH of hooks, whoever started imgbase: cron's lacks sbin.
const search = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// named is a volume of a call with its name in the environment.
type named struct {
	name string
	Volume
}

func (c Call) volumes() []named {
	return []named{{"PREVIOUS", c.Previous}, {"BASE", c.Base}, {"LAYER", c.Layer}}
}

// arguments are the words that hooks are started with. A call that lacks one
// of them is an error.
func (c Call) arguments() ([]string, error) {
	previous, base, layer := named{"previous", c.Previous}, named{"base", c.Base}, named{"layer", c.Layer}
	var volumes []named
	switch c.Event {
	case PreNewLayerAdded, NewLayerAdded, PreOSUpgraded, OSUpgraded, PreRPMsPersisted, RPMsPersisted:
		volumes = []named{previous, layer}
	case PreNewBaseAdded, NewBaseAdded, PreBaseRemoved, BaseRemoved:
		volumes = []named{base}
	case PreLayerRemoved, LayerRemoved:
		volumes = []named{layer}
	case PreInitLayout, PostInitLayout:
		volumes = []named{previous, base, layer}
	default:
		return nil, fmt.Errorf("event %q: no hook knows it", c.Event)
	}
	args := []string{string(c.Event)}
	for _, v := range volumes {
		if v.LV == "" {
			return nil, fmt.Errorf("event %s: no %s volume given", c.Event, v.name)
		}
		args = append(args, v.LV)
	}
	return args, nil
}

// environment is what hooks find in theirs, "KEY=value". Names that do not
// apply are there as well: one of an outer imgbase must not shine through.
func (c Call) environment(hook Hook) []string {
	env := []string{
		"PATH=" + search,
		"IMGBASE_EVENT=" + string(c.Event),
		"IMGBASE_MODE=" + string(c.Mode),
		"IMGBASE_HOOK=" + hook.Path,
	}
	for _, v := range c.volumes() {
		prefix := "IMGBASE_" + v.name
		env = append(env, prefix+"_NVR="+v.NVR, prefix+"_LV="+v.LV, prefix+"_DEVICE="+v.Device, prefix+"_ROOT="+v.Root)
	}
	return env
}
