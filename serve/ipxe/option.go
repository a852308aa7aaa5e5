package ipxe

import "slices"

// maxClasses bounds the user classes of one packet.
const maxClasses = 32

// ParseUserClass reads DHCP option 77. RFC 3004 has a list of strings with a
// length byte each; iPXE and most scripts send the bare string (ipxe.org/cfg/user-class
// calls that a bug that must stay). If the counts lead exactly to the end it is
// a list, else one bare string; a bare text that by accident is also a list
// is returned as both.
func ParseUserClass(raw []byte) []string {
	list, ok := splitClasses(raw)
	if !ok {
		if text := trimNUL(raw); len(text) > 0 {
			return []string{string(text)}
		}
		return nil
	}
	if raw[0] >= ' ' && printable(raw) {
		list = append(list, string(raw))
	}
	return list
}

func splitClasses(raw []byte) (list []string, ok bool) {
	for rest := raw; len(rest) > 0; {
		n := int(rest[0])
		if n == 0 || n >= len(rest) || len(list) == maxClasses {
			return nil, false
		}
		list = append(list, string(trimNUL(rest[1:1+n])))
		rest = rest[1+n:]
	}
	return list, len(list) > 0
}

// trimNUL takes off what C programs put at the end of strings.
func trimNUL(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}

func printable(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c < ' ' || c > '~' })
}

// Features is what an iPXE says in option 175 that it can do. The zero value
// is that of a client without the option.
type Features struct {
	present bool
	codes   [256 / 64]uint64
}

// The features that matter here (iPXE's include/ipxe/features.h).
const (
	FeatureHTTP  = 19
	FeatureHTTPS = 20
	FeatureTFTP  = 21
	FeatureDNS   = 23
	FeatureEFI   = 36
	FeatureVLAN  = 38
	FeatureMenu  = 39
)

// ParseFeatures reads option 175: encapsulated options, one per feature. What
// follows a malformed one is ignored.
func ParseFeatures(raw []byte) Features {
	f := Features{present: len(raw) > 0}
	for len(raw) >= 2 {
		code, n := raw[0], int(raw[1])
		if code == 0 { // padding
			raw = raw[1:]
			continue
		}
		if code == 255 || 2+n > len(raw) {
			break
		}
		// A feature's value is its version; 0 would be "not there".
		if n > 0 && raw[2] != 0 {
			f.codes[code/64] |= 1 << (code % 64)
		}
		raw = raw[2+n:]
	}
	return f
}

// Present reports whether the client sent the option at all: only iPXE does.
func (f Features) Present() bool { return f.present }

// Has reports whether the client has a feature.
func (f Features) Has(code uint8) bool { return f.codes[code/64]&(1<<(code%64)) != 0 }
