package hardware

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Kubernetes' rules (apimachinery/pkg/util/validation), which EKS Anywhere
// applies to host names and labels.
var (
	dnsSubdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	qualified    = regexp.MustCompile(`^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$`)
	diskPath     = regexp.MustCompile(`^(/dev/[\w-]+)+$`) // EKS Anywhere's
)

// Longest text of a field: one line, and a script.
const (
	maxLine = 4096
	maxText = 64 << 10
)

// NormalizeMAC returns an Ethernet address as Machine.MAC holds it: lower
// case with colons. It reads colons, hyphens, Cisco's dots and bare hex.
func NormalizeMAC(s string) (string, error) {
	if len(s) == 12 {
		if b, err := hex.DecodeString(s); err == nil {
			return net.HardwareAddr(b).String(), nil
		}
	}
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return "", fmt.Errorf("%s is not a MAC address such as 52:54:00:12:34:56", quote(s))
	}
	return mac.String(), nil
}

func parseHostname(s string) (string, error) {
	if len(s) > 253 || !dnsSubdomain.MatchString(s) {
		return "", fmt.Errorf("%s is not a host name: lower case letters, digits, - and . (RFC 1123)", quote(s))
	}
	return s, nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%s is not an IP address", quote(s))
	}
	return a.Unmap(), nil
}

// parseNetmask reads 255.255.255.0, ffff:: or a prefix length (24, /24) and
// returns the length for the family of addr.
func parseNetmask(s string, addr netip.Addr) (int, error) {
	if n, err := strconv.Atoi(strings.TrimPrefix(s, "/")); err == nil {
		if n < 1 || n > addr.BitLen() {
			return 0, fmt.Errorf("%s: a prefix length is 1 to %d here", quote(s), addr.BitLen())
		}
		return n, nil
	}
	mask, err := netip.ParseAddr(s)
	if err != nil || mask.BitLen() != addr.BitLen() {
		return 0, fmt.Errorf("%s is not a netmask such as 255.255.255.0", quote(s))
	}
	// Size is 0, 0 for ones after a zero, and 0 ones for 0.0.0.0.
	if ones, _ := net.IPMask(mask.AsSlice()).Size(); ones > 0 {
		return ones, nil
	}
	return 0, fmt.Errorf("%s is not a netmask: ones, then zeros", quote(s))
}

// parseHost reads the address of a machine with its subnet's length, which
// must leave room for a host.
func parseHost(addr netip.Addr, bits int) (netip.Prefix, error) {
	p := netip.PrefixFrom(addr, bits)
	switch {
	case addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback():
		return netip.Prefix{}, fmt.Errorf("%s cannot be the address of a machine", addr)
	case addr.Is4() && bits < 31 && addr == p.Masked().Addr():
		return netip.Prefix{}, fmt.Errorf("%s is the address of the subnet %s itself", addr, p.Masked())
	case addr.Is4() && bits < 31 && netip.PrefixFrom(addr.Next(), bits).Masked() != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%s is the broadcast address of the subnet %s", addr, p.Masked())
	}
	return p, nil
}

func parseVLAN(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 4094 {
		return 0, fmt.Errorf("%s is not a VLAN id (1 to 4094)", quote(s))
	}
	return n, nil
}

func parseDisk(s string) (string, error) {
	if !diskPath.MatchString(s) {
		return "", fmt.Errorf("%s is not a disk such as /dev/sda (%s)", quote(s), diskPath)
	}
	return s, nil
}

// parseArch accepts the names of Go, Debian and the kernel.
func parseArch(s string) (string, error) {
	switch s {
	case "x86_64", "amd64":
		return "x86_64", nil
	case "aarch64", "arm64":
		return "aarch64", nil
	case "riscv64":
		return "riscv64", nil
	case "loongarch64", "loong64":
		return "loongarch64", nil
	}
	return "", fmt.Errorf("%s: x86_64, aarch64, riscv64 or loongarch64", quote(s))
}

func checkLabel(key, value string) error {
	prefix, name, found := strings.Cut(key, "/")
	if !found {
		prefix, name = "", key
	}
	if found && (len(prefix) > 253 || !dnsSubdomain.MatchString(prefix)) || len(name) > 63 || !qualified.MatchString(name) {
		return fmt.Errorf("%s is not a Kubernetes label key", quote(key))
	}
	if len(value) > 63 || value != "" && !qualified.MatchString(value) {
		return fmt.Errorf("%s is not a Kubernetes label value", quote(value))
	}
	return nil
}

// parseLine accepts text without control characters: these values end up on a
// kernel command line or in a DHCP option.
func parseLine(s string) (string, error) {
	if len(s) > maxLine {
		return "", fmt.Errorf("%d bytes: at most %d", len(s), maxLine)
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return "", fmt.Errorf("%s: one line of text without control characters", quote(s))
		}
	}
	return s, nil
}

// parseText accepts a script or file of several lines.
func parseText(s string) (string, error) {
	if len(s) > maxText {
		return "", fmt.Errorf("%d bytes: at most %d", len(s), maxText)
	}
	if strings.ContainsRune(s, 0) {
		return "", errors.New("a NUL byte")
	}
	return s, nil
}

// parseURL accepts what iPXE can fetch.
func parseURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "tftp" {
		return "", fmt.Errorf("%s is not a URL that iPXE can fetch (http, https, tftp)", quote(s))
	}
	if strings.ContainsAny(s, " \t\r\n") {
		return "", fmt.Errorf("%s: a URL has no spaces; write %%20", quote(s))
	}
	return parseLine(s)
}

// parseFile accepts the name of a file below a URL or a TFTP root.
func parseFile(s string) (string, error) {
	if strings.ContainsAny(s, " \\") {
		return "", fmt.Errorf("%s is not a file name: no spaces or backslashes", quote(s))
	}
	return parseLine(s)
}

// parseSeconds reads a lease time: 86400 or 24h.
func parseSeconds(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if n, e := strconv.ParseUint(s, 10, 32); e == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < 0 || d > (1<<32-1)*time.Second {
		return 0, fmt.Errorf("%s is not a time: seconds, or 90m, 24h", quote(s))
	}
	return d, nil
}
