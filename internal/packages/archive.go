package packages

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// checkArchive refuses a Debian package whose length is not what the headers
// of its members say (deb(5), ar(5)): dpkg-deb reads the first member alone
// and does not miss what was cut off behind.
func checkArchive(f io.ReadSeeker) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	var head [60]byte // name 16, time 12, owner 6, group 6, mode 8, size 10, end 2
	at, members := int64(len("!<arch>\n")), 0
	for ; at < end; members++ {
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.ReadFull(f, head[:]); err != nil {
			return errors.New("cut short within a member's header")
		}
		size, err := strconv.ParseUint(strings.TrimRight(string(head[48:58]), " "), 10, 34)
		if err != nil || !bytes.Equal(head[58:], []byte("`\n")) {
			return fmt.Errorf("no member's header at byte %d", at)
		}
		at += int64(len(head)) + int64(size)
		if at > end {
			return fmt.Errorf("cut short: %d bytes; want %d", end, at)
		}
		at += int64(size % 2)
	}
	if members < 3 {
		return fmt.Errorf("%d members; want debian-binary, control and data", members)
	}
	return nil
}
