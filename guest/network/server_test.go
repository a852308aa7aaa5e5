package network

import (
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"

	"hooksmith/guest/proctest"
)

// script is a DHCP server that does what real ones do only on bad days. It runs as a process of its own (serve).
type script struct {
	lease, t1, t2 time.Duration
	nakRequest    int  // the how many-th REQUEST is answered by a NAK
	muteFrom      int  // from this REQUEST on there is no answer,
	muteTo        int  // up to this one
	deafUnicast   bool // answers no REQUEST from a client with an address that was not broadcast
	proxy         bool // sends an offer without an address first

	requests int
}

// serve runs a script on the interface s0, the arguments being flags.
func serve(args []string) error {
	var s script
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.DurationVar(&s.lease, "lease", time.Hour, "")
	flags.DurationVar(&s.t1, "t1", 0, "")
	flags.DurationVar(&s.t2, "t2", 0, "")
	flags.IntVar(&s.nakRequest, "nak", 0, "")
	flags.IntVar(&s.muteFrom, "mute-from", 0, "")
	flags.IntVar(&s.muteTo, "mute-to", 0, "")
	flags.BoolVar(&s.deafUnicast, "deaf-unicast", false, "")
	flags.BoolVar(&s.proxy, "proxy", false, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	server, err := server4.NewServer("s0", &net.UDPAddr{Port: 67}, s.handle)
	if err != nil {
		return err
	}
	fmt.Println("serving")
	return server.Serve()
}

func (s *script) handle(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
	unicast := peer.(*net.UDPAddr).IP.Equal(m.ClientIPAddr) // server4 makes 0.0.0.0 the broadcast address
	fmt.Printf("%s ciaddr=%s unicast=%v requested=%s\n", m.MessageType(), m.ClientIPAddr, unicast, m.RequestedIPAddress())
	reply := []dhcpv4.Modifier{
		dhcpv4.WithServerIP(net.IPv4(10, 0, 2, 2)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 0, 2, 2))),
	}
	give := []dhcpv4.Modifier{
		dhcpv4.WithYourIP(net.IPv4(10, 0, 2, byte(15+s.requests/100))),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithLeaseTime(uint32(s.lease / time.Second)),
	}
	if s.t1 != 0 {
		give = append(give,
			dhcpv4.WithOption(dhcpv4.Option{Code: dhcpv4.OptionRenewTimeValue, Value: dhcpv4.Duration(s.t1)}),
			dhcpv4.WithOption(dhcpv4.Option{Code: dhcpv4.OptionRebindingTimeValue, Value: dhcpv4.Duration(s.t2)}))
	}
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		if s.proxy {
			s.send(conn, m, append(reply, dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer))...)
		}
		s.send(conn, m, append(append(reply, give...), dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer))...)
	case dhcpv4.MessageTypeRequest:
		s.requests++
		switch {
		case s.requests == s.nakRequest:
			s.send(conn, m, append(reply, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak),
				dhcpv4.WithOption(dhcpv4.OptMessage("go\naway")))...)
		case s.muteFrom != 0 && s.requests >= s.muteFrom && s.requests <= s.muteTo:
		case s.deafUnicast && unicast:
		default:
			s.send(conn, m, append(append(reply, give...), dhcpv4.WithMessageType(dhcpv4.MessageTypeAck))...)
		}
	}
}

func (s *script) send(conn net.PacketConn, m *dhcpv4.DHCPv4, modifiers ...dhcpv4.Modifier) {
	reply, err := dhcpv4.NewReplyFromRequest(m, modifiers...)
	if err != nil {
		panic(err)
	}
	to := &net.UDPAddr{IP: net.IPv4bcast, Port: 68}
	if !m.ClientIPAddr.IsUnspecified() {
		to.IP = m.ClientIPAddr
	}
	if _, err := conn.WriteTo(reply.ToBytes(), to); err != nil {
		fmt.Println(err)
	}
}

