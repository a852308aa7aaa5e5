package dhcp

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"hooksmith/serve/event"
	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
	"hooksmith/serve/lease"
)

// Mode says whom the server answers, and with what.
type Mode string

// The modes.
const (
	Reservation Mode = "reservation" // addresses of hardware records ("" means this)
	Pool        Mode = "pool"        // also pool addresses for records that have none, and by default for unknown machines
	Proxy       Mode = "proxy"       // boot answers only, to machines with a record; addresses come from another server
	AutoProxy   Mode = "auto-proxy"  // the same to every machine that boots from the network
	Off         Mode = "off"         // nothing is bound
)

// Unknown says what a machine without a hardware record gets.
type Unknown string

// What unknown machines get. "" means Auto in the modes Pool and AutoProxy, else Deny.
const (
	Deny     Unknown = "deny" // no answer
	PoolOnly Unknown = "pool" // an address, nothing to boot
	Auto     Unknown = "auto" // an address and the default script
)

// Range is a span of addresses, both ends included.
type Range struct{ First, Last netip.Addr }

// Subnet is a network that the server gives addresses in. The networks of the server's own interfaces need none,
// unless they have a pool or values of their own. Hardware records go before what a Subnet says.
type Subnet struct {
	Prefix      netip.Prefix
	Pools       []Range // addresses of the server and the router are left out by themselves
	Router      netip.Addr
	NameServers []netip.Addr
	TimeServers []netip.Addr
	Domain      string
	LeaseTime   time.Duration // 0: Config.LeaseTime
	NextServer  netip.Addr    // that machines of this subnet load from; zero: Boot.Address
}

// Boot says where the things are that machines load. The zero value is this server on the usual ports, by the
// address that the machine's packet came to.
type Boot struct {
	Address   netip.Addr // of this server as machines reach it, behind NAT or a load balancer
	TFTPPort  uint16     // 0: 69
	HTTPPort  uint16     // 0: 80
	BaseURL   string     // instead of http://ADDRESS:HTTPPort
	ScriptURL string     // the same for every machine, instead of BaseURL/MAC/auto.ipxe
	Syslog    netip.Addr // option 7; 0.0.0.0: this server, zero: none
	Disabled  bool       // addresses only
}

// Ports are the UDP ports, for tests. The zero value is the real ones.
type Ports struct {
	Server uint16 // 0: 67
	Client uint16 // 0: 68
	PXE    uint16 // 0: 4011
}

// Config is what a Server needs. Hardware, Rule and (except for proxies) Leases are required.
type Config struct {
	Mode    Mode
	Unknown Unknown

	// Interfaces are served, by name. They must be there at Listen; later they may go, come back and change. None: all that
	// have an IPv4 address, also later ones, except loopback.
	Interfaces []string
	Subnets    []Subnet
	LeaseTime  time.Duration // 0: 24 h; at least a minute
	Boot       Boot
	Ports      Ports

	Hardware *hardware.Store
	Rule     *ipxe.Rule
	Leases   *lease.Store

	Workers int // packets that are being answered at once, most of them waiting for the disk; more are dropped; 0: 2048
	Rate    int // packets per second of one machine, with four times that at once; 0: 16

	Log    *slog.Logger     // nil: silent
	Events event.Sink       // nil: dropped
	Now    func() time.Time // nil: time.Now
}

const (
	defaultLease  = 24 * time.Hour
	shortestLease = time.Minute
)

// Validate reports everything that is wrong with the configuration.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("dhcp: "+format, args...)) }
	mode := cmp.Or(c.Mode, Reservation)
	if !slices.Contains([]Mode{Reservation, Pool, Proxy, AutoProxy, Off}, mode) {
		bad("mode %q: there are reservation, pool, proxy, auto-proxy and off", c.Mode)
	}
	if !slices.Contains([]Unknown{"", Deny, PoolOnly, Auto}, c.Unknown) {
		bad("unknown machines %q: there are deny, pool and auto", c.Unknown)
	}
	if mode.proxy() && c.Unknown == PoolOnly {
		bad("unknown machines: a proxy has no addresses to give; use deny, or the mode auto-proxy")
	}
	if c.LeaseTime != 0 && c.LeaseTime < shortestLease {
		bad("lease time %v is below %v", c.LeaseTime, shortestLease)
	}
	if mode != Off && (c.Hardware == nil || c.Rule == nil || c.Leases == nil && !mode.proxy()) {
		bad("hardware data, boot rule and lease store are needed")
	}
	for name, text := range map[string]string{"base URL": c.Boot.BaseURL, "script URL": c.Boot.ScriptURL} {
		if u, err := url.Parse(text); text != "" && (err != nil || u.Scheme == "" || u.Host == "") {
			bad("%s %q is no URL such as http://10.0.0.1:8080", name, text)
		}
	}
	if c.Workers < 0 || c.Rate < 0 {
		bad("workers and rate cannot be negative")
	}
	return errors.Join(append(errs, c.validateSubnets()...)...)
}

func (c *Config) validateSubnets() (errs []error) {
	for i, s := range c.Subnets {
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("dhcp: subnet %v: %w", s.Prefix, fmt.Errorf(format, args...)))
		}
		if !s.Prefix.IsValid() || !s.Prefix.Addr().Is4() || s.Prefix.Bits() == 0 {
			bad("not an IPv4 subnet such as 10.0.0.0/24")
			continue
		}
		for _, other := range c.Subnets[:i] {
			if other.Prefix.IsValid() && other.Prefix.Overlaps(s.Prefix) {
				bad("overlaps with %v", other.Prefix)
			}
		}
		for _, r := range s.Pools {
			if !s.Prefix.Contains(r.First) || !s.Prefix.Contains(r.Last) || r.Last.Less(r.First) {
				bad("pool %v-%v is no range in it", r.First, r.Last)
			}
		}
		if s.Router.IsValid() && !s.Prefix.Contains(s.Router) {
			bad("router %v is not in it", s.Router)
		}
		if s.LeaseTime != 0 && s.LeaseTime < shortestLease {
			bad("lease time %v is below %v", s.LeaseTime, shortestLease)
		}
		for _, a := range slices.Concat(s.NameServers, s.TimeServers, []netip.Addr{cmp.Or(s.NextServer, netip.IPv4Unspecified())}) {
			if !a.Is4() {
				bad("%v is no IPv4 address", a)
			}
		}
	}
	return errs
}

func (m Mode) proxy() bool { return m == Proxy || m == AutoProxy }

// withDefaults returns a configuration in which nothing is left unsaid.
func (c Config) withDefaults() Config {
	c.Mode = cmp.Or(c.Mode, Reservation)
	if c.Unknown == "" {
		c.Unknown = Deny
		if c.Mode == Pool || c.Mode == AutoProxy {
			c.Unknown = Auto
		}
	}
	c.LeaseTime = cmp.Or(c.LeaseTime, defaultLease)
	c.Boot.TFTPPort = cmp.Or(c.Boot.TFTPPort, 69)
	c.Boot.HTTPPort = cmp.Or(c.Boot.HTTPPort, 80)
	c.Ports = Ports{cmp.Or(c.Ports.Server, 67), cmp.Or(c.Ports.Client, 68), cmp.Or(c.Ports.PXE, 4011)}
	c.Workers, c.Rate = cmp.Or(c.Workers, 2048), cmp.Or(c.Rate, 16)
	c.Subnets = slices.Clone(c.Subnets)
	for i := range c.Subnets {
		c.Subnets[i].Prefix = c.Subnets[i].Prefix.Masked()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Events == nil {
		c.Events = event.Discard
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}
