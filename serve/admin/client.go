package admin

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"hooksmith/serve/hardware"
	"hooksmith/serve/timeline"
)

// Client talks to a Handler: what `serve status` and `serve logs` use.
type Client struct {
	URL   string // of the admin address: http://127.0.0.1:8081
	Token string
	HTTP  *http.Client // nil: http.DefaultClient's transport without a timeout
}

// Status returns the server's condition.
func (c *Client) Status(ctx context.Context) (Server, error) { return c.status(ctx) }

// Machines returns all machines, the worst first.
func (c *Client) Machines(ctx context.Context) ([]timeline.Machine, error) { return c.machines(ctx) }

// Machine returns one machine with its earlier boots.
func (c *Client) Machine(ctx context.Context, mac string) (timeline.Detail, error) {
	return c.machine(ctx, mac)
}

// Logs calls f for every line that q picks; with follow it goes on until ctx is
// done or f returns an error, which Logs returns.
func (c *Client) Logs(ctx context.Context, mac string, q timeline.Query, follow bool, f func(timeline.Line) error) error {
	return c.logs(ctx, mac, q, follow, f)
}

// Watch calls f with all machines (or the one with this MAC address) at once and
// after every change, until ctx is done or f returns an error, which Watch
// returns. It connects again when the server goes away.
func (c *Client) Watch(ctx context.Context, mac string, f func([]timeline.Machine) error) error {
	return c.watch(ctx, mac, f)
}

// get asks for a path; the caller closes the body. The error of the server is
// told in its own words.
func (c *Client) get(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(c.URL, "/")+path, nil)
	if err != nil {
		return nil, fmt.Errorf("asking the boot server at %s: %w", c.URL, err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	client := c.HTTP
	if client == nil {
		client = &http.Client{}
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the boot server (is `hooksmith serve` running, with its admin address at %s?): %w", c.URL, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	var answer struct{ Error string }
	if json.Unmarshal(text, &answer) != nil || answer.Error == "" {
		answer.Error = strings.TrimSpace(string(text))
	}
	return nil, &StatusError{URL: c.URL, Code: resp.StatusCode, Message: answer.Error}
}

// StatusError is the server's refusal.
type StatusError struct {
	URL     string
	Code    int // of HTTP
	Message string
}

// Error has the server's words.
func (e *StatusError) Error() string {
	return fmt.Sprintf("the boot server at %s answers %d: %s", e.URL, e.Code, e.Message)
}

// maxAnswer bounds what a client reads of one answer.
const maxAnswer = 256 << 20

func (c *Client) decode(ctx context.Context, path string, v any) error {
	resp, err := c.get(ctx, path, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(v); err != nil {
		return fmt.Errorf("reading the answer of the boot server at %s: %w", c.URL, err)
	}
	return nil
}

func (c *Client) status(ctx context.Context) (s Server, err error) {
	return s, c.decode(ctx, "/api/status", &s)
}

func (c *Client) machines(ctx context.Context) ([]timeline.Machine, error) {
	var answer struct{ Machines []timeline.Machine }
	err := c.decode(ctx, "/api/machines", &answer)
	return answer.Machines, err
}

func (c *Client) machine(ctx context.Context, mac string) (d timeline.Detail, err error) {
	return d, c.decode(ctx, "/api/machines/"+url.PathEscape(mac), &d)
}

func (c *Client) logs(ctx context.Context, mac string, q timeline.Query, follow bool, f func(timeline.Line) error) error {
	v := url.Values{"text": {q.Text}, "after": {strconv.FormatUint(q.After, 10)}, "tail": {strconv.Itoa(q.Tail)}}
	if q.Severity != nil {
		v.Set("severity", strconv.Itoa(*q.Severity))
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.Format(time.RFC3339))
	}
	path := "/api/machines/" + url.PathEscape(mac) + "/logs?"
	if !follow {
		var answer struct{ Lines []timeline.Line }
		if err := c.decode(ctx, path+v.Encode(), &answer); err != nil {
			return err
		}
		for _, l := range answer.Lines {
			if err := f(l); err != nil {
				return err
			}
		}
		return nil
	}
	v.Set("follow", "1")
	resp, err := c.get(ctx, path+v.Encode(), nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	for dec := json.NewDecoder(resp.Body); ; {
		var l timeline.Line
		if err := dec.Decode(&l); err != nil {
			return fmt.Errorf("following the log at %s: %w", c.URL, cmp.Or(ctx.Err(), err))
		}
		if err := f(l); err != nil {
			return err
		}
	}
}

// watch keeps the machines as the stream tells of them.
func (c *Client) watch(ctx context.Context, mac string, f func([]timeline.Machine) error) error {
	if mac != "" {
		n, err := hardware.NormalizeMAC(mac)
		if err != nil {
			return err
		}
		mac = n
	}
	w := watcher{client: c, mac: mac, f: f, machines: map[string]timeline.Machine{}}
	for connected := false; ; {
		err := w.stream(ctx)
		connected = connected || w.last != ""
		var refused *StatusError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case w.stopped != nil:
			return w.stopped
		case !connected, errors.As(err, &refused) && refused.Code != http.StatusServiceUnavailable:
			return err
		}
		timer := time.NewTimer(2 * time.Second)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

type watcher struct {
	client   *Client
	mac      string
	f        func([]timeline.Machine) error
	machines map[string]timeline.Machine
	last     string // event ID
	stopped  error  // of f
}

// stream reads one connection until it ends.
func (w *watcher) stream(ctx context.Context) error {
	header := http.Header{"Accept": {"text/event-stream"}}
	if w.last != "" {
		header.Set("Last-Event-ID", w.last)
	}
	resp, err := w.client.get(ctx, "/api/events", header)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxAnswer)
	name, id := "", ""
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "event":
			name = value
		case "id":
			id = value
		case "data":
			if name != "machines" {
				continue
			}
			if err := w.update([]byte(value)); err != nil {
				return err
			}
			w.last = id
		}
	}
	return cmp.Or(lines.Err(), io.ErrUnexpectedEOF)
}

func (w *watcher) update(data []byte) error {
	var u struct {
		Reset    bool
		Machines []timeline.Machine
	}
	if err := json.Unmarshal(data, &u); err != nil {
		return fmt.Errorf("reading an update of the boot server: %w", err)
	}
	if u.Reset {
		clear(w.machines)
	}
	changed := u.Reset
	for _, m := range u.Machines {
		if w.mac == "" || m.MAC == w.mac {
			w.machines[m.MAC], changed = m, true
		}
	}
	if !changed {
		return nil
	}
	all := slices.Collect(maps.Values(w.machines))
	timeline.Sort(all)
	w.stopped = w.f(all)
	return w.stopped
}
