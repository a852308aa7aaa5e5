package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sockets is everything that the server has open.
type sockets struct {
	counters
	engine *engine
	udp    []*udpSocket // ports 67 and 4011, one per named interface or one for all
	raw    int          // sends frames
	arp    *packetFile  // nil: no pool
	links  *packetFile  // tells of changes of interfaces
	told   map[string]bool
	once   sync.Once
}

// udpSocket receives and answers on one port.
type udpSocket struct {
	conn   *net.UDPConn
	raw    syscall.RawConn // of conn
	device string          // "": all
	index  int             // that device is bound by
	pxe    bool
	in     inbox
}

// received is where a packet came from, before the interface is looked up.
type received struct {
	arrival
	index int
}

// listen opens all sockets or none.
func listen(e *engine) (*sockets, error) {
	s := &sockets{engine: e, raw: -1, told: map[string]bool{}}
	if err := s.open(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *sockets) open() (err error) {
	if s.raw, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return fmt.Errorf("dhcp: opening a packet socket, which needs CAP_NET_RAW: %w", err)
	}
	if s.links, err = openLinks(); err != nil {
		return fmt.Errorf("dhcp: following the network interfaces: %w", err)
	}
	if slices.ContainsFunc(s.engine.Subnets, func(n Subnet) bool { return len(n.Pools) > 0 }) && !s.engine.Mode.proxy() {
		if s.arp, err = openARP(); err != nil {
			return fmt.Errorf("dhcp: opening a packet socket for ARP, which needs CAP_NET_RAW: %w", err)
		}
		s.engine.probes.send = s.sendARP
	}
	if err := s.refresh(); err != nil {
		return err
	}
	devices := s.engine.Interfaces
	if len(devices) == 0 {
		devices = []string{""}
	}
	for _, device := range devices {
		for _, port := range []uint16{s.engine.Ports.Server, s.engine.Ports.PXE} {
			u, err := listenUDP(device, port)
			if err != nil {
				return s.explain(err, device, port)
			}
			u.pxe = port == s.engine.Ports.PXE
			s.udp = append(s.udp, u)
		}
	}
	return s.refresh()
}

func (s *sockets) explain(err error, device string, port uint16) error {
	switch {
	case errors.Is(err, unix.ENODEV):
		var names []string
		for _, i := range s.engine.current.Load().ifaces {
			names = append(names, i.name)
		}
		slices.Sort(names)
		return fmt.Errorf("dhcp: there is no interface %s; there are %s", device, strings.Join(names, ", "))
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("dhcp: another program has UDP port %d (see ss -ulpn 'sport = :%d'): %w", port, port, err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("dhcp: UDP port %d needs CAP_NET_BIND_SERVICE, an interface CAP_NET_RAW: %w", port, err)
	}
	return fmt.Errorf("dhcp: listening on UDP port %d: %w", port, err)
}

// receiveBuffer holds about a thousand packets.
const receiveBuffer = 1 << 20

// listenUDP binds a port on a device. Other programs may have the same port on other devices.
func listenUDP(device string, port uint16) (*udpSocket, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var errs []error
		err := c.Control(func(fd uintptr) {
			set := func(level, option int) {
				errs = append(errs, unix.SetsockoptInt(int(fd), level, option, 1))
			}
			set(unix.SOL_SOCKET, unix.SO_REUSEADDR)
			set(unix.SOL_SOCKET, unix.SO_BROADCAST)
			set(unix.IPPROTO_IP, unix.IP_PKTINFO)
			// A hall of machines powers on at once. The system may allow less to who is not root.
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
			}
			if device != "" {
				errs = append(errs, unix.BindToDevice(int(fd), device))
			}
		})
		return errors.Join(append(errs, err)...)
	}}
	conn, err := config.ListenPacket(context.Background(), "udp4", fmt.Sprintf("0.0.0.0:%d", port))
	if err != nil {
		return nil, err
	}
	u := &udpSocket{conn: conn.(*net.UDPConn), device: device}
	if u.raw, err = u.conn.SyscallConn(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return u, nil
}

// sendFrame sends a packet in an Ethernet frame.
func (s *sockets) sendFrame(packet []byte, protocol uint16, index int, to net.HardwareAddr) error {
	name := unix.SockaddrLinklayer{Protocol: protocol<<8 | protocol>>8, Ifindex: index, Halen: 6}
	copy(name.Addr[:], to)
	return unix.Sendto(s.raw, packet, unix.MSG_DONTWAIT, &name)
}

