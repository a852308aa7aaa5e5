package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"hooksmith/serve/event"
	"hooksmith/serve/lease"
)

// Server is a DHCP server whose sockets are bound. Make it with Listen.
type Server struct {
	engine  *engine
	sockets *sockets
	served  atomic.Bool
}

// engine is what answers are made from; it has no sockets.
type engine struct {
	Config
	current atomic.Pointer[host]
	pools   map[netip.Prefix]lease.Subnet // of Subnets
	loops   loops
	probes  probes
}

// Stats are totals since Listen.
type Stats struct {
	Received  uint64 // packets
	Malformed uint64 // of these, no DHCP messages of clients
	Limited   uint64 // of these, above the rate of one machine
	Dropped   uint64 // of these, not answered because too many were waiting
	Sent      uint64
	SendError uint64
}

// counters are Stats while they count.
type counters struct {
	received, malformed, limited, dropped, sent, sendError atomic.Uint64
}

// Listen checks the configuration and binds every socket; nothing is answered before Serve. It needs CAP_NET_BIND_SERVICE
// and CAP_NET_RAW; these may be given up afterwards, except CAP_NET_RAW where named interfaces may be made anew.
func Listen(config Config) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	e := newEngine(config)
	if e.Mode == Off {
		return &Server{engine: e}, nil
	}
	s, err := listen(e)
	if err != nil {
		return nil, err
	}
	return &Server{engine: e, sockets: s}, nil
}

func newEngine(config Config) *engine {
	e := &engine{Config: config.withDefaults()}
	e.loops.machines = map[string]*loads{}
	e.probes.watched = map[netip.Addr]*probe{}
	e.current.Store(newHost(nil))
	e.pools = map[netip.Prefix]lease.Subnet{}
	for i := range e.Subnets {
		e.pools[e.Subnets[i].Prefix] = e.pool(&e.Subnets[i])
	}
	return e
}

// Close closes the sockets of a Server that is not served, and does nothing to one that is or was.
func (s *Server) Close() error {
	if s.sockets == nil || s.served.Swap(true) {
		return nil
	}
	return s.sockets.close()
}

// Serve answers until ctx ends, then finishes what is being worked on, closes the sockets and returns nil. It can be
// called once.
func (s *Server) Serve(ctx context.Context) error {
	if s.sockets == nil {
		<-ctx.Done()
		return nil
	}
	if s.served.Swap(true) {
		return errors.New("dhcp: Serve was called before, or the server is closed")
	}
	// 1. Readers take packets; each is answered in a goroutine of its own, so that a lease store can write in one go what
	// many of them wait for. How many there are is bounded.
	running, stop := context.WithCancel(ctx)
	defer stop()
	q := newQueue(s.engine.Config, &s.sockets.counters)
	q.answer = func(p *query) { s.finish(p, s.engine.reply(context.WithoutCancel(ctx), p, s.engine.Now())) }
	readers, working := errgroup.Group{}, sync.WaitGroup{}
	for _, socket := range s.sockets.udp {
		readers.Go(func() error {
			defer stop()
			return s.read(running, socket, q)
		})
	}
	// 2. The interfaces and the answers to ARP probes are followed meanwhile.
	working.Go(func() { s.sockets.follow(running) })
	working.Go(func() { s.sockets.readARP(running) })
	s.engine.Log.Info("dhcp is served", "mode", s.engine.Mode, "unknown", s.engine.Unknown, "on", strings.Join(s.sockets.names(), ", "))

	<-running.Done()
	s.sockets.wake()
	err := readers.Wait()
	q.running.Wait()
	working.Wait()
	return errors.Join(err, s.sockets.close())
}

// read takes packets from one socket.
func (s *Server) read(ctx context.Context, socket *udpSocket, q *queue) error {
	pause := time.Millisecond
	for {
		data, a, err := socket.read()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && socket.closed(err):
			return fmt.Errorf("reading DHCP packets: %w", err)
		case err != nil:
			// An interface that is down for a while, or a report about a packet that was sent.
			s.engine.Log.Debug("dhcp socket", "error", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = time.Millisecond
		s.sockets.received.Add(1)
		a.host = s.engine.current.Load()
		if a.iface = s.serves(a.host, socket, a.index); a.iface != nil {
			q.put(data, a.arrival, s.engine)
		}
	}
}

// serves returns the interface that a packet came by if the server is to answer there.
func (s *Server) serves(h *host, socket *udpSocket, index int) *iface {
	i := h.ifaces[index]
	switch {
	case i == nil || len(i.addrs) == 0:
		return nil
	case socket.device == "" && i.loopback:
		return nil
	case socket.device != "" && socket.device != i.name:
		return nil
	}
	return i
}

// finish sends an answer and tells what happened.
func (s *Server) finish(q *query, a answer) {
	if a.packet != nil {
		data, dropped := encode(a.packet, q.Options[55], q.limit())
		if len(dropped) > 0 {
			s.engine.Log.Warn("the answer is too long for the client; options were left out", "mac", q.id, "options", fmt.Sprint(dropped), "limit", q.limit())
		}
		if err := s.sockets.send(data, a.to, q.pxe); err != nil {
			s.sockets.sendError.Add(1)
			s.engine.Log.Warn("dhcp answer not sent", "mac", q.id, "to", a.to.addr, "interface", q.iface.name, "error", err)
		} else {
			s.sockets.sent.Add(1)
		}
	}
	for _, e := range a.events {
		s.engine.Events(e)
		s.engine.log(q, e)
	}
}

// log writes an event for people: what needs one is louder.
func (e *engine) log(q *query, v event.Event) {
	level := slog.LevelInfo
	switch v.Kind {
	case event.Discover, event.Request, event.Silence, event.Loop:
		level = slog.LevelDebug
	case event.NoBinary, event.RivalDHCP, event.Decline, event.Nak:
		level = slog.LevelWarn
	}
	if !e.Log.Enabled(context.Background(), level) {
		return
	}
	attrs := []any{"mac", q.id, "interface", q.iface.name}
	for _, a := range []struct{ key, value string }{
		{"ip", v.IP}, {"peer", v.Peer}, {"arch", v.Arch}, {"client", v.Client}, {"file", v.File}, {"detail", v.Detail},
	} {
		if a.value != "" {
			attrs = append(attrs, a.key, a.value)
		}
	}
	e.Log.Log(context.Background(), level, "dhcp "+string(v.Kind), attrs...)
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	if s.sockets == nil {
		return Stats{}
	}
	c := &s.sockets.counters
	return Stats{c.received.Load(), c.malformed.Load(), c.limited.Load(), c.dropped.Load(), c.sent.Load(), c.sendError.Load()}
}

// MACOf returns the machine that has an address, by its lease or its record.
func (s *Server) MACOf(ip netip.Addr) (mac string, ok bool) {
	if s.engine.Leases != nil {
		if l, ok := s.engine.Leases.LookupIP(ip); ok && l.State == lease.Active && strings.Count(l.MAC, ":") == 5 {
			return l.MAC, true
		}
	}
	if s.engine.Hardware != nil {
		if m, ok := s.engine.Hardware.LookupIP(ip); ok {
			return m.MAC, true
		}
	}
	return "", false
}
