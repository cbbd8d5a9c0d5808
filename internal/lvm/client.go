package lvm

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"imgbase/internal/run"
)

// Client starts LVM's programs. The zero value is not usable; see [New].
type Client struct {
	Runner run.Runner
}

// New returns a client that starts programs with r.
func New(r run.Runner) *Client { return &Client{Runner: r} }

// Thin is a thin volume to create.
type Thin struct {
	VG, Pool, Name string
	Size           uint64 // bytes, rounded up to whole extents
	Tags           []string
}

// CreateThin creates a thin volume: writable, active, not skipped at boot,
// carrying its tags. Nothing in it is zeroed or wiped; a new thin volume
// reads as zeros. A pool smaller than what its volumes promise is no error.
func (c *Client) CreateThin(ctx context.Context, t Thin) error {
	subject := "create volume " + t.Name
	if err := ValidateName(t.VG, t.Name); err != nil {
		return fmt.Errorf("create volume: %w", err)
	}
	if err := plausible(t.Pool); err != nil {
		return fmt.Errorf("%s: thin pool %w", subject, err)
	}
	args := []string{
		"--type", "thin", "--thinpool", t.Pool, "--virtualsize", bytes(t.Size), "--name", t.Name,
		"--permission", "rw", "--setactivationskip", "n", "--activate", "y", "--wipesignatures", "n",
	}
	return c.do(ctx, subject, "lvcreate", append(tagArgs("--addtag", t.Tags, args), t.VG)...)
}

// Snap is a thin snapshot to create.
type Snap struct {
	VG, Origin, Name string
	Tags             []string
	ReadOnly         bool
	SkipActivation   bool // not activated at boot
	Active           bool // active when Snapshot returns
}

// Snapshot creates a thin snapshot of a thin volume, active or not, and gives
// it its tags, permission and activation in the same process. The origin is
// not changed.
func (c *Client) Snapshot(ctx context.Context, s Snap) error {
	subject := "snapshot " + s.Origin + " as " + s.Name
	if err := ValidateName(s.VG, s.Name); err != nil {
		return fmt.Errorf("snapshot %s: %w", s.Origin, err)
	}
	origin, err := refs(s.VG, s.Origin)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	permission := "rw"
	if s.ReadOnly {
		permission = "r"
	}
	args := []string{
		"--snapshot", "--name", s.Name, "--permission", permission,
		"--setactivationskip", yesNo(s.SkipActivation), "--ignoreactivationskip", "--activate", yesNo(s.Active),
	}
	return c.do(ctx, subject, "lvcreate", append(tagArgs("--addtag", s.Tags, args), origin...)...)
}

// Revert makes the origin of a thin snapshot be what the snapshot is, and the
// snapshot is gone (lvconvert(8), --mergethin). The origin keeps its name,
// identity, tags and permission. Its other snapshots stay what they are, but
// LVM forgets whose they were: no later Revert to one of them is possible.
//
// While either of the two is in use, LVM only notes it. The origin is then
// [LV.Merging], stays as it is and can be written to; the snapshot is seen and
// changed no more; the exchange is made when the origin is activated next.
// LVM has no way to call that off, and does not flush the note.
func (c *Client) Revert(ctx context.Context, vg, snapshot string) error {
	return c.on(ctx, volume{"revert to snapshot", vg, snapshot}, "lvconvert", "--mergethin")
}

// Remove removes thin volumes, active or not. Removing an origin leaves its
// thin snapshots as they are. Removing none is no process and no error. A
// volume that is missing or in use is an error, but the others are removed
// all the same.
//
// A volume that is not in a thin pool is left alone without an error: given
// the name of a pool, and told not to ask, LVM would remove every volume in it.
func (c *Client) Remove(ctx context.Context, vg string, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	volumes, err := refs(vg, names...)
	if err != nil {
		return fmt.Errorf("remove volume: %w", err)
	}
	args := append([]string{"--select", `pool_lv!=""`}, volumes...)
	return c.do(ctx, "remove volume "+strings.Join(names, ", "), "lvremove", args...)
}

// Rename gives a volume another name; one that is in use as well.
func (c *Client) Rename(ctx context.Context, vg, from, to string) error {
	if err := ValidateName(vg, to); err != nil {
		return fmt.Errorf("rename volume: %w", err)
	}
	if err := plausible(from); err != nil {
		return fmt.Errorf("rename volume: %w", err)
	}
	return c.do(ctx, "rename volume "+from, "lvrename", vg, from, to)
}

// Seal makes a volume what a base is: inactive, read-only, skipped at boot. A
// volume in use is refused and left as it is; sealing a sealed one is no
// error.
//
// Two processes. LVM takes both changes in one, but then makes a volume
// read-only under its mounted file system before it finds that it is in use,
// and does not deactivate one that was read-only before.
func (c *Client) Seal(ctx context.Context, vg, name string) error {
	if err := c.Deactivate(ctx, vg, name); err != nil {
		return err
	}
	err := c.change(ctx, "seal volume", vg, name, "--permission", "r", "--setactivationskip", "y")
	return unlessSettled(err)
}

