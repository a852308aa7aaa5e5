package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"hooksmith/serve/event"
	"hooksmith/serve/timeline"
)

// get asks the scene's server as a browser or program would.
func (s *scene) get(path string, header ...string) (code int, body string, h http.Header) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.server.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

func TestAPI(t *testing.T) {
	s := newScene(t)
	s.day()
	for _, tt := range []struct {
		path string
		code int
		want []string
	}{
		{"/api/machines", 200, []string{mac(1), `"state": "stuck"`, `"state": "unasked"`, `"seq": `, "download-aborted"}},
		{"/api/machines?state=up", 200, []string{mac(1), mac(2)}},
		{"/api/machines?q=worker-05", 200, []string{mac(5)}},
		{"/api/machines?q=nothing-like-that", 200, []string{`"machines": []`}},
		{"/api/machines/52-54-00-00-00-01", 200, []string{`"hostname": "worker-01.rack4.example.com"`, `"stage": "worker"`, `"history": []`}},
		{"/api/machines/" + mac(6), 200, []string{`"state": "unasked"`}},
		{"/api/machines/" + mac(77), 404, []string{"no hardware file"}},
		{"/api/machines/what", 400, []string{"not a MAC address"}},
		{"/api/machines/" + mac(1) + "/logs?text=WORKFLOW&severity=warning", 200, []string{"no workflow for this worker yet"}},
		{"/api/machines/" + mac(1) + "/logs?tail=1&format=text", 200, []string{"warning tink-worker/5f1c2a9b0d3e: no workflow"}},
		{"/api/machines/" + mac(1) + "/logs?since=1s", 200, []string{`"lines": []`}},
		{"/api/machines/" + mac(1) + "/logs?since=yesterday", 400, []string{"since="}},
		{"/api/machines/" + mac(1) + "/logs?severity=loud", 400, []string{"not one of"}},
		{"/api/machines/" + mac(1) + "/logs?tail=-1", 400, []string{"tail="}},
		{"/api/machines/" + mac(1) + "/logs?after=x", 400, []string{"after="}},
		{"/api/leases", 200, []string{"10.20.0.200", "quarantined"}},
		{"/api/hardware", 200, []string{`"healthy": true`, "hardware.csv"}},
		{"/api/preview/" + mac(1), 200, []string{"the default script"}},
		{"/api/preview/" + mac(1) + "?format=text", 200, []string{"#!ipxe"}},
		{"/api/preview/" + mac(77), 404, []string{"no hardware file has this machine"}},
		{"/api/status", 200, []string{`"ready": true`, `"version": "v0.2.0"`, "eth1"}},
		{"/api/what", 404, []string{"/api/machines"}},
		{"/healthz", 200, []string{"ok"}},
		{"/readyz", 200, []string{"ready"}},
		{"/what", 404, nil},
		{"/machines/" + mac(77), 404, []string{"No such machine"}},
		{"/leases", 200, []string{"10.20.0.200", "in 50 min"}},
		{"/leases?part=part", 200, []string{"10.20.0.200"}},
		{"/server", 200, []string{"reservation", "eth1"}},
		{"/?state=up&q=worker-01", 200, []string{mac(1)}},
	} {
		code, body, header := s.get(tt.path)
		if code != tt.code {
			t.Errorf("%s: %d, want %d: %s", tt.path, code, tt.code, body)
		}
		for _, want := range tt.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %q: %s", tt.path, want, body)
			}
		}
		if header.Get("Content-Security-Policy") == "" || header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s has headers %v", tt.path, header)
		}
		if strings.Contains(body, "<img src=x") && strings.HasPrefix(header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: a host name came through as HTML", tt.path)
		}
	}
	s.mu.Lock()
	s.notReady = []string{"DHCP is not bound: eth1 has no address"}
	s.mu.Unlock()
	if code, body, _ := s.get("/readyz"); code != 503 || !strings.Contains(body, "eth1 has no address") {
		t.Errorf("not ready: %d %s", code, body)
	}
	if _, body, _ := s.get("/"); !strings.Contains(body, "eth1 has no address") {
		t.Error("the page does not say that the server is not ready")
	}
	resp, err := http.Post(s.server.URL+"/api/machines", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", resp.StatusCode)
	}
}

