package gunzip

import (
	"encoding/binary"
	"io"
)

// symbols decompresses a block until it ends or the output is full.
func (z *inflater) symbols() error {
	for z.pos < outputSize && z.block == inCompressed {
		if err := z.need(); err != nil {
			return err
		}
		sure := z.pos
		err := z.run()
		if z.overrun() {
			z.pos = sure // bits beyond the end were taken after that
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// run is the loop of symbols, as long as the input that it may take without
// looking is there; near the end of the file, for one symbol or two.
//
// All that changes with every symbol is in local variables, and indices are
// masked where their bounds do not follow from what is before. What bounds the
// speed is how long one table's answer waits for the one before, and branches
// that cannot be predicted. So bits are added while a table is asked, not
// between: 28 are there at the beginning, 56 from the first question on, which
// is enough for two of literalBits and a distance of 28, or a rare entry's 20.
// An iteration adds eight bytes at most, and reads the eight after them. Of n
// only the low six bits count.
func (z *inflater) run() (err error) {
	pos, at, bits, n := uint(z.pos), uint(z.at), z.bits, uint64(z.n)
	limit := min(max(uint(max(z.end-ahead, 0)), at), inputMask)
	for pos < outputSize && at <= limit {
		e := z.literal.entries[bits&(1<<literalBits-1)]
		bits, at, n = z.filled(bits, at, n)
		z.put(pos, e)
		pos += uint(e >> 6 & 3)
		bits >>= e & 63
		n -= uint64(e)
		if e < isMatch {
			e = z.literal.entries[bits&(1<<literalBits-1)]
			z.put(pos, e)
			pos += uint(e >> 6 & 3)
			bits >>= e & 63
			n -= uint64(e)
			if e < isMatch {
				continue
			}
		}
		length := uint(e>>lengthShift) + lengthLess
		if e >= isRare {
			o := z.literal.other(e, bits)
			if o == 0 {
				err = errCorrupt
				break
			}
			length = o.number(bits)
			bits >>= o & 63
			n -= uint64(o & 63)
			bits, at, n = z.filled(bits, at, n)
			if o >= isEnd {
				if o == o|isEnd {
					z.block = betweenBlocks
					break
				}
				z.put(pos&outputMask, uint32(o))
				pos++
				continue
			}
		}
		f := z.distance.entries[bits&(1<<distanceBits-1)]
		bits, at, n = z.filled(bits, at, n)
	linked:
		d := f.number(bits)
		if d-1 >= pos-uint(z.from) {
			if f >= isLink {
				f = z.distance.linked(f, bits)
				goto linked
			}
			err = errCorrupt
			break
		}
		bits >>= f & 63
		n -= uint64(f)
		if d < min(8, length) {
			z.repeat(pos, d, length)
			pos += length
			continue
		}
		z.copy16(pos, pos-d)
		for i := pos + 16; i < pos+length; i += 16 {
			z.copy16(i, i-d)
		}
		pos += length
	}
	z.pos, z.at, z.bits, z.n = int(pos), int(at), bits, uint(n&63)
	return err
}

// put writes two bytes, as many as literals can be in an entry.
func (z *inflater) put(pos uint, e uint32) {
	binary.LittleEndian.PutUint16(z.out[pos:pos+2], uint16(e>>8))
}

// copy16 copies 16 bytes from at least eight before them, eight at a time.
func (z *inflater) copy16(to, from uint) {
	t, f := z.out[to&outputMask:][:16:16], z.out[from&outputMask:][:16:16]
	binary.LittleEndian.PutUint64(t, binary.LittleEndian.Uint64(f))
	binary.LittleEndian.PutUint64(t[8:], binary.LittleEndian.Uint64(f[8:]))
}

// repeat writes length bytes to pos that repeat the d bytes before it, d < 8.
// It may write up to 16 bytes more than that.
func (z *inflater) repeat(pos, d, length uint) {
	far := uint([8]uint8{0, 8, 8, 9, 8, 10, 12, 14}[d&7]) // the bytes from there are the same
	end := pos + length
	for i := range min(far-d, length) {
		z.out[pos+i] = z.out[pos+i-d]
	}
	for pos += far - d; pos < end; pos += 16 {
		z.copy16(pos, pos-far)
	}
}
