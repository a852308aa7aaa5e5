package storm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// machine is one x64 UEFI machine.
type machine struct {
	*Config
	relay *relay
	mac   net.HardwareAddr

	ip     netip.Addr
	next   netip.Addr // TFTP server
	file   string
	times  map[Stage]time.Duration
	bytes  map[Stage]int64
	script []byte
}

// boot is a boot, from the first packet to the last byte of the last file.
func (m *machine) boot(ctx context.Context) (Stage, error) {
	ctx, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()
	for _, step := range []struct {
		stage Stage
		run   func(context.Context) error
	}{{DHCP, m.dhcp}, {TFTP, m.tftp}, {Script, m.fetchScript}, {HTTP, m.fetchFiles}} {
		begun := time.Now()
		if err := step.run(ctx); err != nil {
			return step.stage, err
		}
		m.times[step.stage] = time.Since(begun)
	}
	return "", nil
}

// dhcp is DISCOVER, OFFER, REQUEST, ACK, as EDK2 does them.
func (m *machine) dhcp(ctx context.Context) error {
	client := []dhcpv4.Modifier{
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003000")),
		dhcpv4.WithOption(dhcpv4.OptClientArch(iana.EFI_X86_64)),
		dhcpv4.WithGeneric(dhcpv4.OptionClientNetworkInterfaceIdentifier, []byte{1, 3, 0}),
		dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, make([]byte, 17)),
	}
	discover, err := dhcpv4.NewDiscovery(m.mac, client...)
	if err != nil {
		return err
	}
	offer, err := m.relay.ask(ctx, discover, dhcpv4.MessageTypeOffer)
	if err != nil {
		return err
	}
	request, err := dhcpv4.NewRequestFromOffer(offer, client...)
	if err != nil {
		return err
	}
	ack, err := m.relay.ask(ctx, request, dhcpv4.MessageTypeAck)
	if err != nil {
		return err
	}
	m.ip, _ = netip.AddrFromSlice(ack.YourIPAddr.To4())
	m.next, _ = netip.AddrFromSlice(ack.ServerIPAddr.To4())
	m.file = strings.TrimRight(ack.BootFileName, "\x00")
	if m.ip.IsUnspecified() || m.next.IsUnspecified() || m.file == "" {
		return fmt.Errorf("the ACK has address %s, next server %s, file %q", m.ip, m.next, m.file)
	}
	return nil
}

// local is the address that the machine's sockets are bound to.
func (m *machine) local() netip.Addr {
	if m.Bind {
		return m.ip
	}
	return netip.IPv4Unspecified()
}

func (m *machine) tftp(ctx context.Context) error {
	n, err := tftpGet(ctx, m.local(), netip.AddrPortFrom(m.next, 69), m.file, m.BlockSize, m.Window)
	m.bytes[TFTP] = n
	return err
}

func (m *machine) base() string {
	if m.BaseURL != "" {
		return strings.TrimRight(m.BaseURL, "/")
	}
	return "http://" + m.next.String()
}

func (m *machine) fetchScript(ctx context.Context) error {
	n, err := m.get(ctx, []string{"/" + m.mac.String() + "/auto.ipxe"}, &m.script)
	m.bytes[Script] = n
	if err == nil && !bytes.HasPrefix(m.script, []byte("#!ipxe")) {
		err = fmt.Errorf("the script begins with %q", m.script[:min(len(m.script), 20)])
	}
	return err
}

func (m *machine) fetchFiles(ctx context.Context) error {
	n, err := m.get(ctx, m.Files, nil)
	m.bytes[HTTP] = n
	return err
}

// get fetches paths on one connection, as iPXE does. Content is kept in keep,
// else dropped.
func (m *machine) get(ctx context.Context, paths []string, keep *[]byte) (total int64, err error) {
	u, err := url.Parse(m.base())
	if err != nil {
		return 0, err
	}
	addr := u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), "80")
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: m.local().AsSlice()}}
	conn, err := dialer.DialContext(ctx, "tcp4", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	for _, p := range paths {
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: iPXE/1.21.1 (storm)\r\n\r\n", p, u.Host)
		n, err := receive(conn, keep)
		total += n
		if err != nil {
			return total, fmt.Errorf("%s: %w", p, err)
		}
	}
	return total, nil
}

// receive reads one answer.
func receive(conn net.Conn, keep *[]byte) (int64, error) {
	r := bufio.NewReaderSize(conn, 4096)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK || resp.ContentLength < 0 {
		return 0, fmt.Errorf("%s, Content-Length %d", resp.Status, resp.ContentLength)
	}
	if keep != nil {
		*keep, err = io.ReadAll(io.LimitReader(r, min(resp.ContentLength, 1<<20)))
		return int64(len(*keep)), err
	}
	early := min(int64(r.Buffered()), resp.ContentLength)
	n, err := drop(conn, resp.ContentLength-early)
	if err == nil && early+n < resp.ContentLength {
		err = errors.Join(io.ErrUnexpectedEOF, fmt.Errorf("%d of %d bytes", early+n, resp.ContentLength))
	}
	return early + n, err
}