// TestAccess: names, origins, tokens, cookies.
func TestAccess(t *testing.T) {
	s := newScene(t, func(c *Config) { c.Token = "correct horse"; c.Hosts = []string{"Boot.Example.com."} })
	s.day()
	own := strings.TrimPrefix(s.server.URL, "http://")
	bearer := []string{"Authorization", "Bearer correct horse"}
	for _, tt := range []struct {
		name, path string
		header     []string
		code       int
	}{
		{"no token", "/api/machines", nil, 401},
		{"wrong token", "/api/machines", []string{"Authorization", "Bearer correct hors"}, 401},
		{"basic", "/api/machines", []string{"Authorization", "Basic correct horse"}, 401},
		{"token", "/api/machines", bearer, 200},
		{"metrics without", "/metrics", nil, 401},
		{"metrics with", "/metrics", bearer, 200},
		{"events without", "/api/events", nil, 401},
		{"health", "/healthz", nil, 200},
		{"page", "/machines/" + mac(1), nil, 303},
		{"part of a page", "/leases?part=1", nil, 401},
		{"login", "/login", nil, 200},
		{"own name", "/healthz", []string{"Host", "boot.example.com:8081"}, 200},
		{"localhost", "/healthz", []string{"Host", "localhost"}, 200},
		{"IPv6", "/healthz", []string{"Host", "[2001:db8::1]:80"}, 200},
		{"rebound name", "/healthz", []string{"Host", "evil.example.net"}, 421},
		{"own origin", "/api/machines", append([]string{"Origin", "http://" + own}, bearer...), 200},
		{"foreign origin", "/api/machines", append([]string{"Origin", "http://evil.example.net"}, bearer...), 403},
		{"null origin", "/api/machines", append([]string{"Origin", "null"}, bearer...), 403},
		{"wrong cookie", "/api/machines", []string{"Cookie", "hooksmith=00"}, 401},
	} {
		if code, body, _ := s.get(tt.path, tt.header...); code != tt.code {
			t.Errorf("%s: %d, want %d: %s", tt.name, code, tt.code, body)
		}
	}
	if _, body, _ := s.get("/login"); strings.Contains(body, "rack4") || strings.Contains(body, mac(1)) {
		t.Error("the login page tells about the server")
	}
	if code, _, h := s.login("correct horse", "/leases?part=x"); code != 303 || h.Get("Location") != "/leases?part=x" {
		t.Errorf("login: %d to %q", code, h.Get("Location"))
	} else if cookie, _, _ := strings.Cut(h.Get("Set-Cookie"), ";"); !strings.Contains(h.Get("Set-Cookie"), "HttpOnly; SameSite=Strict") {
		t.Errorf("cookie %q", h.Get("Set-Cookie"))
	} else if code, _, _ := s.get("/api/machines", "Cookie", cookie); code != 200 {
		t.Errorf("with the cookie: %d", code)
	} else if strings.Contains(cookie, "correct") {
		t.Errorf("the token is in the cookie %q", cookie)
	}
	for _, to := range []string{"//evil.example.net", "https://evil.example.net/", "/\\evil.example.net", "", "javascript:alert(1)", "/login"} {
		if _, _, h := s.login("correct horse", to); h.Get("Location") != "/" {
			t.Errorf("to %q leads to %q", to, h.Get("Location"))
		}
	}
	for range 20 {
		if code, _, _ := s.login("guess", "/"); code != http.StatusUnauthorized {
			t.Fatalf("a wrong token: %d", code)
		}
	}
	if code, _, _ := s.login("correct horse", "/"); code != http.StatusTooManyRequests {
		t.Errorf("after 20 guesses: %d", code)
	}
	s.wait(61)
	if code, _, _ := s.login("correct horse", "/"); code != http.StatusSeeOther {
		t.Errorf("a minute later: %d", code)
	}
}

