package tftp

import (
	"errors"
	"fmt"
	"io"
)

// source gives the bytes that go on the wire by their offset there.
type source interface {
	// fill reads at off until p is full or the content ends; fewer bytes than p means the end.
	fill(p []byte, off int64) (int, error)
	// release says that no byte before off will be asked for again.
	release(off int64)
}

// octets is a file as it is, of a size fixed when it was opened: the client may have been told that size.
type octets struct {
	file File
	size int64
}

func (o *octets) release(int64) {}

func (o *octets) fill(p []byte, off int64) (int, error) {
	p = p[:max(0, min(int64(len(p)), o.size-off))]
	if len(p) == 0 {
		return 0, nil
	}
	n, err := o.file.ReadAt(p, off)
	switch {
	case n == len(p):
		return n, nil
	case err == nil || errors.Is(err, io.EOF):
		return n, fmt.Errorf("the file ends at byte %d of %d: it was changed while it was sent", off+int64(n), o.size)
	}
	return n, err
}

// netascii converts while reading (RFC 764): LF becomes CR LF, a lone CR becomes CR NUL. Where an output byte comes from
// is only known by converting from the start, so it keeps marks to go back to, dropped as the client acknowledges.
type netascii struct {
	file  File
	size  int64
	at    mark
	marks []mark // ascending, first at or before what may be asked for again
	in    []byte
	inOff int64 // file offset of in[0]
}

// mark is one position in both streams.
type mark struct {
	out, in int64
	pending byte // second byte of a pair that is still to be written
	has     bool
}

const netasciiBuffer = 4096

func (a *netascii) release(off int64) {
	for len(a.marks) > 1 && a.marks[1].out <= off {
		a.marks = a.marks[1:]
	}
}

func (a *netascii) fill(p []byte, off int64) (int, error) {
	if err := a.seek(off); err != nil {
		return 0, err
	}
	if n := len(a.marks); n == 0 || a.marks[n-1].out < a.at.out {
		a.marks = append(a.marks, a.at)
	}
	n := 0
	for n < len(p) {
		b, ok, err := a.next()
		if err != nil || !ok {
			return n, err
		}
		p[n] = b
		n++
	}
	return n, nil
}

// seek moves to an output offset, from the nearest mark at or before it.
func (a *netascii) seek(off int64) error {
	if a.at.out > off {
		for i := len(a.marks) - 1; i >= 0; i-- {
			if a.marks[i].out <= off {
				a.at = a.marks[i]
				break
			}
		}
	}
	for a.at.out < off {
		if _, ok, err := a.next(); err != nil || !ok {
			return err
		}
	}
	return nil
}

// next is the next byte on the wire; ok is false at the end.
func (a *netascii) next() (b byte, ok bool, err error) {
	if a.at.has {
		a.at.has = false
		a.at.out++
		return a.at.pending, true, nil
	}
	if a.at.in >= a.size {
		return 0, false, nil
	}
	i := a.at.in - a.inOff
	if i < 0 || i >= int64(len(a.in)) {
		if err := a.load(); err != nil {
			return 0, false, err
		}
		i = 0
	}
	b = a.in[i]
	a.at.in++
	a.at.out++
	switch b {
	case '\n':
		a.at.pending, a.at.has = '\n', true
		return '\r', true, nil
	case '\r':
		a.at.pending, a.at.has = 0, true
	}
	return b, true, nil
}

func (a *netascii) load() error {
	if a.in == nil {
		a.in = make([]byte, netasciiBuffer)
	}
	a.in = a.in[:netasciiBuffer]
	plain := octets{a.file, a.size}
	n, err := plain.fill(a.in, a.at.in)
	a.in, a.inOff = a.in[:n], a.at.in
	return err
}
