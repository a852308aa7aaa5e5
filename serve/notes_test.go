package serve

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"hooksmith/serve/hardware"
)

// What cannot be meant is said, at the start and when the data change.
func TestNotes(t *testing.T) {
	const mine = "machines:\n- {mac: 52:54:00:12:34:56, hostname: node1, ip: 10.0.0.1/24}\n"
	const near = "machines:\n- {mac: 52:54:00:12:34:56, hostname: node1, ip: 10.0.0.9/24}\n"
	links := []link{{name: "nope0", address: netip.MustParseAddr("10.0.0.1"), subnet: netip.MustParsePrefix("10.0.0.0/24")}}
	pools := []string{"10.0.0.0/24"}
	for _, tt := range []struct {
		name     string
		c        Config
		machines string
		want     string // "": nothing
	}{
		{"nothing odd", Config{DHCPMode: pool}, near, ""},
		{"own address", Config{}, mine, "52:54:00:12:34:56 has the address 10.0.0.1, which is this server's own on nope0"},
		{"pool, off", Config{DHCPMode: off, Pool: pools}, near, "pool: no machine gets an address of it: with dhcp-mode off"},
		{"pool, reservations", Config{Pool: pools}, near, "unknown: pool or auto, or dhcp-mode: pool"},
		{"pool, denied", Config{DHCPMode: pool, Unknown: deny, Pool: pools}, near, "all others have an address"},
		{"pool, denied, a record without an address", Config{DHCPMode: pool, Unknown: deny, Pool: pools}, near + "- {mac: 52:54:00:12:34:57}\n", ""},
		{"pool for unknown machines", Config{Unknown: pool, Pool: pools}, near, ""},
	} {
		p, _ := newPlan(t, tt.c, tt.machines)
		p.boots.links = links
		got := strings.Join(p.Notes(), "\n")
		if !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	p, _ := newPlan(t, Config{}, mine)
	p.boots.links = links
	var log strings.Builder
	index := p.boots.hardware.Index()
	p.boots.recheck(slog.New(slog.NewTextHandler(&log, nil)), hardware.Change{Old: index, New: index})
	if !strings.Contains(log.String(), "this server's own") {
		t.Errorf("not said again:\n%s", &log)
	}
}
