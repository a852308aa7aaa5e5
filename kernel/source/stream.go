package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
)

// stream is what make writes, as a reader. The goroutine that it runs in has
// ended when Close returns.
type stream struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

func newStream(ctx context.Context, write func(ctx context.Context, w io.Writer) error) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	s := &stream{r, cancel, make(chan struct{})}
	go func() {
		defer close(s.done)
		w.CloseWithError(write(ctx, w)) // nil is io.EOF
	}()
	return s
}

func (s *stream) Close() error {
	s.cancel()
	err := s.PipeReader.Close()
	<-s.done
	return err
}

// contextReader ends with the context's error when that is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func hashFile(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, contextReader{ctx, f}); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
