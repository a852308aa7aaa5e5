package inspect

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"hooksmith/build/initramfs"
)

// lz4Legacy is the magic of the only LZ4 that the kernel unpacks
// (`lz4 -l`, which Ubuntu's initramfs-tools used before zstd).
const lz4Legacy = "\x02\x21\x4c\x18"

// lz4Block is the most that a block unpacks to.
const lz4Block = 8 << 20

func isLZ4(head []byte) bool { return bytes.HasPrefix(head, []byte(lz4Legacy)) }

// readLZ4 reads archives in one LZ4 stream up to the end of the span.
func readLZ4(r io.Reader, limits initramfs.Limits, fn func(initramfs.Entry, io.Reader) error) error {
	z := &lz4Reader{r: r}
	if _, err := io.CopyN(io.Discard, r, int64(len(lz4Legacy))); err != nil {
		return err
	}
	return initramfs.Read(z, limits, func(e initramfs.Entry, content io.Reader) error {
		e.Offset, e.Segment, e.Compression = 0, 0, "lz4"
		return fn(e, content)
	})
}

// lz4Reader decodes a legacy stream: blocks, each behind its size.
type lz4Reader struct {
	r       io.Reader
	in, out []byte
	rest    []byte // of out
}

func (z *lz4Reader) Read(p []byte) (int, error) {
	for len(z.rest) == 0 {
		if err := z.block(); err != nil {
			return 0, err
		}
	}
	n := copy(p, z.rest)
	z.rest = z.rest[n:]
	return n, nil
}

func (z *lz4Reader) block() error {
	var b [4]byte
	n, err := io.ReadFull(z.r, b[:])
	size := binary.LittleEndian.Uint32(b[:])
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && bytes.Equal(b[:n], make([]byte, n)):
		return io.EOF
	case err != nil:
		return fmt.Errorf("lz4: %w", err)
	case size == 0:
		return io.EOF // padding after the last block
	case string(b[:]) == lz4Legacy:
		return nil // a second stream follows
	case size > lz4Block+lz4Block/255+16:
		return fmt.Errorf("lz4: a block of %d bytes, more than %d unpack to", size, lz4Block)
	}
	if z.out == nil {
		z.in, z.out = make([]byte, 0, 1<<20), make([]byte, 0, lz4Block)
	}
	if cap(z.in) < int(size) {
		z.in = make([]byte, size)
	}
	z.in = z.in[:size]
	if _, err := io.ReadFull(z.r, z.in); err != nil {
		return fmt.Errorf("lz4: %w", io.ErrUnexpectedEOF)
	}
	z.out, err = lz4Decode(z.out[:0], z.in)
	z.rest = z.out
	return err
}

var errLZ4 = errors.New("lz4: a block is malformed")

// lz4Decode decodes one block behind out, up to the capacity of a block
// (LZ4 block format: literals, then a match of at least four bytes).
func lz4Decode(out, in []byte) ([]byte, error) {
	for len(in) > 0 {
		token := in[0]
		literals, rest, ok := lz4Length(int(token>>4), in[1:])
		if !ok || literals > len(rest) || len(out)+literals > lz4Block {
			return nil, errLZ4
		}
		out, in = append(out, rest[:literals]...), rest[literals:]
		if len(in) == 0 {
			return out, nil // the last sequence has no match
		}
		if len(in) < 2 {
			return nil, errLZ4
		}
		offset := int(in[0]) | int(in[1])<<8
		match, rest, ok := lz4Length(int(token&15), in[2:])
		match += 4
		if !ok || offset == 0 || offset > len(out) || len(out)+match > lz4Block {
			return nil, errLZ4
		}
		for match > 0 {
			from := out[len(out)-offset:]
			n := min(match, len(from))
			out = append(out, from[:n]...)
			match -= n
		}
		in = rest
	}
	return out, nil
}

// lz4Length reads the bytes that continue a length of 15.
func lz4Length(n int, in []byte) (int, []byte, bool) {
	if n < 15 {
		return n, in, true
	}
	for i, c := range in {
		if n += int(c); n > lz4Block {
			return 0, nil, false
		}
		if c != 255 {
			return n, in[i+1:], true
		}
	}
	return 0, nil, false
}
