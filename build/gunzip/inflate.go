package gunzip

import (
	"encoding/binary"
	"io"
)

const (
	window      = 32 << 10
	outputMask  = 256<<10 - 1
	outputArray = outputMask + 1 + 16
	outputSize  = outputMask + 1 - 512 // there is room for a match, copied in pieces

	literalBits, distanceBits, plainBits = 12, 8, 7
)

// inflater decompresses one deflate stream (RFC 1951) after the other.
type inflater struct {
	input
	out  [outputArray]byte // history, and what is new
	pos  int               // end of that
	from int               // where this stream's history begins

	block    blockState
	last     bool
	stored   int // bytes left of a stored block
	code     code
	literal  literals
	distance distances
	plain    [1 << plainBits]uint8 // the lengths' own code: bits<<5 | symbol
}

type blockState uint8

const (
	betweenBlocks blockState = iota
	inStored
	inCompressed
)

// begin starts a stream, which cannot refer to what is before.
func (z *inflater) begin() { z.from, z.block, z.last = z.pos, betweenBlocks, false }

// slide keeps the window and makes room, if there is little.
func (z *inflater) slide() {
	if z.pos < outputSize-window {
		return
	}
	shift := z.pos - window
	copy(z.out[:], z.out[shift:z.pos])
	z.pos = window
	z.from = max(z.from-shift, 0)
}

// inflate decompresses until the stream ends or the output is full. What is
// out before an error is as good as before.
func (z *inflater) inflate() (ended bool, err error) {
	for z.pos < outputSize && err == nil {
		switch z.block {
		case betweenBlocks:
			if z.last {
				return true, z.align()
			}
			err = z.header()
		case inStored:
			err = z.copyStored()
		case inCompressed:
			err = z.symbols()
		}
	}
	if err != nil && z.overrun() {
		err = io.ErrUnexpectedEOF // what seemed damaged is missing
	}
	return false, err
}

// header reads the head of a block.
func (z *inflater) header() error {
	const stored, fixed, dynamic = 0, 1, 2
	if err := z.need(); err != nil {
		return err
	}
	z.last = z.take(1) == 1
	switch z.take(2) {
	case stored:
		return z.storedHeader()
	case fixed:
		z.block = inCompressed
		return z.fixedCodes()
	case dynamic:
		z.block = inCompressed
		return z.dynamicCodes()
	}
	return errCorrupt
}

func (z *inflater) storedHeader() error {
	z.take(z.n & 7)
	if err := z.align(); err != nil {
		return err
	}
	var h [4]byte
	if err := z.bytes(h[:]); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint16(h[:])
	if n != ^binary.LittleEndian.Uint16(h[2:]) {
		return errCorrupt
	}
	z.block, z.stored = inStored, int(n)
	return nil
}

func (z *inflater) copyStored() error {
	n := min(z.stored, outputSize-z.pos)
	if err := z.bytes(z.out[z.pos : z.pos+n]); err != nil {
		return err
	}
	z.pos += n
	if z.stored -= n; z.stored == 0 {
		z.block = betweenBlocks
	}
	return nil
}

func (z *inflater) fixedCodes() error {
	var lengths [maxLiteral + maxNumbers]uint8
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		case i < maxLiteral:
			lengths[i] = 8
		default:
			lengths[i] = 5
		}
	}
	return z.codes(lengths[:maxLiteral], lengths[maxLiteral:])
}

// codes makes the tables of a block.
func (z *inflater) codes(literal, distance []uint8) error {
	if !z.literal.build(&z.code, literal) || !z.distance.build(&z.code, distance) {
		return errCorrupt
	}
	return nil
}

// dynamicCodes reads the lengths of a block's codes (RFC 1951, 3.2.7).
func (z *inflater) dynamicCodes() error {
	order := [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	literal, distance, count := int(z.take(5))+257, int(z.take(5))+1, int(z.take(4))+4
	if literal > 286 || distance > 30 {
		return errCorrupt
	}
	var own [19]uint8
	for _, symbol := range order[:count] {
		if z.n < 3 {
			if err := z.need(); err != nil {
				return err
			}
		}
		own[symbol] = uint8(z.take(3))
	}
	if !z.plainCode(own[:]) {
		return errCorrupt
	}
	var lengths [maxLiteral + maxNumbers]uint8
	for i := 0; i < literal+distance; {
		if z.n < plainBits+7 {
			if err := z.need(); err != nil {
				return err
			}
		}
		e := z.plain[z.bits&(1<<plainBits-1)]
		if e == 0 {
			return errCorrupt
		}
		z.take(uint(e >> 5))
		value, times := z.repeated(e&31, lengths[max(i-1, 0)])
		if i+times > literal+distance || i == 0 && e&31 == 16 {
			return errCorrupt
		}
		for range times {
			lengths[i] = value
			i++
		}
	}
	if lengths[256] == 0 {
		return errCorrupt // the block would have no end
	}
	return z.codes(lengths[:literal], lengths[literal:literal+distance])
}

// repeated is the length that a symbol of the lengths' code means, and how
// often it comes.
func (z *inflater) repeated(symbol, before uint8) (length uint8, times int) {
	switch symbol {
	case 16:
		return before, int(z.take(2)) + 3
	case 17:
		return 0, int(z.take(3)) + 3
	case 18:
		return 0, int(z.take(7)) + 11
	}
	return symbol, 1
}

// plainCode makes the table of the lengths' own code.
func (z *inflater) plainCode(lengths []uint8) bool {
	complete, ok := z.code.assign(lengths)
	if !ok {
		return false
	}
	if !complete {
		clear(z.plain[:])
	}
	for n := 1; n <= plainBits; n++ {
		copy(z.plain[1<<(n-1):1<<n], z.plain[:1<<(n-1)])
		for _, s := range z.code.of(n) {
			z.plain[s.bits] = uint8(n<<5 | int(s.value))
		}
	}
	return true
}
