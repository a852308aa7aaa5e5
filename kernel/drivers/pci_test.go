package drivers

import (
	"testing"

	"hooksmith/guest/modalias"
)

func TestParsePCI(t *testing.T) {
	for _, tt := range []struct {
		in, out string
		ok      bool
	}{
		{nic, nic, true},
		{"pci:v00008086d00001593sv*sd*bc*sc*i*", "pci:v00008086d00001593sv*sd*bc*sc*i*", true},
		{"pci:v*d*sv*sd*bc01sc08i02*", "pci:v*d*sv*sd*bc01sc08i02", true},
		{"pci:v00008086d00001593", "", false},
		{"pci:v0000808", "", false},
		{"pci:v0000abcdd00001593sv*sd*bc*sc*i*", "", false}, // the kernel writes capitals
		{"pci:v+0008086d00001593sv*sd*bc*sc*i*", "", false},
		{"usb:v0B95p1790", "", false},
		{nic + "x", "", false},
	} {
		p, ok := ParsePCI(tt.in)
		if ok != tt.ok || ok && p.Modalias() != tt.out {
			t.Errorf("%s: %v, %s", tt.in, ok, p.Modalias())
		}
	}
}

// FuzzMatchPCI: the comparison part by part gives what fnmatch gives for
// complete modaliases, and what it says of incomplete ones holds for whatever
// the missing parts turn out to be.
func FuzzMatchPCI(f *testing.F) {
	f.Add(uint32(0x8086), uint32(0x1593), uint32(2), uint8(2), uint16(0x3f), uint16(0), uint8(1))
	f.Add(uint32(0x8086), uint32(0x1593), uint32(2), uint8(2), uint16(0), uint16(0x0ff0), uint8(7))
	f.Fuzz(func(t *testing.T, v, d, s uint32, class uint8, inPattern, inDevice uint16, flip uint8) {
		whole := PCI{known(v), known(d), known(s), known(s ^ 1), known(uint32(class)), known(uint32(class ^ 3)), known(0)}
		pattern, device := whole, whole
		for i, id := range pattern.parts() {
			id.Known = inPattern>>i&1 == 1
			if int(flip) == i {
				id.Value ^= 1
			}
			if !id.Known {
				id.Value = 0
			}
		}
		for i, id := range device.parts() {
			if inDevice>>i&1 == 1 {
				*id = ID{}
			}
		}
		text := pattern.Modalias() + "*"
		fits := modalias.Match(text, whole.Modalias())
		if got := matchPCI(pattern, whole); (got == certainly) != fits || got == maybe || got == byClass {
			t.Fatalf("%s, %s: %v, fnmatch says %v", text, whole.Modalias(), got, fits)
		}
		switch matchPCI(pattern, device) {
		case certainly:
			if !fits {
				t.Fatalf("%s is said to fit %s for certain", text, device.Modalias())
			}
		case no:
			if fits {
				t.Fatalf("%s is said not to fit %s", text, device.Modalias())
			}
		case maybe:
			if len(pattern.open(device)) == 0 && device.Vendor.Known && device.Device.Known {
				t.Fatalf("%s, %s: nothing is open", text, device.Modalias())
			}
		}
	})
}
