package syslog

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const patience = 60 * time.Second

// running is a server on loopback sockets.
type running struct {
	*testing.T
	*Server
	records chan Record
	udp     *net.UDPConn
	tcp     *net.TCPListener
	cancel  func()
	ended   chan error
}

func start(t *testing.T, s *Server) *running {
	t.Helper()
	r := &running{T: t, Server: s, records: make(chan Record, 10000), ended: make(chan error, 2)}
	if s.Handle == nil {
		s.Handle = func(rec Record) { r.records <- rec }
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.udp, r.tcp = conn.(*net.UDPConn), l.(*net.TCPListener)
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	go func() { r.ended <- s.Serve(ctx, conn) }()
	go func() { r.ended <- s.ServeTCP(ctx, l) }()
	t.Cleanup(func() { r.stop(); conn.Close(); l.Close() })
	return r
}

// stop ends both and wants them to say nothing.
func (r *running) stop() {
	r.Helper()
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	for range 2 {
		select {
		case err := <-r.ended:
			if err != nil {
				r.Error(err)
			}
		case <-time.After(patience):
			r.Fatal("it does not end")
		}
	}
}

func (r *running) next() Record {
	r.Helper()
	select {
	case rec := <-r.records:
		return rec
	case <-time.After(patience):
		r.Fatalf("no record; %+v", r.Stats())
		return Record{}
	}
}

func (r *running) dial(network string) net.Conn {
	r.Helper()
	addr := r.udp.LocalAddr()
	if network == "tcp" {
		addr = r.tcp.Addr()
	}
	c, err := net.Dial(network, addr.String())
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { c.Close() })
	return c
}

// until waits for something that must become true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: ", what)
		}
	}
}

func TestUDPAndTCP(t *testing.T) {
	r := start(t, &Server{})
	udp, tcp, counted := r.dial("udp"), r.dial("tcp"), r.dial("tcp")
	for i := range 3 {
		fmt.Fprintf(udp, "<13>a[1]: udp %d", i)
		if rec := r.next(); rec.Message != fmt.Sprint("udp ", i) || rec.App != "a" || rec.From.String() != udp.LocalAddr().String() || time.Since(rec.Time) > time.Hour {
			t.Errorf("%+v", rec)
		}
	}
	fmt.Fprint(tcp, "<13>a: one\n<13>a: two\n<13>a: thr")
	if a, b := r.next(), r.next(); a.Message != "one" || b.Message != "two" || a.From.String() != tcp.LocalAddr().String() {
		t.Errorf("%+v %+v", a, b)
	}
	fmt.Fprint(counted, "12 <13>a: x\nyz.11 <13>a:")
	if a := r.next(); a.Message != "x\nyz." {
		t.Errorf("%+v", a)
	}
	tcp.Close()
	if a := r.next(); a.Message != "thr" {
		t.Errorf("after the end of the connection: %+v", a)
	}
	until(t, "one connection left", func() bool { return r.Stats().Conns == 1 })
	// The sockets are still the caller's after the end.
	r.stop()
	if _, err := r.udp.WriteTo([]byte("x"), r.udp.LocalAddr()); err != nil {
		t.Error(err)
	}
	r.udp.SetReadDeadline(time.Now().Add(patience))
	if _, _, err := r.udp.ReadFrom(make([]byte, 9)); err != nil {
		t.Error(err)
	}
	if st := r.Stats(); st.Conns != 0 || st.Received != 8 {
		t.Errorf("%+v", st)
	}
}

