package timeline

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"hooksmith/serve/hardware"
)

// The codes of Problem.
const (
	CodeUnknown      = "unknown-machine"
	CodeNoBinary     = "no-binary"
	CodeLoop         = "binary-loop"
	CodeRival        = "rival-dhcp"
	CodeRefused      = "address-refused"
	CodeConflict     = "address-conflict"
	CodeNoOffer      = "no-offer"
	CodeStalledOffer = "stalled-after-offer"
	CodeNoAck        = "no-ack"
	CodeStalledAck   = "stalled-after-ack"
	CodeAborted      = "download-aborted"
	CodeHanging      = "download-hanging"
	CodeSlow         = "download-slow"
	CodeNoScript     = "no-script"
	CodeNoKernel     = "no-kernel"
	CodeNoInitramfs  = "no-initramfs"
	CodeNoSyslog     = "no-syslog"
	CodePanic        = "kernel-panic"
	CodeNoWorker     = "no-worker"
	CodeWorkerFailed = "worker-failing"
	CodeAgain        = "boots-again"
)

// Codes are all codes of Problem. The caller owns the slice.
func Codes() []string {
	return []string{CodeUnknown, CodeNoBinary, CodeLoop, CodeRival, CodeRefused, CodeConflict, CodeNoOffer, CodeStalledOffer,
		CodeNoAck, CodeStalledAck, CodeAborted, CodeHanging, CodeSlow, CodeNoScript, CodeNoKernel, CodeNoInitramfs,
		CodeNoSyslog, CodePanic, CodeNoWorker, CodeWorkerFailed, CodeAgain}
}

// forgotten is when a machine's last trouble is history.
const forgotten = 24 * time.Hour

// scene is what a diagnosis looks at. It does not change any of it.
type scene struct {
	mac    string
	boots  []*Boot // oldest first
	now    time.Time
	waits  *Waits
	known  bool
	judged bool              // there are hardware data to be known in
	record *hardware.Machine // nil without one
}

// diagnose says what is wrong with the last boot, the worst first.
func (s *scene) diagnose() []Problem {
	out := []Problem{}
	if len(s.boots) == 0 {
		return out
	}
	b := s.boots[len(s.boots)-1]
	out = append(out, s.ofMarks(b)...)
	out = append(out, s.ofStage(b)...)
	out = append(out, s.slow(b)...)
	if p := s.before(b, out); p != nil {
		out = append(out, *p)
	}
	if p := s.again(); p != nil {
		out = append(out, *p)
	}
	slices.SortStableFunc(out, func(a, b Problem) int { return b.Severity.rank() - a.Severity.rank() })
	return out
}

// state puts a machine's condition into a word.
func (s *scene) state(problems []Problem, last time.Time) State {
	if len(s.boots) == 0 {
		return Silent
	}
	b := s.boots[len(s.boots)-1]
	quiet := s.now.Sub(last)
	switch {
	case quiet > forgotten:
		return Silent
	case len(problems) > 0 && problems[0].Severity == Error:
		return Stuck
	case b.Stage == StageWorker:
		return Up
	case b.Stage.rank() <= StageAck.rank() && b.lastPhase() == PhaseOS, !b.Netboot && b.Stage.rank() == 0:
		return Idle // a DHCP client, or a machine that went on to its own disk
	case quiet > s.waits.Silent:
		return Silent
	}
	return Booting
}

// ofStage finds a boot that has come to a standstill.
func (s *scene) ofStage(b *Boot) []Problem {
	var p *Problem
	switch b.Stage {
	case StageDiscover:
		p = s.unanswered(b)
	case StageOffer:
		p = s.offered(b, b.last(StageOffer))
	case StageRequest:
		p = s.requested(b)
	case StageAck, StageProbe:
		p = s.addressed(b)
	case StageBinary:
		p = s.loaded(b)
	case StageScript:
		p = s.scripted(b)
	case StageKernel, StageInitramfs:
		p = s.fetched(b)
	case StageSyslog:
		p = s.running(b)
	}
	if p == nil {
		return nil
	}
	return []Problem{*p}
}

