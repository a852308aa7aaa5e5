package dhcp

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"hooksmith/serve/event"
	"hooksmith/serve/lease"
)

// work is a Server while it serves.
type work struct {
	*Server
	*queue
	ctx   context.Context // of answers: not ended with the server's
	told  chan []told
	slow  sync.WaitGroup
	spare chan struct{} // places of slow
}

// told is an event on its way to those who want to know.
type told struct {
	query *query
	event event.Event
}

// outgoing is an answer on its way out.
type outgoing struct {
	query *query
	data  []byte
	to    destination
}

// outbox collects answers, to be sent at once.
type outbox struct {
	*work
	packets []outgoing
	events  []told
}

// reader is what one socket's goroutine holds.
type reader struct {
	*work
	socket *udpSocket
	out    *outbox
	fresh  []*query // that have begun, and are answered when nothing else is to be read
}

const (
	inboxLen  = 64   // packets that are read at once
	outboxLen = 32   // answers that are sent at once: the other side has to take them
	maxFresh  = 2048 // DISCOVERs that wait
	fairness  = 16   // reads after which some are answered whatever else comes
)

// read takes packets from one socket, and answers those that do not wait for the disk. DISCOVERs are answered when there
// is nothing else to read: under load, the socket must lose no REQUEST.
func (w *work) read(ctx context.Context, socket *udpSocket) error {
	r, pause := &reader{work: w, socket: socket, out: &outbox{work: w}}, time.Millisecond
	for turn := 0; ; turn++ {
		n, err := socket.readAll(len(r.fresh) == 0)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && socket.closed(err):
			return fmt.Errorf("reading DHCP packets: %w", err)
		case err != nil:
			// An interface that is down for a while, or a report about a packet that was sent.
			w.engine.Log.Debug("dhcp socket", "error", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = time.Millisecond
		w.sockets.received.Add(uint64(n))
		for i := range n {
			r.take(i)
		}
		if n < inboxLen || turn%fairness == 0 {
			r.answer()
		}
		r.out.flush()
	}
}

// take hands the i-th packet that was read on, if it is to be answered.
func (r *reader) take(i int) {
	data, a := r.socket.packet(i)
	if isDiscover(data) && (r.busy() || len(r.fresh) >= maxFresh) {
		r.count.dropped.Add(1) // before it has cost much
		return
	}
	a.host = r.engine.current.Load()
	if a.iface = r.serves(a.host, r.socket, a.index); a.iface == nil {
		return
	}
	switch p := r.queue.read(data, a.arrival, r.engine); {
	case p == nil || !r.begin(p):
	case p.waits():
		r.keep(p)
	case len(r.fresh) < maxFresh:
		r.fresh = append(r.fresh, p)
	default:
		r.count.dropped.Add(1)
		r.keep(r.end(p))
	}
}

// answer answers some of those that need not wait for the disk, the oldest first.
func (r *reader) answer() {
	some := r.fresh[:min(len(r.fresh), outboxLen)]
	for _, p := range some {
		for p != nil && !p.waits() {
			r.out.add(p, r.engine.reply(r.ctx, p, r.engine.Now()))
			p = r.end(p)
		}
		r.keep(p)
	}
	clear(some)
	if r.fresh = r.fresh[len(some):]; len(r.fresh) == 0 {
		r.fresh = nil
	}
}

// isDiscover tells the usual DISCOVER from other packets without reading it all.
func isDiscover(data []byte) bool {
	const firstOption = headerLen
	return len(data) > firstOption+2 && data[firstOption] == dhcpv4.OptionDHCPMessageType.Code() && data[firstOption+2] == byte(dhcpv4.MessageTypeDiscover)
}

// keepAll answers what waits for the disk, many at once, until the queue is closed.
func (w *work) keepAll() {
	out, batch := &outbox{work: w}, make([]*query, 0, abreast)
	for {
		if batch = w.queue.take(batch); len(batch) == 0 {
			return
		}
		w.answerAll(batch, out)
		for _, p := range batch {
			if p.kind == dhcpv4.MessageTypeRequest {
				w.goOn(w.end(p))
			}
		}
		clear(batch)
	}
}

// answerAll answers REQUESTs with their leases written in one go. Others are rare and go their own way.
func (w *work) answerAll(batch []*query, out *outbox) {
	var leases []lease.Lease
	var whose []*query
	var then []func(error) answer
	for _, p := range batch {
		if p.kind != dhcpv4.MessageTypeRequest {
			w.goOn(p)
			continue
		}
		a := w.engine.begin(w.ctx, p, w.engine.Now())
		if a.binds == nil {
			out.add(p, a)
			continue
		}
		leases, whose, then = append(leases, a.binds.lease), append(whose, p), append(then, a.binds.then)
	}
	out.flush()
	if len(leases) == 0 {
		return
	}
	for i, err := range w.engine.Leases.BindAll(w.ctx, leases) {
		out.add(whose[i], then[i](err))
	}
	out.flush()
}

// goOn answers a machine's packets that came while it waited for the disk.
func (w *work) goOn(p *query) {
	if p == nil {
		return
	}
	w.spare <- struct{}{}
	w.slow.Go(func() {
		defer func() { <-w.spare }()
		out := &outbox{work: w}
		for ; p != nil; p = w.end(p) {
			out.add(p, w.engine.reply(w.ctx, p, w.engine.Now()))
			out.flush()
		}
	})
}

// add encodes an answer and notes what happened.
func (o *outbox) add(q *query, a answer) {
	for _, e := range a.events {
		o.events = append(o.events, told{q, e})
	}
	if a.packet == nil {
		return
	}
	data, dropped := encode(a.packet, q.Options[dhcpv4.OptionParameterRequestList.Code()], q.limit())
	if len(dropped) > 0 && o.engine.mayLog(q) {
		o.engine.Log.Warn("the answer is too long for the client; options were left out", "mac", q.id, "options", fmt.Sprint(dropped), "limit", q.limit())
	}
	o.packets = append(o.packets, outgoing{q, data, a.to})
}

// flush sends the answers and lets the teller say what happened.
func (o *outbox) flush() {
	for i, err := range o.sockets.send(o.packets) {
		if err == nil {
			o.sockets.sent.Add(1)
			continue
		}
		o.sockets.sendError.Add(1)
		p := &o.packets[i]
		if !o.engine.mayLog(p.query) {
			continue
		}
		o.engine.Log.Warn("dhcp answer not sent", "mac", p.query.id, "to", p.to.addr, "interface", p.query.iface.name, "error", err)
	}
	clear(o.packets)
	o.packets = o.packets[:0]
	if len(o.events) > 0 {
		o.work.told <- o.events
		o.events = nil
	}
}

// tell gives events to the sink and writes them to the log, in their order.
func (w *work) tell() {
	for all := range w.told {
		for i := range all {
			w.engine.Events(all[i].event)
			w.engine.log(all[i].query, all[i].event)
		}
	}
}