// Unseal undoes [Client.Seal]: writable, not skipped at boot, active.
func (c *Client) Unseal(ctx context.Context, vg, name string) error {
	err := c.change(ctx, "unseal volume", vg, name, "--permission", "rw", "--setactivationskip", "n")
	if err := unlessSettled(err); err != nil {
		return err
	}
	return c.Activate(ctx, vg, name)
}

// Activate makes a volume's device appear, also when it is skipped at boot.
func (c *Client) Activate(ctx context.Context, vg, name string) error {
	return c.change(ctx, "activate volume", vg, name, "--activate", "y", "--ignoreactivationskip")
}

// Deactivate makes a volume's device disappear. One in use is refused.
func (c *Client) Deactivate(ctx context.Context, vg, name string) error {
	return c.change(ctx, "deactivate volume", vg, name, "--activate", "n")
}

// ChangeVGTags adds and removes tags of a volume group in one atomic change.
// Adding a tag that is there or removing one that is not is no error.
func (c *Client) ChangeVGTags(ctx context.Context, vg string, add, del []string) error {
	if err := plausible(vg); err != nil {
		return fmt.Errorf("tag volume group: %w", err)
	}
	args := tagArgs("--deltag", del, tagArgs("--addtag", add, nil))
	if len(args) == 0 {
		return nil
	}
	return c.do(ctx, "tag volume group "+vg, "vgchange", append(args, vg)...)
}

// Retag is a change of a volume's tags.
type Retag struct {
	VG, Name string
	Add, Del []string
}

// ChangeLVTags adds and removes tags of a volume in one atomic change.
func (c *Client) ChangeLVTags(ctx context.Context, r Retag) error {
	args := tagArgs("--deltag", r.Del, tagArgs("--addtag", r.Add, nil))
	if len(args) == 0 {
		return nil
	}
	return c.change(ctx, "tag volume", r.VG, r.Name, args...)
}

// Extend makes a volume size bytes large, rounded up to whole extents. A
// volume at least that large already is left as it is. A thin pool takes the
// room from its volume group.
func (c *Client) Extend(ctx context.Context, vg, name string, size uint64) error {
	return unlessSettled(c.on(ctx, volume{"extend volume", vg, name}, "lvextend", "--size", bytes(size)))
}

// ExtendMetadata adds by bytes to a thin pool's metadata.
func (c *Client) ExtendMetadata(ctx context.Context, vg, pool string, by uint64) error {
	return c.on(ctx, volume{"extend metadata of thin pool", vg, pool}, "lvextend", "--poolmetadatasize", "+"+bytes(by))
}

// SetProfile attaches a metadata profile (lvm.conf(5), PROFILES) to a thin
// pool. Its file must be in LVM's profile directory.
func (c *Client) SetProfile(ctx context.Context, vg, pool, profile string) error {
	if err := plausible(profile); err != nil {
		return fmt.Errorf("profile of thin pool %s: %w", pool, err)
	}
	return c.change(ctx, "profile of thin pool", vg, pool, "--metadataprofile", profile)
}

// Flush brings what was written to the devices to the disk: LVM writes its
// metadata without flushing the disk's cache, and sync(1) given a block
// device is fsync(2) on it, which does.
func (c *Client) Flush(ctx context.Context, devices ...string) error {
	if len(devices) == 0 {
		return nil
	}
	_, err := c.Runner.Run(ctx, run.Cmd{Name: "sync", Args: append([]string{"--"}, devices...)})
	if err != nil {
		return fmt.Errorf("flush devices: %w", err)
	}
	return nil
}

func (c *Client) change(ctx context.Context, what, vg, name string, args ...string) error {
	return c.on(ctx, volume{what, vg, name}, "lvchange", args...)
}

// on starts a program on one volume, which comes last on its command line.
func (c *Client) on(ctx context.Context, v volume, program string, args ...string) error {
	last, err := refs(v.vg, v.name)
	if err != nil {
		return fmt.Errorf("%s: %w", v.what, err)
	}
	return c.do(ctx, v.what+" "+v.name, program, append(args, last...)...)
}

// volume is what a verb works on, and what the verb does to it, for errors.
type volume struct{ what, vg, name string }

// do starts one LVM program that changes something. It answers every prompt
// with yes and says nothing but warnings and errors.
func (c *Client) do(ctx context.Context, subject, program string, args ...string) error {
	_, err := c.Runner.Run(ctx, run.Cmd{Name: program, Args: append([]string{"--yes", "--quiet"}, args...)})
	if err != nil {
		return classify(subject, err)
	}
	return nil
}

func refs(vg string, names ...string) ([]string, error) {
	if err := plausible(vg); err != nil {
		return nil, fmt.Errorf("volume group %w", err)
	}
	var all []string
	for _, n := range names {
		if err := plausible(n); err != nil {
			return nil, err
		}
		all = append(all, vg+"/"+n)
	}
	return all, nil
}

func tagArgs(flag string, tags, args []string) []string {
	for _, t := range tags {
		args = append(args, flag, t)
	}
	return args
}

// bytes renders a size for LVM, which takes multiples of 512 only.
func bytes(n uint64) string {
	const sector = 512
	if n <= math.MaxUint64-sector {
		n += sector - 1
	}
	return strconv.FormatUint(n/sector*sector, 10) + "b"
}

func yesNo(b bool) string {
	if b {
		return "y"
	}
	return "n"
}
