package build

import (
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"os"
	"sync/atomic"
)

// hashing writes a file and hashes what it writes, each hash in a goroutine of
// its own, so that neither holds up the other or the compressor.
type hashing struct {
	f       *os.File
	size    int64 // bytes written, where the next goes
	free    chan *chunk
	sums    [2]*runningHash // SHA-256, SHA-512
	pending []*boundary     // still to come, see resume.go
	passed  []*boundary
}

// chunk is a piece of the file on its way through the hashes.
type chunk struct {
	data []byte
	left atomic.Int32 // hashes that have not seen it
}

const (
	chunkSize = writeSize
	chunks    = 24
)

func newHashing(f *os.File) *hashing {
	h := &hashing{f: f, free: make(chan *chunk, chunks), sums: [2]*runningHash{newRunningHash(sha256.New()), newRunningHash(sha512.New())}}
	for range chunks {
		h.free <- &chunk{data: make([]byte, 0, chunkSize)}
	}
	return h
}

// Write implements io.Writer.
func (h *hashing) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		some := p[n:min(len(p), n+chunkSize)]
		if len(h.pending) > 0 {
			some = some[:min(int64(len(some)), h.pending[0].offset-h.size)]
		}
		k, err := h.f.WriteAt(some, h.size)
		h.size += int64(k)
		n += k
		h.hash(some[:k])
		if err != nil {
			return n, err
		}
		h.pass()
	}
	return n, nil
}

// hash gives a copy of p to both hashes.
func (h *hashing) hash(p []byte) {
	c := <-h.free
	c.data = append(c.data[:0], p...)
	c.left.Store(int32(len(h.sums)))
	for _, s := range h.sums {
		s.feed <- func(sum hash.Hash) {
			sum.Write(c.data)
			if c.left.Add(-1) == 0 {
				h.free <- c
			}
		}
	}
}

// finish waits for the hashes and returns them. It must be called once, after
// the last Write.
func (h *hashing) finish() (sum256, sum512 []byte) {
	return h.sums[0].finish(), h.sums[1].finish()
}

// runningHash is a hash in a goroutine of its own.
type runningHash struct {
	feed chan func(hash.Hash)
	sum  chan []byte
}

func newRunningHash(sum hash.Hash) *runningHash {
	s := &runningHash{feed: make(chan func(hash.Hash), chunks), sum: make(chan []byte, 1)}
	go func() {
		for do := range s.feed {
			do(sum)
		}
		s.sum <- sum.Sum(nil)
	}()
	return s
}

// do runs fn between two writes, and waits for it.
func (s *runningHash) do(fn func(hash.Hash)) {
	done := make(chan struct{})
	s.feed <- func(sum hash.Hash) {
		fn(sum)
		close(done)
	}
	<-done
}

func (s *runningHash) finish() []byte {
	close(s.feed)
	return <-s.sum
}
