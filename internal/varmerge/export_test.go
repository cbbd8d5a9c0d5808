package varmerge

import "context"

// ApplyHooked is Apply with a function called ahead of every effect on the
// host's tree, whose error takes the effect's place.
func (p Plan) ApplyHooked(ctx context.Context, before func(effect, rel string) error) ([]Change, error) {
	a := p.applier()
	a.before = before
	return a.apply(ctx)
}
