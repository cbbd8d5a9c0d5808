package owners_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"imgbase/internal/owners"
)

type ids = map[uint32]uint32

// swap is 5→6, 6→5 and a chain, for users; 7→8→9 for groups.
func swap() owners.Map {
	return owners.Map{UIDs: ids{5: 6, 6: 5, 10: 11, 11: 12}, GIDs: ids{7: 8, 8: 9}}
}

// Tags of an access list's entries.
const (
	userObj, user, groupObj, group, mask, other = 1, 2, 4, 8, 0x10, 0x20
	none                                        = 1<<32 - 1
)

// list is an access list as the kernel has it; an entry is tag, permissions, id.
func list(entries ...[3]uint32) []byte {
	out := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		out = binary.LittleEndian.AppendUint16(out, uint16(e[0]))
		out = binary.LittleEndian.AppendUint16(out, uint16(e[1]))
		out = binary.LittleEndian.AppendUint32(out, e[2])
	}
	return out
}

func TestIDs(t *testing.T) {
	m := swap()
	if got := []uint32{m.UID(5), m.UID(6), m.UID(7), m.GID(7), m.GID(8), m.GID(0)}; !cmp.Equal(got, []uint32{6, 5, 7, 8, 9, 0}) {
		t.Errorf("ids = %v; want 6 5 7 8 9 0", got)
	}
	if m.Empty() || !(owners.Map{}).Empty() || (owners.Map{GIDs: ids{1: 2}}).Empty() {
		t.Error("Empty() is wrong")
	}
	if got, want := m.String(), "files of 4 users and 2 groups get another number"; got != want {
		t.Errorf("String() = %q; want %q", got, want)
	}
}

func TestList(t *testing.T) {
	for _, tc := range []struct {
		name     string
		in, want []byte
		changed  bool
	}{
		{
			"named ones, in order again",
			list([3]uint32{userObj, 6, none}, [3]uint32{user, 4, 5}, [3]uint32{user, 2, 6}, [3]uint32{groupObj, 4, none}, [3]uint32{group, 1, 7}, [3]uint32{mask, 7, none}, [3]uint32{other, 0, none}),
			list([3]uint32{userObj, 6, none}, [3]uint32{user, 2, 5}, [3]uint32{user, 4, 6}, [3]uint32{groupObj, 4, none}, [3]uint32{group, 1, 8}, [3]uint32{mask, 7, none}, [3]uint32{other, 0, none}),
			true,
		},
		{
			"two that become one",
			list([3]uint32{user, 4, 11}, [3]uint32{user, 1, 12}),
			list([3]uint32{user, 5, 12}), true,
		},
		{"a user is no group", list([3]uint32{user, 4, 7}, [3]uint32{group, 4, 5}), nil, false},
		{"nobody named", list([3]uint32{userObj, 6, none}), nil, false},
	} {
		got, changed, err := swap().List(tc.in)
		want := tc.want
		if !tc.changed {
			want = tc.in
		}
		if err != nil || changed != tc.changed || !bytes.Equal(got, want) {
			t.Errorf("List(%s) = %x, %v, %v; want %x, %v", tc.name, got, changed, err, want, tc.changed)
		}
	}
	for _, bad := range [][]byte{nil, {2, 0, 0}, {1, 0, 0, 0}, {2, 0, 0, 0, 1}, list([3]uint32{user, 1, 5})[:11]} {
		if got, changed, err := swap().List(bad); err == nil || changed {
			t.Errorf("List(%x) = %x, %v, %v; want an error", bad, got, changed, err)
		}
	}
}

func TestAttributes(t *testing.T) {
	in := map[string]string{"user.k": "v", owners.AccessList: string(list([3]uint32{user, 4, 5})), owners.DefaultList: "odd"}
	got := swap().Attributes(in)
	want := map[string]string{"user.k": "v", owners.AccessList: string(list([3]uint32{user, 4, 6})), owners.DefaultList: "odd"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Attributes (-want +got):\n%s", d)
	}
	if in[owners.AccessList] != string(list([3]uint32{user, 4, 5})) {
		t.Error("Attributes changed its argument")
	}
	if got := swap().Attributes(nil); got != nil {
		t.Errorf("Attributes(nil) = %v; want nil", got)
	}
}

// A list is mapped or refused; the result is one, sorted, and mapping by
// nothing changes nothing.
func FuzzList(f *testing.F) {
	f.Add(list([3]uint32{user, 7, 5}, [3]uint32{group, 5, 7}))
	f.Add([]byte{2, 0, 0, 0})
	f.Add([]byte{1, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, in []byte) {
		was := slices.Clone(in)
		out, changed, err := swap().List(in)
		if !bytes.Equal(was, in) {
			t.Fatalf("List() changed its argument %x to %x", was, in)
		}
		if err != nil || !changed {
			return
		}
		if len(out) > len(in) || len(out)%8 != 4 {
			t.Fatalf("List(%x) = %x; want an access list", in, out)
		}
		if _, changed, err := (owners.Map{}).List(out); changed || err != nil {
			t.Fatalf("List(%x) by no map = %v, %v; want no change", out, changed, err)
		}
	})
}
