package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"hooksmith/serve/timeline"
)

// writeTimeout is how long one write to a live connection may take; a reader
// that is slower is cut off and comes back with its Last-Event-ID.
const writeTimeout = 30 * time.Second

// stream is a live connection.
type stream struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	ctx context.Context
}

// openStream takes a slot, or answers 503. The returned function gives it back.
func (h *Handler) openStream(w http.ResponseWriter, r *http.Request, contentType string) (*stream, func(), bool) {
	select {
	case h.streams <- struct{}{}:
	default:
		w.Header().Set("Retry-After", "10")
		apiError(w, http.StatusServiceUnavailable, "there are %d live connections already", h.config.Streams)
		return nil, nil, false
	}
	ctx, cancel := context.WithCancel(r.Context())
	unhook := context.AfterFunc(h.ending, cancel)
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Accel-Buffering", "no") // nginx in front must not wait
	s := &stream{w, http.NewResponseController(w), ctx}
	_ = s.rc.SetReadDeadline(time.Time{})
	w.WriteHeader(http.StatusOK)
	return s, func() { unhook(); cancel(); <-h.streams }, true
}

func (s *stream) send(text []byte) bool {
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := s.w.Write(text); err != nil {
		return false
	}
	return s.rc.Flush() == nil
}

// event sends a server-sent event; data is one line, as JSON is.
func (s *stream) event(name string, id uint64, data any) bool {
	var b bytes.Buffer
	fmt.Fprintf(&b, "event: %s\n", name)
	if id > 0 {
		fmt.Fprintf(&b, "id: %d\n", id)
	}
	text, err := json.Marshal(data)
	if err != nil {
		return false
	}
	b.WriteString("data: ")
	b.Write(text)
	b.WriteString("\n\n")
	return s.send(b.Bytes())
}

// apiEvents is the live stream. Events: machines (seq, reset, machines; with
// ?html=1 rows of the page's table instead) and status (as /api/status). The
// first machines event after a Last-Event-ID holds what changed since.
func (h *Handler) apiEvents(w http.ResponseWriter, r *http.Request) {
	since, _ := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64)
	s, done, ok := h.openStream(w, r, "text/event-stream")
	if !ok {
		return
	}
	defer done()
	updates := make(chan timeline.Update)
	go func() {
		defer close(updates)
		for u := range h.config.Timeline.Subscribe(s.ctx, since) {
			select {
			case updates <- u:
			case <-s.ctx.Done():
				return
			}
		}
	}()
	l := live{h: h, s: s, html: r.URL.Query().Get("html") != ""}
	if !s.send([]byte("retry: 2000\n\n")) || !l.status() {
		return
	}
	l.run(updates)
}

// live is the state of one stream of events.
type live struct {
	h          *Handler
	s          *stream
	html       bool
	generation int    // of the hardware data that the stream has told of
	told       string // last status, without its times
}

func (l *live) run(updates <-chan timeline.Update) {
	heartbeat := time.NewTicker(l.h.config.Heartbeat)
	defer heartbeat.Stop()
	status := time.NewTicker(2 * time.Second)
	defer status.Stop()
	for {
		ok := true
		select {
		case <-l.s.ctx.Done():
			return
		case u, open := <-updates:
			if !open {
				return
			}
			ok = l.machines(u)
		case <-status.C:
			ok = l.status()
		case <-heartbeat.C:
			ok = l.s.send([]byte(": still here\n\n"))
		}
		if !ok {
			return
		}
	}
}

func (l *live) machines(u timeline.Update) bool {
	if u.Reset {
		u.Machines = l.h.machines()
	}
	if l.html {
		return l.s.event("rows", u.Seq, l.h.rows(u))
	}
	return l.s.event("machines", u.Seq, struct {
		Seq      uint64             `json:"seq"`
		Reset    bool               `json:"reset"`
		Machines []timeline.Machine `json:"machines"`
	}{u.Seq, u.Reset, u.Machines})
}

// status tells of the server if something has changed but time and counters,
// and of all machines if the hardware data have.
func (l *live) status() bool {
	server := l.h.server()
	if hw := server.Hardware; hw != nil && hw.Generation != l.generation {
		first := l.generation == 0
		l.generation = hw.Generation
		if !first && !l.machines(timeline.Update{Seq: server.Timeline.Seq, Reset: true}) {
			return false
		}
	}
	same := server
	same.Time, same.Timeline.Time, same.Timeline.Seq, same.Timeline.Unplaced = time.Time{}, time.Time{}, 0, 0
	same.Timeline.Disk.Written, same.Timeline.Disk.Bytes, same.Timeline.LogBytes = time.Time{}, 0, 0
	text, err := json.Marshal(same)
	if err != nil || string(text) == l.told {
		return err == nil
	}
	l.told = string(text)
	if l.html {
		html, err := l.h.page.part("health", l.h.health(server))
		return err == nil && l.s.event("health", 0, map[string]string{"html": html})
	}
	return l.s.event("status", 0, server)
}

func (h *Handler) followLogs(w http.ResponseWriter, r *http.Request, mac string, q timeline.Query) {
	s, done, ok := h.openStream(w, r, "application/x-ndjson")
	if !ok {
		return
	}
	defer done()
	if !s.send(nil) {
		return
	}
	for line := range h.config.Timeline.Follow(s.ctx, mac, q) {
		text, err := json.Marshal(line)
		if err != nil || !s.send(append(text, '\n')) {
			return
		}
	}
}
