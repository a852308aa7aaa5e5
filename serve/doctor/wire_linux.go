package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// openWire listens on an interface: to all packets where this process may, else as a socket on port 68. An error that
// is errRight means that it may do neither.
//
// Frames leave with the interface's own hardware address: a bridge that heard another machine's would send it that
// machine's traffic, and switches that limit addresses would close the port.
func openWire(ctx context.Context, ifi *net.Interface) (*wire, error) {
	w, err := packetWire(ifi)
	if err == nil || !denied(err) {
		return w, err
	}
	w, err = port68Wire(ctx, ifi)
	if denied(err) {
		err = fmt.Errorf("%w: %w", errRight, err)
	}
	return w, err
}

func denied(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) }

// forClients passes UDP to port 68, and IP fragments.
var forClients = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 12, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherIPv4, SkipTrue: 8},
	bpf.LoadAbsolute{Off: ethernetLen + 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocolUDP, SkipTrue: 6},
	bpf.LoadAbsolute{Off: ethernetLen + 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 3},
	bpf.LoadMemShift{Off: ethernetLen},
	bpf.LoadIndirect{Off: ethernetLen + 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: clientPort, SkipTrue: 1},
	bpf.RetConstant{Val: 65535},
	bpf.RetConstant{Val: 0},
}

// packetWire hears every frame on the interface, also what servers on this host send; and sends by a raw socket, whose
// broadcasts servers on this host hear too.
func packetWire(ifi *net.Interface) (*wire, error) {
	filter, err := bpf.Assemble(forClients)
	if err != nil {
		return nil, fmt.Errorf("packet filter: %w", err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("listening for packets on %s: %w", ifi.Name, err)
	}
	// Answers may go to the machine that is played alone. Where that is not to be had, most still come.
	_ = conn.SetPromiscuous(true)
	fd, err := rawSocket(ifi.Name)
	if err != nil {
		conn.Close()
		return nil, err
	}
	w := newWire(byPackets)
	w.send = func(message []byte, from, to netip.Addr) error {
		return unix.Sendto(fd, datagram(message, from, to), 0, &unix.SockaddrInet4{Addr: to.As4()})
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return // closed, or the interface is gone: then nothing more is heard
			}
			w.frame(buf[:n], time.Now())
		}
	})
	w.close = func() { conn.Close(); reading.Wait(); _ = unix.Close(fd) }
	return w, nil
}

func rawSocket(device string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return -1, fmt.Errorf("raw socket: %w", err)
	}
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1), unix.BindToDevice(fd, device))
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("raw socket on %s: %w", device, err)
	}
	return fd, nil
}

// port68Wire needs the right to bind a low port only.
func port68Wire(ctx context.Context, ifi *net.Interface) (*wire, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		ctlErr := raw.Control(func(fd uintptr) {
			err = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
				unix.BindToDevice(int(fd), ifi.Name))
		})
		return errors.Join(err, ctlErr)
	}}
	listened, err := lc.ListenPacket(ctx, "udp4", ":68")
	if err != nil {
		return nil, fmt.Errorf("listening on port 68 of %s: %w", ifi.Name, err)
	}
	conn := listened.(*net.UDPConn) // what "udp4" gives
	w := newWire(byPort68)
	w.send = func(message []byte, _, to netip.Addr) error {
		_, err := conn.WriteToUDPAddrPort(message, netip.AddrPortFrom(to, serverPort))
		return err
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				w.put(heard{data: append([]byte{}, buf[:n]...), from: from, at: time.Now()})
			}
		}
	})
	w.close = func() { conn.Close(); reading.Wait() }
	return w, nil
}
