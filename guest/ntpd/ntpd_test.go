package ntpd

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hooksmith/guest/cmdline"
)

// testClock is a clock that runs beside the machine's, which no test may touch.
type testClock struct {
	mu    sync.Mutex
	shift time.Duration
	log   []string
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.shift)
}

func (c *testClock) did(shift time.Duration, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shift += shift
	c.log = append(c.log, fmt.Sprintf(format, args...))
}

func (c *testClock) clock(floor time.Time) clock {
	return clock{
		now:   c.now,
		query: c.now,
		step:  func(by time.Duration) error { c.did(by, "step %s", by.Round(time.Second)); return nil },
		slew: func(by, poll, _ time.Duration) error {
			c.did(by, "slew %s", by.Round(100*time.Millisecond))
			return nil
		},
		setRTC: func() error { c.did(0, "rtc"); return nil },
		floor:  floor,
	}
}

// server is a time server on the loopback whose clock is off by the result of shift. stratum 0 sends a kiss of death.
func server(t *testing.T, stratum byte, shift func() time.Duration) string {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	stamp := func(at time.Time) uint64 {
		const era = 2208988800 // from 1900 to 1970
		return uint64(at.Unix()+era)<<32 | uint64(at.Nanosecond())<<32/1e9
	}
	go func() {
		var question [512]byte
		for {
			n, peer, err := conn.ReadFrom(question[:])
			if err != nil {
				return
			}
			if n < 48 {
				continue
			}
			now := time.Now().Add(shift())
			var a [48]byte
			a[0], a[1] = 4<<3|4, stratum
			copy(a[12:], "RATE")
			binary.BigEndian.PutUint64(a[16:], stamp(now.Add(-time.Minute)))
			copy(a[24:32], question[40:48])
			binary.BigEndian.PutUint64(a[32:], stamp(now))
			binary.BigEndian.PutUint64(a[40:], stamp(now))
			conn.WriteTo(a[:], peer)
		}
	}()
	return conn.LocalAddr().String()
}

func fixed(shift time.Duration) func() time.Duration { return func() time.Duration { return shift } }

func newDaemon(c *testClock, out *bytes.Buffer, servers ...string) *daemon {
	logger := log.New(out, "", 0)
	return &daemon{fixed: servers, clock: c.clock(time.Time{}), log: logger, boot: logger}
}

// TestSet has the clock follow a server through an hour of surprises, a question at a time.
func TestSet(t *testing.T) {
	var mu sync.Mutex
	off := time.Hour
	address := server(t, 2, func() time.Duration { mu.Lock(); defer mu.Unlock(); return off })
	var c testClock
	var out bytes.Buffer
	d := newDaemon(&c, &out, address)
	wait := firstRetry
	for i, step := range []struct {
		off  time.Duration // of the server from the machine's clock
		did  string
		wait time.Duration
	}{
		{time.Hour, "step 1h0m0s, rtc", minPoll},
		{time.Hour, "slew 0s", 2 * minPoll},
		{time.Hour, "slew 0s", 4 * minPoll},
		{time.Hour + 200*time.Millisecond, "slew 200ms", minPoll},
		{time.Hour + 200*time.Millisecond, "slew 0s", 2 * minPoll},
		{-time.Hour, "", minPoll}, // once is not believed
		{time.Hour + 200*time.Millisecond, "slew 0s", 2 * minPoll},
		{-time.Hour, "", minPoll},
		{-time.Hour, "step -2h0m0s, rtc", minPoll},
		{-time.Hour, "slew 0s", 2 * minPoll},
		{-time.Hour, "slew 0s", 4 * minPoll},
		{-time.Hour, "slew 0s", 8 * minPoll},
		{-time.Hour, "slew 0s", maxPoll},
		{-time.Hour, "slew 0s", maxPoll},
	} {
		mu.Lock()
		off = step.off
		mu.Unlock()
		best, err := d.ask(context.Background(), d.servers())
		if err != nil {
			t.Fatal(err)
		}
		c.log = nil
		wait = d.set(best, wait)
		if got := strings.Join(c.log, ", "); got != step.did {
			t.Errorf("step %d: did %q, want %q", i, got, step.did)
		}
		if wait != step.wait {
			t.Errorf("step %d: asks again in %s, want %s", i, wait, step.wait)
		}
	}
	if !strings.Contains(out.String(), "clock stepped by 1h0m0s") {
		t.Errorf("the log has no step:\n%s", out.String())
	}
}

