package gunzip

import (
	"encoding/binary"
	"io"
)

// symbols decompresses a block until it ends or the output is full. All that
// changes with every symbol is in local variables, or it would take half as
// long again.
func (z *inflater) symbols() error {
	literal, distance := &z.literal.entries, &z.distance.entries
	in, out, pos := z.in, z.out[:outputSize+outputSlack], z.pos
	at, bits, n := z.at, z.bits, z.n
	sure := pos // after this, bits beyond the end may have been taken
	var err error
	for pos < outputSize {
		if at+8 > z.end {
			z.at, z.bits, z.n = at, bits, n
			err = z.need()
			at, bits, n = z.at, z.bits, z.n
			if err != nil {
				break
			}
			sure = pos
		} else {
			bits |= binary.LittleEndian.Uint64(in[at:]) << (n & 63)
			at += int(63-n) >> 3
			n |= 56
		}
		e := literal[bits&(1<<literalBits-1)]
		for range 3 { // 45 bits at most
			if e < isLiteral {
				break
			}
			bits >>= e & 31
			n -= uint(e & 31)
			out[pos] = byte(e >> 16)
			pos++
			e = literal[bits&(1<<literalBits-1)]
		}
		if e >= isLiteral || n < 48 {
			continue
		}
		if e&isLink != 0 {
			e = literal[(uint64(e>>16)+bits>>literalBits&(1<<(e>>8&15)-1))&tableMask]
		}
		if e&(isLiteral|isEnd) != 0 {
			bits >>= e & 31
			n -= uint(e & 31)
			if e&isEnd != 0 {
				z.block = betweenBlocks
				break
			}
			out[pos] = byte(e >> 16)
			pos++
			continue
		}
		length := int(e>>16) + int(bits&(1<<(e&31)-1)>>(e>>8&15))
		bits >>= e & 31
		n -= uint(e & 31)
		f := distance[bits&(1<<distanceBits-1)]
		if f&isLink != 0 {
			f = distance[(uint64(f>>16)+bits>>distanceBits&(1<<(f>>8&15)-1))&tableMask]
		}
		d := int(f>>16) + int(bits&(1<<(f&31)-1)>>(f>>8&15))
		bits >>= f & 31
		n -= uint(f & 31)
		if d == 0 || length == 0 || pos-d < z.from {
			err = errCorrupt
			break
		}
		if d >= 16 && length <= 16 {
			copy(out[pos:pos+16], out[pos-d:pos-d+16])
		} else {
			repeat(out, pos-d, pos, length)
		}
		pos += length
	}
	z.pos, z.at, z.bits, z.n = pos, at, bits, n
	if z.overrun() {
		z.pos, err = sure, io.ErrUnexpectedEOF
	}
	return err
}

// repeat copies length bytes from was to pos, was < pos. It may write up to 16
// bytes more than that.
func repeat(out []byte, was, pos, length int) {
	if distance := pos - was; distance >= 16 || distance >= length {
		if distance >= 16 && length <= 32 {
			copy(out[pos:pos+16], out[was:was+16])
			if length > 16 {
				copy(out[pos+16:pos+32], out[was+16:was+32])
			}
			return
		}
		for length > distance {
			copy(out[pos:pos+distance], out[was:pos])
			pos += distance
			length -= distance
			distance *= 2
		}
		copy(out[pos:pos+length], out[was:was+length])
		return
	}
	for end := pos + length; pos < end; {
		pos += copy(out[pos:end], out[was:pos])
	}
}
