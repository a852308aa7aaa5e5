package web

import (
	"errors"
	"strings"
	"unicode/utf8"

	"hooksmith/serve/hardware"
)

// kind is what a path asks for.
type kind int

const (
	other    kind = iota // none of the boot server's
	artifact             // below /hook/
	binary               // perhaps: if there is a binary of that name
	autoScript
	bootScript
	autoexecScript
	pxelinux
)

// target is a path, taken apart.
type target struct {
	kind kind
	name string // of an artifact: relative, slash-separated, "." is the folder; else the last element
	mac  string // that the path names, as hardware.Machine.MAC
}

const (
	maxPath     = 1024
	maxElements = 16
	traceSuffix = len("-00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
)

// errPath is a path that no client of ours makes.
var errPath = errors.New("bad path")

// parsePath decides by a decoded URL path. Empty elements and "." do not count:
// joined URLs have //, and firmware does not follow a redirect. ".." is
// refused.
func parsePath(p string) (target, error) {
	elements, err := split(p)
	if err != nil || len(elements) == 0 {
		return target{}, err
	}
	last := len(elements) - 1
	elements[last] = withoutTrace(elements[last])
	if elements[0] == "hook" {
		return artifactTarget(elements[1:]), nil
	}
	t := target{name: elements[last]}
	if last > 0 {
		t.mac = macOf(elements[last-1])
	}
	switch {
	case t.name == "auto.ipxe":
		t.kind = autoScript
	case t.name == "boot.ipxe":
		t.kind = bootScript
	case t.name == "autoexec.ipxe":
		t.kind = autoexecScript
	case last > 0 && elements[last-1] == "pxelinux.cfg" && strings.HasPrefix(t.name, "01-"):
		t.kind, t.mac = pxelinux, macOf(t.name[len("01-"):])
	case ofBinaries(elements[:last], t.mac):
		t.kind = binary
	}
	return t, nil
}

// artifactTarget is a path below /hook/. iPXE asks for autoexec.ipxe beside
// what it was loaded from; its MAC address may be in front there as well.
func artifactTarget(elements []string) target {
	t := target{kind: artifact, name: "."}
	if len(elements) > 0 {
		t.name = strings.Join(elements, "/")
	}
	return t
}

// ofBinaries reports whether binaries are in a folder: at the top, in
// Tinkerbell's folder, and below a MAC address in each.
func ofBinaries(folder []string, mac string) bool {
	if mac != "" {
		folder = folder[:len(folder)-1]
	}
	return len(folder) == 0 || len(folder) == 2 && folder[0] == "ipxe" && folder[1] == "binary"
}

func split(p string) ([]string, error) {
	if len(p) > maxPath || !utf8.ValidString(p) {
		return nil, errPath
	}
	var elements []string
	for e := range strings.SplitSeq(p, "/") {
		switch {
		case e == "" || e == ".":
			continue
		case e == ".." || strings.ContainsFunc(e, unusable) || len(elements) == maxElements:
			return nil, errPath
		}
		elements = append(elements, e)
	}
	return elements, nil
}

// unusable marks what is in no name of ours and means something elsewhere.
func unusable(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }

// withoutTrace takes off the W3C trace context that Tinkerbell's DHCP appends to
// names: -00-<trace id>-<span id>-<flags>.
func withoutTrace(name string) string {
	at := len(name) - traceSuffix
	if at <= 0 {
		return name
	}
	for i, c := range []byte(name[at:]) {
		dash := i == 0 || i == 3 || i == 36 || i == 53
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		if dash != (c == '-') || !dash && !hex {
			return name
		}
	}
	if name[at+1:at+3] != "00" {
		return name
	}
	return name[:at]
}

func macOf(element string) string {
	mac, err := hardware.NormalizeMAC(element)
	if err != nil {
		return ""
	}
	return mac
}
