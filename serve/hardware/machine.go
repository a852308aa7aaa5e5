package hardware

import (
	"net/netip"
	"time"
)

// Machine is what the site knows of one machine's boot NIC. The zero value of
// a field means that nothing is known; the server's defaults then apply.
type Machine struct {
	MAC      string // lower case, colons: aa:bb:cc:dd:ee:ff
	Hostname string // RFC 1123
	Source   string // file and row or document it came from, for messages

	IP          netip.Prefix // address with its subnet's length
	Gateway     netip.Addr
	NameServers []netip.Addr
	TimeServers []netip.Addr
	Domain      string
	LeaseTime   time.Duration
	VLAN        int // 1-4094, 0: untagged
	Routes      []Route
	DHCP        Switch // Off: this NIC gets no DHCP answer

	Arch   string            // x86_64 or aarch64, "" unknown
	Labels map[string]string // Kubernetes labels
	Disk   string

	Netboot Netboot
	BMC     BMC
}

// Switch is a tri-state: what a record does not say, the server decides.
type Switch int

// The states of a Switch.
const (
	Unset Switch = iota
	On
	Off
)

// Route is a classless static route (RFC 3442).
type Route struct {
	Destination netip.Prefix
	Router      netip.Addr
}

// Netboot is how a machine boots, beyond the server's defaults.
type Netboot struct {
	Allow        Switch
	Binary       string // iPXE binary instead of the architecture's own
	ScriptURL    string // chained instead of the server's script
	Script       string // iPXE script text instead of the server's
	Template     string // name of a script template of the server
	HookURL      string // base URL of kernel and initramfs (osie.baseURL)
	Kernel       string // file name below it
	Initrd       string
	KernelArgs   []string // after the server's own
	Facility     string
	WorkerID     string
	WorkerImage  string
	Console      string
	PXELinux     string // pxelinux.cfg text
	TFTPServer   string // option 66 for switches (NVOS)
	BootFileName string // option 67 with it
}

// BMC is the machine's management controller. It is carried for the
// hardware's owner; this server never talks to it.
type BMC struct {
	IP       netip.Addr
	Username string
	Password string `json:"-"`
}
