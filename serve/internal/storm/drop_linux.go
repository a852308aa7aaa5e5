package storm

import (
	"net"

	"golang.org/x/sys/unix"
)

// drop receives n bytes without copying them out of the kernel: what is
// measured is the server.
func drop(conn net.Conn, n int64) (total int64, err error) {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 256<<10) // MSG_TRUNC leaves it as it is
	for total < n && err == nil {
		got := 0
		waited := raw.Read(func(fd uintptr) bool {
			got, _, err = unix.Recvfrom(int(fd), buf[:min(n-total, int64(len(buf)))], unix.MSG_TRUNC|unix.MSG_DONTWAIT)
			return err != unix.EAGAIN && err != unix.EINTR
		})
		if err == nil {
			err = waited
		}
		if err == nil && got == 0 {
			return total, nil
		}
		total += int64(max(got, 0))
	}
	return total, err
}
