package tftp

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// restartAfter is how long a transfer that got under way must have been silent for the same request from the same port
// to mean a client that started over (a reset machine whose ROM always uses one port), not a late copy.
const restartAfter = time.Second

// moment is a time that several goroutines use, and that no setting of the machine's clock moves.
type moment struct{ n atomic.Int64 }

var beginning = time.Now()

func (m *moment) set(now time.Time) { m.n.Store(int64(now.Sub(beginning))) }
func (m *moment) since(now time.Time) time.Duration {
	return now.Sub(beginning) - time.Duration(m.n.Load())
}

// request answers an RRQ or WRQ that came to the listening socket or, from the same port, to a running transfer.
func (e *engine) request(p packet, now time.Time) {
	if e.ctx.Err() != nil {
		return
	}
	if t := e.running.find(p.key()); t != nil {
		t.requestAgain(p, now)
		return
	}
	if e.running.copyOfEnded(p, now) {
		return
	}
	if !e.admission.request(p.client.Addr(), now) {
		e.drops.add(e.log, now, "requests above the rate", p.client)
		return
	}
	r, err := parseRequest(p.data)
	if err == nil {
		err = supported(r)
	}
	if err != nil {
		e.refused(p.origin, cleanName(r.name), now, err)
		return
	}
	e.start(p, r, now)
}

// supported is nil for what this server does: reading, in octet or netascii mode.
func supported(r request) error {
	switch {
	case r.mode == "mail":
		return &Error{CodeIllegal, "mail mode is not supported"}
	case r.mode != "octet" && r.mode != "netascii":
		return &Error{CodeIllegal, "unknown transfer mode"}
	case r.op == opWrite:
		return &Error{CodeAccess, "this server is read-only"}
	}
	return nil
}

// start begins a transfer on its own goroutine if the limits allow one more. Above them the packet is dropped: firmware
// asks again, while an error would end its boot.
func (e *engine) start(p packet, r request, now time.Time) {
	if !e.admission.begin(p.client.Addr(), now) {
		e.drops.add(e.log, now, "transfers above the limit", p.client)
		return
	}
	t := &transfer{engine: e, origin: p.origin, asked: r, raw: bytes.Clone(p.data), began: now}
	t.request = Request{Client: p.client, Local: p.local, Interface: p.iface, Name: cleanName(r.name), RawName: r.name,
		Mode: r.mode, Size: r.asks("tsize")}
	t.heard.set(now)
	if other := e.running.add(p.key(), t); other != nil { // two goroutines brought the same request
		e.admission.end(p.client.Addr())
		return
	}
	e.active.Add(1)
	e.group.Go(func() {
		t.run()
		e.active.Add(-1)
		e.admission.end(p.client.Addr())
		t.finish()
	})
}

// refused sends an error for a request and reports it.
func (e *engine) refused(o origin, name string, began time.Time, err error) {
	answer := asError(err)
	e.answer(o, answer)
	if e.ctx.Err() == nil && answer.Code == CodeUndefined {
		e.log.Error("tftp file cannot be read", "client", o.client, "file", name, "error", err)
	}
	e.report(Event{Kind: Refused, Client: o.client, Local: o.local, Interface: o.iface, File: name, Size: -1,
		Duration: time.Since(began), Code: answer.Code, Message: answer.Message})
}

// later is a request that came from the port of a running transfer.
type later struct {
	packet
	under bool // the transfer was under way: not a copy from before the first answer
}

// requestAgain is a request from the port of a running transfer. The same request is a copy and ignored, unless the
// client ends this transfer next: then it was its next request, which overtook the end on its way here. Another request,
// or the same after a long silence, means that the client has given this transfer up.
func (t *transfer) requestAgain(p packet, now time.Time) {
	if p.copyOf(t.raw, t.answered.Load(), now) {
		return
	}
	p.data = bytes.Clone(p.data)
	under := t.confirmed.Load()
	given := !bytes.Equal(p.data, t.raw) || under && t.heard.since(now) > restartAfter
	if given {
		t.superseded.Store(true) // before the request is there, or an acknowledgement could show it to be a copy
	}
	t.again.Store(&later{p, under})
	if given {
		t.cancel()
	}
	if t.finished.Load() {
		t.startLater(now) // the transfer ended meanwhile and has not seen this
	}
}

// startLater starts the later request, once, whoever comes first.
func (t *transfer) startLater(now time.Time) {
	if again := t.again.Swap(nil); again != nil {
		t.engine.request(again.packet, now)
	}
}

// forgetCopy drops a later request that the client's next acknowledgement shows to be a copy.
func (t *transfer) forgetCopy() {
	again := t.again.Load()
	if again == nil || t.superseded.Load() {
		return
	}
	under := again.under
	if answered := t.answered.Load(); again.came != 0 && answered != 0 {
		under = again.came >= answered
	}
	if under && t.base > t.last {
		return
	}
	t.again.Store(nil)
}

// deliver takes a packet for a transfer that has no socket of its own; others get theirs from the kernel, and what
// reaches the listening socket is left from before.
func (t *transfer) deliver(p packet) {
	if m := t.box.Load(); m != nil {
		m.deliver(p)
	}
}

// cancel ends the transfer from outside.
func (t *transfer) cancel() {
	t.stopped.Store(true)
	if l := t.link.Load(); l != nil {
		(*l).stop()
	}
}

// dropLog tells of dropped packets at most once in ten seconds, whatever their number.
type dropLog struct {
	mu    sync.Mutex
	count int
	told  time.Time
}

func (d *dropLog) add(log *slog.Logger, now time.Time, why string, client netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	if now.Sub(d.told) < 10*time.Second {
		return
	}
	log.Warn("tftp requests dropped", "why", why, "count", d.count, "last_client", client)
	d.count, d.told = 0, now
}

// isStopped reports whether a link's error came from cancel.
func isStopped(err error) bool { return errors.Is(err, errStopped) }
