package timeline

import (
	"fmt"
	"strings"
	"time"

	"hooksmith/serve/hardware"
)

// ofMarks makes problems of what the servers said outright.
func (s *scene) ofMarks(b *Boot) (out []Problem) {
	if m := b.Marks.Unknown; m != nil && !s.known {
		out = append(out, s.unknown(b, m))
	} else if s.judged && !s.known && b.Netboot && b.Stage.rank() >= StageOffer.rank() {
		out = append(out, s.unknown(b, &Mark{First: b.Start}))
	}
	if m := b.Marks.NoBinary; m != nil && b.Stage.rank() < StageBinary.rank() {
		out = append(out, s.noBinary(b, m))
	}
	if m := b.Marks.Loop; m != nil && b.Stage.rank() < StageScript.rank() {
		out = append(out, Problem{Code: CodeLoop, Severity: Error, Since: m.First,
			Text: "The machine asks for the boot binary again right after loading it." + because(m.Detail),
			Do:   "The binary does not say that it is iPXE, or it is not one: use the binaries of this server, or, for your own build, let the server know its user class. The user class that it sends is in the machine's DISCOVER."})
	}
	if m := b.Marks.Rival; m != nil && !movedOn(b, m.Last) {
		out = append(out, rival(m))
	}
	if m := b.Marks.Nak; m != nil && !ackedAfter(b, m.Last) {
		out = append(out, Problem{Code: CodeRefused, Severity: Warn, Since: m.First,
			Text: fmt.Sprintf("The machine asked for an address that is not its own and was refused (%s).", times(m.Count)) + because(m.Detail),
			Do:   "It should ask again from the beginning at once. If it does not, release its old lease there or restart its network."})
	}
	if m := b.Marks.Decline; m != nil && !ackedAfter(b, m.Last) {
		out = append(out, Problem{Code: CodeConflict, Severity: Error, Since: m.First,
			Text: "The machine declined its address, because another machine uses it." + because(m.Detail),
			Do:   "Find who has the address (arping from the machine's network) and correct it there, or change ip_address in the hardware data."})
	}
	if m := b.Marks.Panic; m != nil {
		out = append(out, Problem{Code: CodePanic, Severity: Error, Since: m.First,
			Text: "The kernel stopped: " + sentence(m.Detail),
			Do:   "See the lines before it in the machine's log. \"Unable to mount root fs\" means that the initramfs was cut or too large for this machine's RAM."})
	}
	if m := b.Marks.WorkerFailed; m != nil && !workerAfter(b, m.Last) {
		out = append(out, Problem{Code: CodeWorkerFailed, Severity: Error, Since: m.First,
			Text: fmt.Sprintf("The worker does not stay up (%s): ", times(m.Count)) + sentence(m.Detail),
			Do:   "See the machine's log. A worker that cannot reach Tinkerbell ends at once: check grpc_authority and tinkerbell_tls in its kernel arguments (`hooksmith serve preview " + s.mac + "`)."})
	}
	return out
}

func because(detail string) string {
	if detail == "" {
		return ""
	}
	return " " + sentence(detail)
}

func rival(m *Mark) Problem {
	who := "Another DHCP server"
	if m.Peer != "" {
		who += ", " + m.Peer + ","
	}
	p := Problem{Code: CodeRival, Severity: Error, Since: m.First,
		Text: who + " answered, and the machine took its offer." + because(m.Detail),
		Do:   "Switch that server off on this network, or exclude this machine there, or run this one beside it with --dhcp-mode proxy."}
	if m.Peer != "" {
		p.Do = fmt.Sprintf("Switch off the DHCP server at %s on this network (`ip neigh show %s` on this host shows its MAC address), or exclude this machine there, or run this one beside it with --dhcp-mode proxy.", m.Peer, m.Peer)
	}
	return p
}

// movedOn reports whether a boot went on with this server after a moment.
func movedOn(b *Boot, at time.Time) bool {
	for i := range b.Steps {
		if s := &b.Steps[i]; s.Stage.rank() >= StageAck.rank() && !s.End.Before(at) {
			return true
		}
	}
	return false
}

func ackedAfter(b *Boot, at time.Time) bool {
	s := b.last(StageAck)
	return s != nil && s.End.After(at)
}

func workerAfter(b *Boot, at time.Time) bool {
	s := b.last(StageWorker)
	return s != nil && s.End.After(at)
}

func (s *scene) noBinary(b *Boot, m *Mark) Problem {
	arch := b.Arch
	if arch == "" {
		arch = "not named"
	}
	return Problem{Code: CodeNoBinary, Severity: Error, Since: m.First,
		Text: fmt.Sprintf("There is no boot binary for this machine's architecture (%s).", arch) + because(m.Detail),
		Do:   "Put an iPXE built for it into the folder of --ipxe-dir, or set the machine's firmware to an architecture that there is a binary for (UEFI instead of BIOS, or the other way round)."}
}

// unknown comes with the row that makes the machine known.
func (s *scene) unknown(b *Boot, m *Mark) Problem {
	p := Problem{Code: CodeUnknown, Severity: Error, Since: m.First,
		Text: "This machine is not in the hardware data, and is not answered.",
		Do:   "If it is yours, add it to the hardware file; it is read at once. Fill in its address, and check the disk and the labels.",
		Copy: Rows(s.mac, b.Arch)}
	if b.Stage.rank() >= StageOffer.rank() {
		p.Severity = Info
		p.Text = "This machine is not in the hardware data; it is served nevertheless."
		p.Do = "To give it a fixed address and a name, add it to the hardware file; it is read at once."
	}
	return p
}

