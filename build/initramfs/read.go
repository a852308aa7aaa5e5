package initramfs

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"time"
)

// Entry is one record of an initramfs, as it stands there: the kernel applies
// records in order, so a later one of the same name wins.
type Entry struct {
	Segment     int   // counted from 0
	Offset      int64 // of the segment in the file
	Compression Compression
	Name        string
	Mode        uint32 // as rootfs.Inode.Mode
	UID, GID    uint32
	ModTime     time.Time
	Size        int64 // of the content of a regular file
	Target      string
	Ino         uint32 // with Links > 1, equal numbers in one segment are one file
	Links       uint32
	Major       uint32 // of a device
	Minor       uint32
}

// XZ is a compression that Read knows and Write does not: the kernel takes
// six times longer to unpack it than zstd.
const XZ Compression = "xz"

// Limits bound what Read takes from a hostile file. Zero is the default.
type Limits struct {
	Unpacked int64 // bytes of all archives together, 16 GiB
	Entries  int   // records, 4 million
}

// Read walks an initramfs record by record as the kernel does: segments in any
// mix of zstd, gzip, xz and plain cpio, each compressed one a single frame,
// member or stream with whole records in it, zero bytes between them. fn is
// called for every record but the trailers, with a reader over the content of
// a regular file that is valid until fn returns; fn need not read it.
//
// What the kernel would drop or stop at is an error that names the offset in
// the file and, once inside a segment, the record. An error of fn ends the
// walk and is returned as it is.
func Read(r io.Reader, limits Limits, fn func(Entry, io.Reader) error) error {
	file := &tracker{r: bufio.NewReaderSize(r, 64<<10)}
	d := &reader{
		file:     file,
		unpacked: cmp.Or(limits.Unpacked, 16<<30),
		entries:  cmp.Or(limits.Entries, 4<<20),
		fn:       fn,
	}
	for segment := 0; ; segment++ {
		if err := file.skipZeros(); err != nil {
			return d.wrap(err)
		}
		magic, err := file.r.Peek(6)
		if len(magic) == 0 {
			return d.wrap(endOfFile(err))
		}
		d.segment, d.offset = segment, file.n
		if err := d.readSegment(magic); err != nil {
			return d.wrap(err)
		}
	}
}

// endOfFile returns nil for the end of a file.
func endOfFile(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// reader walks one file.
type reader struct {
	file     *tracker
	segment  int
	offset   int64 // of the segment
	last     string
	unpacked int64 // still allowed
	entries  int
	fn       func(Entry, io.Reader) error
}

// stopped is an error of fn, which is passed on as it is.
type stopped struct{ error }

// wrap says where an error happened.
func (d *reader) wrap(err error) error {
	var s stopped
	switch {
	case err == nil:
		return nil
	case errors.As(err, &s):
		return s.error
	case d.last != "":
		return fmt.Errorf("initramfs segment %d at offset %d, after %q: %w", d.segment, d.offset, d.last, err)
	}
	return fmt.Errorf("initramfs segment %d at offset %d: %w", d.segment, d.offset, err)
}

// readSegment reads one archive, or one frame, member or stream of them.
func (d *reader) readSegment(magic []byte) error {
	d.last = ""
	if magic[0] == '0' {
		if d.offset%align != 0 {
			return errors.New("plain cpio must begin at a multiple of 4; the kernel drops this one and all after it")
		}
		return d.readArchive(d.file, None)
	}
	kind, open := detect(magic)
	if open == nil {
		return fmt.Errorf("%x is the beginning of neither an archive nor a known compression", magic)
	}
	stream, done, err := open(d.file)
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	defer done()
	in := &tracker{r: bufio.NewReaderSize(&bounded{stream, kind, &d.unpacked}, 64<<10)}
	for {
		if err := in.skipZeros(); err != nil {
			return err
		}
		if _, err := in.r.Peek(1); err != nil {
			return endOfFile(err)
		}
		if in.n%align != 0 {
			return fmt.Errorf("at byte %d of the archive: a record must begin at a multiple of 4", in.n)
		}
		if err := d.readArchive(in, kind); err != nil {
			return err
		}
	}
}

// readArchive reads records up to a trailer, or up to where no record begins,
// which is as good an end to the kernel.
func (d *reader) readArchive(in *tracker, kind Compression) error {
	for {
		more, err := d.readRecord(in, kind)
		if err != nil || !more {
			return err
		}
		if err := in.skipZeros(); err != nil {
			return err
		}
		next, err := in.r.Peek(1)
		if len(next) == 0 || next[0] != '0' || in.n%align != 0 {
			return endOfFile(err)
		}
	}
}

// readRecord reads one record; more is false after a trailer.
func (d *reader) readRecord(in *tracker, kind Compression) (more bool, err error) {
	at := in.n
	h, err := readHeader(in)
	if err != nil {
		return false, fmt.Errorf("record at byte %d: %w", at, noEOF(err))
	}
	if h.name == trailer {
		return false, nil
	}
	if d.entries--; d.entries < 0 {
		return false, errors.New("more records than the limit allows")
	}
	if kind == None {
		if d.unpacked -= in.n - at + h.size; d.unpacked < 0 {
			return false, errTooLarge
		}
	}
	e := Entry{
		Segment: d.segment, Offset: d.offset, Compression: kind,
		Name: h.name, Mode: h.mode, UID: h.uid, GID: h.gid, ModTime: time.Unix(int64(h.mtime), 0).UTC(),
		Size: h.size, Target: h.target, Ino: h.ino, Links: h.links, Major: h.major, Minor: h.minor,
	}
	d.last = h.name
	content := &io.LimitedReader{R: in, N: h.size}
	if err := d.fn(e, content); err != nil {
		return false, stopped{err}
	}
	if err := in.discard(content.N + -h.size&3); err != nil {
		return false, fmt.Errorf("content of %d bytes: %w", h.size, noEOF(err))
	}
	return true, nil
}

// noEOF makes an end of file what it is in the middle of a record.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

var errTooLarge = errors.New("more unpacked bytes than the limit allows")

// bounded is a decompressed stream that ends in errTooLarge.
type bounded struct {
	r    io.Reader
	kind Compression
	left *int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if *b.left -= int64(n); *b.left < 0 {
		return 0, errTooLarge
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%s: %w", b.kind, err)
	}
	return n, err
}

// tracker reads and knows where it is. It reads byte by byte if asked, so
// that gzip takes no more than its own.
type tracker struct {
	r *bufio.Reader
	n int64
}

func (t *tracker) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.n += int64(n)
	return n, err
}

func (t *tracker) ReadByte() (byte, error) {
	c, err := t.r.ReadByte()
	if err == nil {
		t.n++
	}
	return c, err
}

func (t *tracker) unreadByte() {
	if t.r.UnreadByte() == nil {
		t.n--
	}
}

// skipZeros stops before the first byte that is not zero, or at the end.
func (t *tracker) skipZeros() error {
	for {
		c, err := t.ReadByte()
		if err != nil {
			return endOfFile(err)
		}
		if c != 0 {
			t.unreadByte()
			return nil
		}
	}
}

func (t *tracker) discard(n int64) error {
	const step = 1 << 30 // bufio counts in int
	for n > 0 {
		k, err := t.r.Discard(int(min(n, step)))
		t.n += int64(k)
		n -= int64(k)
		if err != nil {
			return err
		}
	}
	return nil
}
