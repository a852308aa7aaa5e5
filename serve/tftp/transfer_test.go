package tftp

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

func opts(pairs ...string) []option {
	var o []option
	for i := 0; i < len(pairs); i += 2 {
		o = append(o, option{pairs[i], pairs[i+1]})
	}
	return o
}

func TestTransfers(t *testing.T) {
	big := pattern(1<<20 + 77)
	files := map[string][]byte{"empty": {}, "one": {7}, "exact": pattern(512 * 4), "exact1468": pattern(1468 * 20), "big": big, "text": []byte("a\nb\rc\r\n")}
	tests := []struct {
		name, file, mode string
		options          []option
		oack             map[string]string // nil: none
		want             []byte
	}{
		{name: "plain", file: "big", want: big},
		{name: "empty", file: "empty", want: nil},
		{name: "one byte", file: "one", want: []byte{7}},
		{name: "exact multiple", file: "exact", want: files["exact"]},
		{name: "exact multiple with a window", file: "exact1468", options: opts("blksize", "1468", "windowsize", "5"), oack: map[string]string{"blksize": "1468", "windowsize": "5"}, want: files["exact1468"]},
		{name: "unknown options only", file: "one", options: opts("multicast", "", "x", "1"), want: []byte{7}},
		{name: "tsize", file: "big", options: opts("tsize", "0"), oack: map[string]string{"tsize": fmt.Sprint(len(big))}, want: big},
		{name: "smallest block", file: "exact", options: opts("blksize", "8"), oack: map[string]string{"blksize": "8"}, want: files["exact"]},
		{name: "block below the smallest", file: "exact", options: opts("blksize", "7"), want: files["exact"]},
		{name: "largest block", file: "big", options: opts("blksize", "65464"), oack: map[string]string{"blksize": "65464"}, want: big},
		{name: "largest block and window", file: "big", options: opts("blksize", "65464", "windowsize", "8"), oack: map[string]string{"blksize": "65464", "windowsize": "8"}, want: big},
		{name: "block above the largest", file: "big", options: opts("blksize", "70000"), oack: map[string]string{"blksize": "65464"}, want: big},
		{name: "timeout", file: "one", options: opts("timeout", "255", "blksize", "1024"), oack: map[string]string{"timeout": "255", "blksize": "1024"}, want: []byte{7}},
		{name: "timeout out of range", file: "one", options: opts("timeout", "256"), want: []byte{7}},
		{name: "window 65535 is cut", file: "big", options: opts("windowsize", "65535"), oack: map[string]string{"windowsize": "64"}, want: big},
		{name: "window 0", file: "one", options: opts("windowsize", "0"), want: []byte{7}},
		{name: "signed number", file: "one", options: opts("blksize", "+600"), want: []byte{7}},
		{name: "EDK2", file: "big", options: opts("tsize", "0", "blksize", "1468", "windowsize", "4"), oack: map[string]string{"tsize": fmt.Sprint(len(big)), "blksize": "1468", "windowsize": "4"}, want: big},
		{name: "iPXE", file: "//big", options: opts("blksize", "1432", "tsize", "0"), oack: map[string]string{"blksize": "1432", "tsize": fmt.Sprint(len(big))}, want: big},
		{name: "backslash and dots", file: `\..\.\big`, want: big},
		{name: "netascii", file: "text", mode: "NetASCII", options: opts("tsize", "0", "blksize", "8"), oack: map[string]string{"blksize": "8"}, want: []byte("a\r\nb\r\x00c\r\x00\r\n")},
	}
	for _, way := range ports {
		t.Run(way, func(t *testing.T) {
			if way == "any socket" { // no path MTU: the block is cut to Ethernet's
				tests = tests[:0:0]
				tests = append(tests, struct {
					name, file, mode string
					options          []option
					oack             map[string]string
					want             []byte
				}{name: "cut", file: "big", options: opts("blksize", "65464", "windowsize", "9"), oack: map[string]string{"blksize": "1468", "windowsize": "9"}, want: big})
			}
			r := start(t, way, Server{}, files)
			for i, tt := range tests {
				t.Run(tt.name, func(t *testing.T) {
					c := strict{server: r.addr, file: tt.file, mode: tt.mode, options: tt.options, want: tt.want}
					if err := c.get(); err != nil {
						t.Fatal(err)
					}
					if !maps.Equal(c.oack, tt.oack) || (c.oack == nil) != (tt.oack == nil) {
						t.Errorf("OACK %v, want %v", c.oack, tt.oack)
					}
					if single := way != "multi"; (c.peer == r.addr) != single {
						t.Errorf("answered from %v, listening on %v", c.peer, r.addr)
					}
					e := r.events.wait(t, Finished, i+1)
					if e.Bytes != int64(len(tt.want)) || e.Size != e.Bytes || e.Window == 1 && e.Retransmits != 0 && e.Timeouts == 0 {
						t.Errorf("event %+v", e)
					}
				})
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name   string
		packet []byte
		code   ErrorCode
	}{
		{"not found", rrq(opRead, "none", "octet", nil), CodeNotFound},
		{"through a file", rrq(opRead, "one/x", "octet", nil), CodeNotFound},
		{"directory", rrq(opRead, "sub", "octet", nil), CodeAccess},
		{"root", rrq(opRead, "/..", "octet", nil), CodeAccess},
		{"link out of the root", rrq(opRead, "passwd", "octet", nil), CodeAccess},
		{"dots", rrq(opRead, "../../../../etc/passwd", "octet", nil), CodeNotFound},
		{"write", rrq(opWrite, "one", "octet", nil), CodeAccess},
		{"mail", rrq(opRead, "one", "mail", nil), CodeIllegal},
		{"mode", rrq(opRead, "one", "fast", nil), CodeIllegal},
		{"no mode", []byte("\x00\x01one\x00"), CodeIllegal},
		{"no end", []byte("\x00\x01one\x00octet"), CodeIllegal},
		{"empty name", rrq(opRead, "", "octet", nil), CodeIllegal},
		{"control character", rrq(opRead, "o\nne", "octet", nil), CodeAccess},
		{"option without value", append(rrq(opRead, "one", "octet", nil), "blksize\x00"...), CodeOption},
		{"option without end", append(rrq(opRead, "one", "octet", nil), "blksize\x00512"...), CodeOption},
		{"option twice", rrq(opRead, "one", "octet", opts("blksize", "512", "BLKSIZE", "1024")), CodeOption},
		{"many options", rrq(opRead, "one", "octet", opts(strings.Split("a 1 b 1 c 1 d 1 e 1 f 1 g 1 h 1 i 1 j 1 k 1 l 1 m 1 n 1 o 1 p 1 q 1", " ")...)), CodeOption},
		{"too long", rrq(opRead, "one", "octet", opts("x", strings.Repeat("9", maxRequest))), CodeIllegal},
		{"stray ack", []byte{0, 4, 0, 1}, CodeUnknownTID},
		{"stray data", []byte{0, 3, 0, 1}, CodeUnknownTID},
		{"unknown operation", []byte{0, 9, 0, 1}, CodeIllegal},
	}
	for _, way := range ports {
		r := start(t, way, Server{}, map[string][]byte{"one": {1}})
		if err := errors.Join(mkdir(r.dir+"/sub"), symlink("/etc/passwd", r.dir+"/passwd")); err != nil {
			t.Fatal(err)
		}
		for _, tt := range tests {
			t.Run(way+"/"+tt.name, func(t *testing.T) {
				p := exchange(t, r, tt.packet)
				e, ok := parseError(p)
				if !ok || e.Code != tt.code {
					t.Errorf("answer %q, want error %d", p, tt.code)
				}
				if p[len(p)-1] != 0 || bytes.Contains(p, []byte(r.dir)) {
					t.Errorf("answer %q", p)
				}
			})
		}
	}
}

func TestLossyTransfers(t *testing.T) {
	content := pattern(300_000)
	for _, way := range ports {
		for _, window := range []string{"1", "4", "16"} {
			for _, chatty := range []bool{false, true} {
				t.Run(fmt.Sprint(way, " window ", window, " chatty ", chatty), func(t *testing.T) {
					t.Parallel()
					r := start(t, way, Server{}, map[string][]byte{"f": content})
					c := strict{server: r.addr, file: "f", options: opts("blksize", "1428", "windowsize", window), want: content,
						seed: 7, drop: 0.02, double: 0.02, reorder: 0.02, chatty: chatty}
					if err := c.get(); err != nil {
						t.Fatal(err)
					}
					e := r.events.wait(t, Finished, 1)
					t.Logf("%d blocks received, %d repeated, %d timeouts", c.blocks, c.repeats, e.Timeouts)
					const clean = 210
					if e.Retransmits > 2*clean+e.Timeouts*e.Window { // a timeout, of which a slow machine has more, sends a window again
						t.Errorf("%d blocks were sent again in a transfer of %d", e.Retransmits, clean)
					}
				})
			}
		}
	}
}

// TestSorcerer doubles every packet of the client: no block may be sent twice for that.
func TestSorcerer(t *testing.T) {
	content := pattern(200_000)
	for _, way := range ports {
		for _, window := range []string{"1", "4", "16"} {
			t.Run(way+" window "+window, func(t *testing.T) {
				r := start(t, way, Server{}, map[string][]byte{"f": content})
				c := strict{server: r.addr, file: "f", options: opts("blksize", "1024", "windowsize", window), want: content, double: 1}
				if err := c.get(); err != nil {
					t.Fatal(err)
				}
				// A window may be sent again once when the client is silent after a repetition, as a slow machine's is.
				const blocks = 200_000/1024 + 1
				if e := r.events.wait(t, Finished, 1); e.Timeouts == 0 && (window == "1" && e.Retransmits > 0 || e.Retransmits > blocks*3/4) {
					t.Errorf("%d blocks of %d sent again because of doubled acknowledgements", e.Retransmits, blocks)
				}
				if n := r.events.count(Started); n != 1 {
					t.Errorf("%d transfers for one request that came twice", n)
				}
			})
		}
	}
}

// TestWrap sends more than 65536 blocks, in lockstep and with a window across the wrap.
func TestWrap(t *testing.T) {
	content := pattern(70 << 20)
	for _, way := range []string{"multi", "single"} {
		for _, o := range [][]option{nil, opts("windowsize", "7")} {
			if raceDetector && (way == "multi") == (o == nil) {
				continue // 140,000 packets each; two of the four show every path
			}
			r := start(t, way, Server{}, map[string][]byte{"f": content})
			c := strict{server: r.addr, file: "f", options: o, want: content}
			if err := c.get(); err != nil {
				t.Fatalf("%s %v: %v", way, o, err)
			}
		}
	}
}

func TestProbe(t *testing.T) {
	for _, way := range ports {
		for _, code := range []byte{0, 8} {
			r := start(t, way, Server{}, map[string][]byte{"f": pattern(5000)})
			p, answer := dialogue(t, r, rrq(opRead, "f", "octet", opts("tsize", "0", "blksize", "1468")))
			if opcode(p) != opOACK {
				t.Fatalf("answer %q", p)
			}
			answer([]byte{0, opError, 0, code, 0})
			if e := r.events.wait(t, Probe, 1); e.Size != 5000 || e.Bytes != 0 {
				t.Errorf("event %+v", e)
			}
			// The same port asks at once for the file, as ROMs with a fixed port do.
			p = answer.ask(t, rrq(opRead, "f", "octet", opts("blksize", "1468")))
			if opcode(p) != opOACK {
				t.Errorf("%s: second answer %q", way, p)
			}
			answer([]byte{0, opError, 0, code, 0})
			if e := r.events.wait(t, Aborted, 1); !e.FromClient || e.Code != ErrorCode(code) {
				t.Errorf("event %+v", e)
			}
		}
	}
}

// TestSamePort fetches file after file from one client port without a pause, with the probe's error directly before
// the next request.
func TestSamePort(t *testing.T) {
	content := pattern(3000)
	for _, way := range ports {
		r := start(t, way, Server{}, map[string][]byte{"f": content, "one": content[:100]})
		conn := udp(t)
		asked := 0
		for i := range 100 {
			conn.WriteToUDPAddrPort(rrq(opRead, "f", "octet", opts("tsize", "0")), r.addr)
			p, from := receive(t, conn)
			for opcode(p) == opData { // repeated, of the transfer before
				p, from = receive(t, conn)
			}
			if opcode(p) != opOACK {
				t.Fatalf("%s %d: %q", way, i, p)
			}
			conn.WriteToUDPAddrPort([]byte{0, opError, 0, 8, 0}, from)
			c := strict{server: r.addr, file: "f", options: opts("tsize", "0"), want: content, conn: conn, again: true}
			if err := c.get(); err != nil {
				t.Fatalf("%s %d: %v", way, i, err)
			}
			// A block, without options, is acknowledged once, and the same request follows at once.
			one := strict{server: r.addr, file: "one", want: content[:100], conn: conn, again: true}
			if err := one.get(); err != nil {
				t.Fatalf("%s %d: %v", way, i, err)
			}
			asked += c.asked + one.asked
			one = strict{server: r.addr, file: "one", want: content[:100], conn: conn, again: true}
			if err := one.get(); err != nil {
				t.Fatalf("%s %d: %v", way, i, err)
			}
			asked += one.asked
		}
		if asked > 350 { // a slow machine may take more than the client's third of a second now and then
			t.Errorf("%s: 300 requests were sent %d times: the first was taken for a copy", way, asked)
		}
		if e := r.events.wait(t, Finished, 100); e.Retransmits > 0 && e.Timeouts == 0 {
			t.Errorf("event %+v", e)
		}
	}
}

func TestVanishedClient(t *testing.T) {
	for _, way := range ports {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			r := start(t, way, Server{Timeout: 200 * time.Millisecond, GiveUp: time.Second}, map[string][]byte{"f": pattern(100_000)})
			conn := udp(t) // stays open: no ICMP tells of the end
			c := strict{server: r.addr, file: "f", want: pattern(100_000), conn: conn, onData: func(c *strict) bool { return c.got < 50_000 }}
			if err := c.get(); err != errVanish {
				t.Fatal(err)
			}
			e := r.events.wait(t, Aborted, 1)
			if e.Duration < time.Second || e.Duration > 20*time.Second || e.Timeouts < 3 || e.Bytes < 49_000 {
				t.Errorf("event %+v", e)
			}
		})
	}
}

// TestClosedClient: ICMP ends the transfer at once where the socket hears of it.
func TestClosedClient(t *testing.T) {
	for _, way := range []string{"multi", "single"} {
		r := start(t, way, Server{}, map[string][]byte{"f": pattern(100_000)})
		c := strict{server: r.addr, file: "f", want: pattern(100_000), onData: func(c *strict) bool { return c.got < 50_000 }}
		if err := c.get(); err != errVanish {
			t.Fatal(err)
		}
		if e := r.events.wait(t, Aborted, 1); e.Duration > 20*time.Second || !strings.Contains(e.Message, "closed") {
			t.Errorf("%s: event %+v", way, e)
		}
	}
}

func TestStranger(t *testing.T) {
	r := start(t, "multi", Server{}, map[string][]byte{"f": pattern(100_000)})
	conn := udp(t)
	c := strict{server: r.addr, file: "f", want: pattern(100_000)}
	c.onData = func(c *strict) bool {
		if c.got != 512*10 {
			return true
		}
		conn.WriteToUDPAddrPort([]byte{0, opAck, 0, 10}, c.peer)
		p, from := receive(t, conn)
		if e, ok := parseError(p); !ok || e.Code != CodeUnknownTID || from != c.peer {
			t.Errorf("a stranger got %q from %v", p, from)
		}
		return true
	}
	if err := c.get(); err != nil {
		t.Fatal(err)
	}
}

// TestStop cancels a server with half-done transfers: Serve returns, clients are told.
func TestStop(t *testing.T) {
	for _, way := range ports {
		r := start(t, way, Server{}, map[string][]byte{"f": pattern(100_000)})
		p, answer := dialogue(t, r, rrq(opRead, "f", "octet", nil))
		if opcode(p) != opData {
			t.Fatalf("%s: %q", way, p)
		}
		began := time.Now()
		r.stop()
		if d := time.Since(began); d > 20*time.Second { // GiveUp is 30 s
			t.Errorf("%s: stopping took %v", way, d)
		}
		if e, ok := parseError(answer.read(t)); !ok || !strings.Contains(e.Message, "stopping") {
			t.Errorf("%s: the client was told %v", way, e)
		}
	}
}

func TestFileChangesWhileSent(t *testing.T) {
	r := start(t, "multi", Server{}, map[string][]byte{"f": pattern(300_000)})
	c := strict{server: r.addr, file: "f", want: pattern(300_000), onData: func(c *strict) bool {
		if c.got == 512 {
			truncate(t, r.dir+"/f", 100_000)
		}
		return true
	}}
	var e *Error
	if err := c.get(); !errors.As(err, &e) || e.Code != CodeUndefined {
		t.Errorf("the client ended with %v", err)
	}
}

func TestLimits(t *testing.T) {
	r := start(t, "multi", Server{MaxPerClient: 3, RequestRate: 5}, map[string][]byte{"f": pattern(100_000)})
	began := time.Now()
	for range 200 {
		udp(t).WriteToUDPAddrPort(rrq(opRead, "f", "octet", nil), r.addr)
		udp(t).WriteToUDPAddrPort(rrq(opWrite, "f", "octet", nil), r.addr)
	}
	r.events.wait(t, Started, 3)
	if n := r.events.count(Started); n != 3 {
		t.Errorf("%d transfers of one client, the limit is 3", n)
	}
	if n := r.events.count(Refused); n > 20+5*int(time.Since(began).Seconds()+1) {
		t.Errorf("%d answers to a flood of write requests", n)
	}
}
