package servetest

import (
	"testing"
)

// plains are the DHCP servers that know nothing of booting, and the mode of
// ours beside each.
var plains = []struct {
	server string
	start  func(*lab)
	mode   string
	kinds  []kind
}{
	{"dnsmasq", (*lab).dnsmasq, "proxy", []kind{uefiKind, biosKind, httpKind, arm64Kind, arm64HTTP}},
	{"kea", (*lab).kea, "auto-proxy", []kind{httpKind, uefiKind, biosKind, arm64Kind, arm64HTTP}},
}

// Beside another DHCP server, which gives the address and nothing else, every
// kind of machine boots: those of the hardware file, or any.
func TestBootBesidePlain(t *testing.T) {
	for _, tt := range plains {
		for i, k := range tt.kinds {
			t.Run(tt.mode+"/"+tt.server+"/"+k.String(), func(t *testing.T) {
				if i > 0 || tt.mode == "auto-proxy" {
					all(t)
				}
				dir := booted(t, k.arch)
				l := newLab(t)
				tt.start(l)
				args := []string{"--dhcp-mode", tt.mode}
				if tt.mode == "proxy" {
					args = append(args, "--hardware", l.hardware(record))
				}
				s := l.serveTo(k, dir, args...)
				l.besideAnother(k, dir)
				s.stop()
			})
		}
	}
}

// dnsmasq is a plain DHCP server in the client namespace.
func (l *lab) dnsmasq() {
	l.t.Helper()
	need(l.t, "dnsmasq")
	l.address()
	l.background(l.in(l.client, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--interface=eth0", "--no-ping",
		"--log-facility=-", "--log-dhcp", "--dhcp-range=10.78.0.100,10.78.0.150,255.255.255.0,1h", "--dhcp-leasefile="+l.dir+"/dnsmasq.leases", "--pid-file="))
}

// plainKea is a configuration that gives addresses only.
const plainKea = `{ "Dhcp4": {
  "interfaces-config": { "interfaces": [ "eth0" ] },
  "lease-database": { "type": "memfile", "persist": false },
  "subnet4": [ { "id": 1, "subnet": "10.78.0.0/24", "pools": [ { "pool": "10.78.0.100-10.78.0.150" } ] } ]
} }
`

// kea is one more.
func (l *lab) kea() {
	l.t.Helper()
	l.address()
	l.write("plain", plainKea)
	l.background(l.chrootIn(l.client, "trixie", "kea-dhcp4", "-c", "/mnt/plain"))
}
