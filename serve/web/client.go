package web

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"hooksmith/serve/hardware"
)

// client is who asks.
type client struct {
	ip      netip.Addr
	proxied bool   // through a trusted proxy
	mac     string // "" unknown
	machine *hardware.Machine
	agent   string // what it calls itself
}

// identify finds out who asks: by the MAC address in the path, else by the
// address, in the hardware data and then among the leases.
func (s *Server) identify(r *http.Request, mac string) client {
	c := client{mac: mac, agent: printable(r.UserAgent(), 80)}
	c.ip, c.proxied = s.address(r)
	if mac == "" {
		c.byAddress(s)
	} else if s.Hardware != nil {
		c.machine, _ = s.Hardware.Lookup(mac)
	}
	return c
}

func (c *client) byAddress(s *Server) {
	if s.Hardware != nil && c.ip.IsValid() {
		if m, ok := s.Hardware.LookupIP(c.ip); ok {
			c.mac, c.machine = m.MAC, m
			return
		}
	}
	if s.MACOf == nil || !c.ip.IsValid() {
		return
	}
	mac, ok := s.MACOf(c.ip)
	if !ok {
		return
	}
	c.mac = mac
	if s.Hardware != nil {
		c.machine, _ = s.Hardware.Lookup(mac)
	}
}

// address is the client's. X-Forwarded-For is read from its end, where our own
// proxies write, up to the first address that is not one of them.
func (s *Server) address(r *http.Request) (addr netip.Addr, proxied bool) {
	addr = addrOf(r.RemoteAddr)
	if !s.trusted(addr) {
		return addr, false
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		if addr = hop.Unmap().WithZone(""); !s.trusted(addr) {
			break
		}
	}
	return addr, true
}

func (s *Server) trusted(a netip.Addr) bool {
	for _, p := range s.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// addrOf reads HOST:PORT.
func addrOf(hostport string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// local is the address and port of this server that the client reached.
func local(r *http.Request) netip.AddrPort {
	a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return netip.AddrPort{}
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// base is the URL that the client's next requests should begin with. The name
// that it used is known to work for it; HTTP/1.0 says none.
func (s *Server) base(r *http.Request, c client) string {
	if s.BaseURL != "" {
		return strings.TrimRight(s.BaseURL, "/")
	}
	scheme := "http"
	if r.TLS != nil || c.proxied && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		scheme = "https"
	}
	if hostOK(r.Host) {
		return scheme + "://" + r.Host
	}
	return scheme + "://" + local(r).String()
}

// hostOK accepts what can stand in a script.
func hostOK(host string) bool {
	return host != "" && len(host) <= 255 && strings.Trim(host, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_:[]") == ""
}

// printable makes a client's text fit for logs and events.
func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s[:min(len(s), most)])
	return s
}
