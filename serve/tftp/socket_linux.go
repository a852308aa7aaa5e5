package tftp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// threadsAtOnce transfers wait inside the kernel, each in a thread of its own: that answers an acknowledgement in about
// half the time of Go's poller. With more of them at once the poller is better, and threads would cost memory.
const threadsAtOnce = 16

// timeoutStep rounds waits up, so that the kernel is told of a new one rarely.
const timeoutStep = 4 * time.Millisecond

// socket is a link with a UDP socket of its own.
//
// On a port of its own it is not connected, so that packets of strangers arrive and are answered with error 5. On the
// listening port it is connected: the kernel brings it this client's packets and nothing else.
type socket struct {
	*udpSender
	buf     *buffer
	engine  *engine
	origin  origin
	peer    rawName
	wait    time.Duration // that the kernel knows
	poller  *os.File      // owns the descriptor once the poller is used
	rawConn syscall.RawConn
	poll    func(fd uintptr) bool
	alarm   time.Time // of the poller, lazily moved
	got     int
	gotErr  error
	strays  int // strangers answered

	ended  atomic.Bool
	mu     sync.Mutex // stop against close
	closed bool
}

// newSocket binds the address that the request came to and a port, 0 for any.
func newSocket(e *engine, l *udpListener, o origin, b *buffer, port int) (link, error) {
	family := unix.AF_INET
	if o.client.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a socket: %w", err)
	}
	s := &socket{buf: b, engine: e, origin: o, peer: sockaddr(o.client, o.iface, family == unix.AF_INET6)}
	s.udpSender = newSender(fd, &b.vec, s.peer)
	if err := s.prepare(l, o, family, port); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func (s *socket) prepare(l *udpListener, o origin, family, port int) error {
	if family == unix.AF_INET6 {
		unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if l.device != "" {
		if err := unix.BindToDevice(s.fd, l.device); err != nil {
			return fmt.Errorf("binding to device %s: %w", l.device, err)
		}
	}
	if port != 0 {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
	}
	local := netip.AddrPortFrom(o.local, uint16(port))
	if !o.local.IsValid() {
		local = netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port))
		if family == unix.AF_INET6 {
			local = netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port))
		}
	}
	here := sockaddr(local, o.iface, family == unix.AF_INET6)
	if err := call(unix.SYS_BIND, s.fd, &here); err != nil {
		return fmt.Errorf("binding %v: %w", local, err)
	}
	s.mtu = pathMTU(o)
	unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 1})
	s.arrived() // the kernel notes it from the first question on
	if port == 0 {
		return s.reportErrors(family)
	}
	if err := call(unix.SYS_CONNECT, s.fd, &s.peer); err != nil {
		return fmt.Errorf("connecting to %v: %w", o.client, err)
	}
	s.nameLen = 0
	return s.giveBack()
}

// reportErrors makes an unconnected socket hear of ICMP errors, so that a client that is gone is noticed.
func (s *socket) reportErrors(family int) error {
	if family == unix.AF_INET6 {
		return unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
	}
	return unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
}

// giveBack hands packets of others that came between bind and connect to the server. A processor that was just looking for
// their socket may still bring one later: recv and close do the same.
func (s *socket) giveBack() error {
	for range 4 * readBatch {
		n, errno := s.recvRaw(unix.MSG_DONTWAIT)
		if errno != 0 {
			break
		}
		if !s.fromPeer() { // the client's own is a copy of its request, repeated if it matters
			s.engine.handle(s.received(n), time.Now())
		}
	}
	return nil
}

// received is the last packet as one of the listening socket.
func (s *socket) received(n int) packet {
	p := packet{origin: s.origin, data: append([]byte(nil), s.buf.in[:n]...)}
	if s.fromPeer() {
		return p
	}
	p.origin = origin{client: addrOf(&s.vec.from), local: s.origin.local}
	if p.client.Addr().Is6() {
		p.iface = int(s.vec.from.Scope_id) // set for link-local addresses, which need it
	}
	if !p.local.IsValid() {
		p.local = s.localAddr()
	}
	return p
}

