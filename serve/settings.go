package serve

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Setting is one thing that can be set: by flag --NAME, by HOOKSMITH_NAME in
// the environment, by NAME: in serve.yaml.
type Setting struct {
	Name    string
	Usage   string // what it does; the first word in `backquotes` is what its value is called
	Section string // heading in the printed configuration
	Choices []string
	Split   string // between the values of a list that comes as one text; "": not a list

	field any // *string, *[]string, *int, *int64, *bool or *time.Duration
	least int64
	most  int64
	each  func(string) error
}

// Env is the setting's name in the environment.
func (s *Setting) Env() string {
	return "HOOKSMITH_" + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
}

// IsBool reports whether --NAME alone means on.
func (s *Setting) IsBool() bool {
	_, ok := s.field.(*bool)
	return ok
}

// Settings lists everything that can be set, bound to c, in the order in which
// it is printed.
func (c *Config) Settings() []*Setting {
	return slices.Concat(c.networkSettings(), c.bootSettings(), c.scriptSettings(), c.serverSettings())
}

func (c *Config) networkSettings() []*Setting {
	return section("the network", []*Setting{
		{Name: "interface", Usage: "answer DHCP on this `INTERFACE` (repeatable; default the only one that has an address)", field: &c.Interfaces, Split: ","},
		{Name: "address", Usage: "this server's `ADDRESS` as machines reach it (default the interface's first)", field: &c.Address, each: checkAddr},
		{Name: "dhcp-mode", Usage: "reservation: addresses from hardware data; pool: for everyone; proxy: beside another DHCP server; auto-proxy: that, for unknown machines too; off (default reservation)", field: &c.DHCPMode, Choices: dhcpModes},
		{Name: "unknown", Usage: "machines without a hardware record: deny leaves them unanswered, pool gives an address, auto boots them too (default auto in the modes pool and auto-proxy, else deny)", field: &c.Unknown, Choices: unknowns},
		{Name: "pool", Usage: "addresses to give out, `FIRST-LAST` or a subnet (repeatable; default the upper half of the subnet)", field: &c.Pool, Split: ",", each: checkRange},
		{Name: "gateway", Usage: "router `ADDRESS` for machines whose record has none, in the subnet that it is of (repeatable)", field: &c.Gateway, Split: ",", each: checkAddr},
		{Name: "dns", Usage: "name server `ADDRESS` for machines whose record has none (repeatable)", field: &c.DNS, Split: ",", each: checkAddr},
		{Name: "ntp", Usage: "time server `ADDRESS` for machines whose record has none (repeatable)", field: &c.NTP, Split: ",", each: checkAddr},
		{Name: "domain", Usage: "domain `NAME` for machines whose record has none", field: &c.Domain, each: checkName},
		{Name: "lease-time", Usage: "`TIME` that an address is given for, unless the record says one (default 24h)", field: &c.LeaseTime, least: int64(shortestLease), most: int64(365 * 24 * time.Hour)},
		{Name: "ra", Usage: "send IPv6 router advertisements without a prefix: iPXE then does not wait for one", field: &c.RA},
	})
}

func (c *Config) bootSettings() []*Setting {
	return section("what boots", []*Setting{
		{Name: "artifacts", Usage: "`FOLDER` with vmlinuz-* and initramfs-*, served as /hook/", field: &c.Artifacts},
		{Name: "require-signature", Usage: "serve only artifacts that are signed by this public key `FILE`, file by file", field: &c.Signature},
		{Name: "hardware", Usage: "hardware data: hardware.csv, Tinkerbell Hardware YAML or our own, a `FILE` or folder (repeatable)", field: &c.Hardware, Split: ","},
		{Name: "ipxe-dir", Usage: "`FOLDER` with boot binaries (default Debian's package ipxe, downloaded and verified)", field: &c.IPXEDir},
		{Name: "ipxe-binary", Usage: "binary for an architecture of DHCP option 93, `ARCH=FILE`, as in 7=snponly.efi (repeatable)", field: &c.IPXEBinaries, Split: ","},
		{Name: "ipxe-user-class", Usage: "user class `NAME` of an iPXE that needs no chaining, beside Tinkerbell (repeatable)", field: &c.UserClasses, Split: ","},
	})
}