// overdue reports whether more than wait has passed since.
func (s *scene) overdue(since time.Time, wait time.Duration) bool { return s.now.Sub(since) > wait }

func (s *scene) unanswered(b *Boot) *Problem {
	step := b.last(StageDiscover)
	if step == nil || b.Marks.Unknown != nil && !s.known || !s.overdue(step.Start, s.waits.Offer) {
		return nil
	}
	p := &Problem{Code: CodeNoOffer, Severity: Error, Since: step.Start,
		Text: fmt.Sprintf("The machine asks for an address (%s) and gets no answer from this server.", times(step.Count)),
		Do:   "Look for the reason in this server's log. If another DHCP server is meant to answer, start this one with --dhcp-mode proxy."}
	if m := b.Marks.Silence; m != nil && m.Detail != "" {
		p.Severity, p.Since = Warn, m.First
		p.Text = "This server does not answer the machine: " + sentence(m.Detail)
		p.Do = "If the machine should boot from here, change what the reason names."
	}
	return p
}

func (s *scene) offered(b *Boot, offer *Step) *Problem {
	if offer == nil || b.Marks.Rival != nil || !s.overdue(offer.Start, s.waits.Request) {
		return nil
	}
	if strings.HasPrefix(offer.Detail, "without an address") {
		return &Problem{Code: CodeStalledOffer, Severity: Error, Since: offer.Start,
			Text: fmt.Sprintf("The machine was told its boot file (%s) and took an address from nobody.", times(offer.Count)),
			Do: "In proxy mode another DHCP server gives the address: see that it runs, serves this network and has addresses left for this machine. " +
				"If there is none, use --dhcp-mode reservation or pool here."}
	}
	return &Problem{Code: CodeStalledOffer, Severity: Error, Since: offer.Start,
		Text: fmt.Sprintf("The machine was offered an address (%s) and did not take it.", times(offer.Count)),
		Do: "Another DHCP server may have answered, and its answer does not reach this server: look for one on this network, or use --dhcp-mode proxy beside it. " +
			"If there is none, the offer does not reach the machine: check the VLAN of its port, DHCP snooping in the switch, and the relay's address."}
}

func (s *scene) requested(b *Boot) *Problem {
	step := b.last(StageRequest)
	if step == nil || b.Marks.Rival != nil || b.Marks.Nak != nil || !s.overdue(step.Start, s.waits.Offer) {
		return nil
	}
	p := &Problem{Code: CodeNoAck, Severity: Error, Since: step.Start,
		Text: fmt.Sprintf("The machine asked for the address it was offered (%s) and got no ACK.", times(step.Count)),
		Do:   "This server acknowledges only what is safely on its disk: look in its log for an error of the state directory (full, read-only)."}
	if m := b.Marks.Silence; m != nil && m.Detail != "" && !m.Last.Before(step.Start) {
		p.Severity, p.Text = Warn, fmt.Sprintf("The machine asked for an address (%s) and this server does not answer that: ", times(step.Count))+sentence(m.Detail)
		p.Do = "It should ask anew without that address within a minute. If it goes on, release its lease there or restart its network, or change what the reason names."
		if strings.Contains(m.Detail, "could not be stored") {
			p.Severity, p.Do = Error, "Look at the state folder of this server: its disk is full, read-only or gone. Machines get an answer as soon as it can be written."
		}
	}
	if offer := b.last(StageOffer); offer != nil && strings.HasPrefix(offer.Detail, "without an address") {
		p.Code, p.Text = CodeStalledAck, "The machine has taken another server's address, as it should in proxy mode, and never asked for the boot file."
		p.Do = "Check that UDP ports 4011 and 69 of this server are open in every firewall between, and that the machine has a route to this server. An option 43 or 67 of the other server makes firmware ignore this one."
	}
	return p
}

