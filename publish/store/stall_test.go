package store

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// TestStall: a server that takes a connection and then does nothing keeps
// neither a read nor a write waiting for good.
func TestStall(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial := stalling((&net.Dialer{}).DialContext, 100*time.Millisecond)
	for name, op := range map[string]func(c net.Conn) error{
		"read":  func(c net.Conn) error { _, err := c.Read(make([]byte, 1)); return err },
		"write": func(c net.Conn) error { _, err := c.Write(make([]byte, 64<<20)); return err },
	} {
		c, err := dial(context.Background(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		err = op(c)
		if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "not moved a byte") || !Transient(err) {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
