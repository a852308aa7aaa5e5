package fetch

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Stall is how long a server may take to begin its answer, and how long the
// answer may bring next to nothing, before the request is given up.
const Stall = 30 * time.Second

// stallBytes is what must come in that time: a server that sends a byte each
// second is as good as none. What a line slower than that had brought is kept.
const stallBytes = 16 << 10

// Paced is a transport that gives up requests whose answer stops in the
// middle, or trickles. Next sees to it that answers begin.
type Paced struct {
	Next  http.RoundTripper
	Stall time.Duration // 0: the constant
}

// RoundTrip sends the request. Reading the answer's body fails if it comes too
// slowly; time that the reader takes between its reads does not count.
func (p *Paced) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	resp, err := p.Next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	stall := cmp.Or(p.Stall, Stall)
	b := &pacedBody{ReadCloser: resp.Body, stall: stall, cancel: cancel}
	b.timer = time.AfterFunc(stall, cancel)
	b.timer.Stop()
	resp.Body = b
	return resp, nil
}

// pacedBody is the body of an answer.
type pacedBody struct {
	io.ReadCloser
	stall  time.Duration
	cancel context.CancelFunc
	timer  *time.Timer   // runs during a Read
	waited time.Duration // in Reads since
	got    int           // fewer bytes than stallBytes
	fired  bool
}

func (b *pacedBody) Read(p []byte) (int, error) {
	begin := time.Now()
	b.timer.Reset(max(b.stall-b.waited, 0))
	n, err := b.ReadCloser.Read(p)
	b.fired = !b.timer.Stop() || b.fired
	b.got += n
	if b.waited += time.Since(begin); b.got >= stallBytes {
		b.got, b.waited = 0, 0
	}
	if err != nil && err != io.EOF && b.fired {
		err = b.tooSlow()
	}
	return n, err
}

func (b *pacedBody) tooSlow() error {
	if b.got == 0 {
		return fmt.Errorf("no byte came for %s", b.stall)
	}
	return fmt.Errorf("only %d bytes came in %s", b.got, b.stall)
}

func (b *pacedBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel()
	return err
}
