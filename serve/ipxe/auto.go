package ipxe

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"time"

	"hooksmith/serve/hardware"
)

// Config is what the site's scripts have in common. HookURL, or a record's
// own, is required; Validate says what is wrong.
type Config struct {
	HookURL string // folder of kernel and initramfs, http or https (or tftp)
	Kernel  string // file name; "" means vmlinuz-<arch>, the arch that iPXE says
	Initrd  string // "" means initramfs-<arch>

	SyslogHost    string // address or name; also for iPXE's own messages
	GRPCAuthority string // host:port of the Tinkerbell server
	TLS           hardware.Switch
	InsecureTLS   hardware.Switch
	WorkerImage   string // tink_worker_image
	Facility      string

	Consoles  []string // ttyS1,115200; nil: tty0 and ttyS1,115200, as Smee has it
	ExtraArgs []string // for every machine, before a record's own; ${setting} is expanded by iPXE

	Retries    int           // of each fetch; 0: 10
	RetryDelay time.Duration // 0: 2 s
}

// Validate reports everything that cannot stand in a script.
func (c *Config) Validate() error {
	var errs []error
	words := []struct{ name, value string }{
		{"hook URL", c.HookURL}, {"kernel", c.Kernel}, {"initrd", c.Initrd}, {"syslog host", c.SyslogHost},
		{"grpc authority", c.GRPCAuthority}, {"worker image", c.WorkerImage}, {"facility", c.Facility},
	}
	for _, w := range words {
		if err := checkWord(w.value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", w.name, err))
		}
	}
	if u, err := url.Parse(c.HookURL); c.HookURL != "" && (err != nil || u.Scheme == "" || u.Host == "") {
		errs = append(errs, fmt.Errorf("hook URL %q: not a URL such as http://10.0.0.1/hook", c.HookURL))
	}
	for _, console := range c.Consoles {
		if err := checkWord(console); err != nil {
			errs = append(errs, fmt.Errorf("console: %w", err))
		}
	}
	for _, arg := range c.ExtraArgs {
		// The operator's own: ${...} is allowed here, a new line is not.
		if err := checkText(strings.ReplaceAll(arg, "${", "")); err != nil {
			errs = append(errs, fmt.Errorf("extra kernel argument: %w", err))
		}
	}
	if c.Retries < 0 || c.RetryDelay < 0 {
		errs = append(errs, errors.New("retries and their delay cannot be negative"))
	}
	return errors.Join(errs...)
}

// kernelArchs is where iPXE's name of an architecture (buildarch) is not the
// kernel's. i386 is what a BIOS iPXE says on a 64-bit machine too.
var kernelArchs = []struct{ ipxe, kernel string }{
	{"i386", "x86_64"}, {"arm32", "aarch64"}, {"arm64", "aarch64"}, {"loong64", "loongarch64"},
}

// hookScript is the script that boots HookOS on m: fetch the kernel, fetch the
// initramfs, boot; each with retries, each failure in words.
func (c *Config) hookScript(m *hardware.Machine) (string, error) {
	b, err := c.bootOf(m)
	if err != nil {
		return "", err
	}
	s := newScript()
	s.comment("HookOS for %s by hooksmith", nameOf(m))
	if m.Source != "" {
		s.comment("hardware record: %s", path.Base(m.Source))
	}
	s.line("set hooksmith-ran yes") // autoexec.ipxe need not look for another script
	s.say("booting HookOS on %s", nameOf(m))
	c.syslog(s)
	s.line("set arch ${buildarch}")
	for _, a := range kernelArchs {
		s.line("iseq ${arch} %s && set arch %s ||", a.ipxe, a.kernel)
	}
	s.line("set hook-url %s", b.url)
	s.line("set kernel %s", b.kernel)
	s.line("set initrd %s", b.initrd)
	s.line("set retries:int32 %d", c.retries())
	s.line("imgfree ||")
	c.fetch(s, "kernel", "kernel --name kernel ${hook-url}/${kernel} "+strings.Join(b.args, " "), "${hook-url}/${kernel}")
	c.fetch(s, "initramfs", "initrd --name "+initrdName+" ${hook-url}/${initrd}", "${hook-url}/${initrd}")
	s.say("starting the kernel")
	s.line("boot ||")
	s.line("echo")
	s.say("STOPPED: the kernel was fetched but could not be started")
	s.say("is it for this architecture? Secure Boot refuses a kernel without a known signature")
	s.line("goto stopped")
	s.line(":stopped")
	s.line("imgfree ||")
	s.pause()
	s.line("exit 1")
	return s.String(), nil
}

// initrdName is what the image is called inside iPXE and in initrd=, which
// the kernel's EFI stub looks it up by.
const initrdName = "initramfs"

// fetch is one download with retries.
func (c *Config) fetch(s *script, what, command, source string) {
	s.line("set try:int32 0")
	s.line(":fetch_%s", what)
	s.line("%s && goto have_%s ||", command, what)
	s.line("iseq ${try} ${retries} && goto no_%s ||", what)
	s.line("inc try")
	s.line("echo hooksmith: fetching the %s failed, next try in %d s: ${try} of ${retries}", what, c.delay())
	s.line("sleep %d", c.delay())
	s.line("goto fetch_%s", what)
	s.line(":no_%s", what)
	s.line("echo")
	s.line("echo hooksmith: STOPPED: the %s could not be fetched from %s", what, source)
	s.line("echo hooksmith: the line above says why; my address is ${ip}, gateway ${gateway}, architecture ${arch}")
	s.line("goto stopped")
	s.line(":have_%s", what)
}

