package serve

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
)

// Config says what is served, and how. The zero value is valid where the host
// has one network interface; see Load for flags, environment and file, and
// Settings for the names of all fields but Templates.
type Config struct {
	Interfaces []string      // on which DHCP is answered; none: the only one that has an IPv4 address
	Address    string        // of this server, as machines reach it; "": each interface's own
	DHCPMode   string        // "": reservation
	Unknown    string        // machines without a record; "": auto in the modes pool and auto-proxy, else deny
	Pool       []string      // FIRST-LAST or a subnet; none: the upper half of each subnet
	Gateway    []string      // for machines whose record has none, of any number of subnets; none: this host's own, if it is in the subnet
	DNS        []string      // likewise
	NTP        []string      // likewise
	Domain     string        // likewise
	LeaseTime  time.Duration // 0: 24 h
	RA         bool          // router advertisements that offer no prefix

	Artifacts    string   // folder with kernel and initramfs
	Signature    string   // public key file by which the artifacts have to be signed; "": not asked for
	Hardware     []string // files and folders
	IPXEDir      string   // "": what Options.Binaries has
	IPXEBinaries []string // ARCH=FILE
	UserClasses  []string // that mark an iPXE of ours, beside Tinkerbell
	Templates    []Template

	HookURL       string // "": this server's /hook/
	Kernel        string
	Initrd        string
	KernelArgs    []string
	Consoles      []string
	TinkServer    string // HOST:PORT
	TinkTLS       string // on, off, "": not said
	TinkInsecure  string
	WorkerImage   string
	Facility      string
	SyslogHost    string // "": this server
	ScriptRetries int    // 0: the default of ipxe.Config

	HTTPPort       int // 0: 80
	HTTPSPort      int // 0: 443, with a certificate
	TrustedProxies []string
	TLSCert        string // PEM files, read again when they change
	TLSKey         string
	TFTP           string // on, off; "": on
	TFTPSinglePort bool
	TFTPBlockSize  int // 0: what fits the path
	TFTPWindow     int // 0: 64
	TFTPTransfers  int // 0: 1024
	TFTPPerClient  int // 0: 64
	Syslog         string
	SyslogPort     int // 0: 514
	SyslogPerHost  int64

	AdminAddress string   // ADDRESS:PORT; "": 127.0.0.1:8067
	AdminNames   []string // that browsers may use for it, beside addresses and this host's name
	TokenFile    string
	State        string // folder
	User         string // to run as, when started by root
}

// Template is a script of the site's own for some machines.
type Template struct {
	Name     string `yaml:"name"`
	MAC      string `yaml:"mac"`
	Selector string `yaml:"selector"`
	File     string `yaml:"file"` // relative to the configuration file
	Text     string `yaml:"text"`
}

// What is said by leaving a setting out.
const (
	defaultMode      = "reservation"
	deny, auto       = "deny", "auto"
	pool             = "pool"
	proxy, autoProxy = "proxy", "auto-proxy"
	defaultLease     = 24 * time.Hour
	defaultHTTP      = 80
	defaultHTTPS     = 443
	defaultSyslog    = 514
	defaultAdmin     = "127.0.0.1:8067"
	defaultPerHost   = 4 << 20
	shortestLease    = time.Minute
	on, off          = "on", "off"
	tftpPort         = 69
	largestBlockSize = 65464 // RFC 2348
)

var (
	dhcpModes = []string{defaultMode, pool, proxy, autoProxy, off}
	unknowns  = []string{deny, pool, auto}
)

// withDefaults fills in what does not depend on the host.
func (c Config) withDefaults() Config {
	c.DHCPMode = cmp.Or(c.DHCPMode, defaultMode)
	if c.Unknown == "" {
		c.Unknown = deny
		if c.DHCPMode == pool || c.DHCPMode == autoProxy {
			c.Unknown = auto
		}
	}
	c.LeaseTime = cmp.Or(c.LeaseTime, defaultLease)
	c.HTTPPort = cmp.Or(c.HTTPPort, defaultHTTP)
	if c.TLSCert != "" {
		c.HTTPSPort = cmp.Or(c.HTTPSPort, defaultHTTPS)
	}
	c.TFTP = cmp.Or(c.TFTP, on)
	c.Syslog = cmp.Or(c.Syslog, on)
	c.SyslogPort = cmp.Or(c.SyslogPort, defaultSyslog)
	c.SyslogPerHost = cmp.Or(c.SyslogPerHost, defaultPerHost)
	c.AdminAddress = cmp.Or(c.AdminAddress, defaultAdmin)
	return c
}

// Validate reports everything that is wrong by itself, without looking at the
// host. Each error starts with the name of the setting.
func (c *Config) Validate() error {
	var errs []error
	for _, s := range c.Settings() {
		if err := s.check(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.Name, err))
		}
	}
	errs = append(errs, c.validateTogether()...)
	for i, t := range c.Templates {
		if (t.File == "") == (t.Text == "") {
			errs = append(errs, fmt.Errorf("templates[%d]: give either file or text", i))
		}
	}
	return errors.Join(errs...)
}

