package initramfs

import (
	"cmp"
	"fmt"
	"io"
	"math/bits"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"

	"hooksmith/build/zstdlong"
)

// Compression names how a segment is compressed. "" is Zstd.
type Compression string

// The compressions that every kernel of ours unpacks.
const (
	Zstd Compression = "zstd" // levels 1 to 22, of which 3 to 19 are the same; 3 if none is given
	Gzip Compression = "gzip" // levels 1 to 9, 6 if none is given
	None Compression = "none" // a plain cpio archive
)

// ParseCompression returns the compression of that name.
func ParseCompression(name string) (Compression, error) {
	switch c := Compression(name); c {
	case Zstd, Gzip, None:
		return c, nil
	}
	return "", fmt.Errorf("compression %q is not known; use zstd, gzip or none", name)
}

// maxLevel is the highest level of each compression.
var maxLevel = map[Compression]int{Zstd: 22, Gzip: 9, None: 0}

// CheckLevel refuses a compression or a level that does not exist. 0 is the
// default of each.
func (c Compression) CheckLevel(level int) error {
	c, err := ParseCompression(string(cmp.Or(c, Zstd)))
	if err == nil && (level < 0 || level > maxLevel[c]) {
		err = fmt.Errorf("compression level %d is not one of %s, which has 0 (its default) to %d", level, c, maxLevel[c])
	}
	return err
}

// encoder is how one segment is compressed.
type encoder struct {
	open   func(w io.Writer) (io.WriteCloser, error)
	memory int64 // roughly what it takes while it runs
	verify bool  // its results are decompressed before they are used
}

// encoder returns the encoder of a level that CheckLevel has passed, for size
// bytes.
func (c Compression) encoder(level int, size int64) encoder {
	switch c {
	case None:
		return encoder{open: func(w io.Writer) (io.WriteCloser, error) { return nopCloser{w}, nil }, memory: 1 << 20}
	case Gzip:
		return gzipEncoder(level, runtime.GOMAXPROCS(0))
	}
	return zstdEncoder(level, size)
}

// streamEncoder is the encoder for about so many bytes, if there is one that
// need not know them.
func (c Compression) streamEncoder(level int, about int64) (enc encoder, ok bool) {
	switch c {
	case None, Gzip:
		return c.encoder(level, about), true
	}
	if isLong(cmp.Or(level, defaultLevel)) {
		return longEncoder(zstdlong.Options{About: about}), true
	}
	return encoder{}, false
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// gzipEncoder compresses blocks of a fixed size in parallel into one gzip
// member; how many run at once does not show in the bytes. The header has
// neither name nor time.
func gzipEncoder(level, procs int) encoder {
	const block = 1 << 20
	if level == 0 {
		level = pgzip.DefaultCompression
	}
	open := func(w io.Writer) (io.WriteCloser, error) {
		z, err := pgzip.NewWriterLevel(w, level)
		if err != nil {
			return nil, err
		}
		return z, z.SetConcurrency(block, procs)
	}
	return encoder{open: open, memory: int64(procs) * 4 * block}
}

// zstdLevel is what a level of the zstd tool means here.
type zstdLevel struct {
	upTo   int // levels
	speed  zstd.EncoderLevel
	window int
}

// From firstLong to lastLong zstdlong compresses. It is smaller than
// klauspost's encoder at any but its best speed, and as fast as its second
// fastest (BenchmarkZstdLevels): programs share much, far apart. At its best
// speed that is smaller only with a large window: with one of 8 MiB it takes
// eleven times as long for one percent, and with much of that is larger.
const firstLong, lastLong = 3, 19

const defaultLevel = 3

func isLong(level int) bool { return level >= firstLong && level <= lastLong }

// zstdLevels is chosen by measurement (BenchmarkZstdLevels). The kernel takes
// windows up to 128 MiB, which it allocates while it unpacks, so they are not
// larger than the content calls for: a small tree at level 22 had no room for
// one in the memory that build says is enough. The fastest speed of the
// encoder gains little beyond 8 MiB, but the best one finds what Docker's
// programs have in common only if it sees more than one of them: 64 MiB make
// the result a fifth smaller. The encoder could cut its input into jobs that
// run side by side: at the fastest speed they cost half as much again, and at
// the best one, of four windows each, they would take gigabytes.
var zstdLevels = []zstdLevel{
	{2, zstd.SpeedFastest, 4 << 20},
	{20, zstd.SpeedBestCompression, 32 << 20},
	{21, zstd.SpeedBestCompression, 64 << 20},
	{22, zstd.SpeedBestCompression, 128 << 20},
}

// zstdEncoder writes one frame per segment, as the kernel wants it, with the
// checksum that it verifies.
func zstdEncoder(level int, size int64) encoder {
	if level = cmp.Or(level, defaultLevel); isLong(level) {
		return longEncoder(zstdlong.Options{Size: size})
	}
	i := 0
	for level > zstdLevels[i].upTo {
		i++
	}
	l := zstdLevels[i]
	l.window = min(l.window, max(zstd.MinWindowSize, 1<<bits.Len64(uint64(max(size, 1)-1))))
	open := func(w io.Writer) (io.WriteCloser, error) {
		return zstd.NewWriter(w,
			zstd.WithEncoderLevel(l.speed), // before the window, which it sets too
			zstd.WithWindowSize(l.window),
			zstd.WithConcurrentBlocks(false),
			zstd.WithEncoderConcurrency(2), // of one it makes other bytes
			zstd.WithEncoderCRC(true))
	}
	return encoder{open: open, memory: int64(4 * l.window)}
}

// longEncoder finds repetitions anywhere in the last 64 MiB.
func longEncoder(opt zstdlong.Options) encoder {
	open := func(w io.Writer) (io.WriteCloser, error) { return zstdlong.NewWriter(w, opt) }
	return encoder{open: open, memory: zstdlong.Memory(opt), verify: true}
}
