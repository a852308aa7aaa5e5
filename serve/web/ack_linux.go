package web

import (
	"net"

	"golang.org/x/sys/unix"
)

// tcpClosed is TCP_CLOSE of Linux's tcp_states.h.
const tcpClosed = 7

// acked is how many bytes the peer has acknowledged, and whether the connection
// can still bring more. ok is false if that cannot be known.
func acked(conn net.Conn) (n int64, alive, ok bool) {
	t, isTCP := conn.(*net.TCPConn)
	if !isTCP {
		return 0, false, false
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return 0, false, false
	}
	var info *unix.TCPInfo
	if raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }) != nil || err != nil {
		return 0, false, false
	}
	return int64(info.Bytes_acked), info.State != tcpClosed, true
}