func (l *lab) scripted(args ...string) *proctest.Process {
	l.t.Helper()
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	p := l.start(l.server, []string{asApplet + "=serve"}, append([]string{self}, args...)...)
	p.Await(0, "serving")
	return p
}

// TestLeaseLife follows leases through T1, T2 and their end.
func TestLeaseLife(t *testing.T) {
	for _, test := range []struct {
		name   string
		server string
		asked, applet,
		kernel []string
	}{
		{
			name: "renewed at T1 by unicast", server: "-lease=9s -t1=1s -t2=7s",
			applet: []string{"eth0 up 10.0.2.15/24 (DHCP server 10.0.2.2, for 9s)"},
			asked:  []string{"DISCOVER", "REQUEST ciaddr=0.0.0.0 unicast=false requested=10.0.2.15", "REQUEST ciaddr=10.0.2.15 unicast=true requested=<nil>", "REQUEST ciaddr=10.0.2.15 unicast=true"},
			// Two seconds and two renewals on: 7 at the most, had they not counted.
			kernel: []string{"10.0.2.15/24", "valid_lft 8sec|valid_lft 9sec"},
		},
		{
			name: "rebound after T2 by broadcast", server: "-lease=9s -t1=1s -t2=3s -deaf-unicast",
			applet: []string{"eth0 up 10.0.2.15/24"},
			asked:  []string{"REQUEST ciaddr=0.0.0.0", "REQUEST ciaddr=10.0.2.15 unicast=true", "REQUEST ciaddr=10.0.2.15 unicast=false"},
			kernel: []string{"10.0.2.15/24"},
		},
		{
			name: "ended", server: "-lease=4s -t1=1s -t2=2s -mute-from=2 -mute-to=5",
			applet: []string{"eth0 up", "the lease of 10.0.2.15/24 has ended and no server has renewed it; asking for a new lease", "eth0 up 10.0.2.15/24"},
			asked:  []string{"REQUEST ciaddr=0.0.0.0", "REQUEST ciaddr=10.0.2.15", "DISCOVER"},
			kernel: []string{"10.0.2.15/24"},
		},
		{
			name: "refused at renewal", server: "-lease=9s -t1=1s -t2=7s -nak=2",
			applet: []string{"eth0 up", `the DHCP server refuses the address (NAK): "go\naway"; asking for a new lease`, "eth0 up 10.0.2.15/24"},
			asked:  []string{"REQUEST ciaddr=10.0.2.15 unicast=true", "DISCOVER"},
			kernel: []string{"10.0.2.15/24"},
		},
		{
			name: "refused at once, after a proxy's offer", server: "-nak=1 -proxy",
			applet: []string{"the DHCP server refuses the address (NAK)", "eth0 up 10.0.2.15/24 (DHCP server 10.0.2.2, for 1h0m0s)"},
			kernel: []string{"10.0.2.15/24", "valid_lft 3"},
		},
		{
			name: "for ever", server: "-lease=4294967295s",
			applet: []string{"eth0 up 10.0.2.15/24 (DHCP server 10.0.2.2, for ever)"},
			kernel: []string{"10.0.2.15/24", "valid_lft forever"},
		},
		{
			name: "without a time, as Smee sent it", server: "-lease=0s",
			applet: []string{"eth0 up 10.0.2.15/24 (DHCP server 10.0.2.2, for 1h0m0s)"},
			kernel: []string{"10.0.2.15/24", "valid_lft 3"},
		},
		{
			name: "a lost ACK", server: "-mute-from=1 -mute-to=1",
			applet: []string{"eth0 up 10.0.2.15/24"},
			kernel: []string{"10.0.2.15/24"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t)
			l.cable("s0", "eth0", testMAC, "10.0.2.2/24")
			server := l.scripted(strings.Fields(test.server)...)
			applet := l.applet("interface=eth0")
			next := 0
			for _, line := range test.applet {
				_, next = applet.Await(next, line)
			}
			next = 0
			for _, line := range test.asked {
				_, next = server.Await(next, line)
			}
			l.eventually("ip -4 address show dev eth0", test.kernel...)
		})
	}
}
