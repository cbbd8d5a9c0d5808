package packages

import (
	"fmt"
	"slices"
)

// Op is what becomes of a kept package when a layer is made.
type Op string

// The operations.
const (
	Install Op = "install" // installed into the new layer
	Skip    Op = "skip"    // the new image has it, or a newer one
	Drop    Op = "drop"    // stale: no longer installed, so its file is forgotten
)

// Change is what becomes of one kept package.
type Change struct {
	Op   Op     `json:"op"`
	Kept        // the package; of an rpm with its epoch, when it is known
	Why  string `json:"why"`
}

// String is the change on one line: operation, package, reason.
func (c Change) String() string { return fmt.Sprintf("%-10s %s: %s", c.Op, c.Package, c.Why) }

// Plan is what becomes of the kept packages, in their order.
type Plan struct {
	Changes []Change `json:"changes"`
}

// Compare decides about the kept packages. Those that are installed on the
// running system in just this version go into the new layer, unless the new
// image has the same version or a newer one. Others are stale (BZ 1936972:
// an rpm that somebody had removed or updated broke the next update).
func Compare(kept []Kept, running, image []Package) Plan {
	here := make(map[Package]Package, len(running))
	for _, p := range running {
		here[p.nevra()] = p
	}
	there := make(map[string][]Package, len(image))
	for _, p := range image {
		there[string(p.Format)+p.Name] = append(there[string(p.Format)+p.Name], p)
	}
	plan := Plan{Changes: make([]Change, 0, len(kept))}
	for _, k := range kept {
		p, ok := here[k.nevra()]
		if !ok {
			plan.Changes = append(plan.Changes, Change{Drop, k, "no longer installed"})
			continue
		}
		k.Package = p
		plan.Changes = append(plan.Changes, k.decide(there[string(k.Format)+k.Name]))
	}
	return plan
}

// decide is for a package that is installed here; there are those of its name
// in the new image.
func (k Kept) decide(there []Package) Change {
	why := "not in the new image"
	for _, p := range there {
		if !sameArch(p, k.Package) {
			continue
		}
		switch c := k.Format.CompareVersions(p.Version, k.Version); {
		case c == 0:
			return Change{Skip, k, "the new image has it"}
		case c > 0:
			return Change{Skip, k, "the new image has " + p.Version}
		}
		why = "the new image has " + p.Version + ", which is older"
	}
	return Change{Install, k, why}
}

// sameArch says whether one of the packages takes the place of the other: a
// package may become independent of the architecture, or cease to be.
func sameArch(a, b Package) bool {
	anywhere := []string{"noarch", "all"}
	return a.Arch == b.Arch || slices.Contains(anywhere, a.Arch) || slices.Contains(anywhere, b.Arch)
}

// Of are the kept packages that the operation is for.
func (p Plan) Of(op Op) []Kept {
	var out []Kept
	for _, c := range p.Changes {
		if c.Op == op {
			out = append(out, c.Kept)
		}
	}
	return out
}

// String is the number of packages for each operation, on one line.
func (p Plan) String() string {
	return fmt.Sprintf("%d packages to install, %d in the new image, %d stale",
		len(p.Of(Install)), len(p.Of(Skip)), len(p.Of(Drop)))
}
