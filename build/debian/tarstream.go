package debian

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
)

// tarBlock is the unit of the tar format.
const tarBlock = 512

// tarStream is an uncompressed tar that is made while it is read: no pipe, no
// goroutine, nothing to wait for when the reader stops half-way.
type tarStream struct {
	// next returns the entries in turn and the content of regular files; its
	// error io.EOF ends the archive, any other error is what Read returns.
	next  func() (*tar.Header, io.Reader, error)
	close func() error
	what  string // for errors: "unpacking foo:amd64=1"

	head bytes.Buffer // headers, padding and trailer that are not read yet
	body io.Reader
	left int64 // of body
	pad  int64 // after body
	name string
	err  error
}

func (s *tarStream) Read(p []byte) (int, error) {
	for {
		if len(p) == 0 {
			return 0, nil
		}
		if s.head.Len() > 0 {
			return s.head.Read(p)
		}
		if s.left > 0 {
			return s.readBody(p)
		}
		if s.err != nil {
			return 0, s.err
		}
		s.advance()
	}
}

func (s *tarStream) readBody(p []byte) (int, error) {
	if int64(len(p)) > s.left {
		p = p[:s.left]
	}
	n, err := s.body.Read(p)
	s.left -= int64(n)
	if s.left == 0 {
		return n, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		s.err = fmt.Errorf("%s: reading %s: %w", s.what, s.name, err)
		s.left = 0
		return n, s.err
	}
	return n, nil
}

// advance puts the next header, or the trailer, into head.
func (s *tarStream) advance() {
	h, body, err := s.next()
	if err != nil && err != io.EOF {
		s.err = fmt.Errorf("%s: %w", s.what, err)
		return
	}
	s.head.Write(make([]byte, s.pad))
	if err == io.EOF {
		s.head.Write(make([]byte, 2*tarBlock))
		s.err = io.EOF
		return
	}
	s.name, s.body, s.left = h.Name, body, h.Size
	s.pad = (tarBlock - h.Size%tarBlock) % tarBlock
	if err := tar.NewWriter(&s.head).WriteHeader(h); err != nil {
		s.err = fmt.Errorf("%s: writing tar header of %s: %w", s.what, h.Name, err)
	}
}

func (s *tarStream) Close() error {
	s.err = fs.ErrClosed
	s.left = 0
	s.head.Reset()
	if s.close == nil {
		return nil
	}
	err := s.close()
	s.close = nil
	return err
}
