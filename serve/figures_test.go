package serve

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hooksmith/serve/admin"
	"hooksmith/serve/event"
	"hooksmith/serve/lease"
	"hooksmith/serve/syslog"
	"hooksmith/serve/web"
)

// Who asks for nonsense all the time does not fill the disk with it.
func TestRefusalsInLog(t *testing.T) {
	var b strings.Builder
	sink := logged(slog.New(slog.NewTextHandler(&b, nil)))
	now := time.Unix(1000, 0)
	for range 500 {
		sink(event.Event{Kind: event.TFTPAbort, Time: now, Detail: "file not found"})
	}
	sink(event.Event{Kind: event.TFTPAbort, Time: now, Bytes: 512, Detail: "the client is gone"})
	sink(event.Event{Kind: event.TFTPAbort, Time: now.Add(time.Second), Detail: "file not found"})
	if n := strings.Count(b.String(), "not found"); n != maxRefusals+1 || !strings.Contains(b.String(), "count=480") || !strings.Contains(b.String(), "client is gone") {
		t.Errorf("%d written:\n%s", n, &b)
	}
}

// The parts' numbers are told, and the states of leases are those that the
// metrics count.
func TestFigures(t *testing.T) {
	p, _ := newPlan(t, Config{}, machines)
	leases, err := lease.Open(filepath.Join(t.TempDir(), leasesName), lease.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer leases.Close()
	p.boots.leases = leases
	c := lease.Client{MAC: "52:54:00:00:00:09"}
	if _, err := leases.Bind(t.Context(), lease.Lease{Client: c, IP: netip.MustParseAddr("10.0.0.9"), Prefix: netip.MustParsePrefix("10.0.0.0/24"), Duration: 1e12}); err != nil {
		t.Fatal(err)
	}
	s := &Server{plan: p, web: &web.Server{}, syslog: &syslog.Server{}}
	if all := s.leases(); len(all) != 1 || all[0].State != "active" {
		t.Errorf("leases %+v", all)
	}
	all := s.figures()
	for _, name := range []string{"http_connections", "http_requests_total", "syslog_lines_total"} {
		if !slices.ContainsFunc(all, func(f admin.Figure) bool { return f.Name == name }) {
			t.Errorf("%s is missing in %+v", name, all)
		}
	}
}
