package doctor

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"hooksmith/serve/ipxe"
)

// Options say where to look. Interface is required, see DefaultInterface.
type Options struct {
	Interface     string
	MAC           net.HardwareAddr // that the machines have; nil: one of doctor's own
	Expect        *Expect          // nil: nothing is known
	Architectures []string         // of machines that are here, see Architectures; none: all, and what one of them lacks is no problem
	FullExchange  bool             // take a lease, and give it back
	Quick         bool             // do not read kernel and initramfs to the end: their hashes are not checked
	Wait          time.Duration    // for answers; 0: 10 s
	Roots         *x509.CertPool   // nil: this host's
	Now           func() time.Time // nil: time.Now
}

// Expect is what a configuration of hooksmith serve says that machines get.
type Expect struct {
	Name     string     // of the configuration, for messages
	Address  netip.Addr // of the boot server
	Answers  bool       // it answers DHCP, or as a proxy
	Base     string     // http://ADDRESS[:PORT] of its scripts
	HTTPS    string     // https://ADDRESS[:PORT], "" if it has none
	Manifest []byte     // hook.json of what it serves; nil: none

	// Decide is what a client gets; false: it is not answered.
	Decide func(ipxe.Client) (ipxe.Decision, bool)
}

const (
	defaultWait = 10 * time.Second
	slowMillis  = 1800 // firmware asks again after 4 s, and waits for each answer
)

// doctor is one examination.
type doctor struct {
	Options
	report    *Report
	wire      *wire // nil: DHCP cannot be asked
	asker     *asker
	fetch     *fetcher
	own       netip.Addr          // of this host, may be invalid
	blocked   map[netip.Addr]bool // servers whose port 4011 is silent
	questions []*question
}

