package timeline

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"hooksmith/serve/event"
)

var allKinds = []event.Kind{event.Discover, event.Offer, event.Request, event.Ack, event.Nak, event.Decline, event.Release, event.Inform, event.Silence,
	event.RivalDHCP, event.TFTPProbe, event.TFTPStart, event.TFTPProgress, event.TFTPDone, event.TFTPAbort, event.HTTPStart, event.HTTPProgress,
	event.HTTPDone, event.HTTPAbort, event.Script, event.Loop, event.NoBinary, event.Unknown, event.Syslog, event.WorkerUp, "strange"}

var (
	someClients = []string{"", "PXEClient:Arch:00007", "HTTPClient", "iPXE", "Tinkerbell", "udhcp 1.36", "\xff\x00"}
	someFiles   = []string{"", "ipxe.efi", "auto.ipxe", "autoexec.ipxe", "vmlinuz-x86_64", "initramfs-x86_64", "x/../../y", "\xfe"}
)

// FuzzEvents plays any sequence of events, three bytes each, against the
// invariants: limits hold, the picture is JSON, time goes on, and a restart
// shows the same.
func FuzzEvents(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 1, 0, 2, 1, 0, 3, 1, 0, 11, 9, 1, 13, 9, 2, 19, 18, 3})
	f.Add([]byte{255, 255, 255, 22, 0, 200, 21, 1, 1})
	f.Fuzz(func(t *testing.T, script []byte) {
		c := &clock{start}
		opt := func(o *Options) {
			o.Limits = Limits{Machines: 3, Boots: 2, Steps: 6, LogBytes: 600, AllLogBytes: 1500}
			if len(script)%4 == 0 {
				o.Path = filepath.Join(t.TempDir(), "t.db")
			}
		}
		options := Options{Now: c.read}
		opt(&options)
		tl, err := Open(options)
		if err != nil {
			t.Fatal(err)
		}
		for ; len(script) >= 3; script = script[3:] {
			play(tl, c, script[0], script[1], script[2])
		}
		tl.check(c.now)
		invariants(t, tl, c.now)
		if options.Path == "" {
			return
		}
		before := picture(t, tl)
		if err := tl.Close(); err != nil {
			t.Fatal(err)
		}
		if tl, err = Open(options); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tl.Close() }()
		for _, m := range tl.machines { // downloads that ran have ended with the server
			for _, b := range m.boots {
				for _, s := range b.Steps {
					if s.Detail == "the boot server was stopped" {
						return
					}
				}
			}
		}
		if after := picture(t, tl); after != before {
			t.Errorf("after a restart\n%s\nbefore\n%s", firstDifference(after, before), firstDifference(before, after))
		}
	})
}

func play(tl *Timeline, c *clock, kind, who, what byte) {
	c.now = c.now.Add(time.Duration(what) * 700 * time.Millisecond)
	e := event.Event{Time: c.now, Kind: allKinds[int(kind)%len(allKinds)], Client: someClients[int(who/8)%len(someClients)],
		File: someFiles[int(what)%len(someFiles)], Size: int64(what) * 1e5, Bytes: int64(kind) * 1e5, Duration: time.Duration(kind) * 1e8,
		Retransmits: int(who)}
	if n := who % 8; n < 6 {
		e.MAC = fmt.Sprintf("02:00:00:00:00:%02x", n)
	}
	if what%3 != 0 {
		e.IP = fmt.Sprintf("10.0.0.%d", who%5)
	}
	if kind%16 == 15 { // clocks jump
		e.Time = e.Time.Add(-time.Duration(what) * time.Hour)
	}
	if kind >= 128 {
		tl.Log(Line{MAC: e.MAC, IP: e.IP, Text: someFiles[int(what)%len(someFiles)], Severity: int(kind) - 130, App: someClients[int(who/8)%len(someClients)]})
		return
	}
	tl.Event(e)
}

func invariants(t *testing.T, tl *Timeline, now time.Time) {
	t.Helper()
	limits := tl.opt.Limits
	if len(tl.machines) > limits.Machines || len(tl.byIP) > len(tl.machines) || tl.logBytes > limits.AllLogBytes {
		t.Errorf("%d machines, %d addresses, %d bytes of log", len(tl.machines), len(tl.byIP), tl.logBytes)
	}
	for _, m := range tl.Machines() {
		if m.State == "" || m.Problems == nil {
			t.Errorf("machine %+v", m)
		}
		for _, p := range m.Problems {
			if p.Text == "" || p.Do == "" || p.Code == "" || p.Since.IsZero() {
				t.Errorf("problem %+v", p)
			}
		}
		if len(m.Boot.Steps) > limits.Steps {
			t.Errorf("%d steps", len(m.Boot.Steps))
		}
		for _, s := range m.Boot.Steps {
			if s.Count < 1 || s.Rate < 0 || s.Stage.Title() == "" {
				t.Errorf("step %+v", s)
			}
		}
		for i, l := range tl.Logs(m.MAC, Query{}) {
			if first := tl.machines[m.MAC].logs.first(); l.Seq != first+uint64(i) {
				t.Errorf("line %d has number %d, the first %d", i, l.Seq, first)
			}
		}
		if _, err := json.Marshal(m); err != nil {
			t.Error(err)
		}
	}
	tl.Status()
}

// firstDifference is a from where it differs from b.
func firstDifference(a, b string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return a[max(0, i-200):min(len(a), i+200)]
		}
	}
	return a[min(len(a), len(b)):]
}