func (c *Config) scriptSettings() []*Setting {
	return section("what HookOS is told", []*Setting{
		{Name: "hook-url", Usage: "`URL` of the folder with kernel and initramfs (default this server's /hook/)", field: &c.HookURL, each: checkURL},
		{Name: "kernel", Usage: "`NAME` of the kernel (default vmlinuz-ARCH, as the machine's is)", field: &c.Kernel},
		{Name: "initrd", Usage: "`NAME` of the initramfs (default initramfs-ARCH)", field: &c.Initrd},
		{Name: "kernel-args", Usage: "further kernel `ARGUMENTS`, before those of a record (repeatable)", field: &c.KernelArgs, Split: " "},
		{Name: "console", Usage: "kernel `CONSOLE`, as in ttyS1,115200 (repeatable)", field: &c.Consoles, Split: " "},
		{Name: "tink-server", Usage: "`HOST:PORT` of the Tinkerbell server (grpc_authority=)", field: &c.TinkServer, each: checkHostPort},
		{Name: "tink-tls", Usage: "whether it speaks TLS (tinkerbell_tls=)", field: &c.TinkTLS, Choices: []string{on, off}},
		{Name: "tink-insecure-tls", Usage: "whether its certificate is believed unseen (tinkerbell_insecure_tls=)", field: &c.TinkInsecure, Choices: []string{on, off}},
		{Name: "worker-image", Usage: "`IMAGE` of the worker that HookOS starts (tink_worker_image=)", field: &c.WorkerImage},
		{Name: "facility", Usage: "facility `CODE` of machines whose record has none", field: &c.Facility},
		{Name: "syslog-host", Usage: "`HOST` that machines log to (default this server)", field: &c.SyslogHost},
		{Name: "script-retries", Usage: "`TIMES` that a machine retries a download (default 10)", field: &c.ScriptRetries, most: 1000},
	})
}

func (c *Config) serverSettings() []*Setting {
	return section("the server", []*Setting{
		{Name: "http-port", Usage: "`PORT` for HTTP (default 80)", field: &c.HTTPPort, most: 65535},
		{Name: "https-port", Usage: "`PORT` for HTTPS (default 443, with a certificate)", field: &c.HTTPSPort, most: 65535},
		{Name: "trusted-proxy", Usage: "`SUBNET` of reverse proxies whose X-Forwarded-For is believed (repeatable)", field: &c.TrustedProxies, Split: ",", each: checkPrefix},
		{Name: "tls-cert", Usage: "PEM `FILE` with the certificate for HTTPS; read again when it changes", field: &c.TLSCert},
		{Name: "tls-key", Usage: "PEM `FILE` with its key", field: &c.TLSKey},
		{Name: "tftp", Usage: "whether files are served by TFTP (default on)", field: &c.TFTP, Choices: []string{on, off}},
		{Name: "tftp-single-port", Usage: "answer from port 69 only, for clients behind NAT or a firewall", field: &c.TFTPSinglePort},
		{Name: "tftp-max-block-size", Usage: "largest block in `BYTES` (default what fits the path)", field: &c.TFTPBlockSize, most: largestBlockSize},
		{Name: "tftp-max-window", Usage: "most `BLOCKS` that are sent without an acknowledgement (default 64)", field: &c.TFTPWindow, most: 65535},
		{Name: "tftp-max-transfers", Usage: "`TRANSFERS` at once (default 1024)", field: &c.TFTPTransfers, most: 1 << 20},
		{Name: "tftp-max-per-client", Usage: "`TRANSFERS` at once of one address (default 64)", field: &c.TFTPPerClient, most: 1 << 20},
		{Name: "syslog", Usage: "whether machines' logs are received and kept (default on)", field: &c.Syslog, Choices: []string{on, off}},
		{Name: "syslog-port", Usage: "`PORT` for syslog, UDP and TCP (default 514)", field: &c.SyslogPort, most: 65535},
		{Name: "syslog-per-machine", Usage: "`BYTES` of log kept for each machine, within 64 MB for all (default 4194304)", field: &c.SyslogPerHost, most: 1 << 40},
		{Name: "admin-address", Usage: "`ADDRESS:PORT` of the page, /api and /metrics (default 127.0.0.1:8067)", field: &c.AdminAddress, each: checkHostPort},
		{Name: "admin-name", Usage: "further host `NAME` that the page is opened by, as behind a reverse proxy (repeatable)", field: &c.AdminNames, Split: ",", each: checkName},
		{Name: "token-file", Usage: "`FILE` with the token that the admin address asks for", field: &c.TokenFile},
		{Name: "state", Usage: "`FOLDER` for leases, boots and logs (default $STATE_DIRECTORY, else $XDG_STATE_HOME/hooksmith)", field: &c.State},
		{Name: "user", Usage: "`USER` to run as when started by root, keeping only the rights to bind ports", field: &c.User},
	})
}

