package source

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// Bounds of an archive. Linux 6.12 has 92,000 files and 1.6 GB.
const (
	maxPacked   = 4 << 30
	maxUnpacked = 16 << 30
	maxEntries  = 1_000_000
	maxName     = 4096
	maxWindow   = 128 << 20 // of the decompressor; xz -9 takes 64 MiB
)

// unpack decompresses what r starts with the magic of. The caller calls close
// when it has read enough.
func unpack(r io.Reader) (plain io.Reader, close func(), err error) {
	b := bufio.NewReaderSize(r, 256<<10)
	head, err := b.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	close, err = func() {}, nil
	switch {
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		plain, err = xz.NewReader(b, maxWindow)
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		plain, err = gzip.NewReader(b)
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		var z *zstd.Decoder
		if z, err = zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
			plain, close = z, z.Close
		}
	case bytes.HasPrefix(head, []byte("BZh")):
		plain = bzip2.NewReader(b)
	case isTar(head):
		plain = b
	default:
		return nil, nil, notTar(head)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("decompressing: %w", err)
	}
	return &boundedReader{r: plain, left: maxUnpacked}, close, nil
}

// isTar looks at the magic of POSIX and GNU tar; tars from before 1988 have
// none and are not worth the risk.
func isTar(head []byte) bool {
	return len(head) == 512 && bytes.HasPrefix(head[257:], []byte("ustar"))
}

// notTar says what the bytes are instead of a tar, where that helps.
func notTar(head []byte) error {
	text := bytes.ToLower(bytes.TrimSpace(head))
	switch {
	case len(head) == 0:
		return errors.New("it is empty")
	case bytes.HasPrefix(text, []byte("<")):
		return errors.New("it is a web page, not a tar (a login page or an error of the server?)")
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return errors.New("it is a zip file: want a tar, plain or compressed by gzip, xz, zstd or bzip2")
	}
	return errors.New("it is not a tar, plain or compressed by gzip, xz, zstd or bzip2")
}

// boundedReader fails, rather than ends, when more than left bytes come.
type boundedReader struct {
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("it unpacks to more than %d GiB", int64(maxUnpacked)>>30)
	}
	return n, err
}
