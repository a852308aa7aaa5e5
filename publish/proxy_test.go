package publish_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// cutter forwards TCP until so many bytes went towards the server; then every
// connection is cut, and new ones are too, as if the network were gone.
type cutter struct {
	addr string
	sent atomic.Int64

	mu    sync.Mutex
	limit int64 // < 0: none
	open  []net.Conn
}

func newCutter(t testing.TB, target string, limit int64) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	c := &cutter{addr: l.Addr().String(), limit: limit}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil || !c.admit(client, server) {
				_ = client.Close()
				continue
			}
			wg.Go(func() { c.forward(server, client); _ = server.Close(); _ = client.Close() })
			wg.Go(func() { _, _ = io.Copy(client, server); _ = client.Close() })
		}
	})
	t.Cleanup(func() { _ = l.Close(); c.cut(); wg.Wait() })
	return c
}

func (c *cutter) admit(conns ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = append(c.open, conns...)
	return c.limit < 0 || c.sent.Load() < c.limit
}

func (c *cutter) forward(to io.Writer, from io.Reader) {
	buf := make([]byte, 8<<10)
	for {
		n, err := from.Read(buf)
		if c.limit >= 0 && c.sent.Add(int64(n)) > c.limit {
			c.cut()
			return
		}
		if c.limit < 0 {
			c.sent.Add(int64(n))
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.open {
		_ = conn.Close()
	}
	c.open = nil
}

// fault is what happens to a request.
type fault int

const (
	pass   fault = iota
	before       // cut before the server sees it
	after        // done by the server, but the answer is lost
	err500
	err503 // with Retry-After
)

// meddler forwards HTTP and meddles with requests. Once a cut has happened and
// dead is set, nothing goes through any more.
type meddler struct {
	addr  string
	judge func(r *http.Request) fault
	dead  bool
	gone  atomic.Bool
	waits atomic.Int64 // requests that were told to wait
}

func newMeddler(t testing.TB, target string, dead bool, judge func(r *http.Request) fault) *meddler {
	t.Helper()
	m := &meddler{judge: judge, dead: dead}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: target})
			r.Out.Host = r.In.Host // it is signed
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { panic(http.ErrAbortHandler) },
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(proxy, w, r) })}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	m.addr = l.Addr().String()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return m
}

func (m *meddler) serve(proxy http.Handler, w http.ResponseWriter, r *http.Request) {
	if m.gone.Load() {
		panic(http.ErrAbortHandler)
	}
	switch m.judge(r) {
	case before:
		m.gone.Store(m.dead)
		panic(http.ErrAbortHandler)
	case after:
		m.gone.Store(m.dead)
		proxy.ServeHTTP(&swallow{header: http.Header{}}, r)
		panic(http.ErrAbortHandler)
	case err500:
		http.Error(w, "injected", http.StatusInternalServerError)
	case err503:
		m.waits.Add(1)
		w.Header().Set("Retry-After", "1")
		http.Error(w, "injected", http.StatusServiceUnavailable)
	default:
		proxy.ServeHTTP(w, r)
	}
}

type swallow struct{ header http.Header }

func (s *swallow) Header() http.Header         { return s.header }
func (s *swallow) Write(b []byte) (int, error) { return len(b), nil }
func (s *swallow) WriteHeader(int)             {}
