package dhcp

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

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
	relays  relays
	lines   lines
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
	// 1. Readers take packets and answer those that need not wait; keepers answer the others when their leases are on
	// disk; one teller says what happened.
	running, stop := context.WithCancel(ctx)
	defer stop()
	w := &work{Server: s, queue: newQueue(s.engine.Config, &s.sockets.counters), ctx: context.WithoutCancel(ctx), told: make(chan []told, 256),
		spare: make(chan struct{}, s.engine.Workers)}
	readers, keeping, working := errgroup.Group{}, sync.WaitGroup{}, sync.WaitGroup{}
	for _, socket := range s.sockets.udp {
		readers.Go(func() error {
			defer stop()
			return w.read(running, socket)
		})
	}
	for range keepers {
		keeping.Go(w.keepAll)
	}
	working.Go(w.tell)
	// 2. The interfaces and the answers to ARP probes are followed meanwhile.
	working.Go(func() { s.sockets.follow(running) })
	working.Go(func() { s.sockets.readARP(running) })
	s.engine.Log.Info("dhcp is served", "mode", s.engine.Mode, "unknown", s.engine.Unknown, "on", strings.Join(s.sockets.names(), ", "))

	<-running.Done()
	s.sockets.wake()
	err := readers.Wait()
	close(w.requests)
	keeping.Wait()
	w.slow.Wait()
	close(w.told)
	working.Wait()
	return errors.Join(err, s.sockets.close())
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

// log writes an event for people: what needs one is louder.
func (e *engine) log(q *query, v event.Event) {
	level := slog.LevelInfo
	switch v.Kind {
	case event.Discover, event.Request, event.Silence, event.Loop:
		level = slog.LevelDebug
	case event.NoBinary, event.RivalDHCP, event.Decline, event.Nak:
		level = slog.LevelWarn
	}
	if !e.Log.Enabled(context.Background(), level) || !e.mayLog(q) {
		return
	}
	var room [8]slog.Attr
	attrs := append(room[:0], slog.String("mac", q.id), slog.String("interface", q.iface.name))
	for _, a := range [...]slog.Attr{slog.String("ip", v.IP), slog.String("peer", v.Peer), slog.String("arch", v.Arch),
		slog.String("client", v.Client), slog.String("file", v.File), slog.String("detail", v.Detail)} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	e.Log.LogAttrs(context.Background(), level, "dhcp "+string(v.Kind), attrs...)
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	if s.sockets == nil {
		return Stats{}
	}
	c := &s.sockets.counters
	return Stats{c.received.Load(), c.malformed.Load(), c.limited.Load(), c.dropped.Load(), c.sent.Load(), c.sendError.Load()}
}

// Pools is how full the pools are, by subnet.
func (s *Server) Pools() map[netip.Prefix]lease.Usage {
	all := map[netip.Prefix]lease.Usage{}
	if s.engine.Leases == nil {
		return all
	}
	for prefix, pool := range s.engine.pools {
		if len(pool.Ranges) > 0 {
			all[prefix] = s.engine.Leases.Usage(pool)
		}
	}
	return all
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
