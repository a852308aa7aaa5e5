package tftp

import (
	"net"
	"testing"
	"time"
)

// TestArrival: requests carry the time at which the kernel received them, not that at which they were read.
func TestArrival(t *testing.T) {
	for _, network := range []string{"udp4", "udp6", "udp"} {
		host := map[string]string{"udp4": "127.0.0.1", "udp6": "[::1]"}[network]
		conn, err := net.ListenPacket(network, host+":0")
		if err != nil {
			t.Skip(err)
		}
		defer conn.Close()
		l, err := listen(conn)
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		peer, err := net.Dial("udp", conn.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		conn.SetReadDeadline(time.Now().Add(patience))
		for { // the first packets may lack it: the kernel begins to note it soon after it is asked
			before := time.Now()
			peer.Write(rrq(opRead, "f", "octet", nil))
			after := time.Now()
			time.Sleep(50 * time.Millisecond)
			packets, err := l.read()
			if err != nil {
				t.Fatalf("%s: no packet with the time it came at: %v", network, err)
			}
			if !packets[0].local.IsValid() {
				t.Errorf("%s: no local address", network)
			}
			const slack = 20 * time.Millisecond // the kernel's clock for packets may be a tick behind
			if came := time.Unix(0, packets[0].came); !came.Before(before.Add(-slack)) && !came.After(after.Add(slack)) {
				break
			}
		}
	}
}
