//go:build !linux

package storm

import (
	"io"
	"net"
)

func drop(conn net.Conn, n int64) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(conn, n), make([]byte, 256<<10))
}
