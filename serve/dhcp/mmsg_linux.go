package dhcp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// vectors is what the kernel reads and writes in one call for many packets.
type vectors struct {
	headers []mmsghdr
	iov     []unix.Iovec
	names   []unix.RawSockaddrInet4
	control [][controlLen / 8]uint64 // aligned
}

// controlLen is that of a control message with an Inet4Pktinfo, aligned.
const controlLen = (unix.SizeofCmsghdr+7)&^7 + (unix.SizeofInet4Pktinfo+7)&^7

func newVectors(n int) *vectors {
	return &vectors{make([]mmsghdr, n), make([]unix.Iovec, n), make([]unix.RawSockaddrInet4, n), make([][controlLen / 8]uint64, n)}
}

// set points the i-th header to data, name and control message.
func (v *vectors) set(i int, data []byte) {
	v.iov[i].Base = unsafe.SliceData(data)
	v.iov[i].SetLen(len(data))
	h := &v.headers[i].hdr
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(&v.names[i])), unix.SizeofSockaddrInet4
	h.Iov = &v.iov[i]
	h.SetIovlen(1)
	h.Control = (*byte)(unsafe.Pointer(&v.control[i]))
	h.SetControllen(controlLen)
}

// inbox is the room for packets that are read at once.
type inbox struct {
	*vectors
	buf   []byte
	wait  bool
	count int
	errno unix.Errno
}

// readAll returns how many packets there are, at most inboxLen, and waits for the first if it is to; packet gives each,
// valid until the next readAll.
func (u *udpSocket) readAll(wait bool) (int, error) {
	in := &u.in
	in.wait = wait
	if in.vectors == nil {
		in.vectors, in.buf = newVectors(inboxLen), make([]byte, inboxLen*maxPacket)
	}
	for i := range inboxLen {
		in.set(i, in.buf[i*maxPacket:(i+1)*maxPacket])
	}
	err := u.raw.Read(u.receive)
	switch {
	case err != nil:
		return 0, err
	case in.errno == unix.EAGAIN:
		return 0, nil
	case in.errno != 0:
		return 0, in.errno
	}
	return in.count, nil
}

// receive is for the poller: false means that there is nothing yet.
func (u *udpSocket) receive(fd uintptr) bool {
	in := &u.in
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&in.headers[0])), inboxLen, unix.MSG_DONTWAIT, 0, 0)
		in.count, in.errno = int(n), errno
		if errno != unix.EINTR {
			return errno != unix.EAGAIN || !in.wait
		}
	}
}

// packet is the i-th that was read, and where it came from.
func (u *udpSocket) packet(i int) ([]byte, received) {
	in := &u.in
	name, h := &in.names[i], &in.headers[i]
	port := (*[2]byte)(unsafe.Pointer(&name.Port))
	r := received{arrival: arrival{from: netip.AddrPortFrom(netip.AddrFrom4(name.Addr), binary.BigEndian.Uint16(port[:])), pxe: u.pxe}}
	c := (*unix.Cmsghdr)(unsafe.Pointer(&in.control[i]))
	if int(h.hdr.Controllen) >= unix.SizeofCmsghdr+unix.SizeofInet4Pktinfo && c.Level == unix.IPPROTO_IP && c.Type == unix.IP_PKTINFO {
		info := (*unix.Inet4Pktinfo)(unsafe.Add(unsafe.Pointer(&in.control[i]), unix.SizeofCmsghdr))
		r.index, r.to = int(info.Ifindex), netip.AddrFrom4(info.Addr)
	}
	from := i * maxPacket
	return in.buf[from : from+int(h.len)], r
}

// sendAll sends packets to their destinations, as one call where it can, and returns what became of each.
func (u *udpSocket) sendAll(out []outgoing) []error {
	errs := make([]error, len(out))
	v := newVectors(len(out))
	for i := range out {
		v.set(i, out[i].data)
		v.names[i] = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: out[i].to.addr.Addr().As4()}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&v.names[i].Port))[:], out[i].to.addr.Port())
		c := (*unix.Cmsghdr)(unsafe.Pointer(&v.control[i]))
		c.Level, c.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		c.SetLen(unix.SizeofCmsghdr + unix.SizeofInet4Pktinfo)
		info := (*unix.Inet4Pktinfo)(unsafe.Add(unsafe.Pointer(&v.control[i]), unix.SizeofCmsghdr))
		info.Ifindex, info.Spec_dst = int32(out[i].to.iface.index), out[i].to.from.As4()
	}
	done := 0
	err := u.raw.Write(func(fd uintptr) bool {
		for done < len(out) {
			n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&v.headers[done])), uintptr(len(out)-done), unix.MSG_DONTWAIT, 0, 0)
			switch errno {
			case 0:
				done += int(n)
			case unix.EAGAIN:
				return false
			case unix.EINTR:
			default: // is of the first of them
				errs[done] = errno
				done++
			}
		}
		return true
	})
	for ; err != nil && done < len(out); done++ {
		errs[done] = err
	}
	return errs
}

// closed reports whether an error means that there is no socket any more.
func (u *udpSocket) closed(err error) bool { return errors.Is(err, net.ErrClosed) }

// send sends answers, in frames or by the kernel's routing, from the address and interface that the queries came to. It
// returns what became of each.
func (s *sockets) send(out []outgoing) []error {
	errs := make([]error, len(out))
	for i := 0; i < len(out); {
		if o := &out[i]; o.to.hw != nil && s.sendUnconfigured(o) {
			i++
			continue
		}
		u := s.socketOf(&out[i])
		if u == nil {
			errs[i] = errors.New("no socket on " + out[i].to.iface.name)
			i++
			continue
		}
		n := i + 1
		for n < len(out) && out[n].to.hw == nil && s.socketOf(&out[n]) == u {
			n++
		}
		copy(errs[i:], u.sendAll(out[i:n]))
		i = n
	}
	return errs
}

// sendUnconfigured sends to a machine that has no address yet. Where that fails, the answer is to be broadcast.
func (s *sockets) sendUnconfigured(o *outgoing) bool {
	from := netip.AddrPortFrom(o.to.from, s.engine.Ports.Server)
	err := s.sendFrame(ipv4(from, o.to.addr, o.data), unix.ETH_P_IP, o.to.iface.index, o.to.hw)
	if err != nil {
		s.engine.Log.Debug("frame not sent; broadcasting instead", "to", o.to.hw, "interface", o.to.iface.name, "error", err)
		o.to.addr = broadcast(o.to.addr.Port())
	}
	return err == nil
}

// socketOf is the socket that an answer leaves by.
func (s *sockets) socketOf(o *outgoing) *udpSocket {
	for _, u := range s.udp {
		if u.pxe == o.query.pxe && (u.device == "" || u.device == o.to.iface.name) {
			return u
		}
	}
	return nil
}
