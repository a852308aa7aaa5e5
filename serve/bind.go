package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"syscall"
)

// BindError says which part could not get its socket, and what to do.
type BindError struct {
	Part  string // "TFTP"
	Where string // "UDP port 69 of 10.0.0.1"
	Err   error
	hint  string
}

func (e *BindError) Error() string { return fmt.Sprintf("%s: %s: %v", e.Part, e.Where, e.Err) }
func (e *BindError) Unwrap() error { return e.Err }

// Hint is the user's next step.
func (e *BindError) Hint() string { return e.hint }

// rights is how an ordinary user comes to ports below 1024 and raw sockets.
const rights = `either run it by systemd (hooksmith serve install), or start it as root (add --user NAME to drop the rest), or once:
  sudo setcap cap_net_bind_service,cap_net_raw+ep $(command -v hooksmith)`

// bindError explains why a socket could not be had. Network is udp or tcp.
func bindError(part, network string, host string, port int, err error) error {
	e := &BindError{Part: part, Where: fmt.Sprintf("%s port %d", network, port), Err: rootCause(err)}
	if host != "" {
		e.Where += " of " + host
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		e.Err = errors.New("in use")
		if owner := portOwner(network, port); owner != "" {
			e.Err = fmt.Errorf("in use by %s", owner)
		}
		e.hint = freePort(part)
	case errors.Is(err, fs.ErrPermission):
		e.hint = rights
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		e.hint = "no interface of this host has that address: ip -br address shows them"
	}
	return e
}

// freePort is what to do when another program serves already.
func freePort(part string) string {
	switch part {
	case "DHCP":
		return "stop the other DHCP server, or serve beside one on another host with --dhcp-mode proxy, or leave DHCP out with --dhcp-mode off"
	case "TFTP":
		return "stop the other TFTP server, or leave TFTP out with --tftp off"
	case "HTTP", "HTTPS":
		return "stop the other web server, or use another port with --http-port or --https-port"
	case "syslog":
		return "stop the other syslog receiver, use another port with --syslog-port, or leave it out with --syslog off"
	case "admin":
		return "choose another one with --admin-address"
	}
	return ""
}

// rootCause is the system's word under the layers of package net, which name
// the address again.
func rootCause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// listenUDP binds a UDP socket; an empty host is every IPv4 and IPv6 address.
func listenUDP(ctx context.Context, part, host string, port int) (*net.UDPConn, error) {
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(ctx, "udp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, bindError(part, "udp", host, port, err)
	}
	return conn.(*net.UDPConn), nil // what ListenPacket returns for udp
}

// listenTCP binds a TCP socket.
func listenTCP(ctx context.Context, part, host string, port int) (*net.TCPListener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, bindError(part, "tcp", host, port, err)
	}
	return l.(*net.TCPListener), nil // what Listen returns for tcp
}
