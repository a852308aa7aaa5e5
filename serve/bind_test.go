package serve

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// A port that is taken is named with the process that has it and the way out.
func TestPortInUse(t *testing.T) {
	udp, err := listenUDP(t.Context(), "TFTP", "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := listenTCP(t.Context(), "HTTP", "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udpPort, tcpPort := udp.LocalAddr().(*net.UDPAddr).Port, tcp.Addr().(*net.TCPAddr).Port

	_, udpErr := listenUDP(t.Context(), "TFTP", "127.0.0.1", udpPort)
	_, tcpErr := listenTCP(t.Context(), "HTTP", "127.0.0.1", tcpPort)
	for _, tt := range []struct {
		err        error
		want, hint string
	}{
		{udpErr, fmt.Sprintf("TFTP: udp port %d of 127.0.0.1: in use by serve.test (process %d)", udpPort, os.Getpid()), "--tftp off"},
		{tcpErr, fmt.Sprintf("HTTP: tcp port %d of 127.0.0.1: in use by serve.test (process %d)", tcpPort, os.Getpid()), "--http-port"},
	} {
		var bind *BindError
		if !errors.As(tt.err, &bind) || bind.Error() != tt.want || !strings.Contains(bind.Hint(), tt.hint) {
			t.Errorf("error %v, want %s with %s", tt.err, tt.want, tt.hint)
		}
	}
}

func TestBindErrors(t *testing.T) {
	for _, tt := range []struct {
		err        error
		part       string
		want, hint string
	}{
		{syscall.EACCES, "DHCP", "DHCP: udp port 67: permission denied", "cap_net_bind_service"},
		{&net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EPERM)}, "DHCP", "operation not permitted", "systemd"},
		{syscall.EADDRNOTAVAIL, "admin", "cannot assign requested address", "ip -br address"},
	} {
		err := bindError(tt.part, "udp", "", 67, tt.err)
		var hinted interface{ Hint() string }
		if !errors.As(err, &hinted) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(hinted.Hint(), tt.hint) {
			t.Errorf("%v: got %v", tt.err, err)
		}
	}
}
