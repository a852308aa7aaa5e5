//go:build !linux

package tftp

import "net"

// listen uses a socket as it is: the transfers share it.
func listen(conn net.PacketConn) (listener, error) { return &plain{conn: conn}, nil }

// vectors is memory that only Linux needs.
type vectors struct{}

func (*vectors) reset() {}
