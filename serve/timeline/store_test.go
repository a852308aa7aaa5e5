package timeline

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hooksmith/serve/event"
	"hooksmith/serve/hardware"
)

// picture is all that a timeline shows, as text.
func picture(t *testing.T, tl *Timeline) string {
	t.Helper()
	var b bytes.Buffer
	machines := tl.Machines()
	slices.SortFunc(machines, func(a, b Machine) int { return strings.Compare(a.MAC, b.MAC) })
	for _, m := range machines {
		d, _ := tl.Machine(m.MAC)
		d.Version = 0
		enc := json.NewEncoder(&b)
		enc.SetIndent("", " ")
		if err := enc.Encode(d); err != nil {
			t.Fatal(err)
		}
		if err := enc.Encode(tl.Logs(m.MAC, Query{})); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// TestReopen: what was recorded is there after a restart, within the limits.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "timeline.db")
	c := &clock{start}
	options := func(o *Options) {
		o.Path = path
		o.Limits = Limits{Machines: 8, Boots: 2, LogBytes: 4000}
	}
	tl := newTest(t, c, options)
	for boot := range 4 {
		for _, e := range wholeBoot(float64(boot) * 100) {
			c.now = e.Time
			tl.Event(e)
		}
		for i := range 30 {
			tl.Log(Line{IP: "10.0.0.11", Text: fmt.Sprintf("boot %d line %d", boot, i), Severity: 6})
		}
		if err := tl.flush(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 30 { // machines come and go
		tl.Event(event.Event{Kind: event.Discover, MAC: fmt.Sprintf("02:00:00:00:00:%02x", i%12), Time: c.now.Add(time.Duration(i) * time.Second)})
		if i%7 == 0 {
			if err := tl.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := picture(t, tl)
	if n := len(tl.Machines()); n == 0 || n > 8 {
		t.Errorf("%d machines, want at most 8", n)
	}
	if err := tl.Close(); err != nil {
		t.Fatal(err)
	}
	tl = newTest(t, c, options)
	if after := picture(t, tl); after != before {
		t.Errorf("after a restart:\n%s\nbefore:\n%s", after, before)
	}
	tl.Event(at(5000, event.Discover, firmware))
	tl.Log(Line{MAC: mac, Text: "one more"})
	before = picture(t, tl)
	if err := tl.Close(); err != nil {
		t.Fatal(err)
	}
	tl = newTest(t, c, options)
	if after := picture(t, tl); after != before {
		t.Errorf("after the second restart:\n%s\nbefore:\n%s", after, before)
	}
	if _, err := Open(Options{Path: path}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
	if err := tl.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDamaged: a state file that cannot be read is put aside.
func TestDamaged(t *testing.T) {
	for name, content := range map[string][]byte{
		"text": []byte(strings.Repeat("this is no database\n", 4000)), "short": []byte("x"), "zeros": make([]byte, 65536), "empty": nil,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "timeline.db")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			tl, err := Open(Options{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path + ".damaged"); (err == nil) != (len(content) > 0) {
				t.Errorf("put aside: %v", err)
			}
			tl.Event(at(0, event.Discover))
			if err := tl.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := Open(Options{Path: "/dev/null/timeline.db"}); err == nil {
		t.Error("a path below a file was taken")
	}
}

// TestDiskFails: events and lines go on when the disk does not, and nothing is
// lost when it does again.
func TestDiskFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "timeline.db")
	c := &clock{start}
	tl := newTest(t, c, func(o *Options) { o.Path = path })
	tl.Event(at(0, event.Discover))
	good := tl.file
	broken, _, err := openFile(path + "2")
	if err != nil {
		t.Fatal(err)
	}
	if err := broken.db.Close(); err != nil {
		t.Fatal(err)
	}
	tl.file = broken
	if err := tl.flush(); err == nil {
		t.Fatal("written to a closed file")
	}
	if d := tl.Status().Disk; d.Error == "" || d.Since.IsZero() {
		t.Errorf("the error is not shown: %+v", d)
	}
	tl.Log(Line{MAC: mac, Text: "meanwhile"})
	tl.file = good
	before := picture(t, tl)
	if err := tl.Close(); err != nil {
		t.Fatal(err)
	}
	tl = newTest(t, c, func(o *Options) { o.Path = path })
	if after := picture(t, tl); after != before {
		t.Errorf("after:\n%s\nbefore:\n%s", after, before)
	}
	if d := tl.Status().Disk; d.Error != "" {
		t.Error(d.Error)
	}
}

// TestRun: the background writes, and a subscriber is told of a standstill that
// only time makes.
func TestRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "timeline.db")
	var mu sync.Mutex
	now := start
	tl, err := Open(Options{Path: path, Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	done := make(chan struct{})
	go func() { defer close(done); tl.Run(ctx) }()
	tl.Event(at(0, event.Discover, firmware))
	tl.check(start)
	for u := range tl.Subscribe(ctx, 0) {
		m := u.Machines[0]
		if len(m.Problems) > 0 && m.Problems[0].Code == CodeNoOffer {
			break
		}
		mu.Lock()
		now = now.Add(7 * time.Second)
		mu.Unlock()
	}
	for tl.Status().Disk.Written.IsZero() && pause(ctx, 20*time.Millisecond) {
	}
	if ctx.Err() != nil {
		t.Fatal("no update, or nothing written, within a minute")
	}
	stop()
	<-done
	if err := tl.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSubscribe: since, resets, and what is gone.
func TestSubscribe(t *testing.T) {
	c := &clock{start}
	tl := newTest(t, c, func(o *Options) { o.Limits.Machines = 4 })
	update := func(since uint64) Update {
		for u := range tl.Subscribe(t.Context(), since) {
			return u
		}
		return Update{}
	}
	discover := func(n int) {
		c.now = c.now.Add(time.Second)
		tl.Event(event.Event{Kind: event.Discover, MAC: fmt.Sprintf("02:00:00:00:00:%02x", n)})
	}
	if u := update(0); !u.Reset || len(u.Machines) != 0 {
		t.Errorf("at the beginning: %+v", u)
	}
	discover(1)
	first := update(0)
	discover(2)
	if u := update(first.Seq); u.Reset || len(u.Machines) != 1 || u.Machines[0].MAC != "02:00:00:00:00:02" {
		t.Errorf("after a machine: %+v", u)
	}
	for n := range 5 {
		discover(10 + n)
	}
	if u := update(first.Seq); !u.Reset || len(u.Machines) > 4 {
		t.Errorf("after one was dropped: %+v", u)
	}
	if u := update(tl.Status().Seq + 1000); !u.Reset {
		t.Error("a number from the future gives no reset")
	}
}

// TestLogs: search, and a follower gets each line once.
func TestLogs(t *testing.T) {
	c := &clock{start}
	tl := newTest(t, c)
	for i := range 10 {
		c.now = start.Add(time.Duration(i) * time.Second)
		tl.Log(Line{MAC: mac, IP: "10.0.0.11", App: "Dockerd", Severity: i % 8, Text: fmt.Sprintf("Line %d", i)})
	}
	warning := 4
	for _, tt := range []struct {
		q    Query
		want string
	}{
		{Query{}, "0123456789"}, {Query{Tail: 3}, "789"}, {Query{Text: "LINE 7"}, "7"}, {Query{Text: "docker"}, "0123456789"},
		{Query{Severity: &warning}, "0123489"}, {Query{Since: start.Add(6 * time.Second)}, "6789"}, {Query{After: 8}, "89"},
		{Query{Severity: &warning, Tail: 2}, "89"}, {Query{Text: "nothing"}, ""}, {Query{After: 100}, ""},
	} {
		got := ""
		for _, l := range tl.Logs(mac, tt.q) {
			got += l.Text[5:]
		}
		if got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.q, got, tt.want)
		}
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	got := ""
	for l := range tl.Follow(ctx, mac, Query{Tail: 2}) {
		got += l.Text[5:]
		switch len(got) {
		case 2:
			tl.Log(Line{IP: "10.0.0.11", Text: "line a"})
			tl.Log(Line{IP: "10.0.0.11", Text: "line b"})
		case 4:
			stop()
		}
	}
	if got != "89ab" {
		t.Errorf("followed %q", got)
	}
}

// TestBounds: floods stay within the limits, and machines of the hardware data
// outlive strangers.
func TestBounds(t *testing.T) {
	c := &clock{start}
	tl := newTest(t, c, func(o *Options) {
		o.Limits = Limits{Machines: 16, Boots: 3, Steps: 8, LogBytes: 2000, AllLogBytes: 10_000, LineBytes: 100}
		o.Lookup, o.LookupIP = known(hardware.Machine{MAC: mac})
	})
	tl.Event(at(0, event.Discover))
	for i := range 3000 {
		c.now = c.now.Add(time.Second)
		m := fmt.Sprintf("02:00:00:00:%02x:%02x", i>>4&0xff, i&0xff)
		tl.Event(event.Event{Kind: event.Ack, MAC: m, IP: fmt.Sprintf("10.0.%d.%d", i>>8, i&0xff), Client: strings.Repeat("x", 5000)})
		tl.Event(event.Event{Kind: event.HTTPDone, MAC: m, File: fmt.Sprintf("file%d", i)})
		tl.Log(Line{MAC: m, Text: strings.Repeat("é", 1000)})
		for j := range 4 {
			tl.Event(event.Event{Kind: event.Script, MAC: mac, File: fmt.Sprintf("%d.ipxe", i*j)})
			tl.Event(event.Event{Kind: event.HTTPDone, MAC: mac, File: "vmlinuz"})
			tl.Log(Line{MAC: mac, Text: strings.Repeat("x", i)})
			tl.Event(event.Event{Kind: event.TFTPStart, IP: "192.0.2.1"})
		}
	}
	d, ok := tl.Machine(mac)
	s := tl.Status()
	if !ok || s.Machines > 16 || len(d.History) > 2 || len(d.Boot.Steps) > 8 || d.Logs.Bytes > 2000 || s.LogBytes > 10_000 || len(tl.byIP) > 16 ||
		len(tl.orphans) > maxOrphan {
		t.Errorf("beyond the limits: known %v, %+v, %d earlier boots, %d steps, %+v, %d addresses", ok, s, len(d.History), len(d.Boot.Steps), d.Logs, len(tl.byIP))
	}
	var bytes int64
	for _, m := range tl.machines {
		bytes += m.logs.bytes
	}
	if bytes != s.LogBytes {
		t.Errorf("%d bytes of logs are counted as %d", bytes, s.LogBytes)
	}
}

// TestSyslog: what lines say about the boot.
func TestSyslog(t *testing.T) {
	initramfs := slices.Concat(dora(0, ipxe, x64), []event.Event{at(2, event.Script, ip("10.0.0.11"), named("auto.ipxe"))},
		load(3, "vmlinuz-x86_64", 12e6), load(5, "initramfs-x86_64", 200e6))
	for _, tt := range []struct {
		name  string
		line  Line
		stage Stage
		code  string
	}{
		{"iPXE", Line{App: "ipxe", Text: "Initramfs ok"}, StageInitramfs, ""},
		{"system", Line{App: "hook-docker", Text: "started"}, StageSyslog, ""},
		{"worker", Line{App: "tink-worker/0123456789ab", Text: "connected"}, StageWorker, ""},
		{"agent", Line{App: "tink-agent", Text: "connected"}, StageWorker, ""},
		{"bootkit", Line{App: "hook-bootkit", Text: "bootkit: worker ended after 0.1s with code 1; starting it again in 1s"}, StageSyslog, CodeWorkerFailed},
		{"panic", Line{App: "kernel", Text: "Kernel panic - not syncing: VFS: Unable to mount root fs"}, StageSyslog, CodePanic},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &clock{start}
			tl := newTest(t, c)
			for _, e := range initramfs {
				c.now = e.Time
				tl.Event(e)
			}
			tt.line.IP = "10.0.0.11"
			tl.Log(tt.line)
			d, _ := tl.Machine(mac)
			code := ""
			for _, p := range d.Problems {
				code += p.Code
			}
			if d.Stage != tt.stage || code != tt.code || d.Logs.Lines != 1 {
				t.Errorf("%s %q %d lines, want %s %q", d.Stage, code, d.Logs.Lines, tt.stage, tt.code)
			}
		})
	}
}

// TestText: what the command line prints holds the facts and no control bytes.
func TestText(t *testing.T) {
	c := &clock{start}
	tl := newTest(t, c)
	for _, e := range wholeBoot(0) {
		c.now = e.Time
		tl.Event(e)
	}
	tl.Event(event.Event{Kind: event.Discover, MAC: "02:00:00:00:00:01", Client: "PXEClient\x1b[2J", Time: c.now})
	tl.Event(event.Event{Kind: event.Unknown, MAC: "02:00:00:00:00:01", Detail: "\x1b[31m", Time: c.now})
	var b bytes.Buffer
	if err := WriteTable(&b, tl.Machines(), c.now); err != nil {
		t.Fatal(err)
	}
	for _, m := range tl.Machines() {
		d, _ := tl.Machine(m.MAC)
		if err := WriteDetail(&b, d, c.now); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteLine(&b, Line{Text: "a\x1bb"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{mac, "worker up", "initramfs-x86_64, 200.0 MB, in 0.5 s, 400.0 MB/s", "not in the hardware data", "hostname,"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	if strings.ContainsRune(b.String(), 0x1b) {
		t.Error("an escape came through")
	}
}
