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

func (u *udpSocket) read() ([]byte, received, error) { return nil, received{}, errLinux }
func (u *udpSocket) closed(error) bool               { return true }

func (s *sockets) send([]byte, destination, bool) error { return errLinux }
func (s *sockets) follow(context.Context)               {}
func (s *sockets) readARP(context.Context)              {}
func (s *sockets) names() []string                      { return nil }
func (s *sockets) wake()                                {}
func (s *sockets) close() error                         { return nil }
