package gunzip

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// Reader decompresses a gzip file. It is not safe for concurrent use.
type Reader struct {
	read     int // of out: given to the caller, up to pos
	crc      uint32
	size     uint32 // of the member, so far
	err      error
	inflater // large, and with nothing after its first field that a collector has to look at
}

// NewReader returns a Reader after it has read the first member's header. It
// may read more from r than the file has.
func NewReader(r io.Reader) (*Reader, error) {
	z := &Reader{}
	z.src = r
	if err := z.header(); err != nil {
		return nil, err
	}
	return z, nil
}

// Read implements io.Reader.
func (z *Reader) Read(p []byte) (n int, err error) {
	for z.read == z.pos {
		if z.err != nil {
			return 0, z.err
		}
		z.next()
	}
	n = copy(p, z.out[z.read:z.pos])
	z.read += n
	return n, nil
}

// WriteTo implements io.WriterTo.
func (z *Reader) WriteTo(w io.Writer) (n int64, err error) {
	for {
		if z.read < z.pos {
			k, err := w.Write(z.out[z.read:z.pos])
			n += int64(k)
			z.read += k
			if err != nil {
				return n, err
			}
		}
		if z.err == io.EOF {
			return n, nil
		}
		if z.err != nil {
			return n, z.err
		}
		z.next()
	}
}

// next decompresses some more, all of which was read.
func (z *Reader) next() {
	z.slide()
	z.read = z.pos
	ended, err := z.inflate()
	some := z.out[z.read:z.pos]
	z.crc = crc32.Update(z.crc, crc32.IEEETable, some)
	z.size += uint32(len(some))
	if err == nil && ended {
		err = z.nextMember()
	}
	z.err = err
}

// nextMember checks the trailer of one and reads the header of the next.
func (z *Reader) nextMember() error {
	var t [8]byte
	if err := z.bytes(t[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(t[:]) != z.crc || binary.LittleEndian.Uint32(t[4:]) != z.size {
		return gzip.ErrChecksum
	}
	return z.header()
}

// header reads a member's header (RFC 1952, 2.3); io.EOF is that there is none.
func (z *Reader) header() error {
	z.begin()
	z.crc, z.size = 0, 0
	switch ended, err := z.ended(); {
	case err != nil:
		return err
	case ended:
		return io.EOF
	}
	var h [10]byte
	if err := z.bytes(h[:]); err != nil {
		return err
	}
	if !bytes.Equal(h[:3], []byte{0x1f, 0x8b, 8}) {
		return gzip.ErrHeader
	}
	return z.fields(h[3], crc32.ChecksumIEEE(h[:]))
}

// fields reads the optional fields of a header after those that have this
// checksum.
func (z *Reader) fields(flags byte, crc uint32) error {
	const hasCRC, hasExtra, hasName, hasComment = 1 << 1, 1 << 2, 1 << 3, 1 << 4
	const maxString = 512 // bytes of a name or a comment with the zero after it, as in compress/gzip
	var b [2]byte
	field := func(p []byte) error {
		err := z.bytes(p)
		crc = crc32.Update(crc, crc32.IEEETable, p)
		return err
	}
	if flags&hasExtra != 0 {
		if err := field(b[:]); err != nil {
			return err
		}
		if err := field(make([]byte, binary.LittleEndian.Uint16(b[:]))); err != nil {
			return err
		}
	}
	for _, flag := range []byte{hasName, hasComment} {
		b[0] = 1
		for n := 0; flags&flag != 0 && b[0] != 0; n++ {
			if n == maxString {
				return gzip.ErrHeader
			}
			if err := field(b[:1]); err != nil {
				return err
			}
		}
	}
	want := uint16(crc)
	if flags&hasCRC != 0 {
		if err := z.bytes(b[:]); err != nil {
			return err
		}
		if binary.LittleEndian.Uint16(b[:]) != want {
			return gzip.ErrHeader
		}
	}
	return nil
}
