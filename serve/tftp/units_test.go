package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	pin "github.com/pin/tftp/v3"
)

func TestCleanName(t *testing.T) {
	for raw, want := range map[string]string{
		"a": "a", "/a": "a", "///a//b": "a/b", `\a\b`: "a/b", "../a": "a", "a/../../../b": "b", "/": "", "..": "", ".": "",
		`..\..\etc\passwd`: "etc/passwd", "a/./b/": "a/b", "tftp%2f..": "tftp%2f..",
	} {
		if got := cleanName(raw); got != want {
			t.Errorf("cleanName(%q) = %q, want %q", raw, got, want)
		}
	}
}

// memory is a File in memory.
type memory struct {
	*bytes.Reader
	closed func()
}

func (m memory) Size() int64 { return m.Reader.Size() }

func (m memory) Close() error {
	if m.closed != nil {
		m.closed()
	}
	return nil
}

func TestNetascii(t *testing.T) {
	var in, want []byte
	for i := range 20000 {
		b := byte(i*7919>>3) % 17
		switch b {
		case 13:
			want = append(want, 13, 0)
		case 10:
			want = append(want, 13, 10)
		default:
			want = append(want, b)
		}
		in = append(in, b)
	}
	for _, size := range []int{8, 511, 512, 1468} {
		a := &netascii{file: memory{Reader: bytes.NewReader(in)}, size: int64(len(in))}
		p := make([]byte, size)
		for off := 0; off <= len(want); off += size {
			for _, at := range []int{off, max(0, off-3*size), off} { // go back by up to three blocks
				n, err := a.fill(p, int64(at))
				if err != nil || !bytes.Equal(p[:n], want[at:min(len(want), at+size)]) {
					t.Fatalf("block %d at %d: %d bytes, %v", size, at, n, err)
				}
			}
			a.release(int64(off - 3*size))
		}
		if len(a.marks) > 8 {
			t.Errorf("%d marks kept", len(a.marks))
		}
	}
}

func TestPacer(t *testing.T) {
	p := pacer{ceiling: 5 * time.Second}
	if d := p.interval(); d != firstInterval {
		t.Errorf("first interval %v", d)
	}
	for range 50 {
		p.sample(200 * time.Microsecond)
	}
	if d := p.interval(); d != minInterval {
		t.Errorf("interval %v at 0.2 ms", d)
	}
	for range 50 {
		p.sample(300 * time.Millisecond)
	}
	if d := p.interval(); d < 300*time.Millisecond || d > 500*time.Millisecond {
		t.Errorf("interval %v at 300 ms", d)
	}
	p.backoff = 60
	if d := p.interval(); d != 5*time.Second {
		t.Errorf("interval %v after many timeouts", d)
	}
	p.fixed = 9 * time.Second
	if d := p.interval(); d != p.fixed {
		t.Errorf("interval %v, negotiated %v", d, p.fixed)
	}
}

