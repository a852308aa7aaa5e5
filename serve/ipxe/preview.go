package ipxe

import (
	"fmt"
	"strings"

	"hooksmith/serve/hardware"
)

// Preview is what a machine would get, and why.
type Preview struct {
	Machine hardware.Machine `json:"-"`
	Steps   []PreviewStep    `json:"steps"`
	Origin  string           `json:"origin"` // of the script
	Script  string           `json:"script"`
	Error   string           `json:"error,omitempty"` // why there is no script
	Notes   []string         `json:"notes,omitempty"`
}

// PreviewStep is the answer to one kind of client that the machine can be.
type PreviewStep struct {
	Client   string   `json:"client"`
	Decision Decision `json:"decision"`
}

// maxCommandLine is what the x86 kernel takes (COMMAND_LINE_SIZE) less the
// final NUL; the rest is cut off without a word.
const maxCommandLine = 2047

// Preview explains a machine, without a packet.
func (s *Scripts) Preview(m *hardware.Machine, rule *Rule) Preview {
	p := Preview{Machine: *m}
	for _, each := range previewClients(m) {
		p.Steps = append(p.Steps, PreviewStep{each.name, rule.Decide(each.client, m)})
	}
	result, err := s.For(m)
	if err != nil {
		p.Error = err.Error()
		return p
	}
	p.Origin, p.Script = result.Origin, result.Script
	if n := len(strings.Join(result.Args, " ")); n > maxCommandLine {
		p.Notes = append(p.Notes, fmt.Sprintf("the kernel command line has %d bytes; x86 kernels cut it off after %d", n, maxCommandLine))
	}
	return p
}

type previewClient struct {
	name   string
	client Client
}

// previewClients is what the machine may come as: its firmware by PXE or
// HTTP, then a stock iPXE, then ours. Without a known architecture the usual ones.
func previewClients(m *hardware.Machine) (all []previewClient) {
	firmware := []Arch{0, 7, 16, 11, 19}
	switch m.Arch {
	case "x86_64":
		firmware = []Arch{0, 7, 16}
	case "aarch64":
		firmware = []Arch{11, 19}
	case "riscv64":
		firmware = []Arch{27, 28}
	case "loongarch64":
		firmware = []Arch{39, 40}
	}
	for _, a := range firmware {
		class := "PXEClient"
		if a.HTTP() {
			class = "HTTPClient"
		}
		all = append(all, previewClient{"firmware, " + a.String(), Client{MAC: m.MAC, Architectures: []uint16{uint16(a)}, VendorClass: class}})
	}
	stock := Client{MAC: m.MAC, Architectures: []uint16{uint16(firmware[0])}, VendorClass: "PXEClient", UserClasses: []string{"iPXE"}}
	withHTTP := stock
	withHTTP.Features = ParseFeatures([]byte{FeatureHTTP, 1, 1})
	ours := withHTTP
	ours.UserClasses = []string{UserClass}
	return append(all, previewClient{"stock iPXE without HTTP", stock}, previewClient{"stock iPXE with HTTP", withHTTP},
		previewClient{"iPXE of user class " + UserClass, ours})
}

// String is the preview as `serve preview` prints it.
func (p Preview) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", nameOf(&p.Machine))
	if p.Machine.Source != "" {
		fmt.Fprintf(&b, ", from %s", p.Machine.Source)
	}
	b.WriteString("\n\nas\n")
	for _, step := range p.Steps {
		what := step.Decision.Kind.String()
		if step.Decision.Binary != "" {
			what += " " + step.Decision.Binary
		}
		fmt.Fprintf(&b, "  %-32s %s\n  %-32s   (%s)\n", step.Client, what, "", step.Decision.Reason)
	}
	for _, note := range p.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	if p.Error != "" {
		fmt.Fprintf(&b, "\nno script: %s\n", p.Error)
		return b.String()
	}
	fmt.Fprintf(&b, "\nscript: %s\n%s", p.Origin, p.Script)
	return b.String()
}
