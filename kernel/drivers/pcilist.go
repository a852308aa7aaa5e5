package drivers

import (
	"fmt"
	"regexp"
	"strings"
)

var pciForm = regexp.MustCompile(`^([0-9a-fA-F]{4}):([0-9a-fA-F]{4})(?::([0-9a-fA-F]{4}):([0-9a-fA-F]{4}))?(?:@([0-9a-fA-F]{4})([0-9a-fA-F]{2})?)?$`)

// ParsePCIList reads devices as VENDOR:DEVICE, optionally followed by
// :SUBVENDOR:SUBDEVICE and @CLASS (four digits, or six with the programming
// interface), separated by commas or blanks: "8086:1593,144d:a808@010802".
func ParsePCIList(flag, list string) ([]Device, error) {
	l := listing{file: flag}
	for word := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' }) {
		m := pciForm.FindStringSubmatch(word)
		if m == nil {
			return nil, fmt.Errorf("%s: %.60q is no device: write VENDOR:DEVICE in hexadecimal, as lspci -n does, such as 8086:1593, 103c:3239:103c:21c2 or 144d:a808@0108", flag, word)
		}
		p := PCI{Vendor: hexID(m[1]), Device: hexID(m[2])}
		if m[3] != "" {
			p.SubVendor, p.SubDevice = hexID(m[3]), hexID(m[4])
		}
		if m[5] != "" {
			p.setClass(m[5])
		}
		if m[6] != "" {
			p.Interface = hexID(m[6])
		}
		if err := l.add(newPCI(flag, p)); err != nil {
			return nil, err
		}
	}
	if len(l.devices) == 0 {
		return nil, fmt.Errorf("%s: no device named: write such as 8086:1593,1000:0014", flag)
	}
	return l.devices, nil
}