// call is bind or connect.
func call(number uintptr, fd int, name *rawName) error {
	if _, _, errno := unix.Syscall(number, uintptr(fd), uintptr(unsafe.Pointer(&name.raw)), uintptr(name.length)); errno != 0 {
		return errno
	}
	return nil
}

// pathMTU asks the kernel, by a socket connected as the transfer's packets will be routed; 0 if it does not know.
func pathMTU(o origin) int {
	family, level, option := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU
	if o.client.Addr().Is6() {
		family, level, option = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	if o.local.IsValid() {
		here := sockaddr(netip.AddrPortFrom(o.local, 0), o.iface, family == unix.AF_INET6)
		call(unix.SYS_BIND, fd, &here)
	}
	there := sockaddr(o.client, o.iface, family == unix.AF_INET6)
	if err := call(unix.SYS_CONNECT, fd, &there); err != nil {
		return 0
	}
	mtu, err := unix.GetsockoptInt(fd, level, option)
	if err != nil {
		return 0
	}
	return mtu
}

// addrOf reads an address the kernel wrote.
func addrOf(raw *unix.RawSockaddrInet6) netip.AddrPort {
	p := (*[2]byte)(unsafe.Pointer(&raw.Port))
	port := binary.BigEndian.Uint16(p[:])
	if raw.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(raw)).Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(raw.Addr).Unmap(), port)
}

func (s *socket) localAddr() netip.Addr {
	raw, size := unix.RawSockaddrInet6{}, uint32(unix.SizeofSockaddrInet6)
	unix.Syscall(unix.SYS_GETSOCKNAME, uintptr(s.fd), uintptr(unsafe.Pointer(&raw)), uintptr(unsafe.Pointer(&size)))
	return addrOf(&raw).Addr()
}

// recvRaw is recvfrom(2) into the buffer.
func (s *socket) recvRaw(flags int) (int, unix.Errno) {
	v, p := s.vec, &s.buf.in
	v.fromLen = unix.SizeofSockaddrInet6
	n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(s.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), uintptr(flags),
		uintptr(unsafe.Pointer(&v.from)), uintptr(unsafe.Pointer(&v.fromLen)))
	return int(n), errno
}

// arrived is when the kernel received the last packet.
func (s *socket) arrived() int64 {
	var at unix.Timespec
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s.fd), unix.SIOCGSTAMPNS, uintptr(unsafe.Pointer(&at))); errno != 0 {
		return 0
	}
	return at.Nano()
}

// fromPeer compares the sender of the last packet, without building addresses.
func (s *socket) fromPeer() bool {
	a, b := &s.vec.from, &s.peer.raw
	if a.Family != b.Family || a.Port != b.Port {
		return false
	}
	if a.Family == unix.AF_INET {
		return (*unix.RawSockaddrInet4)(unsafe.Pointer(a)).Addr == (*unix.RawSockaddrInet4)(unsafe.Pointer(b)).Addr
	}
	return a.Addr == b.Addr
}

func (s *socket) recv(wait time.Duration) ([]byte, error) {
	deadline := time.Time{}
	for {
		if s.ended.Load() {
			return nil, errStopped
		}
		n, errno := s.await(wait)
		switch {
		case s.ended.Load():
			return nil, errStopped
		case errno == 0 && s.fromPeer():
			return s.buf.in[:n], nil
		case errno == 0:
			s.stranger(n)
		case errno == unix.EAGAIN:
			return nil, errTimeout
		case errno != unix.EINTR:
			if s.gone(errno) {
				return nil, errGone
			}
		}
		// Something else than the client's answer: it must not lengthen the wait.
		if deadline.IsZero() {
			deadline = time.Now().Add(wait)
		}
		if wait = time.Until(deadline); wait <= 0 {
			return nil, errTimeout
		}
	}
}

// await is one wait for a packet, in the kernel or in the poller.
func (s *socket) await(wait time.Duration) (int, unix.Errno) {
	if s.poller == nil && s.engine.active.Load() > threadsAtOnce {
		s.toPoller()
	}
	if s.poller != nil {
		return s.awaitPoller(wait)
	}
	wait = (wait + timeoutStep - 1) / timeoutStep * timeoutStep
	if wait != s.wait {
		tv := unix.NsecToTimeval(int64(wait))
		if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return 0, unix.EINVAL
		}
		s.wait = wait
	}
	return s.recvRaw(0)
}

