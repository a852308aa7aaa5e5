package zstdlong

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// Options are for NewWriter; the zero value works.
type Options struct {
	// Window is how far back repetitions are found, in bytes, at most
	// MaxWindow and in effect at least 1 KiB; 0 is DefaultWindow. Whoever
	// decompresses needs as much memory.
	Window int
	// Size is how many bytes will be written, 0 if that is not known. It saves
	// memory where it is less than Window. Close refuses another number.
	Size int64
	// About is a guess where Size is 0: it too saves memory. The frame is the
	// same whatever it is, and that of the right Size if the underlying writer
	// is a Patcher.
	About int64
}

// Patcher is an underlying writer that can replace what it was given first:
// the header, which names the window, once it is known how little of it is used.
type Patcher interface{ PatchHead(p []byte) error }

// Bounds of Options.Window.
const (
	DefaultWindow = 64 << 20
	MaxWindow     = 128 << 20 // the most that the Linux kernel takes
	minWindow     = 1 << 10   // of the format
)

const (
	maxBlock = 128 << 10 // of the format
	// step is how much is compressed at a time: what a repetition found by
	// the sparse table cannot be longer than.
	step = 8 * maxBlock
)

// Writer compresses what is written to it. It is not safe for concurrent use.
type Writer struct {
	w      io.Writer
	opt    Options
	reach  int // the window that was asked for
	window int // as much of it as there is content
	err    error
	head   bool // the frame's header is written
	closed bool

	buf  []byte // history and what is not compressed yet
	done int    // of buf: compressed so far
	n    int64  // bytes written to the Writer
	sum  *xxhash.Digest

	long   sparse
	match  matcher
	block  blockWriter
	output []byte
}

// Memory is what a Writer of these options takes, in bytes, roughly.
func Memory(opt Options) int64 {
	return int64(firstCapacity(opt)) + tablesMemory
}

const tablesMemory = 8<<sparseLog + 8<<nearLog + 4*maxBlock + 12*maxBlock/4

// capacity is how many bytes the Writer holds: the window, and up to 16 MiB
// more, so that the window is not moved for every step.
func capacity(opt Options) int {
	window := windowOf(opt)
	all := window + min(window, 16<<20) + step
	if opt.Size > 0 {
		all = int(min(int64(all), opt.Size))
	}
	return all
}

// firstCapacity is what the Writer begins with.
func firstCapacity(opt Options) int {
	all := capacity(opt)
	if opt.Size == 0 && opt.About > 0 {
		all = int(min(int64(all), max(opt.About, step)))
	}
	return all
}

func windowOf(opt Options) int {
	window := opt.Window
	if window == 0 {
		window = DefaultWindow
	}
	if opt.Size > 0 {
		window = int(min(int64(window), opt.Size))
	}
	return max(window, minWindow)
}

// NewWriter returns a Writer of a frame to w. The caller closes it.
func NewWriter(w io.Writer, opt Options) (*Writer, error) {
	if opt.Window < 0 || opt.Window > MaxWindow || opt.Size < 0 || opt.About < 0 {
		return nil, fmt.Errorf("zstd: a window of %d bytes for %d is not between 0 and %d", opt.Window, opt.Size, MaxWindow)
	}
	z := &Writer{w: w, opt: opt, reach: windowOf(Options{Window: opt.Window}), window: windowOf(opt), sum: xxhash.New()}
	z.match.init()
	z.block.init()
	return z, nil
}

// Write compresses p, or keeps it until there is enough. An error is one of
// the underlying writer and stays.
func (z *Writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		room, err := z.room()
		if err != nil {
			return n, err
		}
		k := copy(room, p)
		p = p[k:]
		n += k
		if err := z.took(k); err != nil {
			return n, err
		}
	}
	return n, z.ready()
}

