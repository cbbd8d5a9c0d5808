// Package proto is the language between the lab and the agent inside a guest.
//
// One message is one line of JSON, so that the line feed is the place where
// both sides agree again after anything went wrong: a guest restored from a
// saved state, a reboot in the middle of a message, a port that swallowed
// half of one. A side that reads a line it cannot parse drops it. The lab
// opens a conversation with an empty line and [OpSync], and ignores all
// replies until the one that carries its number.
package proto

// Port is the name of the virtio-serial port the agent answers on.
const Port = "imgbase.lab"

// Chunk is how much file content one message carries at most, in bytes.
const Chunk = 256 << 10

// Operations of a [Request].
const (
	OpSync  = "sync"  // says who answers, and sets the guest's clock to Time
	OpStart = "start" // starts a program, replies with its Proc
	OpAwait = "await" // waits until Proc has printed Text or ended
	OpWait  = "wait"  // waits for the end of Proc, replies with its output
	OpKill  = "kill"  // kills Proc and its process group with SIGKILL
	OpPut   = "put"   // writes Data to Path at Offset
	OpGet   = "get"   // reads up to Chunk bytes of Path at Offset
	OpTree  = "tree"  // describes every file below Roots
)

// Request is what the lab asks.
type Request struct {
	ID     uint64
	Op     string
	Time   int64    `json:",omitempty"` // sync: the lab's clock, ns since 1970
	Args   []string `json:",omitempty"` // start: the program and its arguments
	Env    []string `json:",omitempty"` // start: added to the environment, "KEY=value"
	Kill   Kill     `json:",omitzero"`  // start
	Proc   int      `json:",omitempty"` // await, wait, kill
	Text   string   `json:",omitempty"` // await
	Path   string   `json:",omitempty"` // put, get
	Offset int64    `json:",omitempty"` // put, get
	Mode   uint32   `json:",omitempty"` // put: permission bits
	Data   []byte   `json:",omitempty"` // put
	Roots  []string `json:",omitempty"` // tree
	Skip   []string `json:",omitempty"` // tree: paths left out with all below
}

// Kill says when a started program gets SIGKILL. The zero value is never.
// The guest itself looks, so the moment does not depend on the connection.
type Kill struct {
	After int64  `json:",omitempty"` // ns after its start
	On    string `json:",omitempty"` // when it has printed this, on either output
}

// Reply answers the request with the same ID. ID 0 is the agent's greeting
// when it starts.
type Reply struct {
	ID     uint64
	Err    string `json:",omitempty"`
	BootID string `json:",omitempty"` // sync and greeting: /proc/sys/kernel/random/boot_id
	Proc   int    `json:",omitempty"` // start
	Found  bool   `json:",omitempty"` // await: the text was printed
	Code   int    `json:",omitempty"` // wait: exit code, or 128 + the signal that ended it
	Stdout []byte `json:",omitempty"` // wait
	Stderr []byte `json:",omitempty"` // wait
	Data   []byte `json:",omitempty"` // get; shorter than Chunk at the end of the file
	Files  []File `json:",omitempty"` // tree
}

// File describes one file so that two descriptions are equal when nothing
// that survives a reboot differs, time stamps left aside.
type File struct {
	Path   string
	Mode   string   // type and permissions as ls -l prints them
	Owner  string   // "uid:gid"
	Size   int64    `json:",omitempty"` // regular files, bytes
	Sum    string   `json:",omitempty"` // regular files, SHA-256
	Link   string   `json:",omitempty"` // symbolic links: the target
	Xattrs []string `json:",omitempty"` // "name=value", sorted by name
}