func (s *scene) addressed(b *Boot) *Problem {
	step := b.last(b.Stage)
	if step == nil || !b.Netboot || b.Marks.NoBinary != nil || s.record != nil && s.record.Netboot.Allow == hardware.Off {
		return nil
	}
	if b.lastPhase() == PhaseOS || !s.overdue(step.End, s.waits.Download) {
		return nil // it went on to its own disk
	}
	p := &Problem{Code: CodeStalledAck, Severity: Error, Since: step.End,
		Text: "The machine has its address and never asked for the boot file.",
		Do:   "Check that UDP port 69 (and the HTTP port, for UEFI HTTP boot) of this server is open in every firewall between, and that the server address in the ACK is one that the machine can reach."}
	if b.Stage == StageProbe {
		p.Text = fmt.Sprintf("The machine asked how large %s is and never loaded it.", name(step.File))
		p.Do = "The firmware may have too little memory for it or refuse its format: check its architecture setting (BIOS or UEFI) and Secure Boot. A firewall that lets the first packet pass but not the rest looks the same."
	}
	if rest := step.File; b.Stage == StageAck && rest != "" {
		p.Text = fmt.Sprintf("The machine has its address and never asked for the boot file %s.", name(rest))
	}
	return p
}

// loaded is about the time between a boot binary and the machine's script.
func (s *scene) loaded(b *Boot) *Problem {
	step := b.last(StageBinary)
	if p := s.download(step); p != nil || step == nil || step.Running {
		return p
	}
	if n := len(b.Steps); n > 0 && b.Steps[n-1].Stage == StageOffer {
		return s.offered(b, &b.Steps[n-1])
	}
	if b.lastPhase() == PhaseOS || b.Marks.Loop != nil || !s.overdue(b.Last, s.waits.Script) {
		return nil
	}
	p := &Problem{Code: CodeNoScript, Severity: Error, Since: step.End,
		Text: fmt.Sprintf("%s was loaded and nothing more was heard: it did not start, or found no network.", name(step.File)),
		Do:   "Look at the machine's screen. UEFI with Secure Boot refuses unsigned binaries without a word. If iPXE starts but has no driver for the NIC, set the machine's binary to snponly.efi (BIOS: undionly.kpxe)."}
	if b.has(PhaseIPXE) {
		p.Text = fmt.Sprintf("iPXE runs (%s) and did not ask for the machine's script.", name(step.File))
		p.Do = "Look at the machine's screen for iPXE's error. Usual are: the HTTP port of this server closed by a firewall, no gateway between two networks, https without the time or the certificate in iPXE."
	}
	return p
}

func (s *scene) scripted(b *Boot) *Problem {
	step := b.last(StageScript)
	if step == nil || b.Marks.OSDiscover != nil || b.Marks.OSAddress != nil {
		return s.handedOver(b, step)
	}
	if !s.overdue(step.End, s.waits.Kernel) {
		return nil
	}
	return &Problem{Code: CodeNoKernel, Severity: Error, Since: step.End,
		Text: "The machine has its script and did not ask for a kernel.",
		Do: "Look at the machine's screen for iPXE's error. Usual are: the script's kernel URL cannot be reached from there (firewall, wrong address of this server, no DNS), or it is https and this iPXE cannot (no HTTPS, no trust in the certificate, clock wrong): " +
			"see `hooksmith serve preview " + s.mac + "`."}
}

// handedOver is about a system that runs, from a kernel of another server.
func (s *scene) handedOver(b *Boot, step *Step) *Problem {
	if step == nil {
		return nil
	}
	return s.quiet(b, step.End)
}

// fetched is about the time from the kernel to the first line of the system.
func (s *scene) fetched(b *Boot) *Problem {
	step := b.last(b.Stage)
	if p := s.download(step); p != nil || step == nil || step.Running {
		return p
	}
	if b.Stage == StageInitramfs || b.Marks.OSDiscover != nil || b.Marks.OSAddress != nil {
		return s.quiet(b, step.End)
	}
	if !s.overdue(step.End, s.waits.Initramfs) {
		return nil
	}
	return &Problem{Code: CodeNoInitramfs, Severity: Error, Since: step.End,
		Text: "The kernel was loaded and the initramfs was not asked for.",
		Do:   "Look at the machine's screen: iPXE says why it stopped. A machine with too little memory gives up here; a custom script may lack its initrd line."}
}

