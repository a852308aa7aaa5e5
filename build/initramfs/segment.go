package initramfs

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"hooksmith/build/rootfs"
)

// Segment is one archive of an initramfs.
//
// The kernel unpacks segments in order, each over what is there, and its rules
// for that are blunter than those of rootfs.Merge: it writes through hard
// links and does not remove a directory that is not empty. Write refuses
// segments that would come out other than their trees say; segments that
// rootfs.Tree.Keep cuts from one tree never do.
type Segment struct {
	Name        string // in errors and Info
	Tree        *rootfs.Tree
	Compression Compression
	Level       int       // of the compression, 0 for its default
	Epoch       time.Time // if not zero, later modification times become this one

	// Last, if not nil, chooses paths that are written after all others, so
	// that a machine whose memory ends on the way has the others. What is
	// below a chosen directory must be chosen too.
	Last func(path string) bool
}

// Options are for Write; the zero value works.
type Options struct {
	// TempDir is the folder for temporary files, "" for the system's. They
	// take as much space as the result and are gone when Write returns.
	TempDir string
	// Progress, if not nil, is called with the number of unpacked bytes
	// written since its last call, by several goroutines at once. The sum
	// over a whole Write is UnpackedSize.
	Progress func(n int64)
	// Cache, if not nil, keeps compressed segments. What Write returns and
	// writes is the same with and without.
	Cache Cache
	// Ahead, if not nil, has segments that were compressed before. It needs
	// Cache and Program to be its own.
	Ahead *Ahead
	// Placed, if not nil, is called when all segments are compressed and before
	// any is written, with where they will be. The first n of them are then
	// written to at, several at once, and the rest to the Writer of Write.
	Placed func(infos []Info) (n int, at io.WriterAt)
	// Program names all code that decides about the bytes of a segment. What
	// another program has cached is not used.
	Program string
}

// Info describes a segment as it was written.
type Info struct {
	Name     string
	Offset   int64  // in the file
	Size     int64  // bytes in the file, padding after it not counted
	Unpacked int64  // bytes of its archive
	Entries  int    // files, directories and so on; of a hard link every name
	SHA256   string // hex, of the Size bytes at Offset
}

// align is where a segment may begin. Plain cpio must begin at a multiple of
// four, or the kernel drops it and all after it; compressed ones may begin
// anywhere. The file ends at such a multiple too, so that another file can
// follow it.
const align = 4

// Write writes the segments as one initramfs and returns where they are.
//
//  1. All segments are checked against the kernel's rules.
//  2. Each is compressed into a temporary file, in parallel as far as
//     processors and memory go.
//  3. The files are joined in order, zero bytes between them up to a multiple
//     of four.
//
// An error names the segment and the path. When Write returns, whether done,
// failed or cancelled, no temporary file is left.
func Write(ctx context.Context, w io.Writer, segments []Segment, opt Options) (infos []Info, err error) {
	plans, err := planAll(segments)
	if err != nil {
		return nil, err
	}
	parts := make([]part, len(plans))
	defer func() {
		for _, p := range parts {
			err = errors.Join(err, p.remove())
		}
	}()
	if err := compressAll(ctx, plans, parts, opt); err != nil {
		return nil, err
	}
	infos, err = join(ctx, w, parts, opt.Placed)
	if errors.Is(err, errDamaged) {
		removeDamaged(ctx, parts)
	}
	return infos, err
}

// removeDamaged looks at all segments from the cache after one of them was
// found damaged: what has damaged one has seldom spared the others.
func removeDamaged(ctx context.Context, parts []part) {
	buf := make([]byte, writeSize)
	for _, p := range parts {
		if p.cached {
			_ = copyPart(ctx, io.Discard, p, buf)
		}
	}
}

// UnpackedSize returns the bytes of all archives together that Write would
// make of the segments, for a progress bar.
func UnpackedSize(segments []Segment) (int64, error) {
	plans, err := planAll(segments)
	var sum int64
	for _, p := range plans {
		sum += p.size
	}
	return sum, err
}

// part is a compressed segment in a temporary file or in the cache. Where the system allows
// it, the file has no name from the start: it goes with the process, however
// that ends.
type part struct {
	file   *os.File
	named  bool
	info   Info
	cached bool // verified when it is read
}

