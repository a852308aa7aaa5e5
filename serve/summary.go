package serve

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Summary is the first that an operator reads: what is served where, what to
// tell Tinkerbell, what to do next.
func (s *Server) Summary() string {
	var b strings.Builder
	c := &s.plan.Config
	fmt.Fprintf(&b, "hooksmith serves machines on %s\n\n", s.plan.linkNames())
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, p := range s.parts {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", p.name, p.address, p.detail)
	}
	w.Flush() // to a strings.Builder
	fmt.Fprintln(&b)
	for _, line := range s.plan.binaryLines() {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	base := s.plan.boots.baseURL(s.plan.boots.links[0].address)
	fmt.Fprintln(&b)
	if c.Artifacts == "" {
		fmt.Fprintln(&b, "Nothing is served at /hook/: --artifacts names the folder that `hooksmith build` made.")
	} else {
		fmt.Fprintf(&b, "hookImagesURLPath: %s/hook/\n", base)
	}
	if c.DHCPMode == off {
		fmt.Fprintf(&b, "Boot URL for another DHCP server: %s/boot.ipxe\n", base)
	}
	fmt.Fprintf(&b, "State:             %s\n", c.State)
	fmt.Fprintf(&b, "Page:              http://%s/\n", c.AdminAddress)
	for _, note := range s.plan.Notes() {
		fmt.Fprintf(&b, "Note:              %s\n", note)
	}
	fmt.Fprintf(&b, "Next:              %s\n", s.next())
	return b.String()
}

// next is the operator's next step.
func (s *Server) next() string {
	c := &s.plan.Config
	switch {
	case s.plan.Machines == 0 && c.Unknown == deny:
		return "no machine is known, and unknown ones are not answered: name a file with --hardware, or say --unknown auto"
	case c.proxies():
		return "turn a machine on; the network's DHCP server gives it an address, this one its boot file; follow it with: hooksmith serve status --watch"
	}
	return "turn a machine on and follow it with: hooksmith serve status --watch"
}

func (p *Plan) linkNames() string {
	var names []string
	for _, l := range p.boots.links {
		names = append(names, fmt.Sprintf("%s (%s, %s)", l.name, l.address, l.subnet))
	}
	return strings.Join(names, ", ")
}

// binaryLines says what boots what, and which platforms have nothing.
func (p *Plan) binaryLines() (lines []string) {
	for _, b := range p.Binaries.All() {
		lines = append(lines, b.String())
	}
	return lines
}

// Reload reads the hardware data again, at once.
func (s *Server) Reload() error { return s.plan.boots.hardware.Reload() }
