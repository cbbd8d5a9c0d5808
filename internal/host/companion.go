package host

import (
	"context"

	"imgbase/internal/layout"
	"imgbase/internal/lvm"
)

// Companions of a layer are thin snapshots that go with it. Their names are
// the layer's with a suffix, so that whatever removes the layer finds them.
const (
	// suffixVar is /var as it was before the layer's first boot.
	suffixVar = ".var"
	// suffixSync is the running layer as it was when this one was made of it:
	// what /etc has otherwise later is still to be merged.
	suffixSync = ".sync"
	// tagCompanion marks them.
	tagCompanion = "imgbased:companion"
)

func companions(i layout.Image) []string {
	if !i.IsLayer {
		return nil
	}
	return []string{i.String() + suffixVar, i.String() + suffixSync}
}

// keep makes a companion: a snapshot that is neither active nor written to.
func (h *Host) keep(ctx context.Context, vg, origin, name string) error {
	return h.lvm.Snapshot(ctx, lvm.Snap{
		VG: vg, Origin: origin, Name: name, Tags: []string{tagCompanion}, ReadOnly: true, SkipActivation: true,
	})
}