// toPoller moves the descriptor into Go's poller, for the rest of the transfer.
func (s *socket) toPoller() {
	unix.SetNonblock(s.fd, true)
	s.mu.Lock()
	s.poller = os.NewFile(uintptr(s.fd), "tftp")
	s.mu.Unlock()
	s.rawConn, _ = s.poller.SyscallConn()
	s.poll = func(uintptr) bool {
		n, errno := s.recvRaw(unix.MSG_DONTWAIT)
		s.got, s.gotErr = n, errno
		return errno != unix.EAGAIN || s.ended.Load()
	}
}

func (s *socket) awaitPoller(wait time.Duration) (int, unix.Errno) {
	deadline := time.Now().Add(wait)
	for {
		if s.alarm.IsZero() || s.alarm.After(deadline) {
			s.alarm = deadline
			s.poller.SetReadDeadline(deadline)
		}
		switch err := s.rawConn.Read(s.poll); {
		case err == nil:
			errno, _ := s.gotErr.(unix.Errno)
			return s.got, errno
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.alarm = time.Time{}
			if !time.Now().Before(deadline) {
				return 0, unix.EAGAIN
			}
		default:
			return 0, unix.EAGAIN
		}
	}
}

// maxStrays bounds the answers to packets of strangers in one transfer.
const maxStrays = 16

// stranger answers a packet that is not the client's (RFC 1350 section 4), but never an ERROR. On the listening port it
// is the server's.
func (s *socket) stranger(n int) {
	if s.nameLen == 0 {
		s.engine.handle(s.received(n), time.Now())
		return
	}
	from := addrOf(&s.vec.from)
	if opcode(s.buf.in[:n]) == opError || s.strays == maxStrays {
		return
	}
	s.strays++
	to := rawName{raw: s.vec.from, length: s.vec.fromLen, v6: from.Addr().Is6()}
	newSender(s.fd, &vectors{}, to).send(errorPacket(&Error{CodeUnknownTID, "unknown transfer ID"}))
}

// gone reads why the socket reports an error and tells whether the client's port is closed. Other errors, an unreachable
// host or a stranger's closed port, pass.
func (s *socket) gone(errno unix.Errno) bool {
	if s.nameLen == 0 {
		return errno == unix.ECONNREFUSED
	}
	refused := false
	for range 8 {
		n, _ := s.recvRaw(unix.MSG_ERRQUEUE | unix.MSG_DONTWAIT)
		if n < 0 {
			break
		}
		refused = refused || errno == unix.ECONNREFUSED && s.fromPeer()
	}
	return refused
}

func (s *socket) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended.Store(true)
	if !s.closed {
		unix.Shutdown(s.fd, unix.SHUT_RD) // wakes a recvfrom, though it returns ENOTCONN on an unconnected socket
	}
}

func (s *socket) close() []packet {
	s.mu.Lock()
	defer s.mu.Unlock()
	shared := s.nameLen == 0
	if shared {
		s.detach()
	}
	var unread []packet
	for range 4 * readBatch {
		n, errno := s.recvRaw(unix.MSG_DONTWAIT)
		if errno != 0 || n == 0 {
			break
		}
		if mine := s.fromPeer(); mine && opcode(s.buf.in[:n]) == opRead || !mine && shared {
			unread = append(unread, s.received(n))
		}
	}
	s.closed = true
	if s.poller != nil {
		s.poller.Close()
	} else {
		unix.Close(s.fd)
	}
	return unread
}

// discardPort is a peer that never sends (RFC 863).
const discardPort = 9

// detach connects the socket to itself, so that the client's next request, which may follow at once, comes to the listening
// socket and not to this one between its last read and its end.
func (s *socket) detach() {
	nowhere := sockaddr(netip.AddrPortFrom(s.localAddr(), discardPort), s.origin.iface, s.v6)
	call(unix.SYS_CONNECT, s.fd, &nowhere)
}