// TestLogger: util-linux's logger, in all its dialects.
func TestLogger(t *testing.T) {
	path, err := exec.LookPath("logger")
	if err != nil {
		t.Skip("logger (package bsdutils) is not installed")
	}
	r := start(t, &Server{})
	for _, args := range []string{"--udp --rfc3164", "--udp --rfc5424", "--tcp --rfc3164", "--tcp --rfc5424", "--tcp --rfc5424 --octet-count", "--tcp --rfc3164 --octet-count", "--udp --rfc5424 --sd-id x@1 --sd-param a=\"b\""} {
		port := r.udp.LocalAddr().(*net.UDPAddr).Port
		if strings.Contains(args, "tcp") {
			port = r.tcp.Addr().(*net.TCPAddr).Port
		}
		full := append(strings.Fields(args), "--server", "127.0.0.1", "--port", strconv.Itoa(port), "-p", "local1.err", "-t", "boot", "--id=77", "it works")
		if out, err := exec.Command(path, full...).CombinedOutput(); err != nil {
			t.Fatalf("logger %s: %v %s", args, err, out)
		}
		rec := r.next()
		if rec.Message != "it works" || rec.App != "boot" || rec.ProcID != "77" || rec.Hostname == "" || rec.Facility.String() != "local1" || rec.Severity != Error || time.Since(rec.Said).Abs() > 24*time.Hour {
			t.Errorf("logger %s: %+v", args, rec)
		}
		if strings.Contains(args, "sd-id") && rec.Data[len(rec.Data)-1].Params[0] != (Param{"a", "b"}) {
			t.Errorf("logger %s: %+v", args, rec)
		}
	}
}

// TestSlowHandler: the sockets go on, what there is no room for is counted and said.
func TestSlowHandler(t *testing.T) {
	release := make(chan struct{})
	var log syncBuffer
	var mu sync.Mutex
	var seen []string
	r := start(t, &Server{
		MaxQueue: 20 * (overhead + 20), Log: slog.New(slog.NewTextHandler(&log, nil)),
		Handle: func(rec Record) {
			<-release
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, rec.Message)
		},
	})
	c, n := r.dial("tcp"), 0
	until(t, "a dropped line", func() bool {
		n++
		fmt.Fprintf(c, "<13>a: %06d\n", n)
		return r.Stats().Dropped > 50
	})
	close(release)
	until(t, "what was received is handled", func() bool {
		mu.Lock()
		defer mu.Unlock()
		st := r.Stats()
		return uint64(len(seen)) == st.Received && st.Received+st.Dropped == uint64(n)
	})
	for i, m := range seen {
		if m < "000001" || i > 0 && m <= seen[i-1] {
			t.Fatalf("out of order: %q", seen)
		}
	}
	if r.queued.Load() != 0 {
		t.Errorf("%d bytes are said to be queued", r.queued.Load())
	}
	r.stop()
	if !strings.Contains(log.String(), "syslog messages were lost") {
		t.Errorf("nobody was told: %s", log.String())
	}
}

