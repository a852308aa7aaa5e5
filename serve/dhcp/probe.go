package dhcp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"hooksmith/serve/event"
	"hooksmith/serve/lease"
)

// A probe asks by ARP whether an address that is being offered is in use (RFC 5227: sender 0.0.0.0), by a machine with a
// static address or another server's client. It runs beside the OFFER and the writing of the lease, so that nobody waits
// for it: machines on the link answer within a millisecond, before the ACK. An answer puts the address away and turns
// the ACK into a NAK. One that comes later than the ACK puts the address away for the next; the lease ends unrenewed.
//
// Only addresses of pools are asked for, and only when the client does not have the lease already: reservations
// are the hardware data's word. Behind a relay there is no ARP; there the client's own DECLINE must do.
type probe struct {
	client  string // lease key
	hw      net.HardwareAddr
	prefix  netip.Prefix
	iface   *iface
	until   time.Time
	taken   bool
	takenBy string
}

const (
	probeTime = 5 * time.Second
	maxProbes = 1024
)

// probes is the addresses that are asked for at the moment.
type probes struct {
	sync.Mutex
	watched map[netip.Addr]*probe
	send    func(ip netip.Addr, on *iface) // nil: no ARP here
}

// probe starts to ask for an address that is about to be offered.
func (x *exchange) probe(a assignment) {
	if x.gateway.IsValid() || len(x.iface.mac) != 6 {
		return
	}
	if l, ok := x.Leases.LookupIP(a.ip); ok && l.MAC == x.id && l.State == lease.Active {
		return
	}
	x.probes.start(a.ip, &probe{client: x.id, hw: x.ClientHWAddr, prefix: a.subnet.Prefix, iface: x.iface, until: x.now.Add(probeTime)}, x.now)
}

func (p *probes) start(ip netip.Addr, new *probe, now time.Time) {
	p.Lock()
	defer p.Unlock()
	if p.send == nil {
		return
	}
	if old := p.watched[ip]; old != nil && now.Before(old.until) && old.client == new.client {
		return
	}
	if len(p.watched) >= maxProbes {
		for each, w := range p.watched {
			if now.After(w.until) {
				delete(p.watched, each)
			}
		}
		if len(p.watched) >= maxProbes {
			return
		}
	}
	p.watched[ip] = new
	p.send(ip, new.iface)
}

// again asks a second time, for an answer that was lost.
func (p *probes) again(ip netip.Addr, now time.Time) {
	p.Lock()
	defer p.Unlock()
	if w := p.watched[ip]; w != nil && now.Before(w.until) && !w.taken {
		p.send(ip, w.iface)
	}
}

// conflict reports whether somebody answered.
func (p *probes) conflict(ip netip.Addr, now time.Time) bool {
	p.Lock()
	defer p.Unlock()
	w := p.watched[ip]
	return w != nil && w.taken && now.Before(w.until)
}

// seen takes the sender of an ARP packet and returns the probe that it ends, nil if it ends none.
func (p *probes) seen(ip netip.Addr, hw net.HardwareAddr, index int, now time.Time) *probe {
	p.Lock()
	defer p.Unlock()
	w := p.watched[ip]
	if w == nil || w.taken || now.After(w.until) || index != w.iface.index || bytes.Equal(hw, w.hw) || bytes.Equal(hw, w.iface.mac) {
		return nil
	}
	w.taken, w.takenBy = true, hw.String()
	found := *w
	return &found
}

// inUse is called for the sender of every ARP packet.
func (e *engine) inUse(ctx context.Context, ip netip.Addr, hw net.HardwareAddr, index int) {
	now := e.Now()
	w := e.probes.seen(ip, hw, index, now)
	if w == nil {
		return
	}
	err := e.Leases.Decline(ctx, w.client, ip)
	if errors.Is(err, lease.ErrNotHeld) {
		err = e.Leases.Quarantine(ctx, ip, w.prefix)
	}
	detail := ip.String() + " of the pool is in use by " + w.takenBy + ", which did not get it from this server; the address is put away for a while"
	if err != nil {
		e.Log.Error("an address in use could not be put away", "ip", ip, "used_by", w.takenBy, "error", err)
	}
	e.Log.Warn("dhcp address in use", "mac", w.client, "ip", ip, "used_by", w.takenBy, "interface", w.iface.name)
	mac := w.client
	if len(w.hw) != 6 {
		mac = ""
	}
	e.Events(event.Event{Time: now, Kind: event.Decline, MAC: mac, IP: ip.String(), Peer: w.takenBy, Detail: detail})
}

// arpProbe is the ARP packet that asks who has ip.
func arpProbe(ip netip.Addr, mac []byte) []byte {
	p := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	p = append(p, mac...)
	p = append(p, 0, 0, 0, 0)
	p = append(p, make([]byte, 6)...)
	return append(p, ip.AsSlice()...)
}

// arpSender reads who sent an ARP packet for IPv4 over Ethernet.
func arpSender(p []byte) (ip netip.Addr, hw net.HardwareAddr, ok bool) {
	if len(p) < 28 || !bytes.Equal(p[:6], []byte{0, 1, 8, 0, 6, 4}) {
		return ip, nil, false
	}
	ip = addrOf(p[14:18])
	return ip, bytes.Clone(p[8:14]), ip.IsValid()
}