func section(name string, all []*Setting) []*Setting {
	for _, s := range all {
		s.Section = name
	}
	return all
}

// Set gives the setting its value: one text, or any number of a list's. The
// error is about the value only.
func (s *Setting) Set(values ...string) error {
	if s.Split != "" {
		*s.field.(*[]string) = s.split(values)
		return s.check()
	}
	if len(values) != 1 {
		return fmt.Errorf("takes one value, not %d", len(values))
	}
	if err := s.parse(values[0]); err != nil {
		return err
	}
	return s.check()
}

// split is generous: every value may hold several.
func (s *Setting) split(values []string) (all []string) {
	for _, v := range values {
		for one := range strings.SplitSeq(v, s.Split) {
			if one = strings.TrimSpace(one); one != "" {
				all = append(all, one)
			}
		}
	}
	return all
}

func (s *Setting) parse(v string) (err error) {
	switch field := s.field.(type) {
	case *string:
		*field = v
	case *bool:
		if *field, err = parseBool(v); err != nil {
			return err
		}
	case *int:
		if *field, err = strconv.Atoi(v); err != nil {
			return fmt.Errorf("%q is no number", v)
		}
	case *int64:
		if *field, err = strconv.ParseInt(v, 10, 64); err != nil {
			return fmt.Errorf("%q is no number", v)
		}
	case *time.Duration:
		if *field, err = time.ParseDuration(v); err != nil {
			return fmt.Errorf("%q is no time such as 90m or 24h", v)
		}
	}
	return nil
}

func parseBool(v string) (bool, error) {
	switch strings.ToLower(v) {
	case on, "true", "yes", "1":
		return true, nil
	case off, "false", "no", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q: want on or off", v)
}

// check checks the present value; what is left out is in order.
func (s *Setting) check() error {
	switch field := s.field.(type) {
	case *string:
		return s.checkText(*field)
	case *[]string:
		for _, v := range *field {
			if err := s.checkText(v); err != nil {
				return err
			}
		}
	case *int:
		return s.checkNumber(int64(*field), func(n int64) string { return strconv.FormatInt(n, 10) })
	case *int64:
		return s.checkNumber(*field, func(n int64) string { return strconv.FormatInt(n, 10) })
	case *time.Duration:
		return s.checkNumber(int64(*field), func(n int64) string { return time.Duration(n).String() })
	}
	return nil
}

func (s *Setting) checkText(v string) error {
	switch {
	case v == "":
		return nil
	case strings.ContainsAny(v, "\x00\n\r"):
		return fmt.Errorf("%q has a line break", v)
	case s.Choices != nil && !slices.Contains(s.Choices, v):
		return fmt.Errorf("%q: must be one of %s", v, strings.Join(s.Choices, ", "))
	case s.each != nil:
		return s.each(v)
	}
	return nil
}

func (s *Setting) checkNumber(n int64, show func(int64) string) error {
	if n != 0 && (n < s.least || n > s.most) {
		return fmt.Errorf("%s: want %s to %s", show(n), show(max(s.least, 1)), show(s.most))
	}
	return nil
}

// Get returns the value as YAML has it: string, []string, int64 or bool.
func (s *Setting) Get() any {
	switch field := s.field.(type) {
	case *[]string:
		return *field
	case *int:
		return int64(*field)
	case *int64:
		return *field
	case *bool:
		return *field
	case *time.Duration:
		return field.String()
	}
	return *s.field.(*string)
}
