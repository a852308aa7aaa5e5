package tftp

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

func mkdir(name string) error      { return os.Mkdir(name, 0o755) }
func symlink(old, at string) error { return os.Symlink(old, at) }

func truncate(t *testing.T, name string, size int64) {
	if err := os.Truncate(name, size); err != nil {
		t.Error(err)
	}
}

// patience is how long tests wait for what is certain to come, on however slow a machine.
const patience = 60 * time.Second

// udp is a client's socket, closed at the end of the test.
func udp(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func receive(t *testing.T, conn *net.UDPConn) ([]byte, netip.AddrPort) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 70000)
	n, from, err := conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// exchange sends one packet from a new port and returns the answer.
func exchange(t *testing.T, r *running, p []byte) []byte {
	t.Helper()
	conn := udp(t)
	conn.WriteToUDPAddrPort(p, r.addr)
	answer, _ := receive(t, conn)
	return answer
}

// talk sends to where the last answer came from; nil only reads.
type talk func(p []byte) (read func(t *testing.T) []byte, ask func(t *testing.T, p []byte) []byte)

func (f talk) read(t *testing.T) []byte {
	read, _ := f(nil)
	return read(t)
}

// ask sends to the listening port.
func (f talk) ask(t *testing.T, p []byte) []byte {
	_, ask := f(nil)
	return ask(t, p)
}

// dialogue sends a request and keeps the port.
func dialogue(t *testing.T, r *running, p []byte) ([]byte, talk) {
	t.Helper()
	conn := udp(t)
	conn.WriteToUDPAddrPort(p, r.addr)
	answer, from := receive(t, conn)
	read := func(t *testing.T) []byte {
		p, at := receive(t, conn)
		from = at
		return p
	}
	ask := func(t *testing.T, p []byte) []byte {
		conn.WriteToUDPAddrPort(p, r.addr)
		return read(t)
	}
	return answer, func(p []byte) (func(*testing.T) []byte, func(*testing.T, []byte) []byte) {
		if p != nil {
			conn.WriteToUDPAddrPort(p, from)
		}
		return read, ask
	}
}
