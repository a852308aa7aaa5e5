package debian

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

// checkedReader passes on exactly the bytes it was promised: it fails inside
// Read when there are more or fewer, or when their SHA-256 is another one.
type checkedReader struct {
	r    io.Reader
	sum  hash.Hash
	want string
	size int64
	left int64
}

func newCheckedReader(r io.Reader, sha256hex string, size int64) *checkedReader {
	return &checkedReader{r: r, sum: sha256.New(), want: sha256hex, size: size, left: size}
}

func (c *checkedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if int64(n) > c.left {
		return 0, fmt.Errorf("file is longer than the promised %d bytes", c.size)
	}
	c.left -= int64(n)
	c.sum.Write(p[:n])
	if err != io.EOF {
		return n, err
	}
	if c.left > 0 {
		return n, fmt.Errorf("file is %d bytes long instead of %d: %w", c.size-c.left, c.size, io.ErrUnexpectedEOF)
	}
	if got := hex.EncodeToString(c.sum.Sum(nil)); got != c.want {
		return n, fmt.Errorf("SHA-256 is %s instead of %s", got, c.want)
	}
	return n, io.EOF
}

// drain reads what is left, so that the end of the file is checked even if
// whoever parsed it needed less.
func (c *checkedReader) drain() error {
	_, err := io.Copy(io.Discard, c)
	return err
}

// boundedReader fails, rather than ends, when more than left bytes come: the
// defence against archives that unpack to more than anybody has memory for.
type boundedReader struct {
	r    io.Reader
	left int64
	what string // "unpacked package"
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, fmt.Errorf("%s is larger than allowed", b.what)
	}
	return n, err
}

// validSHA256 reports whether s is a SHA-256 in lower-case hexadecimal.
func validSHA256(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