// TestEndWithSlowHandler: Serve ends although lines wait; all are accounted for.
func TestEndWithSlowHandler(t *testing.T) {
	entered := make(chan struct{}, 1000)
	release := make(chan struct{})
	r := start(t, &Server{Handle: func(Record) { entered <- struct{}{}; <-release }})
	c := r.dial("tcp")
	fmt.Fprint(c, strings.Repeat("<13>a: x\n", 500))
	<-entered
	until(t, "all are received", func() bool { return r.Stats().Received == 500 })
	r.cancel()
	time.AfterFunc(2*time.Second, func() { close(release) }) // longer than Serve is patient, mostly
	for range 2 {
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
	}
	r.cancel = nil
	if st := r.Stats(); st.Received+st.Dropped != 500 || r.queued.Load() != 0 {
		t.Errorf("%+v, %d bytes queued", st, r.queued.Load())
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestLimits(t *testing.T) {
	r := start(t, &Server{MaxMessage: 100, MaxConnsPerAddr: 2})
	c := r.dial("tcp")
	fmt.Fprintf(c, "<13>a: %s\n", strings.Repeat("x", 1000))
	if rec := r.next(); len(rec.Message) != 93 {
		t.Errorf("%d bytes", len(rec.Message))
	}
	fmt.Fprintf(r.dial("udp"), "<13>a: %s", strings.Repeat("x", 1000))
	if rec := r.next(); len(rec.Message) != 93 || r.Stats().Cut != 2 {
		t.Errorf("%d bytes, %+v", len(rec.Message), r.Stats())
	}
	r.dial("tcp")
	until(t, "two connections", func() bool { return r.Stats().Conns == 2 })
	third := r.dial("tcp")
	third.SetReadDeadline(time.Now().Add(patience))
	if _, err := third.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("a third connection: %v", err)
	}
	c.Close()
	until(t, "one connection", func() bool { return r.Stats().Conns == 1 })
	fourth := r.dial("tcp")
	fmt.Fprint(fourth, "<13>a: in\n")
	if rec := r.next(); rec.Message != "in" || r.Stats().Refused != 1 {
		t.Errorf("%+v %+v", rec, r.Stats())
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

func TestIdleTimeout(t *testing.T) {
	r := start(t, &Server{IdleTimeout: 50 * time.Millisecond})
	c := r.dial("tcp")
	fmt.Fprint(c, "<13>a: x\n<13>a: unfinished")
	c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("an idle connection: %v", err)
	}
	if a, b := r.next(), r.next(); a.Message != "x" || b.Message != "unfinished" {
		t.Errorf("%+v %+v", a, b)
	}
}

func TestRate(t *testing.T) {
	now := received
	var mu sync.Mutex
	r := start(t, &Server{Rate: 5, Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	c := r.dial("tcp")
	fmt.Fprint(c, strings.Repeat("<13>a: x\n", 100))
	until(t, "all are counted", func() bool { st := r.Stats(); return st.Received+st.Limited == 100 })
	if st := r.Stats(); st.Received != 20 {
		t.Errorf("%+v", st)
	}
	mu.Lock()
	now = now.Add(2 * time.Second)
	mu.Unlock()
	fmt.Fprint(c, strings.Repeat("<13>a: x\n", 100))
	until(t, "all are counted", func() bool { st := r.Stats(); return st.Received+st.Limited == 200 })
	if st := r.Stats(); st.Received != 30 {
		t.Errorf("%+v", st)
	}
}

// TestForgedSources: a million source addresses do not take a million buckets.
func TestForgedSources(t *testing.T) {
	var l limiter
	a := netip.MustParseAddr("10.0.0.0")
	for range 3 * maxSources {
		a = a.Next()
		l.allow(a, 10, received)
	}
	if len(l.sources) > maxSources {
		t.Errorf("%d buckets", len(l.sources))
	}
}

// TestGarbage: two thousand datagrams and connections' worth of noise, and it
// still listens.
func TestGarbage(t *testing.T) {
	const alphabet = "<>[]{}\"\\ 0123456789:-\x00\x1b\n\xffabc"
	r := start(t, &Server{})
	udp, rnd := r.dial("udp"), rand.New(rand.NewPCG(1, 2))
	for range 20 {
		tcp := r.dial("tcp")
		for range 100 {
			noise := make([]byte, rnd.IntN(600))
			for i := range noise {
				noise[i] = alphabet[rnd.IntN(len(alphabet))]
			}
			udp.Write(noise)
			tcp.Write(noise)
		}
		tcp.Close()
	}
	marker := func(c net.Conn) func() bool {
		return func() bool {
			fmt.Fprint(c, "<13>a: still there\n")
			for len(r.records) > 0 {
				if rec := <-r.records; rec.Message == "still there" {
					return true
				}
			}
			return false
		}
	}
	until(t, "a message by UDP", marker(udp))
	until(t, "the noise is over", func() bool { return r.Stats().Conns == 0 })
	until(t, "a message by TCP", marker(r.dial("tcp")))
}

func TestMisuse(t *testing.T) {
	for _, s := range []*Server{{}, {Handle: func(Record) {}, MaxMessage: 1 << 20}} {
		if err := s.Serve(t.Context(), nil); err == nil {
			t.Error("no error")
		}
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := (&Server{Handle: func(Record) {}}).Serve(t.Context(), conn); err == nil || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("a closed socket: %v", err)
	}
}

func BenchmarkParse(b *testing.B) {
	for name, text := range map[string]string{
		"3164": "<30>Nov 21 17:08:59 node-1 dockerd[812]: time=2026 level=info msg=started", "5424": `<30>1 2026-11-21T17:08:59Z h worker 1 - - text of a message`,
		"json": `<30>Nov 21 17:08:59 0a1b[812]: {"level":"info","ts":1763744939.5,"caller":"worker/worker.go:1","msg":"no workflow","worker_id":"02:00:00:00:00:01"}`,
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				Parse([]byte(text), received)
			}
		})
	}
}