func (s *scene) login(token, to string) (int, string, http.Header) {
	s.t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.PostForm(s.server.URL+"/login", url.Values{"token": {token}, "to": {to}})
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), resp.Header
}

// TestMetrics: the names, and no label that the network chooses.
func TestMetrics(t *testing.T) {
	s := newScene(t, func(c *Config) {
		c.Figures = func() []Figure {
			return []Figure{{"dhcp_packets_total", "DHCP packets.", map[string]string{"result": "sent"}, 7}, {"dhcp_packets_total", "DHCP packets.", map[string]string{"result": "dropped"}, 2},
				{Name: "http_connections", Help: "Connections.", Value: 3}}
		}
	})
	s.day()
	s.do(0, event.Event{Kind: "strange" + hostile, MAC: mac(1)})
	code, body, _ := s.get("/metrics")
	if code != 200 {
		t.Fatal(code, body)
	}
	for _, want := range []string{`hooksmith_events_total{kind="discover"} 12`, `hooksmith_events_total{kind="other"} 1`, `hooksmith_machines{state="stuck"} 3`,
		`hooksmith_problems{code="download-aborted"} 1`, `hooksmith_transfers_total{protocol="http",result="aborted"} 1`, `hooksmith_boot_stage_seconds_count{stage="worker"} 2`,
		`hooksmith_leases{state="active"} 1`, `hooksmith_leases{state="other"} 0`,
		"# TYPE hooksmith_dhcp_packets_total counter", `hooksmith_dhcp_packets_total{result="dropped"} 2`, "# TYPE hooksmith_http_connections gauge", "hooksmith_http_connections 3", `hooksmith_hardware_healthy 1`, `hooksmith_ready 1`, `hooksmith_build_info{version="v0.2.0"} 1`, "go_goroutines", "process_cpu_seconds_total"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(body, "52:54") || strings.Contains(body, "worker-0") || strings.Contains(body, "img") {
		t.Error("a machine's name is in the metrics")
	}
	if _, err := New(Config{Timeline: s.Timeline, Metrics: s.config.Metrics}); err == nil {
		t.Error("one Metrics served two handlers")
	}
}

// TestEvents: the stream says what is there, what changes, and after a break
// what was missed.
func TestEvents(t *testing.T) {
	s := newScene(t, func(c *Config) { c.Streams = 2; c.Heartbeat = 20 * time.Millisecond })
	s.boot(1, timeline.StageAck)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	open := func(header ...string) (next func(name string) string, end func()) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.URL+"/api/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(err, resp.Status)
		}
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		return func(prefix string) string {
			for lines.Scan() {
				if rest, ok := strings.CutPrefix(lines.Text(), prefix); ok {
					return rest
				}
			}
			t.Fatalf("the stream ended before %q: %v", prefix, lines.Err())
			return ""
		}, func() { _ = resp.Body.Close() }
	}
	next, end := open()
	next("event: status")
	next("event: machines")
	id := next("id: ")
	if data := next("data: "); !strings.Contains(data, mac(1)) || !strings.Contains(data, `"reset":true`) || !strings.Contains(data, "unasked") {
		t.Errorf("first: %s", data)
	}
	next(": still here")
	s.boot(2, timeline.StageDiscover)
	next("event: machines")
	if data := next("data: "); !strings.Contains(data, mac(2)) || strings.Contains(data, mac(1)) {
		t.Errorf("then: %s", data)
	}
	again, end2 := open("Last-Event-ID", id)
	again("event: machines")
	if data := again("data: "); !strings.Contains(data, mac(2)) || strings.Contains(data, mac(1)) || strings.Contains(data, `"reset":true`) {
		t.Errorf("after a break: %s", data)
	}
	if code, body, _ := s.get("/api/events"); code != 503 || !strings.Contains(body, "live connections") {
		t.Errorf("one stream too many: %d %s", code, body)
	}
	s.mu.Lock()
	s.status.Generation++
	s.mu.Unlock()
	next("event: machines")
	if data := next("data: "); !strings.Contains(data, `"reset":true`) {
		t.Errorf("after a change of the hardware data: %s", data)
	}
	end()
	end2()
	s.Stop()
}

