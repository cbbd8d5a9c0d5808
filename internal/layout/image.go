package layout

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"imgbase/internal/nvr"
)

// Sentinels of names that a new image cannot have.
var (
	// ErrNameTooLong is a name that, or whose layers' names, LVM and the
	// programs around it might not take.
	ErrNameTooLong = errors.New("name too long")
	// ErrNameInvalid is a name that a volume cannot carry, or that would be
	// read back as something else.
	ErrNameInvalid = errors.New("name not fit for a volume")
)

// maxName is the longest name of a volume we create, in bytes. It is the
// original's bound, taken from Anaconda: device mapper allows 127 characters
// for volume group and volume together, with every dash doubled.
const maxName = 55

// longestSuffix is the room kept for the layers of a new base. Two digits are
// 99 layers on one base; an update makes one, so only layers added by hand
// get there, and then [Layout.Next] refuses rather than LVM.
const longestSuffix = "+99"

// Image is a base or a layer. Index counts the layers of a base; that of a
// base is 0.
type Image struct {
	NVR     nvr.NVR
	IsLayer bool
	Index   int
}

// Parse reads the name of a volume. It is a layer when it ends in "+" and a
// decimal number without leading zeros, and the rest is the name of a base;
// any other NVR is a base, wherever else it holds a "+". The error is
// [nvr.ErrMalformed].
func Parse(name string) (Image, error) {
	text, index, isLayer := cutIndex(name)
	if isLayer {
		if _, _, again := cutIndex(text); again {
			return Image{}, fmt.Errorf("%.80q: %w: a layer of a layer", name, nvr.ErrMalformed)
		}
	}
	n, err := nvr.Parse(text)
	if err != nil {
		return Image{}, err
	}
	return Image{NVR: n, IsLayer: isLayer, Index: index}, nil
}

// String is the name of the image's volume.
func (i Image) String() string {
	if !i.IsLayer {
		return i.NVR.String()
	}
	return i.NVR.String() + "+" + strconv.Itoa(i.Index)
}

// Base is the base that i is a layer of, whether it exists or not; a base is
// its own.
func (i Image) Base() Image { return Image{NVR: i.NVR} }

// Product is the name all versions of the image share.
func (i Image) Product() string { return i.NVR.Name }

// Compare orders images by name, version, release, a base before its layers,
// and layers by number. It is 0 for the same image only.
func Compare(a, b Image) int {
	return cmp.Or(
		nvr.Compare(a.NVR, b.NVR),
		cmp.Compare(kindOrder(a), kindOrder(b)),
		cmp.Compare(a.Index, b.Index),
	)
}

// CheckNew says whether an image named n can be created: whether n, and the
// name of every layer that will follow, fits a volume and reads back as what
// it is. The error is [nvr.ErrMalformed], [ErrNameInvalid] or
// [ErrNameTooLong], with the reason. LVM's reserved words are LVM's to refuse.
func CheckNew(n nvr.NVR) error {
	name := n.String()
	if again, err := nvr.Parse(name); err != nil {
		return err
	} else if again != n {
		return invalid(name, "a dash in version or release")
	}
	switch {
	case strings.ContainsAny(name, "~^"):
		return invalid(name, `LVM takes no "~" and no "^"`)
	case name[0] == '-':
		return invalid(name, "it starts with a dash")
	case name[0] == '.':
		// Boot loaders skip entry files whose name starts with a dot.
		return invalid(name, "it starts with a dot")
	case endsInNumber(name):
		return invalid(name, `it ends in "+" and digits, like a layer`)
	case len(name)+len(longestSuffix) > maxName:
		return fmt.Errorf("%.80q: %w: %d characters; want at most %d, since layers add up to %d",
			name, ErrNameTooLong, len(name), maxName-len(longestSuffix), len(longestSuffix))
	}
	return nil
}

func invalid(name, why string) error {
	return fmt.Errorf("%.80q: %w: %s", name, ErrNameInvalid, why)
}

// cutIndex divides the name of a layer; ok is false for any other text. A
// number that Itoa would print differently is none, so that the text can be
// rebuilt and stays the identity.
func cutIndex(name string) (base string, index int, ok bool) {
	i := strings.LastIndexByte(name, '+')
	if i < 0 {
		return name, 0, false
	}
	index, err := strconv.Atoi(name[i+1:])
	if err != nil || strconv.Itoa(index) != name[i+1:] || index < 0 {
		return name, 0, false
	}
	return name[:i], index, true
}

// endsInNumber is wider than cutIndex: the original takes "+01" for a layer.
func endsInNumber(name string) bool {
	rest := strings.TrimRight(name, "0123456789")
	return rest != name && strings.HasSuffix(rest, "+")
}

func kindOrder(i Image) int {
	if i.IsLayer {
		return 1
	}
	return 0
}
