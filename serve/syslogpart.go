package serve

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"hooksmith/serve/event"
	"hooksmith/serve/ra"
	"hooksmith/serve/syslog"
	"hooksmith/serve/timeline"
)

// bindSyslog binds UDP and TCP; what comes is kept in the timeline.
func (s *Server) bindSyslog(ctx context.Context) error {
	c := &s.plan.Config
	if c.Syslog != on {
		return nil
	}
	conn, err := listenUDP(ctx, "syslog", "", c.SyslogPort)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, conn)
	listener, err := listenTCP(ctx, "syslog", "", c.SyslogPort)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, ignoreClosed{listener})
	server := &syslog.Server{Handle: s.logLine, Log: s.log, Now: s.plan.opt.Now}
	s.syslog = server
	port := strconv.Itoa(c.SyslogPort)
	s.add("syslog", "udp "+port, "machines' logs: hooksmith serve logs MAC", func(ctx context.Context) error { return server.Serve(ctx, conn) })
	s.add("syslog", "tcp "+port, "", func(ctx context.Context) error { return server.ServeTCP(ctx, listener) })
	return nil
}

// logLine keeps a line of a machine.
func (s *Server) logLine(r syslog.Record) {
	from := r.From.Addr().Unmap()
	mac := s.plan.boots.macOf(from)
	s.timeline.Log(timeline.Line{
		Time: r.Time, MAC: mac, IP: from.String(),
		Severity: int(r.Severity), Facility: int(r.Facility), Host: r.Hostname, App: r.App, Text: lineText(r),
	})
	s.metrics.Event(event.Event{Time: r.Time, Kind: event.Syslog, MAC: mac, IP: from.String()})
}

// lineText is the message with the fields of one that came as JSON.
func lineText(r syslog.Record) string {
	var b strings.Builder
	b.WriteString(r.Message)
	for _, f := range r.Fields {
		fmt.Fprintf(&b, " %s=%s", f.Name, f.Value)
	}
	return b.String()
}

// bindRA opens the socket for router advertisements.
func (s *Server) bindRA(context.Context) error {
	c := &s.plan.Config
	if !c.RA {
		return nil
	}
	conn, err := ra.Listen(c.Interfaces...)
	if err != nil {
		return &BindError{Part: "router advertisements", Where: "raw ICMPv6 socket", Err: err, hint: rights}
	}
	s.closers = append(s.closers, conn)
	server := &ra.Server{Log: s.log, Observe: func(iface string, from netip.Addr) {
		s.log.Debug("router solicitation answered", "interface", iface, "from", from)
	}}
	s.add("RA", "ICMPv6 on "+strings.Join(c.Interfaces, ", "), "no prefix: iPXE does not wait for a router", func(ctx context.Context) error { return server.Serve(ctx, conn) })
	return nil
}