// TestClient: what the command line sees.
func TestClient(t *testing.T) {
	s := newScene(t, func(c *Config) { c.Token = "t" })
	s.day()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := &Client{URL: s.server.URL, Token: "t"}
	all, err := c.Machines(ctx)
	if err != nil || len(all) != 7 || all[0].State != timeline.Stuck {
		t.Errorf("%d machines, %v", len(all), err)
	}
	if d, err := c.Machine(ctx, mac(1)); err != nil || d.Stage != timeline.StageWorker {
		t.Errorf("%+v %v", d, err)
	}
	if st, err := c.Status(ctx); err != nil || !st.Ready || st.Hardware.Machines != 6 {
		t.Errorf("%+v %v", st, err)
	}
	var refused *StatusError
	if _, err := c.Machine(ctx, mac(77)); !errors.As(err, &refused) || refused.Code != 404 || !strings.Contains(err.Error(), "no hardware file") {
		t.Error(err)
	}
	if _, err := (&Client{URL: s.server.URL, Token: "x"}).Machines(ctx); !errors.As(err, &refused) || refused.Code != 401 {
		t.Error(err)
	}
	if _, err := (&Client{URL: "http://127.0.0.1:1"}).Machines(ctx); err == nil || !strings.Contains(err.Error(), "hooksmith serve") {
		t.Error(err)
	}
	n, done := 0, errors.New("enough")
	err = c.Logs(ctx, mac(1), timeline.Query{Text: "work"}, false, func(timeline.Line) error { n++; return nil })
	if err != nil || n != 2 {
		t.Errorf("%d lines, %v", n, err)
	}
	var texts []string
	err = c.Logs(ctx, mac(1), timeline.Query{Tail: 1}, true, func(l timeline.Line) error {
		if texts = append(texts, l.Text); len(texts) == 2 {
			return done
		}
		s.Log(timeline.Line{MAC: mac(1), Text: "one more"})
		return nil
	})
	if !errors.Is(err, done) || len(texts) != 2 || texts[1] != "one more" {
		t.Errorf("followed %q, %v", texts, err)
	}
	seen := 0
	err = c.Watch(ctx, "52-54-00-00-00-03", func(machines []timeline.Machine) error {
		if len(machines) != 1 || machines[0].MAC != mac(3) {
			t.Errorf("watching one: %+v", machines)
		}
		if seen++; seen == 1 {
			s.do(1, event.Event{Kind: event.HTTPDone, MAC: mac(3), File: "/hook/initramfs-x86_64", Size: 161e6, Bytes: 161e6, Duration: 2e9})
			return nil
		}
		return done
	})
	if !errors.Is(err, done) || seen < 2 {
		t.Errorf("watched %d times, %v", seen, err)
	}
}

// TestHardwareErrors: what is wrong with the server stands on every page.
func TestHardwareErrors(t *testing.T) {
	s := newScene(t, func(c *Config) {
		c.Interfaces = func() []Interface {
			return []Interface{{Name: "eth7"}, {Name: "eth8", Up: true, Error: "has no IPv4 address"}}
		}
		c.Services = func() []Service { return []Service{{Name: "TFTP", Error: "port 69 is taken by atftpd"}} }
	})
	s.status.Files[0].Error = "hardware.csv:7:12: mac: \"zz\" is not a MAC address"
	s.status.Error = "10.0.0.1 is in two files"
	for _, path := range []string{"/", "/leases", "/server", "/machines/" + mac(1)} {
		_, body, _ := s.get(path)
		for _, want := range []string{"hardware.csv:7:12", "10.0.0.1 is in two files", "Interface eth7 is down", "has no IPv4 address", "taken by atftpd", `role="alert"`} {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %q", path, want)
			}
		}
	}
	var state HardwareState
	_, body, _ := s.get("/api/hardware")
	if err := json.Unmarshal([]byte(body), &state); err != nil || state.Healthy || state.Files[0].Error == "" {
		t.Errorf("%s: %v", body, err)
	}
}
