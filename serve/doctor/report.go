package doctor

import (
	"slices"
	"time"
)

// Code names a diagnosis. Codes do not change between versions: scripts may look for them.
type Code string

// The diagnoses.
const (
	NoAnswer          Code = "no-answer"                // no DHCP or proxy server answers at all
	NoAddressServer   Code = "no-address-server"        // only proxies answer: nobody gives addresses
	RivalDHCP         Code = "rival-dhcp"               // several servers give addresses
	RivalBoot         Code = "rival-boot"               // several servers name different files to the same machine
	SlowAnswer        Code = "slow-answer"              // the first answer comes late (ping check)
	BadPacket         Code = "bad-packet"               // an answer that is no DHCP message, or has what firmware needs missing
	NoBootFile        Code = "no-boot-file"             // machines are answered, but given nothing to boot
	NextServerMissing Code = "next-server-missing"      // a file, but no server (siaddr)
	NextServerWrong   Code = "next-server-wrong"        // siaddr is another host than the one that has the file
	Option66None      Code = "option-66-none"           // the literal "none" as TFTP server name
	Option66Differs   Code = "option-66-differs"        // option 66 names another host than siaddr
	Option60Missing   Code = "option-60-missing"        // HTTP firmware refuses an offer without HTTPClient
	BootForEveryone   Code = "boot-options-to-ordinary" // an ordinary client gets boot options
	Loop              Code = "loop"                     // an iPXE is given the binary again
	FileNameTooLong   Code = "file-name-too-long"       // more than the 127 octets of the field
	WrongArchitecture Code = "wrong-architecture"       // the binary is for other machines
	NotAURL           Code = "file-not-a-url"           // HTTP firmware is given a bare name
	PXE4011Blocked    Code = "pxe-4011-blocked"         // the answer sends the machine to port 4011, which is silent
	TFTPUnreachable   Code = "tftp-unreachable"
	TFTPFile          Code = "tftp-file" // the server refuses the file
	TFTPBlockSize     Code = "tftp-blksize"
	TFTPMTU           Code = "tftp-mtu"       // large blocks are lost, small ones arrive
	TFTPFragments     Code = "tftp-fragments" // blocks come in IP fragments
	TFTPBroken        Code = "tftp-broken"    // endless, stalls, or not what was announced
	HTTPUnreachable   Code = "http-unreachable"
	HTTPStatus        Code = "http-status"
	HTTPRedirect      Code = "http-redirect"  // firmware follows none
	HTTPLength        Code = "http-no-length" // firmware needs Content-Length
	HTTPHead          Code = "http-no-head"   // EDK2 asks by HEAD first
	HTTPType          Code = "http-type"      // firmware knows neither type nor extension
	HTTPBroken        Code = "http-broken"    // endless, stalls, or cut off
	NoRange           Code = "hook-no-range"  // hookImagesURLPath without range support
	ScriptInvalid     Code = "script-invalid" // does not begin with #!ipxe, or makes no sense
	ScriptNothing     Code = "script-no-boot" // names no kernel or no initramfs
	HashDiffers       Code = "hash-differs"   // from hook.json
	ManifestInvalid   Code = "hook-json"      // hook.json is there and cannot be read
	ClockSkew         Code = "clock-skew"     // between the server and this host
	CertificateTime   Code = "certificate-time"
	CertificateName   Code = "certificate-name"
	CertificateChain  Code = "certificate-chain"
	ExpectedServer    Code = "expected-server" // the server of serve.yaml does not answer
	ExpectedFile      Code = "expected-file"   // other than serve.yaml says
	LeaseRefused      Code = "lease-refused"   // the REQUEST of a full exchange
	RightMissing      Code = "right-missing"   // this process may not ask by DHCP
	NoAddressHere     Code = "no-address-here" // this host has no address there: nothing can be fetched
	NotWhole          Code = "stopped-early"   // interrupted, or a limit was reached
)

// Severity is how bad a finding is.
type Severity string

// The severities. A Problem is why a machine does not boot, or why that could not be found out.
const (
	Problem Severity = "problem"
	Warning Severity = "warning"
)

// Line is what to change in a server's configuration.
type Line struct {
	For  string `json:"for"` // dnsmasq, kea, isc-dhcpd, microsoft, hooksmith, network
	Text string `json:"text"`
}