func TestAsk(t *testing.T) {
	dead, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := dead.LocalAddr().String()
	dead.Close()
	good, ahead, liar := server(t, 2, fixed(0)), server(t, 2, fixed(100*time.Millisecond)), server(t, 2, fixed(24*time.Hour))
	for _, test := range []struct {
		name    string
		servers []string
		floor   time.Time
		want    time.Duration
		err     string
	}{
		{name: "one", servers: []string{ahead}, want: 100 * time.Millisecond},
		{name: "one of two is there", servers: []string{refused, ahead}, want: 100 * time.Millisecond},
		{name: "the liar is outvoted", servers: []string{liar, good, ahead}, want: 100 * time.Millisecond},
		{name: "nobody", servers: []string{refused}, err: "no time server answers: " + refused},
		{name: "a kiss of death", servers: []string{server(t, 0, fixed(0))}, err: "says no (RATE)"},
		{name: "not synchronised", servers: []string{server(t, 16, fixed(0))}, err: "invalid stratum"},
		{name: "before the build", servers: []string{good}, floor: time.Now().Add(time.Hour), err: "before this HookOS was built"},
		{name: "no such name", servers: []string{"time.invalid"}, err: "time.invalid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			d := newDaemon(new(testClock), &out)
			d.clock.floor = test.floor
			got, err := d.ask(context.Background(), test.servers)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil || (got.offset-test.want).Abs() > 50*time.Millisecond {
				t.Errorf("offset %s, %v, want about %s", got.offset, err, test.want)
			}
		})
	}
}

// TestKissIsHeeded asks a server that wants to be left alone only once.
func TestKissIsHeeded(t *testing.T) {
	var asked atomic.Int32
	address := server(t, 0, func() time.Duration { asked.Add(1); return 0 })
	d := newDaemon(new(testClock), new(bytes.Buffer))
	for range 3 {
		if _, err := d.ask(context.Background(), []string{address}); err == nil {
			t.Fatal("a kiss of death is an answer")
		}
	}
	if got := asked.Load(); got != 1 {
		t.Errorf("asked %d times, want once", got)
	}
}

// lines is a writer that hands on what is written to it.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// await reads lines until one has the text.
func (l lines) await(t *testing.T, text string) {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case line := <-l:
			if strings.Contains(line, text) {
				return
			}
		case <-timeout:
			t.Fatalf("no line has %q", text)
		}
	}
}

// TestRun starts with a time server that is not there; the network service then names one that is.
func TestRun(t *testing.T) {
	dead, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	file := filepath.Join(t.TempDir(), "ntp")
	write := func(server string) {
		if err := os.WriteFile(file+".new", []byte(server+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(dead.LocalAddr().String())

	c := testClock{shift: -50 * 365 * 24 * time.Hour} // a board without a battery
	out := make(lines, 16)
	d := newDaemon(&c, nil)
	d.log = log.New(out, "", 0)
	d.boot, d.file, d.clock.floor = d.log, file, time.Now().Add(-24*time.Hour)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.run(ctx) }()
	out.await(t, "the clock was before this HookOS was built; it is 20")
	out.await(t, "no time server answers")
	write(server(t, 2, fixed(2*time.Hour)))
	out.await(t, "clock stepped by 26h0m")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := time.Until(c.now()) - 2*time.Hour; got.Abs() > 10*time.Second { // NTP halves what the way there and back differ by
		t.Errorf("the clock is off by %s", got)
	}
}

func TestServers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ntp")
	for _, test := range []struct{ arguments, file, want string }{
		{"", "", "pool.ntp.org"},
		{"ntp_servers=", "\n", "pool.ntp.org"},
		{"ntp_servers", "10.0.0.1\ntime.example.org\n", "10.0.0.1 time.example.org"},
		{"ntp_servers=10.9.9.9,time2.example.org", "10.0.0.1\n", "10.9.9.9 time2.example.org"},
		{"ntp_servers=1,2,3,4,5,6,7,8,9", "", "1 2 3 4 5 6 7 8"},
		{"", strings.Repeat("x\n", 9), "x x x x x x x x"},
	} {
		if err := os.WriteFile(file, []byte(test.file), 0o644); err != nil {
			t.Fatal(err)
		}
		d := &daemon{fixed: list(cmdline.Parse(test.arguments)), file: file}
		if got := strings.Join(d.servers(), " "); got != test.want {
			t.Errorf("%q with %q: %s, want %s", test.arguments, test.file, got, test.want)
		}
	}
}

func TestKernelValues(t *testing.T) {
	for poll, want := range map[time.Duration]int64{minPoll: 2, 128 * time.Second: 3, maxPoll: 6} {
		if got := timeConstant(poll); got != want {
			t.Errorf("timeConstant(%s) = %d, want %d", poll, got, want)
		}
	}
	rtc := rtcTime(time.Date(2026, 11, 21, 23, 59, 58, 0, time.FixedZone("", 3600)))
	if rtc.Year != 126 || rtc.Mon != 10 || rtc.Mday != 21 || rtc.Hour != 22 || rtc.Yday != 324 || rtc.Wday != 6 {
		t.Errorf("rtcTime = %+v", rtc)
	}
	if kernelClock().floor.IsZero() {
		t.Error("the kernel's clock has no floor")
	}
}