// Rows are what makes a machine known: a row of hardware.csv with its header's
// order, and YAML of our own format. Arch is what it said of itself.
func Rows(mac, arch string) []Snippet {
	machine := hardware.Machine{MAC: mac}
	yaml := fmt.Sprintf("- mac: %s\n  hostname: node-%s\n  ip:                # for example 10.0.0.11/24\n", mac, strings.ReplaceAll(mac, ":", ""))
	if a := strings.ToLower(arch); strings.Contains(a, "arm64") || strings.Contains(a, "aarch64") {
		machine.Arch = "aarch64"
		yaml += "  arch: aarch64\n"
	}
	return []Snippet{
		{"hardware.csv", hardware.CSVRow(machine, nil)},
		{"header of hardware.csv", hardware.CSVHeader()},
		{"YAML, below machines:", yaml},
	}
}

// Rates below which a download of some size is called slow.
const (
	slowSize    = 256 << 10
	slowRate    = 400_000 // bytes per second
	slowAgain   = 2       // percent of the packets sent again
	packetBytes = 1400
)

// slow is about downloads that work, badly.
func (s *scene) slow(b *Boot) (out []Problem) {
	for i := range b.Steps {
		st := &b.Steps[i]
		if st.Aborted || st.Bytes < slowSize || st.Took < time.Second && st.Retransmits == 0 {
			continue
		}
		packets := st.Bytes/packetBytes + 1
		lossy := int64(st.Retransmits)*100 > packets*slowAgain && st.Retransmits > 10
		if !lossy && (st.Rate == 0 || st.Rate >= slowRate) {
			continue
		}
		p := Problem{Code: CodeSlow, Severity: Warn, Since: st.Start,
			Text: fmt.Sprintf("The download of %s was slow: %s/s.", name(st.File), Bytes(st.Rate)),
			Do:   "Look for a link at 100 Mbit/s or half duplex, a full uplink, or a path with a long round trip: TFTP waits for every answer; UEFI HTTP boot or an iPXE with HTTP does not."}
		if lossy {
			p.Text = fmt.Sprintf("Packets were lost in the download of %s: %d were sent again (%s/s).", name(st.File), st.Retransmits, Bytes(st.Rate))
			p.Do = "Look for errors on the machine's cable and switch port (duplex mismatch, MTU), and for an overloaded uplink."
		}
		out = append(out, p)
		if len(out) == 3 {
			break
		}
	}
	return out
}

// before carries over why the boot before did not succeed, while this one has
// not come further.
func (s *scene) before(b *Boot, own []Problem) *Problem {
	if len(s.boots) < 2 || b.Stage.rank() > StageAck.rank() && len(own) > 0 {
		return nil
	}
	prev := s.boots[len(s.boots)-2]
	if b.Stage.Compare(prev.Stage) > 0 || b.Start.Sub(prev.Last) > s.waits.Again || s.now.Sub(b.Start) > s.waits.Again {
		return nil
	}
	then := scene{mac: s.mac, boots: s.boots[:len(s.boots)-1], now: b.Start, waits: s.waits, known: true, record: s.record}
	for _, p := range then.ofStage(prev) {
		p.Severity = Warn
		p.Text = "The boot before: " + p.Text
		return &p
	}
	return nil
}

// again finds a machine that boots again and again.
func (s *scene) again() *Problem {
	count, first := 0, time.Time{}
	worked := false
	for i := len(s.boots) - 1; i >= 0; i-- {
		b := s.boots[i]
		if s.now.Sub(b.Start) > s.waits.Again {
			break
		}
		if b.Netboot {
			count, first = count+1, b.Start
			worked = worked || b.Stage == StageWorker
		}
	}
	if count < 3 {
		return nil
	}
	last := s.boots[len(s.boots)-2]
	p := &Problem{Code: CodeAgain, Severity: Error, Since: first,
		Text: fmt.Sprintf("The machine has booted %d times in %s; the boot before came to: %s.", count, Duration(s.now.Sub(first)), last.Stage.Title()),
		Do:   "Look at its screen at that point. A reset in the middle is power, a watchdog of the BMC, too little RAM or a kernel panic with panic= set; log and steps of the earlier boots are below."}
	if worked {
		p.Severity = Warn
		p.Do = "The worker was reached: a workflow that reboots the machine at its end boots from the network again unless the boot order was changed. Check the workflow's last action, the machine's boot order, and allowPXE."
	}
	return p
}

// Title is a stage in words for people.
func (s Stage) Title() string {
	switch s {
	case StageDiscover:
		return "DISCOVER"
	case StageOffer:
		return "OFFER"
	case StageRequest:
		return "REQUEST"
	case StageAck:
		return "ACK"
	case StageProbe:
		return "size probe"
	case StageBinary:
		return "boot binary"
	case StageScript:
		return "iPXE script"
	case StageKernel:
		return "kernel"
	case StageInitramfs:
		return "initramfs"
	case StageSyslog:
		return "system log"
	case StageWorker:
		return "worker up"
	case StageFile:
		return "other file"
	}
	return "first sign"
}

// Duration writes a time for people: 0.4 s, 12 s, 3 min, 5 h, 2 d.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f d", d.Hours()/24)
}
