package initramfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"hooksmith/build/rootfs"
)

// The newc format, as the kernel's init/initramfs.c reads it: a header of 110
// characters, the name with a NUL, zero bytes up to a multiple of four, the
// content, zero bytes up to a multiple of four.
const (
	headerSize = 110
	blockSize  = 512 // the archive is padded to, as by GNU cpio
	maxName    = 4095
	maxField   = math.MaxUint32
	trailer    = "TRAILER!!!"

	copyBuffer = 256 << 10
)

var zeros [blockSize]byte

// archiver writes the records of one archive. Write has checked before that
// every number has at most eight digits, and every name and target is one.
type archiver struct {
	w     *counter
	epoch time.Time
	buf   []byte
}

// write writes the archive of the plan: the root, then the paths in order.
func (p *plan) write(ctx context.Context, w *counter) error {
	a := &archiver{w: w, epoch: p.seg.Epoch}
	err := p.each(func(name string, n *rootfs.Inode, link linkOf) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := a.add(ctx, name, n, link); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.end()
}

// end writes what ends an archive.
func (a *archiver) end() error {
	if err := a.header(trailer, &rootfs.Inode{}, linkOf{names: 1}, 0, 0); err != nil {
		return err
	}
	_, err := a.w.Write(zeros[:-a.w.n&(blockSize-1)])
	return err
}

// linkOf is what tells the names of one inode apart.
type linkOf struct {
	ino   int64
	names int  // of the inode in this archive
	first bool // of them; it carries the content
}

// add writes one record.
func (a *archiver) add(ctx context.Context, name string, n *rootfs.Inode, link linkOf) error {
	mtime := a.modTime(n).Unix()
	switch n.Type() {
	case rootfs.ModeLink:
		if err := a.header(name, n, link, mtime, int64(len(n.Target))); err != nil {
			return err
		}
		_, err := io.WriteString(a.w, n.Target)
		return errors.Join(err, a.pad())
	case rootfs.ModeFile:
		if !link.first {
			break
		}
		if err := a.header(name, n, link, mtime, n.Size); err != nil {
			return err
		}
		if err := a.w.copy(ctx, n.Open(), n.Size); err != nil {
			return fmt.Errorf("reading its content: %w", err)
		}
		return a.pad()
	}
	return a.header(name, n, link, mtime, 0)
}

// header writes what is before a record's content.
func (a *archiver) header(name string, n *rootfs.Inode, link linkOf, mtime, size int64) error {
	a.buf = fmt.Appendf(a.buf[:0], "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		link.ino, n.Mode, n.UID, n.GID, link.names, mtime, size, 0, 0, n.Major, n.Minor, len(name)+1, 0, name)
	a.buf = append(a.buf, zeros[:-len(a.buf)&3]...)
	_, err := a.w.Write(a.buf)
	return err
}

// pad writes what is after a record's content.
func (a *archiver) pad() error {
	_, err := a.w.Write(zeros[:-a.w.n&3])
	return err
}

// modTime returns the modification time that the field of 32 bits can hold,
// no later than the epoch.
func (a *archiver) modTime(n *rootfs.Inode) time.Time {
	t := n.ModTime
	if !a.epoch.IsZero() && t.After(a.epoch) {
		t = a.epoch
	}
	return time.Unix(min(max(t.Unix(), 0), maxField), 0)
}

// recordSize returns the bytes of a record, padding included.
func recordSize(name string, content int64) int64 {
	head := int64(headerSize + len(name) + 1)
	return head + -head&3 + content + -content&3
}

// counter is where an archive goes: it counts, reports progress, and fails
// when the encoder's output has.
type counter struct {
	w        *bufio.Writer
	direct   copier // what w writes to, if it can read by itself
	out      *sink
	n        int64
	progress func(int64)
	reported int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	return n, errors.Join(err, c.count(int64(n)))
}

// count says that n bytes more were written.
func (c *counter) count(n int64) error {
	c.n += n
	if c.n-c.reported < copyBuffer {
		return nil
	}
	c.report()
	return c.out.failed()
}

// copier is an encoder that reads to where it needs the bytes
// (zstdlong.Writer).
type copier interface {
	CopyN(r io.Reader, n int64) error
}

// copy copies the first n bytes of r.
func (c *counter) copy(ctx context.Context, r io.ReaderAt, n int64) error {
	for done := int64(0); done < n; {
		if err := ctx.Err(); err != nil {
			return err
		}
		some := min(copyBuffer, n-done)
		if err := c.section(io.NewSectionReader(r, done, some), some); err != nil {
			return fmt.Errorf("at byte %d of %d: %w", done, n, err)
		}
		done += some
	}
	return nil
}

func (c *counter) section(r io.Reader, n int64) (err error) {
	const small = 16 << 10 // what is smaller waits for more
	if c.direct != nil && n >= small {
		if err = c.w.Flush(); err == nil {
			err = c.direct.CopyN(r, n)
		}
	} else if _, err = io.CopyN(c.w, r, n); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return errors.Join(err, c.count(n))
}

func (c *counter) report() {
	if c.progress != nil {
		c.progress(c.n - c.reported)
	}
	c.reported = c.n
}

// flush ends the archive.
func (c *counter) flush() error {
	c.report()
	return c.w.Flush()
}
