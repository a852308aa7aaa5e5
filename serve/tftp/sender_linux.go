package tftp

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// vectors is what the kernel reads while sending; it lives on the heap, in a transfer's buffer.
type vectors struct {
	headers [maxBatch][4]byte
	iov     [2 * maxBatch]unix.Iovec
	msg     unix.Msghdr
	many    []mmsghdr // only where there is no segmentation offload
	control [64]byte
	name    unix.RawSockaddrInet6 // or a RawSockaddrInet4 at its start
	from    unix.RawSockaddrInet6 // of recvfrom
	fromLen uint32
}

// reset drops the pointers into other memory.
func (v *vectors) reset() {
	clear(v.iov[:])
	clear(v.many)
	v.msg = unix.Msghdr{}
}

// udpSender sends to one address through a descriptor: single packets by sendmsg, batches as one datagram that the kernel
// or the card cuts (UDP_SEGMENT, Linux 4.18), and where that fails by sendmmsg.
type udpSender struct {
	fd      int
	vec     *vectors
	mtu     int // 0: unknown
	v6      bool
	nameLen uint32 // 0: connected
	source  int    // length of the control message that sets the source address
	whole   bool   // no segmentation
}

// rawName is a socket address as the kernel has it.
type rawName struct {
	raw    unix.RawSockaddrInet6
	length uint32
	v6     bool // the packets are IPv6
}

// sockaddr converts an address for a socket of family AF_INET6 if in6 is set, else AF_INET.
func sockaddr(a netip.AddrPort, iface int, in6 bool) rawName {
	n := rawName{v6: a.Addr().Is6()}
	port := a.Port()<<8 | a.Port()>>8
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		port = a.Port()
	}
	if !in6 {
		raw := (*unix.RawSockaddrInet4)(unsafe.Pointer(&n.raw))
		*raw = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: a.Addr().As4()}
		n.length = unix.SizeofSockaddrInet4
		return n
	}
	n.raw = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: a.Addr().As16()}
	if a.Addr().IsLinkLocalUnicast() && n.v6 {
		n.raw.Scope_id = uint32(iface)
	}
	n.length = unix.SizeofSockaddrInet6
	return n
}

func newSender(fd int, v *vectors, to rawName) *udpSender {
	v.name, v.control = to.raw, [64]byte{} // the buffer was another transfer's before
	return &udpSender{fd: fd, vec: v, v6: to.v6, nameLen: to.length}
}

// from makes packets leave from the address that the request came to.
func (s *udpSender) from(o origin) {
	if !o.local.IsValid() {
		return
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&s.vec.control[0]))
	data := unsafe.Pointer(&s.vec.control[unix.CmsgLen(0)])
	if s.v6 {
		h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
		h.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
		info := (*unix.Inet6Pktinfo)(data)
		info.Addr = o.local.As16()
		if o.local.IsLinkLocalUnicast() {
			info.Ifindex = uint32(o.iface)
		}
		s.source = unix.CmsgSpace(unix.SizeofInet6Pktinfo)
		return
	}
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	*(*unix.Inet4Pktinfo)(data) = unix.Inet4Pktinfo{Spec_dst: o.local.As4()}
	s.source = unix.CmsgSpace(unix.SizeofInet4Pktinfo)
}

// payload is what fits one packet of the path: the MTU without IP and UDP headers.
func (s *udpSender) payload() int {
	mtu := s.mtu
	if mtu == 0 {
		mtu = 1500
	}
	if s.v6 {
		return mtu - 48
	}
	return mtu - 28
}

// header fills one message header for iov[i:i+n].
func (s *udpSender) header(m *unix.Msghdr, i, n, control int) {
	v := s.vec
	*m = unix.Msghdr{}
	m.Iov = &v.iov[i]
	m.SetIovlen(n)
	if s.nameLen > 0 {
		m.Name = (*byte)(unsafe.Pointer(&v.name))
		m.Namelen = s.nameLen
	}
	if control > 0 {
		m.Control = &v.control[0]
		m.SetControllen(control)
	}
}

func (s *udpSender) send(p []byte) error {
	v := s.vec
	v.iov[0].Base = unsafe.SliceData(p)
	v.iov[0].SetLen(len(p))
	s.header(&v.msg, 0, 1, s.source)
	err := s.sendmsg()
	runtime.KeepAlive(p)
	return err
}

func (s *udpSender) blocks(first uint16, data []byte, block, count int) error {
	n := s.layout(first, data, block, count)
	if count == 1 {
		s.header(&s.vec.msg, 0, n, s.source)
		return s.sendmsg()
	}
	if !s.whole {
		s.header(&s.vec.msg, 0, n, s.segments(block+4))
		switch err := s.sendmsg(); err {
		case unix.EINVAL, unix.EIO, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EMSGSIZE:
			s.whole = true // no offload here, or blocks that the path must fragment
		default:
			return err
		}
	}
	return s.sendmmsg(count, n)
}

// layout points the vector at header and content of each block in turn and returns its length.
func (s *udpSender) layout(first uint16, data []byte, block, count int) int {
	v, n := s.vec, 0
	for i := range count {
		number := first + uint16(i)
		v.headers[i] = [4]byte{0, opData, byte(number >> 8), byte(number)}
		v.iov[n].Base = &v.headers[i][0]
		v.iov[n].SetLen(4)
		n++
		if size := min(block, len(data)); size > 0 {
			v.iov[n].Base = &data[0]
			v.iov[n].SetLen(size)
			data = data[size:]
			n++
		}
	}
	return n
}

// segments adds the control message that cuts a batch, and returns the length of all control messages.
func (s *udpSender) segments(size int) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&s.vec.control[s.source]))
	h.Level, h.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(s.vec.control[s.source+unix.CmsgLen(0):], uint16(size))
	return s.source + unix.CmsgSpace(2)
}

// attempts bounds what one send retries: a pending report about an earlier packet, an interrupt, a full socket buffer.
const attempts = 4

func (s *udpSender) sendmsg() error {
	_, err := s.retry(func() (int, unix.Errno) {
		n, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.vec.msg)), unix.MSG_NOSIGNAL)
		return int(n), errno
	})
	return err
}

// sendmmsg sends count messages, all but the last of two vectors.
func (s *udpSender) sendmmsg(count, vectors int) error {
	v := s.vec
	if v.many == nil {
		v.many = make([]mmsghdr, maxBatch)
	}
	for i := range count {
		s.header(&v.many[i].hdr, 2*i, min(2, vectors-2*i), s.source)
	}
	for done := 0; done < count; {
		n, err := s.retry(func() (int, unix.Errno) {
			n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&v.many[done])), uintptr(count-done), unix.MSG_NOSIGNAL, 0, 0)
			return int(n), errno
		})
		if err != nil {
			return err
		}
		done += n
	}
	return nil
}

// retry repeats a call that failed for a passing reason.
func (s *udpSender) retry(call func() (int, unix.Errno)) (int, error) {
	for i := 0; ; i++ {
		n, errno := call()
		switch {
		case errno == 0:
			return n, nil
		case errno == unix.EPIPE:
			return 0, errStopped // shut down by stop
		case errno == unix.ECONNREFUSED && s.nameLen == 0:
			return 0, errGone
		case i == attempts:
			return 0, errno
		case errno == unix.EAGAIN:
			unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, 100)
		case errno != unix.EINTR && errno != unix.ECONNREFUSED && errno != unix.EHOSTUNREACH:
			return 0, errno
		}
	}
}