// Finding is a diagnosis.
type Finding struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	Clients  []string `json:"clients,omitempty"` // the kinds of machine that it concerns, as Client.Name
	Server   string   `json:"server,omitempty"`  // address of who sent it, or host of the URL
	Text     string   `json:"text"`              // what is wrong
	Do       string   `json:"do"`                // what to do
	Lines    []Line   `json:"lines,omitempty"`
}

// State is a step's mark.
type State string

// The states.
const (
	OK      State = "ok"
	Bad     State = "problem"
	Doubt   State = "warning"
	Skipped State = "skipped" // does not apply, or an earlier step failed
)

// Stage is a column of the picture, in the order of a boot.
type Stage string

// The stages.
const (
	DHCP      Stage = "dhcp"
	Proxy     Stage = "proxy"
	Fetch     Stage = "fetch" // the binary, by TFTP or HTTP
	IPXE      Stage = "ipxe"  // what the iPXE that was loaded is told
	Script    Stage = "script"
	Kernel    Stage = "kernel"
	Initramfs Stage = "initramfs"
)

// Stages are all of them in order.
func Stages() []Stage { return []Stage{DHCP, Proxy, Fetch, IPXE, Script, Kernel, Initramfs} }

// Step is one stage of one client's boot.
type Step struct {
	Stage  Stage  `json:"stage"`
	State  State  `json:"state"`
	From   string `json:"from,omitempty"` // address or URL
	Text   string `json:"text"`
	Millis int64  `json:"ms,omitempty"`
}

// Client is what one kind of machine experienced.
type Client struct {
	Name    string   `json:"name"`
	Answers []Answer `json:"answers"` // every OFFER, and the ACK of port 4011
	Steps   []Step   `json:"steps"`
}

// Server is one that answered.
type Server struct {
	Address        string `json:"address"` // option 54, else the sender's
	MAC            string `json:"mac,omitempty"`
	GivesAddresses bool   `json:"gives_addresses"`
	GivesBoot      bool   `json:"gives_boot"`
	FirstMillis    int64  `json:"first_ms"` // of its quickest answer to the first question
}

// Report is what was found. It is what --json prints; fields are only added.
type Report struct {
	Schema    int       `json:"schema"` // 1
	Healthy   bool      `json:"healthy"`
	Time      time.Time `json:"time"`
	Interface string    `json:"interface"`
	Address   string    `json:"address,omitempty"` // of this host there
	MAC       string    `json:"mac"`               // that the clients had
	Listened  string    `json:"listened"`          // "packets", "port 68" or "" (no right to)
	Servers   []Server  `json:"servers"`
	Clients   []Client  `json:"clients"`
	Findings  []Finding `json:"findings"`
	Notes     []string  `json:"notes"`
}

// schema is the version of Report's shape.
const schema = 1

// add records a finding, once: the same of another client adds the client.
func (r *Report) add(f Finding) {
	i := slices.IndexFunc(r.Findings, func(o Finding) bool { return o.Code == f.Code && o.Server == f.Server && o.Text == f.Text })
	if i < 0 {
		r.Findings = append(r.Findings, f)
		return
	}
	for _, c := range f.Clients {
		if !slices.Contains(r.Findings[i].Clients, c) {
			r.Findings[i].Clients = append(r.Findings[i].Clients, c)
		}
	}
	if f.Severity == Problem {
		r.Findings[i].Severity = Problem
	}
}

// Has reports whether there is a finding of a code.
func (r *Report) Has(code Code) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Code == code })
}

// note adds something that is no fault, once.
func (r *Report) note(text string) {
	if !slices.Contains(r.Notes, text) {
		r.Notes = append(r.Notes, text)
	}
}

// finish sorts problems before warnings, and decides.
func (r *Report) finish() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		switch {
		case a.Severity == b.Severity:
			return 0
		case a.Severity == Problem:
			return -1
		}
		return 1
	})
	r.Healthy = len(r.Findings) == 0 || r.Findings[0].Severity != Problem
	for _, list := range []*[]string{&r.Notes} {
		if *list == nil {
			*list = []string{}
		}
	}
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	if r.Servers == nil {
		r.Servers = []Server{}
	}
}
