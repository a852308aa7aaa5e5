package doctor

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// heard is a UDP packet for port 68, as it came.
type heard struct {
	data []byte // the DHCP message
	from netip.AddrPort
	hw   [6]byte // of the sender, zero where that is not seen
	at   time.Time
}

// wire sends as a machine without an address does, and hears what comes back, whomever it is for.
type wire struct {
	kind    string // how it listens
	send    func(message []byte, from, to netip.Addr) error
	packets chan heard
	close   func()

	mu         sync.Mutex
	fragmented map[netip.Addr]int // IP fragments by sender
}

// How a wire listens.
const (
	byPackets = "packets"
	byPort68  = "port 68"
)

// errRight says that this process may not do it.
var errRight = errors.New("the right is missing")

const (
	maxHeard     = 256 // packets that wait; more are dropped, as any socket does
	maxFragments = 64  // senders of fragments that are remembered
)

func newWire(kind string) *wire {
	return &wire{kind: kind, packets: make(chan heard, maxHeard), fragmented: map[netip.Addr]int{}}
}

// next returns a packet, or false at the end of ctx.
func (w *wire) next(ctx context.Context) (heard, bool) {
	select {
	case h := <-w.packets:
		return h, true
	case <-ctx.Done():
		return heard{}, false
	}
}

func (w *wire) put(h heard) {
	select {
	case w.packets <- h:
	default:
	}
}

// fragments is how many were seen from a host until now.
func (w *wire) fragments(from netip.Addr) int {
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fragmented[from]
}

func (w *wire) countFragment(from netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.fragmented[from]; known || len(w.fragmented) < maxFragments {
		w.fragmented[from]++
	}
}

// Offsets in an Ethernet frame with an IPv4 packet.
const (
	ethernetLen = 14
	etherIPv4   = 0x0800
	protocolUDP = 17
	clientPort  = 68
	serverPort  = 67
	pxePort     = 4011
)

// frame takes a frame apart: a DHCP message, or a fragment to be counted.
func (w *wire) frame(b []byte, at time.Time) {
	h, fragment, ok := parseFrame(b)
	switch {
	case !ok:
	case fragment:
		w.countFragment(h.from.Addr())
	default:
		h.at = at
		w.put(h)
	}
}

// parseFrame reads Ethernet, IPv4 and UDP headers. The data is a copy.
func parseFrame(b []byte) (h heard, fragment, ok bool) {
	const leastIP, udpLen = 20, 8
	if len(b) < ethernetLen+leastIP || binary.BigEndian.Uint16(b[12:]) != etherIPv4 {
		return h, false, false
	}
	copy(h.hw[:], b[6:])
	ip := b[ethernetLen:]
	n, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if ip[0]>>4 != 4 || n < leastIP || ip[9] != protocolUDP || total < n+udpLen && binary.BigEndian.Uint16(ip[6:])&0x3fff == 0 {
		return h, false, false
	}
	from := netip.AddrFrom4([4]byte(ip[12:16]))
	if binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
		h.from = netip.AddrPortFrom(from, 0)
		return h, true, true
	}
	if len(ip) < n+udpLen {
		return h, false, false
	}
	ip = ip[:min(len(ip), total)]
	udp := ip[n:]
	if binary.BigEndian.Uint16(udp[2:]) != clientPort {
		return h, false, false
	}
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if length < udpLen || length > len(udp) {
		return h, false, false
	}
	h.from = netip.AddrPortFrom(from, binary.BigEndian.Uint16(udp))
	h.data = append([]byte{}, udp[udpLen:length]...)
	return h, false, true
}

// datagram is an IPv4 packet from port 68 to port 67. The kernel fills in length, identification and checksum of the
// IP header; UDP's checksum is left out, which IPv4 allows.
func datagram(message []byte, from, to netip.Addr) []byte {
	const headers = 28
	p := make([]byte, headers, headers+len(message))
	p[0], p[8], p[9] = 0x45, 64, protocolUDP
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	binary.BigEndian.PutUint16(p[20:], clientPort)
	binary.BigEndian.PutUint16(p[22:], serverPort)
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(message)))
	return append(p, message...)
}

// ownMAC is the hardware address of the machines that are played on an interface: locally administered, always the
// same, so that servers do not learn a new machine at each run.
func ownMAC(real net.HardwareAddr) net.HardwareAddr {
	mac := net.HardwareAddr{0x02, 'd', 'r', 0, 0, 1}
	if len(real) == 6 {
		copy(mac[3:], real[3:])
	}
	return mac
}
