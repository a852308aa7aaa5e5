package drivers

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// ReadLspci reads the output of lspci in any form that has numbers: -n, -nn,
// both with -k or -v, -mm with -n or -nn, and -vmm with -n or -nn, each with
// or without -D. Messages of lspci and of what it was called by are passed over
// with a warning. file is the listing's name in errors, which carry the line.
func ReadLspci(file string, r io.Reader) (*Listing, error) {
	p := &lspci{listing: listing{file: file}}
	if err := lines(file, r, p.line); err != nil {
		return nil, err
	}
	if err := p.endRecord(); err != nil {
		return nil, err
	}
	return p.end(file + ": there is no device in it: it should be the output of lspci -nn, lspci -nnk or lspci -vmmn")
}

// lspci is a reader of listings. The forms can be told apart line by line, so
// that listings of several machines may be put one behind the other.
type lspci struct {
	listing
	record *record // of -vmm, that has begun
}

var (
	slotForm  = `((?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])`
	slotStart = regexp.MustCompile(`^` + slotForm + `\s+(.*)$`)
	// lspci -n: "0200: 8086:1593 (rev 02) (prog-if 01 [..])"; old ones write "Class 0200:".
	numbers = regexp.MustCompile(`^(?:Class )?([0-9a-fA-F]{4}): ([0-9a-fA-F]{4}):([0-9a-fA-F]{4})(?: (.*))?$`)
	// lspci -nn: "Ethernet controller [0200]: Intel Corporation ... [8086:1593] (rev 02)".
	inBrackets = regexp.MustCompile(`^(.*?) \[([0-9a-fA-F]{4})\]: (.*)\[([0-9a-fA-F]{4}):([0-9a-fA-F]{4})\](?: (.*))?$`)
	subsystem  = regexp.MustCompile(`(?:^|\[)([0-9a-fA-F]{4}):([0-9a-fA-F]{4})\]?$`)
	progIf     = regexp.MustCompile(`\(prog-if ([0-9a-fA-F]{2})`)
	quoted     = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"|(-[rp][0-9a-fA-F]{2})`)
)

func (p *lspci) line(where, line string) error {
	switch {
	case p.isMessage(where, line):
		return nil // in the middle of a record too
	case strings.TrimSpace(line) == "":
		return p.endRecord()
	case strings.HasPrefix(line, "\t"), strings.HasPrefix(line, " "):
		return p.detail(where, strings.TrimSpace(line))
	}
	if key, value, ok := strings.Cut(line, ":\t"); ok && !strings.Contains(key, " ") {
		return p.field(where, key, strings.TrimSpace(value))
	}
	if err := p.endRecord(); err != nil {
		return err
	}
	m := slotStart.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("%s: %.80q is no line of lspci: a device begins with its slot, such as 3b:00.0", where, line)
	}
	d, err := header(where, m[2])
	if err != nil {
		return err
	}
	d.Slot = m[1]
	return p.add(d)
}

// header reads what is behind the slot.
func header(where, text string) (Device, error) {
	var p PCI
	if strings.HasPrefix(text, `"`) {
		return machineLine(where, text)
	}
	if m := numbers.FindStringSubmatch(text); m != nil {
		p.setClass(m[1])
		p.Vendor, p.Device = hexID(m[2]), hexID(m[3])
		p.setProgIf(m[4])
		return newPCI(where, p), nil
	}
	m := inBrackets.FindStringSubmatch(text)
	if m == nil {
		return Device{}, fmt.Errorf("%s: no numbers in %.80q: run lspci with -nn", where, text)
	}
	p.setClass(m[2])
	p.Vendor, p.Device = hexID(m[4]), hexID(m[5])
	p.setProgIf(m[6])
	d := newPCI(where, p)
	d.Name = strings.TrimSpace(m[3])
	return d, nil
}

// detail reads an indented line: of -k, -v or -vv.
func (p *lspci) detail(where, line string) error {
	if len(p.devices) == 0 {
		return fmt.Errorf("%s: %.80q belongs to a device, but none is before it", where, line)
	}
	d := &p.devices[len(p.devices)-1]
	key, value, _ := strings.Cut(line, ": ")
	switch key {
	case "Subsystem":
		if m := subsystem.FindStringSubmatch(value); m != nil {
			d.PCI.SubVendor, d.PCI.SubDevice = hexID(m[1]), hexID(m[2])
			d.Modalias = d.PCI.Modalias()
		}
	case "Kernel driver in use":
		d.Driver = value
	}
	return nil
}

// machineLine reads what lspci -mm has behind the slot: class, vendor, device,
// -rREVISION and -pINTERFACE if they are not zero, subsystem.
func machineLine(where, text string) (Device, error) {
	var values []string
	var p PCI
	iface := "00"
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		if option, ok := strings.CutPrefix(m[2], "-p"); ok {
			iface = option
		} else if m[2] == "" {
			values = append(values, m[1])
		}
	}
	if len(values) < 3 {
		return Device{}, fmt.Errorf("%s: %.80q has fewer than three values: run lspci -mm -nn", where, text)
	}
	ids := make([]ID, len(values))
	for i, v := range values {
		ids[i] = lastID(v)
	}
	if !ids[0].Known || !ids[1].Known || !ids[2].Known {
		return Device{}, fmt.Errorf("%s: no numbers in %.80q: run lspci -mm with -nn", where, text)
	}
	p.Vendor, p.Device = ids[1], ids[2]
	p.Class, p.SubClass, p.Interface = known(ids[0].Value>>8), known(ids[0].Value&0xff), hexID(iface)
	if len(ids) >= 5 && ids[3].Known && ids[4].Known {
		p.SubVendor, p.SubDevice = ids[3], ids[4]
	}
	d := newPCI(where, p)
	d.Name = strings.TrimSpace(nameOf(values[1]) + " " + nameOf(values[2]))
	return d, nil
}

var (
	bareID    = regexp.MustCompile(`^[0-9a-fA-F]{4}$`)
	trailerID = regexp.MustCompile(`^(.*?) ?\[([0-9a-fA-F]{4})\]$`)
)

// lastID reads "8086" and "Intel Corporation [8086]".
func lastID(s string) ID {
	if bareID.MatchString(s) {
		return hexID(s)
	}
	if m := trailerID.FindStringSubmatch(s); m != nil {
		return hexID(m[2])
	}
	return ID{}
}

// nameOf is what is before the number.
func nameOf(s string) string {
	if m := trailerID.FindStringSubmatch(s); m != nil {
		return strings.ReplaceAll(m[1], `\"`, `"`)
	}
	return ""
}

// hexID reads digits that a regular expression has found.
func hexID(digits string) ID {
	v, err := strconv.ParseUint(digits, 16, 32)
	if err != nil {
		return ID{}
	}
	return known(uint32(v))
}

func (p *PCI) setClass(digits string) {
	if c := hexID(digits); c.Known {
		p.Class, p.SubClass = known(c.Value>>8), known(c.Value&0xff)
	}
}

func (p *PCI) setProgIf(text string) {
	if m := progIf.FindStringSubmatch(text); m != nil {
		p.Interface = hexID(m[1])
	}
}
