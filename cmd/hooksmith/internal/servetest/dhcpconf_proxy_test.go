package servetest

import (
	"bytes"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"hooksmith/serve/ipxe"
)

// dnsmasq as a proxy beside a plain DHCP server: the offer of an address is
// the other's, and who boots learns the file at port 4011.
func TestDHCPConfigProxy(t *testing.T) {
	need(t, "dnsmasq")
	rule := bootRule(t)
	everyRival(t, []rival{proxyRival}, func(t *testing.T, r rival, suite, form string) {
		l := newLab(t)
		l.dnsmasq() // the plain one, in the clients' namespace
		hw := l.hardware("mac: " + offMAC + ", ip: 10.78.0.22/24, netboot: {allow: false}")
		log := l.rival(r, suite, form, "--hardware", hw)
		if _, err := log.Expect(`DHCP, proxy on subnet`, patience); err != nil {
			t.Fatal(err)
		}
		c := l.proxyClient()
		for i := range probes {
			p := &probes[i]
			d, want := p.want(rule, "dnsmasq")
			if p.name == "HTTP x64" {
				c.silent(p, p.discover(t, i))
			}
			if d.Kind == ipxe.BinaryHTTP || !strings.HasPrefix(p.vendor, "PXEClient") || len(p.archs) != 1 {
				continue // HTTP clients get nothing, as the comment says; others are no PXE clients
			}
			if d.NoBinary && want != script {
				want = ""
			}
			if strings.Contains(p.name, "unknown architecture") {
				want = "" // a menu is for architectures that have a number
			}
			m := p.discover(t, i)
			if got := c.file(m, want != ""); got != want {
				t.Errorf("%s: %q, want %q (%s)", p.name, got, want, d.Reason)
			}
		}
	})
}

// silence is longer than what an answer takes here.
const silence = 700 * time.Millisecond

// silent expects that no boot server answers, as the configuration says of
// dnsmasq and HTTP clients: if a newer one does, it can be used.
func (c *proxyClient) silent(p *probe, m *dhcpv4.DHCPv4) {
	c.t.Helper()
	offer := c.ask(m, silence, func(m *dhcpv4.DHCPv4) bool { return m.YourIPAddr.IsUnspecified() })
	if offer != nil {
		c.t.Errorf("%s: dnsmasq as a proxy answers: %s", p.name, offer.Summary())
	}
}

// proxyClient is a PXE client on an address that it has already: it asks
// ProxyDHCP servers by broadcast, boot servers at port 4011.
type proxyClient struct {
	*client
	pxe *net.UDPConn
}

func (l *lab) proxyClient() *proxyClient {
	c := &proxyClient{client: l.dhcpClient()}
	inside(l.t, l.client, func() (err error) {
		lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
			ctlErr := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) })
			return errors.Join(err, ctlErr)
		}}
		conn, err := lc.ListenPacket(l.t.Context(), "udp4", "10.78.0.12:4011")
		if err == nil {
			c.pxe = conn.(*net.UDPConn)
		}
		return err
	})
	l.t.Cleanup(func() { c.pxe.Close() })
	return c
}

// file goes the way of a PXE firmware to its file, "" if there is none.
// Something says whether an answer is expected, which is waited for then.
func (c *proxyClient) file(m *dhcpv4.DHCPv4, something bool) string {
	c.t.Helper()
	within := silence
	if something {
		within = 20 * time.Second
	}
	offer := c.ask(m, within, fromProxy)
	if offer == nil {
		return ""
	}
	if file := fileOf(offer); file != "" {
		return file
	}
	request := *m
	request.Options = dhcpv4.Options{}
	for code, value := range m.Options {
		request.Options[code] = value
	}
	request.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeRequest))
	request.ClientIPAddr = net.IPv4(10, 78, 0, 12)
	if item := menuItem(offer.Options.Get(dhcpv4.OptionVendorSpecificInformation)); item != nil {
		request.Options[dhcpv4.OptionVendorSpecificInformation.Code()] = append([]byte{71, 4}, append(item, 0, 0, 255)...)
	}
	return c.ask4011(&request, within)
}

// fromProxy tells an offer of a boot server from one with an address.
func fromProxy(m *dhcpv4.DHCPv4) bool {
	return bytes.HasPrefix(m.Options.Get(dhcpv4.OptionClassIdentifier), []byte("PXEClient"))
}

// menuItem is the type of the first item of a boot menu (PXE 2.1, sub-option
// 9), nil without a menu.
func menuItem(vendor []byte) []byte {
	sub := dhcpv4.Options{}
	if len(vendor) == 0 || sub.FromBytes(vendor) != nil || len(sub[9]) < 2 {
		return nil
	}
	return bytes.Clone(sub[9][:2])
}

func (c *proxyClient) ask4011(m *dhcpv4.DHCPv4, within time.Duration) string {
	c.t.Helper()
	server := &net.UDPAddr{IP: net.ParseIP(serverIP), Port: 4011}
	if _, err := c.pxe.WriteToUDP(m.ToBytes(), server); err != nil {
		c.t.Fatal(err)
	}
	if err := c.pxe.SetReadDeadline(time.Now().Add(within)); err != nil {
		c.t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for {
		n, err := c.pxe.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ""
		}
		if err != nil {
			c.t.Fatal(err)
		}
		if got, err := dhcpv4.FromBytes(buf[:n]); err == nil && got.TransactionID == m.TransactionID && got.OpCode == dhcpv4.OpcodeBootReply {
			return fileOf(got)
		}
	}
}
