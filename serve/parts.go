package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"hooksmith/serve/dhcp"
	"hooksmith/serve/ipxe"
	"hooksmith/serve/tftp"
	"hooksmith/serve/web"
)

// bindDHCP binds ports 67 and 4011 on every interface.
func (s *Server) bindDHCP(context.Context) (err error) {
	c, b := &s.plan.Config, s.plan.boots
	if c.DHCPMode == off {
		return nil
	}
	config := dhcp.Config{
		Mode: dhcp.Mode(c.DHCPMode), Unknown: dhcp.Unknown(c.Unknown),
		Interfaces: c.Interfaces, LeaseTime: c.LeaseTime,
		Boot:     dhcp.Boot{HTTPPort: uint16(c.HTTPPort)},
		Hardware: b.hardware, Rule: b.rule, Leases: b.leases,
		Log: s.log, Events: s.events, Now: s.plan.opt.Now,
	}
	config.Boot.Address = b.address
	if c.Syslog == on && c.SyslogPort == defaultSyslog {
		config.Boot.Syslog = netip.IPv4Unspecified()
	}
	if config.Subnets, err = s.plan.subnets(); err != nil {
		return err
	}
	if other := portOwner("udp", 67); other != "" {
		// Both can bind it, each for its interfaces; on one interface only one gets a packet.
		s.log.Warn(other + " listens on port 67 too: if it serves the same interface, machines get an answer from either; stop one of them, or use --dhcp-mode proxy on another host")
	}
	server, err := dhcp.Listen(config)
	if err != nil {
		return bindError("DHCP", "udp", "", 67, err)
	}
	b.dhcp = server
	s.closers = append(s.closers, server)
	s.add("DHCP", "udp 67 and 4011 on "+strings.Join(c.Interfaces, ", "), dhcpDetail(s.plan), server.Serve)
	return nil
}

func dhcpDetail(p *Plan) string {
	c := &p.Config
	text := fmt.Sprintf("mode %s, %d machines known, others: %s", c.DHCPMode, p.Machines, c.Unknown)
	if len(c.Pool) > 0 {
		text += ", pool " + strings.Join(c.Pool, " ")
	}
	return text
}

// bindTFTP binds port 69 of every address.
func (s *Server) bindTFTP(ctx context.Context) error {
	c, b := &s.plan.Config, s.plan.boots
	if c.TFTP != on {
		return nil
	}
	files := &tftpFiles{boots: b}
	var err error
	if files.binaries, err = loadBinaries(s.plan.Binaries); err != nil {
		return err
	}
	if c.Artifacts != "" {
		files.artifacts = s.servedFiles()
	}
	conn, err := listenUDP(ctx, "TFTP", "", tftpPort)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, conn)
	observe := fanOut(s.events, logged(s.log)) // TFTP does not know the machine
	server := &tftp.Server{
		Files: files, SinglePort: c.TFTPSinglePort,
		MaxBlockSize: c.TFTPBlockSize, MaxWindow: c.TFTPWindow, MaxTransfers: c.TFTPTransfers, MaxPerClient: c.TFTPPerClient,
		Log:     quieter(s.log),
		Observe: func(e tftp.Event) { observe(b.fromTFTP(e, s.now())) },
	}
	s.add("TFTP", "udp 69", "boot binaries, autoexec.ipxe", func(ctx context.Context) error { return server.Serve(ctx, conn) })
	return nil
}

// servedFiles are the artifacts that HTTP serves: the folder's of now, also
// when another has its name, and of one build for one machine.
func (s *Server) servedFiles() tftp.FileSystem {
	return tftp.FileSystemFunc(func(_ context.Context, r tftp.Request) (tftp.File, error) {
		if r.Name == "" {
			return nil, fs.ErrPermission
		}
		return s.web.Open(r.Client.Addr(), r.Name)
	})
}

// bindWeb binds HTTP and HTTPS.
func (s *Server) bindWeb(ctx context.Context) error {
	c, b := &s.plan.Config, s.plan.boots
	s.web = &web.Server{
		Artifacts: c.Artifacts, Verify: s.plan.verify, Binaries: s.plan.Binaries,
		Scripts:  func(local netip.Addr) *ipxe.Scripts { return b.scriptsFor(local) },
		Hardware: b.hardware,
		MACOf:    func(ip netip.Addr) (string, bool) { mac := b.macOf(ip); return mac, mac != "" },
		Sink:     s.events, Log: s.log,
	}
	for _, subnet := range c.TrustedProxies {
		prefix, err := netip.ParsePrefix(subnet)
		if err != nil {
			return fmt.Errorf("trusted-proxy: %w", err)
		}
		s.web.TrustedProxies = append(s.web.TrustedProxies, prefix)
	}
	if c.Unknown == auto {
		s.web.Unknown = web.Auto
	}
	plain, err := listenTCP(ctx, "HTTP", "", c.HTTPPort)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, ignoreClosed{plain})
	s.add("HTTP", "tcp "+strconv.Itoa(c.HTTPPort), "kernel, initramfs, scripts", func(ctx context.Context) error { return s.web.Serve(ctx, plain) })
	if c.HTTPSPort == 0 {
		return nil
	}
	secure, err := listenTCP(ctx, "HTTPS", "", c.HTTPSPort)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, ignoreClosed{secure})
	s.add("HTTPS", "tcp "+strconv.Itoa(c.HTTPSPort), "the same with "+c.TLSCert, func(ctx context.Context) error {
		return s.web.ServeTLS(ctx, secure, c.TLSCert, c.TLSKey)
	})
	return nil
}

// ignoreClosed closes a listener that its server may have closed.
type ignoreClosed struct{ net.Listener }

func (l ignoreClosed) Close() error {
	if err := l.Listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// bindAdmin binds the page, the API and the metrics.
func (s *Server) bindAdmin(ctx context.Context) error {
	host, port, err := net.SplitHostPort(s.plan.Config.AdminAddress)
	if err != nil {
		return fmt.Errorf("admin-address: %w", err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("admin-address: %w", err)
	}
	handler, err := s.adminHandler()
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	listener, err := listenTCP(ctx, "admin", host, n)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, ignoreClosed{listener})
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	server.RegisterOnShutdown(handler.Stop)
	s.add("admin", "tcp "+s.plan.Config.AdminAddress, "page, /api, /metrics", func(ctx context.Context) error {
		return serveHTTP(ctx, server, listener)
	})
	return nil
}

// stopTime is how long requests may go on after the end.
const stopTime = 5 * time.Second

// serveHTTP serves until ctx ends.
func serveHTTP(ctx context.Context, server *http.Server, l net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	err := server.Shutdown(stopping)
	if err != nil {
		err = server.Close()
	}
	<-ended
	return err
}
