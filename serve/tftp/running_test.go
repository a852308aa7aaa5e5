package tftp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
)

// events collects what a server reports.
type events struct {
	mu   sync.Mutex
	list []Event
	more chan struct{}
}

func newEvents() *events { return &events{more: make(chan struct{}, 1)} }

func (e *events) observe(x Event) {
	e.mu.Lock()
	e.list = append(e.list, x)
	e.mu.Unlock()
	select {
	case e.more <- struct{}{}:
	default:
	}
}

// wait returns the last event of a kind, as soon as there are n of that kind.
func (e *events) wait(t testing.TB, kind Kind, n int) (last Event) {
	t.Helper()
	e.until(t, fmt.Sprintf("%d events %v", n, kind), func() bool {
		all := e.of(kind)
		if len(all) < n {
			return false
		}
		last = all[len(all)-1]
		return true
	})
	return last
}

// until waits for what events bring about.
func (e *events) until(t testing.TB, what string, done func() bool) {
	t.Helper()
	limit := time.After(patience)
	for !done() {
		select {
		case <-e.more:
		case <-limit:
			e.mu.Lock()
			defer e.mu.Unlock()
			t.Fatalf("no %s in %v; the last events: %+v", what, patience, e.list[max(0, len(e.list)-10):])
		}
	}
}

// of returns the events of a kind.
func (e *events) of(kind Kind) (all []Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.list {
		if x.Kind == kind {
			all = append(all, x)
		}
	}
	return all
}

func (e *events) count(kind Kind) int { return len(e.of(kind)) }

// bench is a running server in this process.
type running struct {
	addr   netip.AddrPort
	dir    string
	events *events
	stop   func()
}

// ports are the ways a server can use its socket: each test of the protocol runs on all of them.
var ports = []string{"multi", "single", "shared", "any socket"}

// start runs a server on loopback; files maps names to contents.
func start(t testing.TB, ports string, s Server, files map[string][]byte) *running {
	t.Helper()
	return startOn(t, ports, "127.0.0.1:0", s, files)
}

// anySocket hides that a socket is a UDP socket.
type anySocket struct{ net.PacketConn }

func startOn(t testing.TB, ports, listen string, s Server, files map[string][]byte) *running {
	t.Helper()
	r := &running{dir: t.TempDir(), events: newEvents()}
	for name, content := range files {
		if err := os.WriteFile(r.dir+"/"+name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.Files == nil {
		s.Files = Dir(root)
	}
	conn, err := net.ListenPacket("udp", listen)
	if err != nil {
		t.Fatal(err)
	}
	r.addr = addrPort(conn.LocalAddr())
	s.SinglePort, s.oneSocket, s.Observe = ports == "single" || ports == "shared", ports == "shared", r.events.observe
	var socket net.PacketConn = conn
	if ports == "any socket" {
		socket = anySocket{conn}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, socket) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(patience):
			t.Errorf("Serve did not return within %v", patience)
		}
		conn.Close()
		root.Close()
	})
	t.Cleanup(r.stop)
	return r
}

// pattern is content in which every block differs.
func pattern(n int) []byte {
	p := make([]byte, n)
	state := uint32(n) | 1
	for i := range p {
		if i%4 == 0 {
			state = state*1664525 + 1013904223
		}
		p[i] = byte(state >> (8 * (i % 4)))
	}
	return p
}