// CopyN is Write of n bytes of r, which are read to where Write would copy
// them. An r that has less is an io.ErrUnexpectedEOF.
func (z *Writer) CopyN(r io.Reader, n int64) error {
	for n > 0 {
		room, err := z.room()
		if err != nil {
			return err
		}
		k, err := io.ReadFull(r, room[:min(n, int64(len(room)))])
		n -= int64(k)
		if werr := z.took(k); werr != nil {
			return werr
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return z.ready()
}

func (z *Writer) ready() error {
	if z.closed {
		return errors.New("zstd: write after close")
	}
	return z.err
}

// room is where the next bytes go, as far as they are compressed together.
func (z *Writer) room() ([]byte, error) {
	if err := z.ready(); err != nil {
		return nil, err
	}
	if z.buf == nil {
		z.buf = make([]byte, 0, firstCapacity(z.opt))
		z.long.table, z.match.near = make([]seen, 1<<sparseLog), make([]seen, 1<<nearLog)
	}
	if len(z.buf) == cap(z.buf) {
		switch all := capacity(z.opt); {
		case z.opt.Size > 0 && z.n >= z.opt.Size:
			z.err = fmt.Errorf("zstd: more than the %d bytes that were announced", z.opt.Size)
			return nil, z.err
		case cap(z.buf) < all: // there is more than it was about
			z.buf = append(make([]byte, 0, all), z.buf...)
		default:
			z.slide()
		}
	}
	return z.buf[len(z.buf):min(cap(z.buf), z.done+step)], nil
}

// took says that so many bytes were put into the room.
func (z *Writer) took(n int) error {
	z.buf = z.buf[:len(z.buf)+n]
	z.n += int64(n)
	if len(z.buf)-z.done == step {
		z.compress(false)
	}
	return z.err
}

// slide drops what is further back than the window.
func (z *Writer) slide() {
	shift := z.done - z.window
	copy(z.buf, z.buf[shift:])
	z.buf = z.buf[:len(z.buf)-shift]
	z.done -= shift
	slide(z.long.table, shift)
	slide(z.match.near, shift)
}

// Close ends the frame. The underlying writer stays open.
func (z *Writer) Close() error {
	if z.closed {
		return z.err
	}
	if z.opt.Size > 0 && z.n != z.opt.Size && z.err == nil {
		z.err = fmt.Errorf("zstd: %d bytes instead of the %d that were announced", z.n, z.opt.Size)
	}
	if z.err == nil {
		z.end()
	}
	z.closed, z.buf, z.long.table = true, nil, nil
	z.match.near = nil
	return z.err
}

// end writes what is left, with the window of a frame whose size was known.
func (z *Writer) end() {
	known := z.opt
	if z.n > 0 {
		known.Size = z.n
	}
	used := windowOf(known)
	late := z.head && used < z.window // nothing is further back than that
	z.window = used
	z.compress(true)
	if p, ok := z.w.(Patcher); ok && late && z.err == nil {
		z.err = p.PatchHead(z.appendHeader(nil))
	}
}

// compress writes the blocks of what is not compressed yet.
func (z *Writer) compress(last bool) {
	out := z.output[:0]
	if !z.head {
		z.head = true
		out = z.appendHeader(out)
	}
	from, end := z.done, len(z.buf)
	z.sum.Write(z.buf[from:end])
	found := z.long.find(z.buf, from, end, z.reach)
	for {
		stop := min(from+min(maxBlock, z.window), end) // RFC 8878, 3.1.1.2.4
		isLast := last && stop == end
		z.block.reset()
		recent, sequences := z.match.recent, false
		found = z.match.split(z.buf, from, stop, z.window, found, &z.block)
		if out, sequences = z.block.append(out, z.buf[from:stop], isLast); !sequences {
			z.match.recent = recent
		}
		if from = stop; from == end {
			break
		}
	}
	if last {
		out = binary.LittleEndian.AppendUint32(out, uint32(z.sum.Sum64()))
	}
	z.done, z.output = end, out
	_, z.err = z.w.Write(out)
}

// appendHeader writes the frame's header (RFC 8878, 3.1.1.1): a window, a
// checksum, no size and no dictionary.
func (z *Writer) appendHeader(out []byte) []byte {
	const magic, hasChecksum = 0xfd2fb528, 1 << 2
	exponent := max(bits.Len(uint(z.window-1))-1, 10)
	eighths := (z.window - 1<<exponent + 1<<(exponent-3) - 1) >> (exponent - 3)
	if eighths == 8 {
		exponent, eighths = exponent+1, 0
	}
	out = binary.LittleEndian.AppendUint32(out, magic)
	return append(out, hasChecksum, byte((exponent-10)<<3|eighths))
}
