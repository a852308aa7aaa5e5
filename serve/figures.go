package serve

import (
	"hooksmith/serve/admin"
)

// figures are the counts that DHCP, the pools, HTTP and syslog keep, for
// /metrics: what is lost under load shows here.
func (s *Server) figures() (all []admin.Figure) {
	add := func(name, help string, value uint64, labels ...string) {
		f := admin.Figure{Name: name, Help: help, Value: float64(value), Labels: map[string]string{}}
		for i := 0; i+1 < len(labels); i += 2 {
			f.Labels[labels[i]] = labels[i+1]
		}
		all = append(all, f)
	}
	s.dhcpFigures(add)
	st := s.web.Stats()
	add("http_connections", "Open connections of machines.", uint64(max(st.Connections, 0)))
	add("http_connections_refused_total", "Connections closed because their address had too many.", uint64(st.Refused))
	add("http_requests_total", "Requests of machines.", uint64(st.Requests))
	add("http_not_found_total", "Requests for what is not there.", uint64(st.NotFound))
	add("http_downloads", "Downloads at this moment.", uint64(max(st.Active, 0)))
	add("http_stalled_total", "Downloads given up because the client took nothing more.", uint64(st.Stalled))
	if s.syslog == nil {
		return all
	}
	log := s.syslog.Stats()
	const help = "Lines of machines' logs, by what became of them."
	add("syslog_lines_total", help, log.Received, "result", "kept")
	add("syslog_lines_total", help, log.Dropped, "result", "dropped")
	add("syslog_lines_total", help, log.Limited, "result", "limited")
	add("syslog_connections", "Open TCP connections of machines' logs.", uint64(max(log.Conns, 0)))
	return all
}

// dhcpFigures are those of DHCP and its pools.
func (s *Server) dhcpFigures(add func(name, help string, value uint64, labels ...string)) {
	server := s.plan.boots.dhcp
	if server == nil {
		return
	}
	st := server.Stats()
	const help = "DHCP packets, by what became of them: malformed, limited and dropped ones are among those received."
	add("dhcp_packets_total", help, st.Received, "result", "received")
	add("dhcp_packets_total", help, st.Malformed, "result", "malformed")
	add("dhcp_packets_total", help, st.Limited, "result", "limited")
	add("dhcp_packets_total", help, st.Dropped, "result", "dropped")
	add("dhcp_packets_total", help, st.Sent, "result", "sent")
	add("dhcp_packets_total", help, st.SendError, "result", "send-error")
	for prefix, u := range server.Pools() {
		const help, subnet = "Addresses of the pools, by state.", "subnet"
		add("pool_addresses", help, u.Active, subnet, prefix.String(), "state", "active")
		add("pool_addresses", help, u.Offered, subnet, prefix.String(), "state", "offered")
		add("pool_addresses", help, u.Quarantined, subnet, prefix.String(), "state", "quarantined")
		add("pool_addresses", help, u.Free, subnet, prefix.String(), "state", "free")
	}
}
