package fetch

import (
	"context"
	"fmt"
	"os"
)

// Fetch returns a file with this SHA-256 and at most limit bytes: what Blob
// does, for a file whose size nobody has told. The caller closes the file.
func (c *Cache) Fetch(ctx context.Context, urls []string, sha256hex string, limit int64) (*os.File, error) {
	return c.blob(ctx, urls, want{sha256hex, -1, limit})
}

// want is what a file must be.
type want struct {
	sha256 string
	size   int64 // -1: unknown
	limit  int64 // of the size
}

// exactly is a file whose size is known.
func exactly(sha256hex string, size int64) want { return want{sha256hex, size, size} }

// check compares what is there.
func (w want) check(part *Partial) error {
	have, got := part.Have(), part.Sum()
	switch {
	case w.size >= 0 && (have != w.size || got != w.sha256):
		return fmt.Errorf("got %d bytes with sha256 %s, want %d bytes with %s (a broken mirror, or a proxy that changes files?)", have, got, w.size, w.sha256)
	case have > w.limit:
		return fmt.Errorf("it has more than %d bytes", w.limit)
	case got != w.sha256:
		return fmt.Errorf("got %d bytes with sha256 %s, want %s (another file than expected, or a proxy that changes files?)", have, got, w.sha256)
	}
	return nil
}
