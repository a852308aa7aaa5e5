package gunzip

import (
	"encoding/binary"
	"errors"
	"io"
)

const (
	inputMask  = 128<<10 - 1
	inputArray = inputMask + 1 + 8
	inputSize  = inputMask + 1 - inputPad
	ahead      = 16 // bytes that are taken without looking how many there are: see run
	inputPad   = 32 // zeros after the end, so that so many and eight more can always be read
)

// input is the compressed side: bytes, and the bits that were taken from them.
type input struct {
	src io.Reader
	in  [inputArray]byte // inputPad longer than what it can hold
	at  int              // next byte
	end int              // of what was read
	eof bool             // there is no more than that

	bits uint64 // the next is the lowest; what is above n is undefined
	n    uint   // how many of them, less than 64
}

// more reads on. What is not used yet moves to the front, with what align may
// want back.
func (r *input) more() error {
	drop := max(r.at-8, 0)
	kept := copy(r.in[:], r.in[drop:r.end])
	r.at, r.end = r.at-drop, kept
	for empty := 0; ; empty++ {
		n, err := r.src.Read(r.in[r.end:inputSize])
		r.end += n
		switch {
		case err == io.EOF:
			r.eof = true
			clear(r.in[r.end : r.end+inputPad])
			return nil
		case err != nil:
			return err
		case r.end-kept >= ahead || r.end == inputSize:
			return nil
		case n == 0 && empty > 100:
			return io.ErrNoProgress
		case n > 0:
			empty = 0
		}
	}
}

// need makes sure that there are at least 56 bits, zeros after the end.
func (r *input) need() error {
	if r.at+ahead > r.end && !r.eof {
		if err := r.more(); err != nil {
			return err
		}
	}
	if r.overrun() {
		return io.ErrUnexpectedEOF
	}
	r.refill()
	return nil
}

// overrun reports whether bits were taken that are beyond the end.
func (r *input) overrun() bool { return r.eof && r.at-int(r.n>>3) > r.end }

// ended reports whether there are no more bytes.
func (r *input) ended() (bool, error) {
	for r.at == r.end && !r.eof {
		if err := r.more(); err != nil {
			return false, err
		}
	}
	return r.at == r.end, nil
}

// refill makes n at least 56 from in, where eight bytes must be.
func (r *input) refill() {
	bits, at, n := r.filled(r.bits, uint(r.at), uint64(r.n))
	r.bits, r.at, r.n = bits, int(at), uint(n&63)
}

// filled is refill for what is in local variables. It adds whole bytes, and of
// the next one what there is room for, which is or-ed again the next time.
func (r *input) filled(bits uint64, at uint, n uint64) (uint64, uint, uint64) {
	i := at & inputMask
	bits |= binary.LittleEndian.Uint64(r.in[i:i+8:i+8]) << (n & 63)
	return bits, at + 7 - uint(n>>3&7), n | 56
}

// take returns the next k bits, which must be there.
func (r *input) take(k uint) uint {
	v := uint(r.bits) & (1<<k - 1)
	r.bits >>= k
	r.n -= k
	return v
}

// align gives the bytes back that are in bits.
func (r *input) align() error {
	r.at -= int(r.n >> 3)
	r.bits, r.n = 0, 0
	if r.at > r.end {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// bytes fills p from a byte boundary.
func (r *input) bytes(p []byte) error {
	for len(p) > 0 {
		switch ended, err := r.ended(); {
		case err != nil:
			return err
		case ended:
			return io.ErrUnexpectedEOF
		}
		n := copy(p, r.in[r.at:r.end])
		r.at += n
		p = p[n:]
	}
	return nil
}

var errCorrupt = errors.New("the deflate stream is damaged")
