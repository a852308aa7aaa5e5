package serve

import (
	"bufio"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// hostRouters is this host's own router if it is on one of the links: what
// machines there need too. There is one at most.
func hostRouters(links []link) []string {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return nil
	}
	defer f.Close()
	for _, a := range routers(f) {
		if slices.ContainsFunc(links, func(l link) bool { return l.contains(a) }) {
			return []string{a.String()}
		}
	}
	return nil
}

// routers reads the default routes of /proc/net/route, which has addresses as
// hexadecimal numbers of this machine's byte order: little endian on all that
// hooksmith is made for.
func routers(r io.Reader) (all []netip.Addr) {
	const destination, gateway = 1, 2
	for lines := bufio.NewScanner(r); lines.Scan(); {
		columns := strings.Fields(lines.Text())
		if len(columns) <= gateway || columns[destination] != "00000000" {
			continue
		}
		b, err := hex.DecodeString(columns[gateway])
		if err != nil || len(b) != 4 {
			continue
		}
		slices.Reverse(b)
		if a, _ := netip.AddrFromSlice(b); !a.IsUnspecified() {
			all = append(all, a)
		}
	}
	return all
}

// hostNameServers are the IPv4 name servers of this host that others can reach.
func hostNameServers() (all []string) {
	f, err := os.Open("/etc/resolv.conf")
	if err != nil {
		return nil
	}
	defer f.Close()
	return nameServers(f)
}

func nameServers(r io.Reader) (all []string) {
	const most = 3 // as the resolver has it
	for lines := bufio.NewScanner(r); lines.Scan() && len(all) < most; {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil && a.Is4() && !a.IsLoopback() {
			all = append(all, a.String())
		}
	}
	return all
}
