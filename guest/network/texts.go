package network

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// resolvConf is the text of resolv.conf.
func resolvConf(s settings) []byte {
	var b bytes.Buffer
	b.WriteString("# written by HookOS's network service\n")
	if len(s.search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(s.search, " "))
	}
	for _, server := range s.dns {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	return b.Bytes()
}

// interfaces is the text of /run/network/interfaces, as static-network.sh writes it.
func interfaces(up []report) []byte {
	var b bytes.Buffer
	for _, r := range up {
		s := r.settings
		fmt.Fprintf(&b, "auto %s\niface %s inet %s\n", r.link.name, r.link.name, s.source)
		option := func(key, value string) {
			if value != "" {
				fmt.Fprintf(&b, "    %s %s\n", key, value)
			}
		}
		option("address", s.address.Addr().String())
		option("netmask", netmask(s.address.Bits()))
		if s.gateway.IsValid() {
			option("gateway", s.gateway.String())
		}
		option("hostname", s.hostname)
		option("dns-nameserver", join(s.dns, " "))
		option("dns-search", strings.Join(s.search, " "))
		option("ntp-servers", strings.Join(s.ntp, " "))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func netmask(bits int) string {
	all := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return netip.PrefixFrom(all, bits).Masked().Addr().String()
}

func lines(values []string) []byte {
	if len(values) == 0 {
		return nil
	}
	return []byte(strings.Join(values, "\n") + "\n")
}

// status is the text of status.json. Its "state" is "up" as soon as one interface is, else "waiting".
func status(all []report, merged settings) []byte {
	type routeJSON struct {
		To  string `json:"to"`
		Via string `json:"via,omitempty"`
	}
	type interfaceJSON struct {
		Name    string      `json:"name"`
		MAC     string      `json:"mac"`
		State   string      `json:"state"`
		Message string      `json:"message,omitempty"`
		Source  string      `json:"source,omitempty"`
		Address string      `json:"address,omitempty"`
		Routes  []routeJSON `json:"routes,omitempty"`
		MTU     int         `json:"mtu,omitempty"`
		Metric  int         `json:"metric,omitempty"`
		Server  string      `json:"dhcp_server,omitempty"`
		Seconds int         `json:"lease_seconds,omitempty"`
	}
	out := struct {
		State      string          `json:"state"`
		Hostname   string          `json:"hostname,omitempty"`
		DNS        []netip.Addr    `json:"dns,omitempty"`
		Search     []string        `json:"search,omitempty"`
		NTP        []string        `json:"ntp,omitempty"`
		Interfaces []interfaceJSON `json:"interfaces,omitempty"`
	}{State: "waiting", Hostname: merged.hostname, DNS: merged.dns, Search: merged.search, NTP: merged.ntp}
	for _, r := range all {
		each := interfaceJSON{Name: r.link.name, MAC: r.link.mac.String(), State: r.state, Message: r.message}
		if s := r.settings; r.state == stateUp {
			out.State = stateUp
			each.Source, each.Address, each.MTU, each.Metric = s.source, s.address.String(), s.mtu, r.metric
			each.Seconds = int(s.lifetime.Seconds())
			if s.server.IsValid() {
				each.Server = s.server.String()
			}
			for _, route := range s.allRoutes() {
				j := routeJSON{To: route.to.String()}
				if route.via.IsValid() {
					j.Via = route.via.String()
				}
				each.Routes = append(each.Routes, j)
			}
		}
		out.Interfaces = append(out.Interfaces, each)
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil { // no value above can fail to marshal
		return nil
	}
	return append(text, '\n')
}
