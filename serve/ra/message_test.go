package ra

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestAdvertisement(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	want := append(append([]byte{134}, make([]byte, 15)...), 1, 1, 2, 0, 0, 0, 0, 1)
	if got := advertisement(mac); !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	if got := advertisement(nil); len(got) != 16 {
		t.Errorf("without a link-layer address: %x", got)
	}
}

var solicit = []byte{133, 0, 0, 0, 0, 0, 0, 0}

func with(options ...byte) []byte { return append(bytes.Clone(solicit), options...) }

func TestCheckSolicitation(t *testing.T) {
	for _, tt := range []struct {
		name string
		b    []byte
		hops int
		from string
		ok   bool
	}{
		{"plain", solicit, 255, "fe80::1", true},
		{"from nowhere", solicit, 255, "::", true},
		{"with its address", with(1, 1, 2, 0, 0, 0, 0, 1), 255, "fe80::1", true},
		{"with something unknown", with(200, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14), 255, "::", true},
		{"routed", solicit, 254, "fe80::1", false},
		{"global source", solicit, 255, "fd00::1", false},
		{"address without source", with(1, 1, 2, 0, 0, 0, 0, 1), 255, "::", false},
		{"short", solicit[:7], 255, "fe80::1", false},
		{"code", []byte{133, 1, 0, 0, 0, 0, 0, 0}, 255, "fe80::1", false},
		{"another type", []byte{135, 0, 0, 0, 0, 0, 0, 0}, 255, "fe80::1", false},
		{"option of length 0", with(200, 0, 0, 0, 0, 0, 0, 0), 255, "fe80::1", false},
		{"option cut off", with(200, 2, 0, 0, 0, 0, 0, 0), 255, "fe80::1", false},
		{"a byte too many", with(200), 255, "fe80::1", false},
		{"nothing", nil, 255, "fe80::1", false},
	} {
		if err := checkSolicitation(tt.b, tt.hops, netip.MustParseAddr(tt.from)); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func FuzzCheckSolicitation(f *testing.F) {
	f.Add(solicit, 255, []byte{})
	f.Add(with(1, 1, 2, 0, 0, 0, 0, 1), 255, []byte(net.ParseIP("fe80::1")))
	f.Fuzz(func(t *testing.T, b []byte, hops int, addr []byte) {
		from, _ := netip.AddrFromSlice(addr)
		if checkSolicitation(b, hops, from) == nil && (hops != 255 || len(b) < 8) {
			t.Errorf("%x is accepted", b)
		}
	})
}

// An address is checked for a second or two before it can be used: that is no
// trouble yet.
func TestEarly(t *testing.T) {
	var l timing
	now := time.Unix(1000, 0)
	for _, tt := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {2 * time.Second, true}, {addressTime, false}, {time.Minute, false}} {
		if got := l.early(now.Add(tt.after)); got != tt.want {
			t.Errorf("after %v: %v", tt.after, got)
		}
	}
}