// validateTogether checks settings that depend on each other.
func (c *Config) validateTogether() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if (c.TLSCert == "") != (c.TLSKey == "") {
		bad("tls-cert and tls-key: both are needed for HTTPS")
	}
	if c.HTTPSPort != 0 && c.TLSCert == "" {
		bad("https-port: HTTPS needs tls-cert and tls-key")
	}
	if c.Signature != "" && c.Artifacts == "" {
		bad("require-signature: only artifacts that this server has can be verified: name their folder with artifacts")
	}
	if c.proxies() && c.Unknown == pool {
		bad("unknown: a proxy gives no addresses, so there is no pool; dhcp-mode auto-proxy boots unknown machines")
	}
	if c.proxies() && len(c.Pool) > 0 {
		bad("pool: with dhcp-mode %s another server gives the addresses", c.DHCPMode)
	}
	if c.Address != "" && len(c.Interfaces) > 1 {
		bad("address: with several interfaces each has its own; leave address out")
	}
	ports := map[int]string{}
	for _, p := range []struct {
		name string
		port int
	}{{"http-port", cmp.Or(c.HTTPPort, defaultHTTP)}, {"https-port", c.HTTPSPort}, {"admin-address", portOf(c.AdminAddress)}} {
		if other, taken := ports[p.port]; taken && p.port != 0 {
			bad("%s: %s is %d too", p.name, other, p.port)
		}
		ports[p.port] = p.name
	}
	return errs
}

// proxies tells whether another DHCP server gives the addresses.
func (c *Config) proxies() bool { return c.DHCPMode == proxy || c.DHCPMode == autoProxy }

// givesPool tells whether some machines get an address of a pool.
func (c *Config) givesPool() bool {
	return c.DHCPMode == pool || c.DHCPMode != off && !c.proxies() && c.Unknown != deny
}

func portOf(address string) int {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	return n
}

// relativeTo makes paths absolute: what a file names is relative to the file.
// Set tells which settings the file has.
func (c *Config) relativeTo(dir string, set func(name string) bool) {
	fix := func(name string, p *string) {
		if set(name) && *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	fix("artifacts", &c.Artifacts)
	fix("require-signature", &c.Signature)
	fix("ipxe-dir", &c.IPXEDir)
	fix("tls-cert", &c.TLSCert)
	fix("tls-key", &c.TLSKey)
	fix("token-file", &c.TokenFile)
	fix("state", &c.State)
	c.Hardware = slices.Clone(c.Hardware)
	for i := range c.Hardware {
		fix("hardware", &c.Hardware[i])
	}
	for i := range c.Templates {
		fix("templates", &c.Templates[i].File)
	}
}

// overrides reads ARCH=FILE; the number is IANA's of DHCP option 93.
func (c *Config) overrides() (map[ipxe.Arch]string, error) {
	all := map[ipxe.Arch]string{}
	for _, s := range c.IPXEBinaries {
		number, file, _ := strings.Cut(s, "=")
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || file == "" {
			return nil, fmt.Errorf("ipxe-binary: %q: want ARCHITECTURE=FILE with the number of DHCP option 93, as in 7=snponly.efi", s)
		}
		all[ipxe.Arch(n)] = file
	}
	return all, nil
}

func toSwitch(s string) hardware.Switch {
	switch s {
	case on:
		return hardware.On
	case off:
		return hardware.Off
	}
	return hardware.Unset
}

func checkAddr(s string) error {
	if a, err := netip.ParseAddr(s); err != nil || !a.Is4() {
		return fmt.Errorf("%q is no IPv4 address", s)
	}
	return nil
}

// hostName is a name of the DNS: labels of up to 63 letters, digits, - and _.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*$`)

func checkName(s string) error {
	if len(s) > 253 || !hostName.MatchString(s) {
		return fmt.Errorf("%q is no DNS name such as example.com", s)
	}
	return nil
}

func checkPrefix(s string) error {
	if _, err := netip.ParsePrefix(s); err != nil {
		return fmt.Errorf("%q is no subnet such as 10.0.0.0/24", s)
	}
	return nil
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q is no http or https URL", s)
	}
	return nil
}

func checkHostPort(s string) error {
	_, port, err := net.SplitHostPort(s)
	if n, e := strconv.Atoi(port); err != nil || e != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%q: want HOST:PORT", s)
	}
	return nil
}

func checkRange(s string) error {
	_, err := parseRange(s)
	return err
}

// parseRange reads FIRST-LAST or a subnet; both ends belong to it.
func parseRange(s string) (r [2]netip.Addr, err error) {
	if p, e := netip.ParsePrefix(s); e == nil && p.Addr().Is4() {
		p = p.Masked()
		return [2]netip.Addr{p.Addr(), lastOf(p)}, nil
	}
	first, last, _ := strings.Cut(s, "-")
	if r[0], err = netip.ParseAddr(strings.TrimSpace(first)); err == nil {
		r[1], err = netip.ParseAddr(strings.TrimSpace(last))
	}
	if err != nil || !r[0].Is4() || !r[1].Is4() || r[1].Less(r[0]) {
		return r, fmt.Errorf("%q: want FIRST-LAST, as in 10.0.0.100-10.0.0.199, or a subnet", s)
	}
	return r, nil
}

// lastOf is the highest address of an IPv4 subnet.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}
