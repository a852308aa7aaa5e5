package hardware

import (
	"encoding/csv"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// CSVHeader is the header that CSVRow writes for.
func CSVHeader() string { return strings.Join(usualColumns, ",") }

// CSVRow returns one line of hardware.csv for a machine, without a line end:
// what is shown for an unknown machine, to be copied into the file. Columns
// are those of the file's header, nil means CSVHeader. What EKS Anywhere
// requires and m does not say gets a value to be looked at (host name from
// the MAC address, /dev/sda, type=worker); addresses are never invented, an
// unknown one stays empty and is named when the file is read.
func CSVRow(m Machine, columns []string) string {
	if columns == nil {
		columns = usualColumns
	}
	cells := make([]string, len(columns))
	for i, name := range columns {
		cells[i] = csvCell(&m, name)
	}
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write(cells) // a Builder takes everything
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}

func csvCell(m *Machine, column string) string {
	switch column {
	case "hostname":
		return orElse(m.Hostname, "node-"+strings.ReplaceAll(m.MAC, ":", ""))
	case "mac":
		return m.MAC
	case "ip_address":
		return addrText(m.IP.Addr())
	case "netmask":
		return netmaskText(m.IP)
	case "gateway":
		return addrText(m.Gateway)
	case "nameservers":
		return joinAddrs(m.NameServers, listSeparator)
	case "labels":
		return labelText(m.Labels)
	case "disk":
		return orElse(m.Disk, "/dev/sda")
	case "bmc_ip":
		return addrText(m.BMC.IP)
	case "bmc_username":
		return m.BMC.Username
	case "bmc_password":
		return m.BMC.Password
	case "vlan_id":
		if m.VLAN != 0 {
			return strconv.Itoa(m.VLAN)
		}
	}
	return ""
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func netmaskText(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return ""
	case p.Addr().Is4():
		return net.IP(net.CIDRMask(p.Bits(), 32)).String()
	}
	return strconv.Itoa(p.Bits())
}

func joinAddrs(addrs []netip.Addr, separator string) string {
	all := make([]string, len(addrs))
	for i, a := range addrs {
		all[i] = a.String()
	}
	return strings.Join(all, separator)
}

func labelText(labels map[string]string) string {
	if len(labels) == 0 {
		return "type=worker"
	}
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, key+"="+labels[key])
	}
	return strings.Join(pairs, listSeparator)
}