func newPart(dir string) (part, error) {
	f, err := os.CreateTemp(dir, "initramfs-*.segment")
	if err != nil {
		return part{}, fmt.Errorf("making a temporary file: %w", err)
	}
	return part{file: f, named: os.Remove(f.Name()) != nil}, nil
}

func (p part) remove() error {
	if p.file == nil {
		return nil
	}
	err := p.file.Close()
	if p.named {
		err = errors.Join(err, os.Remove(p.file.Name()))
	}
	return err
}

// compressAll fills parts, parts[i] from plans[i]. Encoders that together
// would take more than memoryLimit wait for each other, which costs little:
// each alone keeps the processors busy.
func compressAll(ctx context.Context, plans []plan, parts []part, opt Options) error {
	memory := semaphore.NewWeighted(memoryLimit)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, i := range largestFirst(plans) {
		g.Go(func() (err error) {
			if parts[i], err = plans[i].part(ctx, opt, memory); err != nil {
				return fmt.Errorf("segment %q: %w", plans[i].seg.Name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// part is the compressed segment: one that is there already, or a new one. The
// caller removes it, also that of an error.
func (p plan) part(ctx context.Context, opt Options, memory *semaphore.Weighted) (part, error) {
	if opt.Cache == nil {
		return p.compressed(ctx, "", opt, memory)
	}
	key, err := p.key(opt.Program)
	if err != nil {
		return part{}, err
	}
	made, ok := opt.Ahead.take(key)
	if !ok {
		return p.compressed(ctx, key, opt, memory)
	}
	made.info.Name = p.seg.Name
	if opt.Progress != nil {
		opt.Progress(p.size)
	}
	return made, nil
}

// compressed makes the segment, or finds it in the cache under its key.
func (p plan) compressed(ctx context.Context, key string, opt Options, memory *semaphore.Weighted) (made part, err error) {
	write := func(ctx context.Context, f rereadable) (Info, error) {
		enc := p.seg.Compression.encoder(p.seg.Level, p.size)
		info, err := compressTo(ctx, f, enc, memory, func(w *counter) error {
			w.progress = opt.Progress
			return p.write(ctx, w)
		})
		info.Name, info.Entries = p.seg.Name, p.entries
		return info, err
	}
	if opt.Cache != nil {
		return fromCache(ctx, p, key, opt, write)
	}
	if made, err = newPart(opt.TempDir); err == nil {
		made.info, err = write(ctx, made.file)
	}
	return made, err
}

// rereadable is what a segment is written to, and read back from.
type rereadable interface {
	io.Writer
	io.ReaderAt
	io.WriterAt
}

// compressTo compresses what write writes into an empty file, and verifies it.
func compressTo(ctx context.Context, f rereadable, enc encoder, memory *semaphore.Weighted, write func(*counter) error) (Info, error) {
	need := min(enc.memory, memoryLimit)
	if err := memory.Acquire(ctx, need); err != nil {
		return Info{}, err
	}
	info, err := compress(f, enc, write)
	memory.Release(need)
	if err == nil && enc.verify {
		info.SHA256, err = verify(ctx, f, info, memory)
	}
	return info, err
}

// largestFirst orders plans so that no long one runs alone at the end.
func largestFirst(plans []plan) []int {
	order := make([]int, len(plans))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(plans[j].size, plans[i].size) })
	return order
}

// compress writes one segment. The encoder is always closed, which ends its
// goroutines; after a failure it compresses into nothing.
func compress(file rereadable, enc encoder, write func(*counter) error) (Info, error) {
	out := &sink{w: file, at: file, hash: noHash{}}
	if !enc.verify { // else it is hashed when it is read back
		out.hash = sha256.New()
	}
	z, err := enc.open(out)
	if err != nil {
		return Info{}, err
	}
	in := &counter{w: bufio.NewWriterSize(z, copyBuffer), out: out}
	in.direct, _ = z.(copier)
	err = write(in)
	if err == nil {
		err = in.flush()
	}
	out.stop(err)
	err = z.Close()
	if out.err != nil {
		err = out.err // the cause; what the encoder says then is of no interest
	}
	if err != nil {
		return Info{}, err
	}
	return Info{Size: out.n, Unpacked: in.n, SHA256: hex.EncodeToString(out.hash.Sum(nil))}, nil
}

// noHash costs nothing.
type noHash struct{ hash.Hash }

func (noHash) Write(p []byte) (int, error) { return len(p), nil }
func (noHash) Sum(b []byte) []byte         { return b }

// writeSize is how much is written to a file at once. For more, Linux looks
// for large pieces of free memory, on ext4 since 6.16: on a machine that has
// run for a while that takes four times as long as all the rest of writing.
const writeSize = 64 << 10

// sink takes what an encoder writes, counts and hashes it. An error is kept
// and not given to the encoder, some of which leave goroutines behind when a
// write fails; what follows is dropped.
type sink struct {
	w    io.Writer
	at   io.WriterAt // the same
	hash hash.Hash
	n    int64
	mu   sync.Mutex
	err  error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.failed() != nil {
		return len(p), nil
	}
	for rest := p; len(rest) > 0; {
		n, err := s.w.Write(rest[:min(writeSize, len(rest))])
		s.hash.Write(rest[:n])
		s.n += int64(n)
		if rest = rest[n:]; err != nil {
			s.stop(err)
			break
		}
	}
	return len(p), nil
}

// PatchHead replaces what was written first. It is for encoders whose results
// are hashed later.
func (s *sink) PatchHead(p []byte) error {
	if s.failed() == nil {
		_, err := s.at.WriteAt(p, 0)
		s.stop(err)
	}
	return nil
}

// stop keeps the first error.
func (s *sink) stop(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

func (s *sink) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// join writes the parts one after the other, aligned.
func join(ctx context.Context, w io.Writer, parts []part, placed func([]Info) (int, io.WriterAt)) ([]Info, error) {
	infos := place(parts)
	apart := 0
	if placed != nil {
		n, at := placed(infos)
		if err := writeApart(ctx, at, parts[:n], infos); err != nil {
			return nil, err
		}
		apart = n
		// What is between the last of them and the next is w's.
		if n > 0 {
			if _, err := w.Write(zeros[:padding(infos[n-1])]); err != nil {
				return nil, fmt.Errorf("writing after segment %q: %w", infos[n-1].Name, err)
			}
		}
	}
	buf := make([]byte, writeSize)
	for i, p := range parts[apart:] {
		info := infos[apart+i]
		if err := copyPart(ctx, w, p, buf); err != nil {
			return nil, fmt.Errorf("writing segment %q: %w", info.Name, err)
		}
		if _, err := w.Write(zeros[:padding(info)]); err != nil {
			return nil, fmt.Errorf("writing after segment %q: %w", info.Name, err)
		}
	}
	return infos, nil
}

// place says where each part will be.
func place(parts []part) []Info {
	var infos []Info
	var offset int64
	for _, p := range parts {
		p.info.Offset = offset
		offset += p.info.Size + padding(p.info)
		infos = append(infos, p.info)
	}
	return infos
}

// padding is how many zero bytes follow a segment that stands where it should.
func padding(info Info) int64 { return -(info.Offset + info.Size) & (align - 1) }

// writeApart writes parts to their places, in parallel. Gaps between them are
// left alone, which makes them zero in a new file.
func writeApart(ctx context.Context, at io.WriterAt, parts []part, infos []Info) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range parts {
		g.Go(func() error {
			w := io.NewOffsetWriter(at, infos[i].Offset)
			if err := copyPart(ctx, w, p, make([]byte, writeSize)); err != nil {
				return fmt.Errorf("writing segment %q: %w", infos[i].Name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func copyPart(ctx context.Context, w io.Writer, p part, buf []byte) error {
	sum := sha256.New()
	for done := int64(0); done < p.info.Size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		some := buf[:min(int64(len(buf)), p.info.Size-done)]
		if n, err := p.file.ReadAt(some, done); n < len(some) {
			return fmt.Errorf("reading it back: %w", err)
		}
		if p.cached {
			sum.Write(some)
		}
		if _, err := w.Write(some); err != nil {
			return err
		}
		done += int64(len(some))
	}
	if p.cached && hex.EncodeToString(sum.Sum(nil)) != p.info.SHA256 {
		return p.damaged()
	}
	return nil
}
