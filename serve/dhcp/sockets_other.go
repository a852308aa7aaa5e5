//go:build !linux

package dhcp

import (
	"context"
	"errors"
)

// sockets is not there: frames to machines without an address are sent in another way on each system.
type sockets struct {
	counters
	udp []*udpSocket
}

type udpSocket struct{ device string }

type received struct {
	arrival
	index int
}

var errLinux = errors.New("dhcp: the DHCP server runs on Linux only; use --dhcp-mode off here")

func listen(*engine) (*sockets, error) { return nil, errLinux }

func (u *udpSocket) readAll(bool) (int, error)     { return 0, errLinux }
func (u *udpSocket) packet(int) ([]byte, received) { return nil, received{} }
func (u *udpSocket) closed(error) bool             { return true }

func (s *sockets) send([]outgoing) []error { return nil }
func (s *sockets) follow(context.Context)  {}
func (s *sockets) readARP(context.Context) {}
func (s *sockets) names() []string         { return nil }
func (s *sockets) wake()                   {}
func (s *sockets) close() error            { return nil }
