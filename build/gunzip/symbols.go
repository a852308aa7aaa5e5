package gunzip

import (
	"encoding/binary"
	"io"
)

// symbols decompresses a block until it ends or the output is full. All that
// changes with every symbol is in local variables, and indices are masked
// where their bounds do not follow from what is before, or it would take half
// as long again. Of n only the low byte counts.
func (z *inflater) symbols() error {
	literal, distance := &z.literal.entries, &z.distance.entries
	in, out, pos := z.in, z.out, uint(z.pos)
	at, bits, n := uint(z.at), z.bits, uint64(z.n)
	end, from := uint(z.end), uint(z.from)
	sure := pos // after this, bits beyond the end may have been taken
	var err error
	for pos < outputSize {
		if at+ahead > end {
			z.at, z.bits, z.n = int(at), bits, uint(n&63)
			err = z.need()
			at, bits, n, end = uint(z.at), z.bits, uint64(z.n), uint(z.end)
			if err != nil {
				break
			}
			sure = pos
		}
		bits |= load(in, at) << (n & 63)
		at += 7 - uint(n>>3&7)
		n |= 56
		e := literal[bits&(1<<literalBits-1)]
		if e >= isLiteral {
			bits >>= e & 63
			n -= uint64(e)
			out[pos] = byte(e >> 8)
			pos++
			e = literal[bits&(1<<literalBits-1)]
			if e >= isLiteral {
				bits >>= e & 63
				n -= uint64(e)
				out[pos] = byte(e >> 8)
				pos++
				e = literal[bits&(1<<literalBits-1)]
				if e >= isLiteral {
					bits >>= e & 63
					n -= uint64(e)
					out[pos] = byte(e >> 8)
					pos++
					continue
				}
			}
		}
		if e < isNumber {
			if e&isLink != 0 {
				e = literal[(uint64(e>>16)+bits>>literalBits&(1<<(e>>8&15)-1))&tableMask]
			}
			if e >= isLiteral {
				bits >>= e & 63
				n -= uint64(e)
				out[pos] = byte(e >> 8)
				pos++
				continue
			}
			if e < isNumber {
				err = errCorrupt
				if e&isEnd != 0 {
					z.block, err = betweenBlocks, nil
					bits >>= e & 63
					n -= uint64(e)
				}
				break
			}
		}
		length := uint(e>>14&0x7fff) + uint(bits&(1<<(e&63)-1)>>(e>>8&15))
		bits >>= e & 63
		n -= uint64(e)
		if uint8(n) < 28 {
			bits |= load(in, at) << (n & 63)
			at += 7 - uint(n>>3&7)
			n |= 56
		}
		f := distance[bits&(1<<distanceBits-1)]
		if f&isLink != 0 {
			f = distance[(uint64(f>>16)+bits>>distanceBits&(1<<(f>>8&15)-1))&tableMask]
		}
		d := uint(f>>14&0x7fff) + uint(bits&(1<<(f&63)-1)>>(f>>8&15))
		bits >>= f & 63
		n -= uint64(f)
		if d-1 >= pos-from {
			err = errCorrupt
			break
		}
		if d < 16 && d < length {
			repeat(out, pos, d, length)
			pos += length
			continue
		}
		copy16(out, pos, pos-d)
		for i := pos + 16; i < pos+length; i += 16 {
			copy16(out, i, i-d)
		}
		pos += length
	}
	z.pos, z.at, z.bits, z.n = int(pos), int(at), bits, uint(n&63)
	if z.overrun() {
		z.pos, err = int(sure), io.ErrUnexpectedEOF
	}
	return err
}

// load returns the eight bytes at a position.
func load(in *[inputArray]byte, at uint) uint64 {
	at &= inputMask
	return binary.LittleEndian.Uint64(in[at : at+8 : at+8])
}

// copy16 copies 16 bytes.
func copy16(out *[outputArray]byte, to, from uint) {
	to, from = to&outputMask, from&outputMask
	copy(out[to:to+16:to+16], out[from:from+16:from+16])
}

// repeat writes length bytes to pos that repeat the d bytes before it, d < 16.
// It may write up to 16 bytes more than that.
func repeat(out *[outputArray]byte, pos, d, length uint) {
	far := (15/d + 1) * d // at least 16, and the bytes from there are the same
	end := pos + length
	for i := range min(far-d, length) {
		out[pos+i] = out[pos+i-d]
	}
	for pos += far - d; pos < end; pos += 16 {
		copy16(out, pos, pos-far)
	}
}
