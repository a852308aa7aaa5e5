package debian

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
	arHeaderEnd  = "`\n"
)

// arReader reads the archive format of .deb files (deb(5)): short names, no
// symbol table, no name table. Anything else is refused.
type arReader struct {
	r      io.Reader
	member *io.LimitedReader // content of the present member
	pad    int64             // 1 after a member of odd size
}

func newArReader(r io.Reader) (*arReader, error) {
	magic := make([]byte, len(arMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != arMagic {
		return nil, errors.New("not a Debian package: it does not start with !<arch>")
	}
	return &arReader{r: r}, nil
}

// next skips what is left of the present member and opens the following one.
// Its content is valid until the next call. At the end the error is io.EOF.
func (a *arReader) next() (name string, content io.Reader, err error) {
	if err := a.skip(); err != nil {
		return "", nil, err
	}
	var h [arHeaderSize]byte
	if _, err := io.ReadFull(a.r, h[:]); err == io.EOF {
		return "", nil, io.EOF
	} else if err != nil {
		return "", nil, fmt.Errorf("truncated archive header: %w", err)
	}
	size, err := strconv.ParseUint(strings.TrimRight(string(h[48:58]), " "), 10, 40)
	if err != nil || string(h[58:]) != arHeaderEnd {
		return "", nil, fmt.Errorf("damaged archive header %q", h[:])
	}
	name = strings.TrimSuffix(string(bytes.TrimRight(h[:16], " ")), "/")
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" {
		return "", nil, fmt.Errorf("archive member name %q is not allowed", name)
	}
	a.member = &io.LimitedReader{R: a.r, N: int64(size)}
	a.pad = int64(size) % 2
	return name, memberReader{a.member}, nil
}

func (a *arReader) skip() error {
	if a.member == nil {
		return nil
	}
	left := a.member.N + a.pad
	n, err := io.CopyN(io.Discard, a.r, left)
	if err == io.EOF && a.member.N <= n {
		return nil // the padding of the last member may be missing
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// memberReader tells the end of a member from the end of a truncated file.
type memberReader struct{ l *io.LimitedReader }

func (m memberReader) Read(p []byte) (int, error) {
	n, err := m.l.Read(p)
	if err == io.EOF && m.l.N > 0 {
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}