// Run examines the network behind an interface. The error says why nothing could be examined; what is wrong with the
// network is in the Report, which is whole even when ctx ends (its last finding says so).
func Run(ctx context.Context, opt Options) (*Report, error) {
	ifi, own, err := findInterface(opt.Interface)
	if err != nil {
		return nil, err
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.MAC == nil {
		opt.MAC = ownMAC(ifi.HardwareAddr)
	}
	opt.Wait = cmp.Or(opt.Wait, defaultWait)
	d := &doctor{Options: opt, own: own, blocked: map[netip.Addr]bool{}, report: &Report{Schema: schema, Time: opt.Now(), Interface: ifi.Name, MAC: opt.MAC.String()}}
	if own.IsValid() {
		d.report.Address = own.String()
	}
	// 1. Listen.
	if err := d.listen(ctx, ifi); err != nil {
		return nil, err
	}
	if d.wire != nil {
		defer d.wire.close()
	}
	d.fetch = &fetcher{wire: d.wire, mtu: ifi.MTU, whole: !opt.Quick, now: opt.Now, files: map[string]*file{}, silent: map[string]bool{}, trust: opt.Roots}
	// 2. Ask as every kind of machine.
	if err := d.ask(ctx); err != nil && ctx.Err() == nil {
		return nil, err
	}
	// 3. Judge the answers.
	d.judge()
	// 4. Load what they name, as far as it goes.
	d.followAll(ctx)
	d.secure(ctx)
	d.lenient()
	// 5. Compare with what is configured.
	d.compare()
	// 6. Take a lease, if that is wanted.
	if opt.FullExchange && d.wire != nil && ctx.Err() == nil {
		d.lease(ctx)
	}
	if ctx.Err() != nil {
		d.report.add(Finding{Code: NotWhole, Severity: Problem, Text: "stopped before everything was examined", Do: "run it again"})
	}
	d.report.finish()
	return d.report, nil
}

// listen opens the wire; to have no right to is a finding.
func (d *doctor) listen(ctx context.Context, ifi *net.Interface) error {
	w, err := openWire(ctx, ifi)
	switch {
	case errors.Is(err, errRight):
		d.report.add(Finding{Code: RightMissing, Severity: Problem,
			Text: "DHCP could not be asked: that needs CAP_NET_RAW, or CAP_NET_BIND_SERVICE for port 68 (" + clean(err.Error(), 200) + ")",
			Do:   "run it with sudo, or once: sudo setcap cap_net_raw+ep $(command -v hooksmith)"})
		return nil
	case err != nil:
		return fmt.Errorf("interface %s: %w", ifi.Name, err)
	}
	d.wire, d.report.Listened = w, w.kind
	d.asker = &asker{wire: w, mac: d.MAC}
	if w.kind == byPort68 {
		d.report.note("without CAP_NET_RAW only answers by broadcast are heard, and IP fragments are not seen")
	}
	return nil
}

// ask gets all answers: by DHCP, by port 4011 where a firmware would; or, without the right to ask, those that the
// configuration promises.
func (d *doctor) ask(ctx context.Context) (err error) {
	all := playersOf(d.Architectures)
	if d.wire == nil {
		d.questions = d.promised(all)
		return nil
	}
	if d.questions, err = d.asker.everybody(ctx, all, d.Wait); err != nil {
		return err
	}
	for _, q := range d.questions {
		if needs := d.sentTo4011(q); needs != nil {
			d.ask4011(ctx, q, needs)
		}
	}
	return nil
}

// sentTo4011 is the answer that sends a firmware to port 4011 for its file: one for PXE clients without a file.
func (d *doctor) sentTo4011(q *question) *Answer {
	if q.player.class != pxeClient || q.file() != nil {
		return nil
	}
	for _, a := range q.answers {
		if strings.HasPrefix(a.VendorClass, pxeClient) && a.File == "" && !a.useFile {
			return a
		}
	}
	return nil
}

func (d *doctor) ask4011(ctx context.Context, q *question, sent *Answer) {
	server := sent.loadsFrom()
	if len(sent.servers) > 0 {
		server = sent.servers[0].String()
	}
	if !d.own.IsValid() {
		d.noAddress()
		return
	}
	host, err := netip.ParseAddr(server)
	if err != nil {
		return
	}
	var a *Answer
	if !d.blocked[host] {
		a, err = bootServer(ctx, q.player, d.MAC, d.own, host, sent.menuItem)
	}
	switch {
	case a != nil:
		q.answers = append(q.answers, a)
	case err != nil && ctx.Err() != nil:
	default:
		d.blocked[host] = true
		d.problem(PXE4011Blocked, q.player.name, server, "let port 4011/udp through to the proxy, or have it name the file at once (hooksmith serve does both)",
			"the answer of %s names no file and sends machines to port 4011, which does not answer", sent.who())
	}
}

func (d *doctor) noAddress() {
	d.report.add(Finding{Code: NoAddressHere, Severity: Problem, Text: fmt.Sprintf("this host has no IPv4 address on %s: nothing can be fetched as machines would", d.Interface),
		Do: "give it one, as with: sudo ip addr add ADDRESS/LENGTH dev " + d.Interface})
}

func (d *doctor) problem(code Code, client, server, do, format string, args ...any) {
	f := Finding{Code: code, Severity: Problem, Server: server, Text: fmt.Sprintf(format, args...), Do: do}
	if client != "" {
		f.Clients = []string{client}
	}
	d.report.add(f)
}

// doubt is a problem that does not keep machines from booting.
func (d *doctor) doubt(code Code, client, server, do, format string, args ...any) {
	f := Finding{Code: code, Severity: Warning, Server: server, Text: fmt.Sprintf(format, args...), Do: do}
	if client != "" {
		f.Clients = []string{client}
	}
	d.report.add(f)
}

func (d *doctor) question(name string) *question {
	i := slices.IndexFunc(d.questions, func(q *question) bool { return q.player.name == name })
	if i < 0 {
		return nil
	}
	return d.questions[i]
}

// findInterface finds an interface and this host's first IPv4 address there.
func findInterface(name string) (*net.Interface, netip.Addr, error) {
	var none netip.Addr
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, none, fmt.Errorf("interface %s is not there; there are %s", name, interfaces())
	}
	if ifi.Flags&net.FlagUp == 0 {
		return nil, none, fmt.Errorf("interface %s is down; try: sudo ip link set %s up", name, name)
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return nil, none, fmt.Errorf("interface %s: %w", name, err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			return ifi, p.Addr(), nil
		}
	}
	return ifi, none, nil
}

// interfaces lists those where machines can be, for messages.
func interfaces() string {
	all, err := net.Interfaces()
	if err != nil {
		return "none that can be listed: " + err.Error()
	}
	var names []string
	for _, i := range all {
		switch {
		case i.Flags&net.FlagLoopback != 0:
		case i.Flags&net.FlagUp == 0:
			names = append(names, i.Name+" (down)")
		default:
			names = append(names, i.Name)
		}
	}
	if len(names) == 0 {
		return "none but loopback"
	}
	return strings.Join(names, ", ")
}

// DefaultInterface is the only interface that is up and no loopback; with several, the only one of them with an IPv4
// address.
func DefaultInterface() (string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("listing the interfaces: %w", err)
	}
	var up, addressed []string
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagBroadcast == 0 {
			continue
		}
		up = append(up, i.Name)
		if _, own, err := findInterface(i.Name); err == nil && own.IsValid() {
			addressed = append(addressed, i.Name)
		}
	}
	switch {
	case len(up) == 1:
		return up[0], nil
	case len(addressed) == 1:
		return addressed[0], nil
	case len(up) == 0:
		return "", errors.New("no network interface is up")
	}
	return "", fmt.Errorf("there are several interfaces (%s): name one with --interface", strings.Join(up, ", "))
}