func (c *Config) retries() int {
	if c.Retries == 0 {
		return 10
	}
	return c.Retries
}

func (c *Config) delay() int {
	if c.RetryDelay == 0 {
		return 2
	}
	return max(1, int(c.RetryDelay/time.Second))
}

// syslog sends iPXE's own messages to the log server. nslookup is not in
// every build: without it a name cannot be used, and that is no reason to stop.
func (c *Config) syslog(s *script) {
	if c.SyslogHost == "" {
		return
	}
	if _, err := netip.ParseAddr(c.SyslogHost); err == nil {
		s.line("set syslog %s ||", c.SyslogHost)
		return
	}
	s.line("nslookup syslog %s || echo hooksmith: no syslog from iPXE: %s has no address here", c.SyslogHost, c.SyslogHost)
}

// boot is what one machine boots.
type boot struct {
	url, kernel, initrd string
	args                []string
}

// bootOf merges the site's settings and a machine's, and checks all of it.
func (c *Config) bootOf(m *hardware.Machine) (boot, error) {
	b := boot{
		url:    strings.TrimRight(orElse(m.Netboot.HookURL, c.HookURL), "/"),
		kernel: orElse(m.Netboot.Kernel, orElse(c.Kernel, "vmlinuz-${arch}")),
		initrd: orElse(m.Netboot.Initrd, orElse(c.Initrd, "initramfs-${arch}")),
	}
	if b.url == "" {
		return b, errBothURLs
	}
	for _, each := range []struct{ name, value string }{
		{"MAC address", m.MAC}, {"host name", m.Hostname}, {"hook URL", b.url}, {"kernel", m.Netboot.Kernel}, {"initrd", m.Netboot.Initrd},
	} {
		if err := checkWord(each.value); err != nil {
			return b, fmt.Errorf("%s: %w", each.name, err)
		}
	}
	var err error
	b.args, err = c.arguments(m)
	return b, err
}

// arguments is the kernel's command line in Smee's order, what HookOS reads
// first, extra arguments last: the kernel takes the last of several.
func (c *Config) arguments(m *hardware.Machine) ([]string, error) {
	n := m.Netboot
	values := []struct{ key, value string }{
		{"vlan_id", vlanText(m.VLAN)},
		{"facility", orElse(n.Facility, c.Facility)},
		{"syslog_host", c.SyslogHost},
		{"grpc_authority", c.GRPCAuthority},
		{"tinkerbell_tls", switchText(c.TLS)},
		{"tinkerbell_insecure_tls", switchText(c.InsecureTLS)},
		{"worker_id", orElse(n.WorkerID, m.MAC)},
		{"hw_addr", m.MAC},
		{"tink_worker_image", orElse(n.WorkerImage, c.WorkerImage)},
	}
	var args []string
	for _, v := range values {
		if v.value == "" {
			continue // HookOS's bootkit takes an empty value for a value
		}
		if err := checkWord(v.value); err != nil {
			return nil, fmt.Errorf("%s: %w", v.key, err)
		}
		args = append(args, v.key+"="+v.value)
	}
	args = append(args, "modules=loop,squashfs,sd-mod,usb-storage", "intel_iommu=on", "iommu=pt", "initrd="+initrdName)
	consoles, err := c.consoles(n.Console)
	if err != nil {
		return nil, err
	}
	args = append(append(args, consoles...), c.ExtraArgs...)
	for _, arg := range n.KernelArgs {
		if err := checkText(arg); err != nil {
			return nil, fmt.Errorf("kernel argument: %w", err)
		}
		args = append(args, arg)
	}
	return args, nil
}

// consoles gives the kernel its consoles; the last is /dev/console. A
// record's console is one (ttyS0) or several separated by spaces.
func (c *Config) consoles(own string) (args []string, err error) {
	all := c.Consoles
	if all == nil {
		all = []string{"tty0", "ttyS1,115200"}
	}
	if err := checkText(own); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	if own != "" {
		all = strings.Fields(own)
	}
	for _, console := range all {
		if err := checkWord(console); err != nil {
			return nil, fmt.Errorf("console: %w", err)
		}
		args = append(args, "console="+strings.TrimPrefix(console, "console="))
	}
	return args, nil
}

func vlanText(id int) string {
	if id == 0 {
		return ""
	}
	return fmt.Sprint(id)
}

// switchText is a boolean as HookOS reads it; what is not set is false for it.
func switchText(s hardware.Switch) string {
	switch s {
	case hardware.On:
		return "true"
	case hardware.Off:
		return "false"
	}
	return ""
}

// nameOf is how a machine is called on screens.
func nameOf(m *hardware.Machine) string {
	if m.Hostname == "" {
		return m.MAC
	}
	return m.Hostname + " (" + m.MAC + ")"
}
