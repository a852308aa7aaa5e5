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
	Zstd Compression = "zstd" // levels 1 to 22, 3 if none is given
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
	return zstdEncoder(level, size, runtime.GOMAXPROCS(0))
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
	jobs   bool // cut the input into jobs that run in parallel
}

// From firstLong to lastLong zstdlong compresses. It is smaller than
// klauspost's encoder at any but its best speed, and as fast as its second
// fastest (BenchmarkZstdLevels): programs share much, far apart.
const firstLong, lastLong = 3, 9

const defaultLevel = 3

func isLong(level int) bool { return level >= firstLong && level <= lastLong }

// zstdLevels is chosen by measurement (BenchmarkZstdLevels). The kernel takes
// windows up to 128 MiB, which it allocates while it unpacks, so they are not
// larger than the content calls for: a small tree at level 22 had no room for
// one in the memory that build says is enough. The fastest speed of the
// encoder gains little beyond 8 MiB, but the best one finds what Docker's
// programs have in common only if it sees more than one of them: 64 MiB make
// the result a fifth smaller. There the jobs, of four windows each, would take
// gigabytes, so these levels run on one processor.
var zstdLevels = []zstdLevel{
	{2, zstd.SpeedFastest, 4 << 20, false}, // jobs cost it half as much again
	{19, zstd.SpeedBestCompression, 8 << 20, true},
	{20, zstd.SpeedBestCompression, 32 << 20, false},
	{21, zstd.SpeedBestCompression, 64 << 20, false},
	{22, zstd.SpeedBestCompression, 128 << 20, false},
}

// zstdEncoder writes one frame per segment, as the kernel wants it, with the
// checksum that it verifies. Jobs have a fixed size and at least two run at
// once, for the encoder makes other bytes if it may run only one.
func zstdEncoder(level int, size int64, procs int) encoder {
	const jobMemory = 64 << 20
	if level = cmp.Or(level, defaultLevel); isLong(level) {
		return longEncoder(zstdlong.Options{Size: size})
	}
	i := 0
	for level > zstdLevels[i].upTo {
		i++
	}
	l := zstdLevels[i]
	l.window = min(l.window, max(zstd.MinWindowSize, 1<<bits.Len64(uint64(max(size, 1)-1))))
	job := 4 * l.window // as the encoder cuts them
	workers, memory := 2, int64(4*l.window)
	if l.jobs {
		workers = max(2, min(procs, jobMemory/job))
		memory = int64(workers) * int64(job) * 5 / 2
	}
	open := func(w io.Writer) (io.WriteCloser, error) {
		return zstd.NewWriter(w,
			zstd.WithEncoderLevel(l.speed), // before the window, which it sets too
			zstd.WithWindowSize(l.window),
			zstd.WithConcurrentBlocks(l.jobs),
			zstd.WithEncoderConcurrency(workers),
			zstd.WithEncoderCRC(true))
	}
	return encoder{open: open, memory: memory}
}

// longEncoder finds repetitions anywhere in the last 64 MiB.
func longEncoder(opt zstdlong.Options) encoder {
	open := func(w io.Writer) (io.WriteCloser, error) { return zstdlong.NewWriter(w, opt) }
	return encoder{open: open, memory: zstdlong.Memory(opt), verify: true}
}
