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

// read takes packets from one socket, and answers those that do not wait for the disk.
func (w *work) read(ctx context.Context, socket *udpSocket) error {
	pause, out := time.Millisecond, &outbox{work: w}
	for {
		n, err := socket.readAll()
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
			w.take(socket, i, out)
		}
		out.flush()
	}
}

// take answers the i-th packet that was read, or hands it on.
func (w *work) take(socket *udpSocket, i int, out *outbox) {
	data, a := socket.packet(i)
	if isDiscover(data) && w.busy() {
		w.count.dropped.Add(1) // before it has cost much
		return
	}
	a.host = w.engine.current.Load()
	if a.iface = w.serves(a.host, socket, a.index); a.iface == nil {
		return
	}
	p := w.queue.read(data, a.arrival, w.engine)
	if p == nil || !w.begin(p) {
		return
	}
	for p != nil && !p.waits() {
		out.add(p, w.engine.reply(w.ctx, p, w.engine.Now()))
		p = w.end(p)
	}
	w.keep(p)
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
	if len(dropped) > 0 {
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