func TestAdmission(t *testing.T) {
	a := newAdmission(&config{Server: Server{MaxTransfers: 3, MaxPerClient: 2, RequestRate: 1}})
	now := time.Unix(0, 0)
	one, two := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	var got []bool
	for _, client := range []netip.Addr{one, one, one, two, two} {
		got = append(got, a.begin(client, now))
	}
	if want := []bool{true, true, false, true, false}; !slices.Equal(got, want) {
		t.Errorf("limits of transfers: %v, want %v", got, want)
	}
	a.end(one)
	if !a.begin(two, now) {
		t.Error("a place is not given back")
	}
	for i := range 5 {
		if got := a.request(one, now); got != (i < 4) {
			t.Errorf("request %d: %v", i, got)
		}
	}
	if !a.request(one, now.Add(time.Second)) {
		t.Error("no request after a second")
	}
	for i := range 100_000 { // forged addresses
		a.request(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
	if len(a.clients) > maxTracked {
		t.Errorf("%d clients remembered", len(a.clients))
	}
	if x := a.clients[one]; x == nil || x.active != 1 {
		t.Error("a client with transfers was forgotten")
	}
	if owner(netip.MustParseAddr("fe80::1:2%3")) != netip.MustParseAddr("fe80::") {
		t.Error("owner of an IPv6 address")
	}
}

func TestConfig(t *testing.T) {
	files := FileSystemFunc(func(context.Context, Request) (File, error) { return nil, fs.ErrNotExist })
	for _, s := range []Server{{}, {Files: files, MaxBlockSize: 7}, {Files: files, MaxWindow: 65536}, {Files: files, MaxTransfers: -1}, {Files: files, Timeout: time.Minute}} {
		if err := s.Serve(context.Background(), nil); err == nil || !strings.HasPrefix(err.Error(), "tftp: ") {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add(rrq(opRead, "a", "octet", opts("blksize", "1468", "tsize", "0")))
	f.Add(rrq(opWrite, "../../x", "mail", nil))
	f.Add([]byte("\x00\x01\x00\x00"))
	f.Add([]byte("\x00\x01a\x00octet\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := parseRequest(p)
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("error without an answer: %v", err)
		}
		if err != nil {
			return
		}
		if len(r.options) > maxOptions || len(r.name) > maxName || strings.ContainsAny(r.name, "\x00\n") {
			t.Fatalf("%+v", r)
		}
		if name := cleanName(r.name); strings.HasPrefix(name, "/") || name == ".." || strings.HasPrefix(name, "../") || strings.Contains(name, "/../") {
			t.Fatalf("%q leaves the root as %q", r.name, name)
		}
		n := negotiate(r.options, bounds{block: 1468, window: 64, size: 10})
		if n.block < minBlock || n.block > 1468 || n.window < 1 || n.window > 64 || len(n.granted) > len(r.options) {
			t.Fatalf("%+v", n)
		}
		again, err := parseRequest(rrq(r.op, r.name, r.mode, r.options))
		if err == nil && fmt.Sprint(again) != fmt.Sprint(r) {
			t.Fatalf("%+v became %+v", r, again)
		}
	})
}

// FuzzAck: whatever acknowledgements come, the window stays in order and within bounds.
func FuzzAck(f *testing.F) {
	f.Add(uint64(1), uint16(4), []byte{0, 1, 0, 2, 0, 4})
	f.Add(uint64(65530), uint16(16), []byte{0, 0, 255, 255, 0, 3})
	f.Fuzz(func(t *testing.T, base uint64, window uint16, acks []byte) {
		base %= 1 << 40
		x := &transfer{engine: &engine{}, terms: terms{block: 8, window: int(window) + 1}, src: &octets{}}
		x.base, x.next, x.high, x.last = base, base, base, 1<<50
		now := time.Unix(1000, 0)
		for len(acks) >= 2 {
			if x.due() { // as transmit does, without sending
				x.sent, x.timed = now, x.next == x.high
				x.next = x.base + uint64(x.window)
				if x.base == 0 {
					x.next = 1
				}
				x.high = max(x.high, x.next)
			}
			before := x.base
			now = now.Add(time.Millisecond)
			x.packet([]byte{0, opAck, acks[0], acks[1]}, now)
			if x.base < before || x.base > x.high || x.next < x.base || x.next > x.base+uint64(x.window) {
				t.Fatalf("base %d -> %d, next %d, high %d, window %d", before, x.base, x.next, x.high, x.window)
			}
			if acks[0] == 255 {
				x.silent(now)
			}
			acks = acks[2:]
		}
	})
}

func TestPinClient(t *testing.T) {
	content := pattern(3<<20 + 5)
	for _, way := range ports {
		r := start(t, way, Server{}, map[string][]byte{"f": content})
		for _, blk := range []int{512, 1428} {
			c, err := pin.NewClient(r.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			c.SetBlockSize(blk)
			w, err := c.Receive("f", "octet")
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if _, err := w.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), content) {
				t.Errorf("%s %d: %d bytes, %v", way, blk, got.Len(), err)
			}
		}
	}
}

// TestLeaks aborts a thousand transfers in every way and looks for what they left.
func TestLeaks(t *testing.T) {
	for _, way := range ports {
		open := 0
		var mu = make(chan struct{}, 1)
		files := FileSystemFunc(func(context.Context, Request) (File, error) {
			mu <- struct{}{}
			open++
			<-mu
			return memory{bytes.NewReader(make([]byte, 100_000)), func() { mu <- struct{}{}; open--; <-mu }}, nil
		})
		goroutines, descriptors := runtime.NumGoroutine(), countFDs(t)
		r := start(t, way, Server{Files: files, MaxPerClient: 2000, RequestRate: 10000, GiveUp: 6 * time.Second, Timeout: time.Second}, nil)
		conn := udp(t)
		for i := range 1000 {
			conn.WriteToUDPAddrPort(rrq(opRead, "f", "octet", opts("blksize", "1024", "tsize", "0")), r.addr)
			p, from := receive(t, conn)
			for opcode(p) != opOACK { // what the last transfer still sent
				p, from = receive(t, conn)
			}
			switch i % 3 {
			case 0:
				conn.WriteToUDPAddrPort([]byte{0, opError, 0, 0, 0}, from)
			case 1:
				conn.WriteToUDPAddrPort([]byte{0, opAck, 0, 0}, from)
				receive(t, conn)
				conn.WriteToUDPAddrPort([]byte{0, opError, 0, 3, 'f', 'u', 'l', 'l', 0}, from)
			case 2: // the port changes, this one stays open and silent
				conn = udp(t)
			}
		}
		r.events.until(t, "1000 ends, of which on a slow machine some probes are given up", func() bool {
			return r.events.count(Probe)+r.events.count(Aborted) == 1000
		})
		r.stop()
		if open != 0 {
			t.Errorf("%s: %d files left open", way, open)
		}
		for limit := time.Now().Add(patience); runtime.NumGoroutine() > goroutines && time.Now().Before(limit); {
			time.Sleep(time.Millisecond) // the last ones are past their work, but still counted
		}
		if n := runtime.NumGoroutine(); n > goroutines {
			t.Errorf("%s: %d goroutines, %d before", way, n, goroutines)
		}
		if n := countFDs(t); n > descriptors+1+334 { // the root of the folder, the clients' ports
			t.Errorf("%s: %d descriptors, %d before", way, n, descriptors)
		}
	}
}

// TestRefusedLeavesNothing: the port of a client whose request was refused is a stranger's afterwards.
func TestRefusedLeavesNothing(t *testing.T) {
	for _, sent := range []bool{false, true} {
		x := &transfer{engine: &engine{running: newTransfers()}, origin: origin{client: netip.MustParseAddrPort("192.0.2.1:2070")}}
		x.running.add(x.key(), x)
		if sent {
			x.link.Store(new(link))
		}
		x.finish()
		if x.running.find(x.key()) != nil || x.running.endedLately(x.key(), time.Now()) != sent {
			t.Errorf("sent %v: remembered as ended: %v", sent, !sent)
		}
	}
}

// TestLateCopy: a second copy of a request that is read when the transfer has ended, or is at its end, starts none; the
// client's next request does, although it is the same.
func TestLateCopy(t *testing.T) {
	const answered = 1000
	for _, tt := range []struct {
		name   string
		came   int64
		data   string
		copied bool
	}{
		{"before the first acknowledgement", answered - 1, "rrq", true},
		{"after it", answered + 1, "rrq", false},
		{"another request", answered - 1, "other", false},
		{"unknown when", 0, "rrq", false},
	} {
		x := &transfer{engine: &engine{running: newTransfers()}, raw: []byte("rrq"), origin: origin{client: netip.MustParseAddrPort("192.0.2.1:2070")}}
		x.running.add(x.key(), x)
		var l link = newMailbox(x.origin, new(buffer), nil)
		x.link.Store(&l)
		x.confirmed.Store(true)
		x.answered.Store(answered)
		x.base, x.last = 2, 1
		p := packet{origin: x.origin, data: []byte(tt.data), came: tt.came}
		x.requestAgain(p, time.Now())
		if kept := x.again.Swap(nil) != nil; kept == tt.copied {
			t.Errorf("%s, transfer at its end: kept for later: %v", tt.name, kept)
		}
		x.running.remove(x.key(), ending{at: time.Now(), sent: true, raw: x.raw, answered: answered})
		if copied := x.running.copyOfEnded(p, time.Now()); copied != tt.copied {
			t.Errorf("%s, transfer ended: taken for a copy: %v", tt.name, copied)
		}
	}
}

func countFDs(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(list)
}

// TestMany runs 256 transfers at once, more than wait in threads of their own.
func TestMany(t *testing.T) {
	content := pattern(400_000)
	for _, way := range ports {
		r := start(t, way, Server{MaxPerClient: 300, RequestRate: 1000}, map[string][]byte{"f": content})
		errs := make(chan error, 256)
		for i := range 256 {
			go func() {
				c := strict{server: r.addr, file: "f", options: opts("blksize", "1428", "windowsize", fmt.Sprint(1+i%3)), want: content}
				errs <- c.get()
			}()
		}
		for range 256 {
			if err := <-errs; err != nil {
				t.Fatalf("%s: %v", way, err)
			}
		}
		if n := r.events.count(Finished); n < 250 {
			r.events.wait(t, Finished, 256)
		}
	}
}
