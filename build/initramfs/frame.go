package initramfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// frame is exactly one zstd frame or one xz stream, taken from a longer file.
// The decoders read ahead and on, as if the next segment were more of the same
// content; here they meet an end of file where the kernel stops.
type frame struct {
	in   *tracker
	head []byte // read already, to be handed out first
	body int64  // bytes of in to hand out after head
	// next sets head and body to the next part, or returns io.EOF after the last.
	next func() error
}

func (f *frame) Read(p []byte) (int, error) {
	for len(p) > 0 {
		switch {
		case len(f.head) > 0:
			n := copy(p, f.head)
			f.head = f.head[n:]
			return n, nil
		case f.body > 0:
			n, err := f.in.Read(p[:min(int64(len(p)), f.body)])
			f.body -= int64(n)
			return n, noEOF(err)
		}
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// take reads n more bytes into head and returns them.
func (f *frame) take(n int) ([]byte, error) {
	old := len(f.head)
	f.head = append(f.head, make([]byte, n)...)
	_, err := io.ReadFull(f.in, f.head[old:])
	return f.head[old:], noEOF(err)
}

// zstdFrame returns the frame that begins where in stands (RFC 8878, section
// 3.1.1): a header, blocks, perhaps a checksum.
func zstdFrame(in *tracker) (*frame, error) {
	b, _ := in.r.Peek(zstd.HeaderMaxSize)
	var h zstd.Header
	if err := h.Decode(b); err != nil {
		return nil, noEOF(err)
	}
	f := &frame{in: in}
	last, checksum := false, h.HasCheckSum
	f.next = func() (err error) {
		switch {
		case !last:
			last, err = f.zstdBlock()
			return err
		case checksum:
			checksum, f.body = false, 4
			return nil
		}
		return io.EOF
	}
	_, err := f.take(h.HeaderSize)
	return f, err
}

// zstdBlock reads the header of a block: 1 bit last, 2 bits type, 21 bits
// size, little-endian.
func (f *frame) zstdBlock() (last bool, err error) {
	const rle, reserved = 1, 3
	b, err := f.take(3)
	if err != nil {
		return false, err
	}
	v := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
	f.body = int64(v >> 3)
	switch v >> 1 & 3 {
	case rle:
		f.body = 1
	case reserved:
		return false, fmt.Errorf("block type 3 at offset %d is reserved", f.in.n-3)
	}
	return v&1 != 0, nil
}

// xzFrame returns the stream that begins where in stands (The .xz File Format
// 1.2.1): a header, blocks of LZMA2 chunks, an index, a footer.
func xzFrame(in *tracker) *frame {
	f := &frame{in: in}
	x := &xzWalk{frame: f}
	x.step = x.header
	f.next = func() error { return x.step() }
	return f
}

// xzWalk finds the end of an xz stream without decoding it.
type xzWalk struct {
	*frame
	step  func() error // what comes next
	check int          // bytes after each block
	block int64        // bytes of chunks in this block so far
}

func (x *xzWalk) header() error {
	b, err := x.take(12)
	if err != nil {
		return err
	}
	const none, crc32 = 0, 1
	switch b[7] & 15 {
	case none:
	case crc32:
		x.check = 4
	default:
		return errors.New("the kernel only knows CRC32; compress it with xz --check=crc32")
	}
	x.step = x.blockOrIndex
	return nil
}

func (x *xzWalk) blockOrIndex() error {
	b, err := x.take(1)
	if err != nil {
		return err
	}
	if b[0] == 0 {
		return x.index()
	}
	x.body, x.block, x.step = int64(b[0])*4+3, 0, x.chunk
	return nil
}

// chunk reads the head of an LZMA2 chunk, or what ends a block.
func (x *xzWalk) chunk() error {
	c, err := x.take(1)
	if err != nil {
		return err
	}
	control, head, size := c[0], 2, 0
	switch {
	case control == 0:
		x.block++
		x.body, x.step = -x.block&3+int64(x.check), x.blockOrIndex
		return nil
	case control >= 0x80:
		head, size = 4, 2
	case control > 2:
		return fmt.Errorf("chunk type %d at offset %d is reserved", control, x.in.n-1)
	}
	b, err := x.take(head)
	if err != nil {
		return err
	}
	x.body = int64(binary.BigEndian.Uint16(b[size:])) + 1
	if control >= 0xc0 {
		x.body++ // properties
	}
	x.block += 1 + int64(head) + x.body
	return nil
}

// index reads the index, whose first byte is in head, and the footer.
func (x *xzWalk) index() error {
	const maxRecords = 1 << 16 // of blocks; a stream of several has one per 24 MiB
	size := 1
	records, err := x.number(&size)
	if err != nil {
		return err
	}
	if records > maxRecords {
		return fmt.Errorf("the index has %d records", records)
	}
	for range 2 * records {
		if _, err := x.number(&size); err != nil {
			return err
		}
	}
	x.body = int64(-size&3) + 4 + 12 // padding, CRC32, footer
	x.step = func() error { return io.EOF }
	return nil
}

// number reads a variable-length integer and adds its length to size.
func (x *xzWalk) number(size *int) (v uint64, err error) {
	for shift := 0; shift < 63; shift += 7 {
		b, err := x.take(1)
		if err != nil {
			return 0, err
		}
		*size++
		v |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			return v, nil
		}
	}
	return 0, errors.New("the index has a number that is too long")
}
