package tftp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// readBatch is how many datagrams one system call takes from the listening socket.
const readBatch = 32

// listen prepares a socket: a UDP socket tells which address each packet came to, shares its port with the transfers'
// sockets and is read in batches; any other is used as it is.
func listen(conn net.PacketConn) (listener, error) {
	u, ok := conn.(*net.UDPConn)
	if !ok {
		return &plain{conn: conn}, nil
	}
	l := &udpListener{conn: u, batch: ipv4.NewPacketConn(u)}
	for i := range l.messages {
		l.messages[i] = ipv4.Message{Buffers: [][]byte{make([]byte, maxRequest+1)}, OOB: make([]byte, 128)}
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = l.setup(int(fd)) }); err != nil {
		return nil, err
	}
	return l, inner
}

// udpListener is a listener on a UDP socket of Linux.
type udpListener struct {
	conn     *net.UDPConn
	batch    *ipv4.PacketConn
	fd       int // a duplicate: the caller may close conn while transfers still send
	device   string
	port     int
	messages [readBatch]ipv4.Message
	packets  [readBatch]packet
}

func (l *udpListener) setup(fd int) error {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1); err != nil {
		return fmt.Errorf("setting IP_PKTINFO: %w", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		l.port = sa.Port
	case *unix.SockaddrInet6:
		l.port = sa.Port
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
			return fmt.Errorf("setting IPV6_RECVPKTINFO: %w", err)
		}
	}
	// The transfers' sockets bind the same port (single-port mode): the kernel wants this on both sides.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("setting SO_REUSEADDR: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("setting SO_TIMESTAMPNS: %w", err)
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20) // a rack powers on at once; less is no error
	l.device, _ = unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
	l.fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	return err
}

func (l *udpListener) close() { unix.Close(l.fd) }

func (l *udpListener) read() ([]packet, error) {
	n, err := l.batch.ReadBatch(l.messages[:], 0)
	if err != nil {
		return nil, err
	}
	for i := range n {
		m := &l.messages[i]
		p := &l.packets[i]
		*p = packet{origin: origin{client: addrPort(m.Addr)}, data: m.Buffers[0][:m.N]}
		p.readControl(m.OOB[:m.NN])
	}
	return l.packets[:n], nil
}

// readControl reads when a packet came and the address and interface that it came to. For a broadcast that is the address
// to answer from; a multicast group is no address to answer from and left out.
func (p *packet) readControl(oob []byte) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})):
			p.came = (*unix.Timespec)(unsafe.Pointer(&m.Data[0])).Nano()
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&m.Data[0]))
			p.local, p.iface = localIPv4(info), int(info.Ifindex)
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo && !p.local.IsValid():
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&m.Data[0]))
			p.iface = int(info.Ifindex)
			if a := netip.AddrFrom16(info.Addr).Unmap(); !a.IsMulticast() {
				p.local = a
			}
		}
	}
}

// localIPv4 is where to answer from. The kernel leaves that out for packets that were queued before it was asked to tell:
// then it is the address in the packet, if that is a host's.
func localIPv4(info *unix.Inet4Pktinfo) netip.Addr {
	local := netip.AddrFrom4(info.Spec_dst)
	if local.IsUnspecified() {
		local = netip.AddrFrom4(info.Addr)
	}
	if local.IsMulticast() || local == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}
	}
	return local
}

func (l *udpListener) reply(to origin, p []byte) error {
	s := newSender(l.fd, &vectors{}, sockaddr(to.client, to.iface, l.family6(to.client.Addr())))
	s.from(to)
	return s.send(p)
}

// family6 reports whether packets to a leave through an IPv6 socket, which takes IPv4 addresses in mapped form.
func (l *udpListener) family6(a netip.Addr) bool {
	return a.Is6() || l.conn.LocalAddr().(*net.UDPAddr).IP.To4() == nil
}

// dial makes the link of one transfer.
func (l *udpListener) dial(e *engine, o origin, b *buffer) (link, error) {
	if !e.SinglePort {
		return newSocket(e, l, o, b, 0)
	}
	if e.oneSocket {
		return l.shared(o, b), nil
	}
	s, err := newSocket(e, l, o, b, l.port)
	if err == nil || !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EADDRINUSE) {
		return s, err
	}
	e.slowOnce.Do(func() {
		e.log.Warn("tftp single-port transfers share one socket, which is slower; give the process CAP_NET_BIND_SERVICE", "error", err)
	})
	return l.shared(o, b), nil
}

// shared is the link of a transfer that may not have a socket of its own on the port.
func (l *udpListener) shared(o origin, b *buffer) link {
	s := newSender(l.fd, &b.vec, sockaddr(o.client, o.iface, l.family6(o.client.Addr())))
	s.from(o)
	s.mtu = pathMTU(o)
	return newMailbox(o, b, s)
}
