package build

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
)

// A layer's tar stays in the cache for months, and its bytes go into segments
// that machines boot. So each block of it has a checksum, made while the tar is
// written and kept with its index; a block is held against it when it is first
// read. CRC-32C finds what disks and memory do, at the speed of memory.

// tarBlock is how much of a tar has one checksum: more than most files, and
// little beside what is read at once for a segment.
const tarBlock = 64 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// blockSums are the checksums of a file's blocks, the last of which may be short.
type blockSums []uint32

// sumWriter makes the checksums of what is written through it.
type sumWriter struct {
	w    io.Writer
	sums blockSums
	n    int64
}

func (s *sumWriter) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	for rest := p[:n]; len(rest) > 0; {
		if s.n%tarBlock == 0 {
			s.sums = append(s.sums, 0)
		}
		some := rest[:min(int64(len(rest)), tarBlock-s.n%tarBlock)]
		last := &s.sums[len(s.sums)-1]
		*last = crc32.Update(*last, castagnoli, some)
		s.n += int64(len(some))
		rest = rest[len(some):]
	}
	return n, err
}

// appendTo appends the sums, and a checksum of their own, to an index.
func (s blockSums) appendTo(b []byte) []byte {
	start := len(b)
	for _, sum := range s {
		b = binary.LittleEndian.AppendUint32(b, sum)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// cutSums takes the sums of a tar of size bytes off the end of an index.
func cutSums(b []byte, size int64) (index []byte, sums blockSums, err error) {
	blocks := (size + tarBlock - 1) / tarBlock
	start := int64(len(b)) - 4*(blocks+1)
	if start < 0 {
		return nil, nil, errors.New("it ends within the checksums of the tar")
	}
	tail := b[start:]
	if crc32.Checksum(tail[:4*blocks], castagnoli) != binary.LittleEndian.Uint32(tail[4*blocks:]) {
		return nil, nil, errors.New("the checksums of the tar are damaged")
	}
	for ; len(tail) > 4; tail = tail[4:] {
		sums = append(sums, binary.LittleEndian.Uint32(tail))
	}
	return b[:start], sums, nil
}

// layerTar reads a layer's tar in the cache. It never returns bytes of a block
// that differs from its checksum: then the tar is made again, once.
type layerTar struct {
	sums   blockSums
	good   []atomic.Bool // by block: it was compared
	remake func(cause error) (*os.File, blockSums, error)

	file atomic.Pointer[os.File]
	mu   sync.Mutex // of who makes it again
	made bool
}

func newLayerTar(f *os.File, sums blockSums, remake func(cause error) (*os.File, blockSums, error)) *layerTar {
	t := &layerTar{sums: sums, good: make([]atomic.Bool, len(sums)), remake: remake}
	t.file.Store(f)
	return t
}

func (t *layerTar) ReadAt(p []byte, off int64) (int, error) {
	for {
		f := t.file.Load()
		n, err := f.ReadAt(p, off)
		if errors.Is(err, os.ErrClosed) {
			return n, err
		}
		if err == nil || err == io.EOF {
			bad := t.verify(f, p[:n], off)
			if bad == nil {
				return n, err
			}
			err = bad
		}
		if err := t.mend(f, err); err != nil {
			return 0, err
		}
	}
}

// blockBuffers are for blocks of which a reader wants a part.
var blockBuffers = sync.Pool{New: func() any { return new([tarBlock]byte) }}

// verify compares the blocks of which p, read at off, is or has a part.
func (t *layerTar) verify(f *os.File, p []byte, off int64) error {
	end := off + int64(len(p))
	for b := off / tarBlock; b*tarBlock < end && b < int64(len(t.sums)); b++ {
		if t.good[b].Load() {
			continue
		}
		from, to := b*tarBlock, (b+1)*tarBlock
		var sum uint32
		if from >= off && to <= end {
			sum = crc32.Checksum(p[from-off:to-off], castagnoli)
		} else {
			buf := blockBuffers.Get().(*[tarBlock]byte)
			n, err := f.ReadAt(buf[:], from)
			sum = crc32.Checksum(buf[:n], castagnoli)
			blockBuffers.Put(buf)
			if err != nil && err != io.EOF {
				return err
			}
		}
		if sum != t.sums[b] {
			return fmt.Errorf("the bytes from %d on are not those that were written", from)
		}
		t.good[b].Store(true)
	}
	return nil
}

// mend has the tar made again, if f is still what is read.
func (t *layerTar) mend(f *os.File, cause error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file.Load() != f {
		return nil
	}
	if t.made {
		return fmt.Errorf("the unpacked layer in the cache, which was made again, is damaged: %w (is the disk, or the memory, broken?)", cause)
	}
	again, sums, err := t.remake(cause)
	if err != nil {
		return fmt.Errorf("the unpacked layer in the cache is damaged, and making it again failed: %w", err)
	}
	if !slices.Equal(sums, t.sums) {
		return errors.New("the unpacked layer in the cache is damaged, and it is another one when it is made again: build again, it is then made from nothing")
	}
	t.made = true
	t.file.Store(again)
	return nil
}
