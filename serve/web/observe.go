package web

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"hooksmith/serve/event"
)

// transfer is one download as the timeline sees it.
type transfer struct {
	server *Server
	client client
	file   string // path as it was asked for
	size   int64  // of the whole file
	detail string

	conn     *tracked // nil: not known, or shared with other requests
	expected int64    // bytes of this response; -1: it has none to tell of
	started  time.Time
	told     time.Time
	small    bool // a small part: told of together with others
}

// partsFrom is the size from which a part of a file is a download of its own.
// A BMC that mounts an ISO asks for some thousand small parts.
const partsFrom = 1 << 20

// begin is called when the header of the response is known.
func (t *transfer) begin(status int, h http.Header) {
	t.expected = -1
	if status != http.StatusOK && status != http.StatusPartialContent {
		return
	}
	if _, err := fmt.Sscan(h.Get("Content-Length"), &t.expected); err != nil {
		return
	}
	t.started = time.Now()
	t.told = t.started
	t.server.state.active.Add(1)
	if status == http.StatusPartialContent {
		t.small = t.expected < partsFrom
		t.detail = strings.TrimSpace(h.Get("Content-Range") + " " + t.detail)
	}
	if !t.small {
		t.emit(event.HTTPStart, 0)
	}
}

// more is called after each chunk.
func (t *transfer) more(sent int64) {
	if t.expected < 0 || t.small || sent >= t.expected || time.Since(t.told) < time.Second {
		return
	}
	t.told = time.Now()
	t.server.state.artifacts.touch(t.client.ip)
	t.emit(event.HTTPProgress, sent)
}

// end tells how it went.
func (t *transfer) end(w *sender) {
	if t.expected < 0 {
		return
	}
	arrived, late := t.arrived(w)
	st := t.server.state
	st.active.Add(-1)
	st.bytes.Add(arrived)
	st.artifacts.touch(t.client.ip)
	kind := event.HTTPDone
	if arrived < t.expected {
		kind = event.HTTPAbort
		t.detail = strings.TrimSpace(t.detail + " " + t.why(arrived, late))
		st.aborted.Add(1)
	} else {
		st.files.Add(1)
	}
	if late {
		st.stalled.Add(1)
	}
	if t.small && kind == event.HTTPDone {
		st.mounts.add(t, arrived)
		return
	}
	t.emit(kind, arrived)
	t.log(kind, arrived)
}

// arrived is how much of the body the client has, and whether it was waited
// for in vain.
func (t *transfer) arrived(w *sender) (n int64, late bool) {
	if t.conn == nil {
		return w.written, w.late
	}
	if w.written < t.expected {
		left, _, ok := t.conn.outstanding()
		if !ok {
			left = 0
		}
		return max(0, w.written-left), w.late
	}
	if t.small {
		return w.written, false
	}
	left, late := awaitDelivery(t.conn, w.limits.Stall)
	return max(0, w.written-left), late
}

func (t *transfer) why(arrived int64, late bool) string {
	percent := 100 * arrived / max(t.expected, 1)
	if late {
		return fmt.Sprintf("the client took no more data: given up at %d%%", percent)
	}
	return fmt.Sprintf("the connection broke at %d%%", percent)
}

func (t *transfer) emit(kind event.Kind, sent int64) {
	e := t.client.event(kind)
	e.File, e.Size, e.Bytes, e.Detail = t.file, t.size, sent, t.detail
	if kind != event.HTTPStart {
		e.Duration = time.Since(t.started)
	}
	t.server.sink(e)
}

func (t *transfer) log(kind event.Kind, sent int64) {
	took := time.Since(t.started)
	args := []any{"mac", t.client.mac, "ip", t.client.ip, "file", t.file, "bytes", sent, "size", t.size, "duration", took.Round(time.Millisecond)}
	if t.detail != "" {
		args = append(args, "detail", t.detail)
	}
	if kind == event.HTTPAbort {
		t.server.log().Warn("http download aborted", args...)
		return
	}
	t.server.log().Info("http download", args...)
}

func (c client) event(kind event.Kind) event.Event {
	e := event.Event{Time: time.Now(), Kind: kind, MAC: c.mac, Client: c.agent}
	if c.ip.IsValid() {
		e.IP = c.ip.String()
	}
	return e
}

func (s *Server) sink(e event.Event) {
	if s.Sink != nil {
		s.Sink(e)
	}
}

const (
	mountIdle = 30 * time.Second
	maxMounts = 1024
)

// mounts adds up small parts of files: one start when a client begins with
// a file, one end when it has been silent.
type mounts struct {
	mu   sync.Mutex
	open map[mountKey]*mount
}

type mountKey struct {
	ip   netip.Addr
	file string
}

type mount struct {
	transfer *transfer
	bytes    int64
	parts    int
	last     time.Time
}

func (m *mounts) add(t *transfer, n int64) {
	key := mountKey{t.client.ip, t.file}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open == nil {
		m.open = map[mountKey]*mount{}
	}
	one := m.open[key]
	if one == nil {
		if len(m.open) >= maxMounts {
			return
		}
		one = &mount{transfer: t}
		m.open[key] = one
		t.detail = "in parts"
		t.emit(event.HTTPStart, 0)
	}
	one.bytes += n
	one.parts++
	one.last = time.Now()
	if first := one.transfer; one.last.Sub(first.told) >= time.Second {
		first.told = one.last
		first.emit(event.HTTPProgress, one.bytes)
	}
}

// flush ends those that nothing was asked of for some time.
func (m *mounts) flush(idle time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, one := range m.open {
		if time.Since(one.last) < idle {
			continue
		}
		delete(m.open, key)
		one.transfer.detail = fmt.Sprintf("in %d parts", one.parts)
		one.transfer.emit(event.HTTPDone, one.bytes)
		one.transfer.log(event.HTTPDone, one.bytes)
	}
}
