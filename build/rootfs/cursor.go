package rootfs

import (
	"errors"
	"io"
)

// cursor reads a tar's headers through a window. It differs from a buffered
// io.SectionReader in that its position is that of the last byte handed out,
// which after a header is where the content begins, and in that a skip within
// the window keeps the window: small files cost no read of their own.
type cursor struct {
	r      io.ReaderAt
	size   int64
	pos    int64
	window []byte // bytes at start
	start  int64
}

const cursorWindow = 32 << 10

func (c *cursor) Read(p []byte) (int, error) {
	if c.pos >= c.size {
		return 0, io.EOF
	}
	if c.pos < c.start || c.pos >= c.start+int64(len(c.window)) {
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.window[c.pos-c.start:])
	c.pos += int64(n)
	return n, nil
}

// fill moves the window to pos.
func (c *cursor) fill() error {
	if c.window == nil {
		c.window = make([]byte, 0, cursorWindow)
	}
	want := min(c.size-c.pos, cursorWindow)
	n, err := c.r.ReadAt(c.window[:want], c.pos)
	c.start, c.window = c.pos, c.window[:n]
	if n > 0 {
		return nil
	}
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF // size promised more
	}
	return err
}

// Seek lets archive/tar skip contents. It only moves forward or tells.
func (c *cursor) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 || offset > c.size-c.pos {
		return 0, errSkip
	}
	c.pos += offset
	return c.pos, nil
}

var errSkip = errors.New("skips beyond the end of the tar")