// quiet is about a system that was started and is not heard of.
func (s *scene) quiet(b *Boot, since time.Time) *Problem {
	if b.Marks.Panic != nil {
		return nil
	}
	if m := b.Marks.OSAddress; m != nil {
		if !s.overdue(m.First, s.waits.Syslog) {
			return nil
		}
		return &Problem{Code: CodeNoSyslog, Severity: Warn, Since: m.First,
			Text: "The booted system has an address, but no line of its log came here.",
			Do:   "Check that UDP port 514 of this server is open and that syslog_host in the kernel arguments is this server (`hooksmith serve preview " + s.mac + "`). The worker logs only once its image has been pulled: check the registry, too."}
	}
	if !s.overdue(since, s.waits.Syslog) {
		return nil
	}
	p := &Problem{Code: CodeNoSyslog, Severity: Error, Since: since,
		Text: "Kernel and initramfs were loaded and the system was not heard of.",
		Do:   "Too little RAM is the usual cause (HookOS wants 2 GB and more): look at the console. If the screen is empty, the console= arguments do not name this machine's console. If it is alive, its kernel has no driver for this NIC, or the port needs a VLAN (vlan_id)."}
	if b.Marks.OSDiscover != nil {
		p.Text = "The booted system asks for an address and has not taken one."
		p.Do = "The VLAN may differ from that of the firmware (vlan_id in the kernel arguments), or the switch port is blocked after the link came up again (spanning tree without portfast)."
	}
	return p
}

func (s *scene) running(b *Boot) *Problem {
	step := b.last(StageSyslog)
	if step == nil || !b.Netboot || b.Marks.WorkerFailed != nil || b.Marks.Panic != nil || !s.overdue(step.Start, s.waits.Worker) {
		return nil
	}
	return &Problem{Code: CodeNoWorker, Severity: Error, Since: step.Start,
		Text: "The system runs and its worker has not started.",
		Do:   "Look at its log for bootkit and docker: the worker's image cannot be pulled (registry, proxy, credentials in the kernel arguments), or tink_worker_image names none."}
}

// download is about one download that was cut or hangs.
func (s *scene) download(step *Step) *Problem {
	switch {
	case step == nil:
		return nil
	case step.Aborted && step.Bytes == 0 && step.Size == 0:
		return &Problem{Code: CodeAborted, Severity: Error, Since: step.End,
			Text: fmt.Sprintf("The machine asked for %s and did not get it.", name(step.File)) + because(step.Detail),
			Do:   "Check the file's name in the machine's record and template, and that the file is in the folder that is served (`hooksmith serve preview` shows what the machine is told)."}
	case step.Aborted:
		p := &Problem{Code: CodeAborted, Severity: Error, Since: step.End,
			Text: fmt.Sprintf("The download of %s was cut off%s.", name(step.File), portion(step)),
			Do:   "Look at the machine's screen. A machine that was switched off or ran out of memory looks like this; so do a broken cable, a duplicate address, and a firewall that forgets the connection."}
		if step.Detail != "" {
			p.Text += " Reason: " + sentence(step.Detail)
		}
		return p
	case step.Running && s.overdue(step.End, s.waits.Transfer):
		return &Problem{Code: CodeHanging, Severity: Error, Since: step.End,
			Text: fmt.Sprintf("The download of %s hangs%s.", name(step.File), portion(step)),
			Do:   "Look at the machine's screen, its cable and its switch port for errors."}
	}
	return nil
}

// sentence ends words of others with one full stop, and bounds them.
func sentence(s string) string {
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + "…"
	}
	return strings.TrimRight(s, ".\n ") + "."
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// name is a file for people.
func name(file string) string {
	if file == "" {
		return "the file"
	}
	return file[strings.LastIndexByte(file, '/')+1:]
}

// portion is how far a download came: " at 37% (12 of 34 MB)".
func portion(s *Step) string {
	if s.Size <= 0 {
		return ""
	}
	return fmt.Sprintf(" at %d%% (%s of %s)", min(100, s.Bytes*100/s.Size), Bytes(s.Bytes), Bytes(s.Size))
}

// Bytes writes a size for people, in steps of 1000.
func Bytes(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d B", n)
}
