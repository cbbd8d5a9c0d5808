package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// blockSize is what a reader reads at a time. It is a multiple of every
	// block size of squashfs, so that no block is decompressed twice.
	blockSize = 1 << 20
	// maxBlock bounds the memory of a reader where the pool has large chunks;
	// LVM allows them up to 1 GiB.
	maxBlock = 4 << 20
)

// plan is a copy of the first size bytes of a file, in blocks of whole
// chunks. A chunk is written whole or not at all: a thin pool zeroes the rest
// of a chunk that is written in part.
type plan struct {
	size     int64
	chunk    int64
	block    int64
	blocks   []int64 // offsets of those that are not holes
	zeros    []byte  // a chunk of them
	progress func(done, total int64)
}

func newPlan(size int64, o WriteOptions) (*plan, error) {
	chunk := o.ChunkSize
	if chunk == 0 {
		chunk = defaultChunk
	}
	if chunk < 0 || chunk%4096 != 0 {
		return nil, fmt.Errorf("chunk size %d: want a multiple of 4096", chunk)
	}
	chunk = min(chunk, maxBlock)
	return &plan{
		size: size, chunk: chunk, block: max(blockSize/chunk, 1) * chunk,
		zeros: make([]byte, chunk), progress: o.Progress,
	}, nil
}

// find lists the blocks of f that hold data. Where the file system does not
// know holes, all of the file is data (lseek(2)).
func (p *plan) find(f *os.File) error {
	for offset := int64(0); offset < p.size; {
		data, err := f.Seek(offset, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		hole, err := f.Seek(data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		p.add(data, min(hole, p.size))
		offset = hole
	}
	return nil
}

// add takes in the blocks that [data, hole) touches. The last one known may
// be among them.
func (p *plan) add(data, hole int64) {
	first := data - data%p.block
	if n := len(p.blocks); n > 0 && p.blocks[n-1] >= first {
		first = p.blocks[n-1] + p.block
	}
	for b := first; b < hole; b += p.block {
		p.blocks = append(p.blocks, b)
	}
}

// copy writes the blocks to target, one goroutine for each source. Its memory
// is one block for each, however large the image is.
func (p *plan) copy(ctx context.Context, target *os.File, sources []*os.File) error {
	report := p.reporter()
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for _, source := range sources {
		g.Go(func() error {
			buf := make([]byte, p.block)
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= int64(len(p.blocks)) {
					return nil
				}
				b := buf[:min(p.block, p.size-p.blocks[i])]
				if err := p.copyBlock(target, source, b, p.blocks[i]); err != nil {
					return err
				}
				report(int64(len(b)))
			}
			return context.Cause(ctx)
		})
	}
	return g.Wait()
}

func (p *plan) copyBlock(target, source *os.File, b []byte, offset int64) error {
	n, err := source.ReadAt(b, offset)
	if n < len(b) {
		if errors.Is(err, io.EOF) {
			err = ErrTruncated
		}
		return fmt.Errorf("read at byte %d: %w", offset+int64(n), cause(err))
	}
	for start, end := range p.runs(b) {
		n, err := target.WriteAt(b[start:end], offset+start)
		if err != nil {
			return fmt.Errorf("%s: write at byte %d: %w", target.Name(), offset+start+int64(n), cause(err))
		}
	}
	// Starts the writing now, so that the disk works while we decompress. It
	// is a hint: the final sync returns every error of writing.
	_ = unix.SyncFileRange(int(target.Fd()), offset, int64(len(b)), unix.SYNC_FILE_RANGE_WRITE)
	return nil
}

// runs yields start and end of each run of chunks in b that are not all
// zeros.
func (p *plan) runs(b []byte) iter.Seq2[int64, int64] {
	return func(yield func(start, end int64) bool) {
		start := int64(-1)
		for at, size := int64(0), int64(len(b)); at < size; at += p.chunk {
			chunk := b[at:min(at+p.chunk, size)]
			zero := bytes.Equal(chunk, p.zeros[:len(chunk)])
			switch {
			case zero && start >= 0:
				if !yield(start, at) {
					return
				}
				start = -1
			case !zero && start < 0:
				start = at
			}
		}
		if start >= 0 {
			yield(start, int64(len(b)))
		}
	}
}

// reporter counts the holes first: they were looked at.
func (p *plan) reporter() func(n int64) {
	if p.progress == nil {
		return func(int64) {}
	}
	done := p.size
	for _, b := range p.blocks {
		done -= min(p.block, p.size-b)
	}
	var mu sync.Mutex
	p.progress(done, p.size)
	return func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		done += n
		p.progress(done, p.size)
	}
}
