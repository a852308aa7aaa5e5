package storm

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// relay carries the machines' DHCP (RFC 2131 4.1, RFC 1542): one socket on the
// port that servers answer relays on, and answers told apart by xid.
type relay struct {
	conn   *net.UDPConn
	server netip.AddrPort
	giaddr netip.Addr

	mu      sync.Mutex
	waiting map[dhcpv4.TransactionID]chan *dhcpv4.DHCPv4
	done    chan struct{}
}

func listenRelay(server, giaddr netip.Addr) (*relay, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(giaddr, 67)))
	if err != nil {
		return nil, fmt.Errorf("storm: the relay's socket: %w", err)
	}
	_ = conn.SetReadBuffer(4 << 20)
	r := &relay{conn: conn, server: netip.AddrPortFrom(server, 67), giaddr: giaddr,
		waiting: map[dhcpv4.TransactionID]chan *dhcpv4.DHCPv4{}, done: make(chan struct{})}
	go r.read()
	return r, nil
}

func (r *relay) close() {
	_ = r.conn.Close()
	<-r.done
}

func (r *relay) read() {
	defer close(r.done)
	buf := make([]byte, 4096)
	for {
		n, err := r.conn.Read(buf)
		if err != nil {
			return
		}
		p, err := dhcpv4.FromBytes(buf[:n])
		if err != nil || p.OpCode != dhcpv4.OpcodeBootReply {
			continue
		}
		r.mu.Lock()
		ch := r.waiting[p.TransactionID]
		r.mu.Unlock()
		select {
		case ch <- p: // nil if nobody waits, which is never ready
		default:
		}
	}
}

// ask sends a packet, again after one, two, four... seconds as clients do,
// until there is an answer of one of the types.
func (r *relay) ask(ctx context.Context, p *dhcpv4.DHCPv4, want ...dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	p.GatewayIPAddr = r.giaddr.AsSlice()
	p.HopCount = 1
	ch := make(chan *dhcpv4.DHCPv4, 4)
	r.mu.Lock()
	r.waiting[p.TransactionID] = ch
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.waiting, p.TransactionID)
	}()
	for pause := time.Second; ; pause = min(2*pause, 16*time.Second) {
		if _, err := r.conn.WriteToUDPAddrPort(p.ToBytes(), r.server); err != nil {
			return nil, err
		}
		timer := time.NewTimer(pause)
		answer, err := await(ctx, ch, timer.C, want)
		timer.Stop()
		if answer != nil || err != nil {
			return answer, err
		}
	}
}

// await returns nothing when time is up.
func await(ctx context.Context, ch <-chan *dhcpv4.DHCPv4, up <-chan time.Time, want []dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	for {
		select {
		case p := <-ch:
			for _, t := range want {
				if p.MessageType() == t {
					return p, nil
				}
			}
			if p.MessageType() == dhcpv4.MessageTypeNak {
				return nil, fmt.Errorf("NAK: %s", p.Message())
			}
		case <-up:
			return nil, nil
		case <-ctx.Done():
			return nil, fmt.Errorf("no answer: %w", ctx.Err())
		}
	}
}
