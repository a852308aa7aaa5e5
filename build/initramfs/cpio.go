package initramfs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/cavaliergopher/cpio"

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

// archiver writes the records of one archive.
//
// cavaliergopher/cpio makes all but those of devices: it has no field for
// their numbers and always writes 0:0. It also counts on its caller for all
// that Write checks before: it cuts numbers of more than eight digits, takes
// any name, and counts inodes per record, so that numbers, links and sizes are
// given explicitly here. Header.Checksum is never set, for that changes a
// variable of the package for every archive after it.
type archiver struct {
	w     *counter
	cpio  *cpio.Writer
	epoch time.Time
	hdr   cpio.Header
	buf   []byte
}

// write writes the archive of the plan: the root, then the paths in order.
func (p *plan) write(ctx context.Context, w *counter) error {
	a := &archiver{w: w, cpio: cpio.NewWriter(w), epoch: p.seg.Epoch, buf: make([]byte, copyBuffer)}
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
	if err := a.cpio.Close(); err != nil { // writes the trailer
		return err
	}
	_, err = w.Write(zeros[:-w.n&(blockSize-1)])
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
	a.hdr = cpio.Header{
		Name:    name,
		Inode:   link.ino,
		Links:   link.names,
		Mode:    cpio.FileMode(n.Mode),
		Uid:     n.UID,
		Guid:    n.GID,
		ModTime: a.modTime(n),
	}
	hdr := &a.hdr
	switch n.Type() {
	case rootfs.ModeBlock, rootfs.ModeChar:
		return a.addDevice(n)
	case rootfs.ModeLink:
		hdr.Size = int64(len(n.Target))
		if err := a.cpio.WriteHeader(hdr); err != nil {
			return err
		}
		_, err := io.WriteString(a.cpio, n.Target)
		return err
	case rootfs.ModeFile:
		if link.first {
			hdr.Size = n.Size
		}
	}
	if err := a.cpio.WriteHeader(hdr); err != nil {
		return err
	}
	return a.content(ctx, n, hdr.Size)
}

// addDevice writes the record that cavaliergopher/cpio cannot.
func (a *archiver) addDevice(n *rootfs.Inode) error {
	if err := a.cpio.Flush(); err != nil { // the padding of the record before
		return err
	}
	h := &a.hdr
	a.buf = fmt.Appendf(a.buf[:0], "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		h.Inode, n.Mode, h.Uid, h.Guid, h.Links, h.ModTime.Unix(), 0, 0, 0, n.Major, n.Minor, len(h.Name)+1, 0, h.Name)
	a.buf = append(a.buf, zeros[:-len(a.buf)&3]...)
	_, err := a.w.Write(a.buf)
	return err
}

// content copies size bytes of a file.
func (a *archiver) content(ctx context.Context, n *rootfs.Inode, size int64) error {
	src := n.Open()
	buf := a.buf[:copyBuffer]
	for done := int64(0); done < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		some := buf[:min(copyBuffer, size-done)]
		if k, err := src.ReadAt(some, done); k < len(some) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("reading its content at byte %d of %d: %w", done+int64(k), size, err)
		}
		if _, err := a.cpio.Write(some); err != nil {
			return err
		}
		done += int64(len(some))
	}
	return nil
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
	out      *sink
	n        int64
	progress func(int64)
	reported int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	if c.n-c.reported >= copyBuffer {
		c.report()
		if err == nil {
			err = c.out.failed()
		}
	}
	return n, err
}

// WriteString saves cavaliergopher/cpio a copy of every name.
func (c *counter) WriteString(s string) (int, error) {
	n, err := c.w.WriteString(s)
	c.n += int64(n)
	return n, err
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