func (s *sockets) sendARP(ip netip.Addr, on *iface) {
	everybody := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if err := s.sendFrame(arpProbe(ip, on.mac), unix.ETH_P_ARP, on.index, everybody); err != nil {
		s.engine.Log.Debug("arp probe not sent", "ip", ip, "interface", on.name, "error", err)
	}
}

// refresh takes note of the interfaces as they are. A named one that was made anew gets its sockets back.
func (s *sockets) refresh() error {
	all, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("dhcp: listing the network interfaces: %w", err)
	}
	var ifaces []*iface
	for _, n := range all {
		if i := describe(n); i != nil {
			ifaces = append(ifaces, i)
		}
	}
	h := newHost(ifaces)
	s.tellChanges(s.engine.current.Swap(h), h)
	for _, u := range s.udp {
		for _, i := range ifaces {
			if i.name == u.device && i.index != u.index {
				u.bind(i, s.engine)
			}
		}
	}
	return nil
}

// tellChanges logs what happened to the addresses of interfaces that are served.
func (s *sockets) tellChanges(before, after *host) {
	if len(s.udp) == 0 {
		return // not listening yet: the second refresh of open tells
	}
	for _, name := range s.engine.Interfaces {
		old, now := before.addrsOf(name), after.addrsOf(name)
		switch {
		case s.told[name] && slices.Equal(old, now):
		case len(now) == 0:
			s.engine.Log.Warn("the interface has no IPv4 address: no DHCP there until it has one", "interface", name)
		case s.told[name]:
			s.engine.Log.Info("the interface's addresses changed", "interface", name, "addresses", fmt.Sprint(now))
		}
		s.told[name] = true
	}
}

// bind ties the socket to the device by its new index; the port stays bound meanwhile.
func (u *udpSocket) bind(i *iface, e *engine) {
	var err error
	if control := u.raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), i.name) }); control != nil {
		err = control
	}
	if err != nil {
		e.Log.Error("the interface was made anew and cannot be served; CAP_NET_RAW is needed", "interface", i.name, "error", err)
		return
	}
	if u.index != 0 {
		e.Log.Info("the interface was made anew", "interface", i.name)
	}
	u.index = i.index
}

func describe(n net.Interface) *iface {
	addrs, err := n.Addrs()
	if err != nil {
		return nil // gone meanwhile
	}
	i := &iface{index: n.Index, name: n.Name, mtu: n.MTU, loopback: n.Flags&net.FlagLoopback != 0}
	if n.Flags&net.FlagBroadcast != 0 && len(n.HardwareAddr) == 6 {
		i.mac = n.HardwareAddr
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			i.addrs = append(i.addrs, p)
		}
	}
	i.addrs = inOrder(i.addrs)
	return i
}

// follow refreshes when the kernel says that interfaces changed, and now and then in case that it did not.
func (s *sockets) follow(ctx context.Context) {
	changed := make(chan struct{}, 1)
	var reader sync.WaitGroup
	reader.Go(func() {
		s.links.readAll(func([]byte, int) {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	})
	defer reader.Wait()
	tick := time.NewTicker(15 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.links.wake()
			return
		case <-changed:
		case <-tick.C:
		}
		if err := s.refresh(); err != nil {
			s.engine.Log.Warn("network interfaces", "error", err)
		}
	}
}

// readARP hears who uses which address, until ctx ends.
func (s *sockets) readARP(ctx context.Context) {
	if s.arp == nil {
		return
	}
	defer context.AfterFunc(ctx, s.arp.wake)()
	s.arp.readAll(func(p []byte, index int) {
		if ip, hw, ok := arpSender(p); ok {
			s.engine.inUse(context.WithoutCancel(ctx), ip, hw, index)
		}
	})
}

func (s *sockets) names() (names []string) {
	for _, u := range s.udp {
		if !u.pxe {
			names = append(names, map[bool]string{true: "all interfaces", false: u.device}[u.device == ""])
		}
	}
	return names
}

// wake makes the readers look at their context.
func (s *sockets) wake() {
	for _, u := range s.udp {
		u.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

func (s *sockets) close() (err error) {
	s.once.Do(func() {
		var errs []error
		for _, u := range s.udp {
			errs = append(errs, u.conn.Close())
		}
		for _, f := range []*packetFile{s.arp, s.links} {
			if f != nil {
				errs = append(errs, f.file.Close())
			}
		}
		if s.raw >= 0 {
			errs = append(errs, unix.Close(s.raw))
		}
		err = errors.Join(errs...)
	})
	return err
}
