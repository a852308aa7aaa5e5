package inspect

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"hooksmith/build/initramfs"
)

// Limits of what is taken from one initramfs. The largest known has 30
// thousand records.
const (
	maxUnpacked = 16 << 30
	maxEntries  = 1 << 20
	maxMemory   = 192 << 20 // of records, names and the contents that are kept
	maxModules  = 8 << 30   // bytes that modules unpack to, as far as they are read
	recordSize  = 512       // about what a record takes in memory beside its names
)

// budget is what all spans together may still take.
type budget struct{ memory, unpacked, modules atomic.Int64 }

func newBudget() *budget {
	b := &budget{}
	b.memory.Store(maxMemory)
	b.unpacked.Store(maxUnpacked)
	b.modules.Store(maxModules)
	return b
}

// spend takes what a record costs.
func (b *budget) spend(e initramfs.Entry) error {
	if b.memory.Add(-int64(recordSize+2*len(e.Name)+len(e.Target))) < 0 {
		return errors.New("it has more records than an initramfs that boots; it is not looked into further")
	}
	if b.unpacked.Add(-e.Size) < 0 {
		return fmt.Errorf("it unpacks to more than %d bytes; it is not looked into further", int64(maxUnpacked))
	}
	return nil
}

// keep takes n bytes for a content, if they are left.
func (b *budget) keep(n int64) bool {
	if b.memory.Add(-n) >= 0 {
		return true
	}
	b.memory.Add(n)
	return false
}

// record is one record of an initramfs, with what was taken from its content.
type record struct {
	initramfs.Entry
	path     string // cleaned
	content  []byte // if wanted
	vermagic string // of a module
	machine  string // that a program is for: x86_64, aarch64
	digest   uint64 // if Options.Contents
}

// scanned is one span, read to its end.
type scanned struct {
	records  []record
	segments []Segment // in file order; Size is filled in later
	warnings []string
	budget   *budget
	unpacker unpacker
}

// scan reads all spans next to each other. The error names the offset and the
// record at which the kernel would stop.
func scan(ctx context.Context, r io.ReaderAt, spans []span, opt Options, seed maphash.Seed) ([]*scanned, error) {
	results := make([]*scanned, len(spans))
	shared := newBudget()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, s := range spans {
		g.Go(func() error {
			out := &scanned{budget: shared}
			defer out.unpacker.close()
			section := &ctxReader{ctx, io.NewSectionReader(r, s.start, s.end-s.start)}
			results[i] = out
			err := readSpan(section, s.start, func(e initramfs.Entry, content io.Reader) error {
				e.Offset += s.start
				return out.take(e, content, opt, seed)
			})
			if err != nil && s.start > 0 && ctx.Err() == nil {
				return fmt.Errorf("the part at offset %d of the file: %w", s.start, err)
			}
			return err
		})
	}
	return results, g.Wait()
}

// readSpan reads one span; a plain archive that begins where the kernel would
// not find it is an error here, because the span has lost its place.
func readSpan(r io.Reader, start int64, fn func(initramfs.Entry, io.Reader) error) error {
	head := make([]byte, 6)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	whole := io.MultiReader(bytes.NewReader(head[:n]), r)
	if head[0] == '0' && start%4 != 0 {
		return errors.New("plain cpio must begin at a multiple of 4; the kernel drops this one and all after it")
	}
	limits := initramfs.Limits{Unpacked: maxUnpacked, Entries: maxEntries}
	if isLZ4(head[:n]) {
		return readLZ4(whole, limits, fn)
	}
	return initramfs.Read(whole, limits, fn)
}

// ctxReader ends when its context does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// take adds a record.
func (s *scanned) take(e initramfs.Entry, content io.Reader, opt Options, seed maphash.Seed) error {
	if err := s.budget.spend(e); err != nil {
		return err
	}
	rec := record{Entry: e}
	s.count(e)
	var ok bool
	if rec.path, ok = cleanPath(e.Name); !ok {
		s.warn("record %q: the name leads out of the root; the kernel takes it as it is", e.Name)
		return nil
	}
	if e.Size > 0 {
		if err := s.look(&rec, content, opt, seed); err != nil {
			return err
		}
	}
	s.records = append(s.records, rec)
	return nil
}

// look reads of a content what is wanted, and all of it for a digest.
func (s *scanned) look(rec *record, content io.Reader, opt Options, seed maphash.Seed) error {
	var h maphash.Hash
	if opt.Contents {
		h.SetSeed(seed)
		content = io.TeeReader(content, &h)
	}
	limit := wanted(rec.path)
	switch {
	case limit >= rec.Size && s.budget.keep(rec.Size):
		rec.content = make([]byte, rec.Size)
		if _, err := io.ReadFull(content, rec.content); err != nil {
			return fmt.Errorf("%s: %w", rec.path, err)
		}
	case limit > 0:
		s.warn("%s: with %d bytes larger than such files are; it is not looked into", rec.path, rec.Size)
	case isModule(rec.path):
		if s.budget.modules.Load() > 0 {
			var n int64
			rec.vermagic, n = s.unpacker.vermagic(rec.path, content)
			s.budget.modules.Add(-n)
		}
	case rec.Mode&0o111 != 0:
		rec.machine = machine(content)
	}
	if opt.Contents {
		if _, err := io.Copy(io.Discard, content); err != nil {
			return fmt.Errorf("%s: %w", rec.path, err)
		}
		rec.digest = h.Sum64()
	}
	return nil
}

// machine is what an ELF program runs on, "" for anything else (ELF: e_ident,
// e_machine).
func machine(r io.Reader) string {
	var b [20]byte
	if _, err := io.ReadFull(r, b[:]); err != nil || string(b[:4]) != elf.ELFMAG {
		return ""
	}
	switch m := elf.Machine(b[18]) | elf.Machine(b[19])<<8; m {
	case elf.EM_X86_64:
		return "x86_64"
	case elf.EM_AARCH64:
		return "aarch64"
	default:
		return strings.ToLower(strings.TrimPrefix(m.String(), "EM_"))
	}
}

// count adds a record to its segment.
func (s *scanned) count(e initramfs.Entry) {
	n := len(s.segments)
	if n == 0 || s.segments[n-1].Offset != e.Offset {
		s.segments = append(s.segments, Segment{Offset: e.Offset, Compression: string(e.Compression)})
		n++
	}
	s.segments[n-1].Entries++
	s.segments[n-1].Unpacked += e.Size
}

func (s *scanned) warn(format string, args ...any) {
	const maxWarnings = 20
	if len(s.warnings) < maxWarnings {
		s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
	}
}

// cleanPath is a record's name without "./" and "/" before it; "." is the
// root. ok is false for one that leads out of the root.
func cleanPath(name string) (string, bool) {
	parts := strings.Split(name, "/")
	kept := parts[:0]
	for _, p := range parts {
		switch p {
		case "", ".":
		case "..":
			return "", false
		default:
			kept = append(kept, p)
		}
	}
	if len(kept) == 0 {
		return ".", true
	}
	return strings.Join(kept, "/"), true
}
