package dhcp

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"hooksmith/serve/event"
)

// TestFloodInLog: who invents MAC addresses does not fill the disk with them, and what is said of known machines is not
// lost among them.
func TestFloodInLog(t *testing.T) {
	var text strings.Builder
	b := newBench(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&text, nil)) })
	line := func(mac string) {
		b.log(&query{mac: mac, id: mac, arrival: arrival{iface: b.eth0}}, event.Event{Kind: event.Offer})
	}
	for i := range 10000 {
		line(fmt.Sprintf("02:00:00:01:%02x:%02x", i>>8, i&255))
	}
	line(node)
	if n := strings.Count(text.String(), "02:00:00:01:"); n != linesAtOnce || strings.Count(text.String(), node) != 1 {
		t.Errorf("%d lines of unknown machines, want %d", n, linesAtOnce)
	}
	text.Reset()
	b.now = b.now.Add(time.Second)
	for range 100 {
		line("02:00:00:02:00:00")
	}
	if n := strings.Count(text.String(), "02:00:00:02:"); n != linesPerSecond || !strings.Contains(text.String(), "count=9500") {
		t.Errorf("%d lines a second later:\n%s", n, &text)
	}
}
