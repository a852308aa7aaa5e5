package timeline

import (
	"time"

	"hooksmith/serve/event"
)

// begins decides whether an event is the first of a new boot, given the boot
// before. One boot has several rounds of DHCP: firmware, iPXE, the booted
// system; which of them speaks tells whether the machine went on or back.
func begins(b *Boot, e event.Event, phase Phase, stage Stage, silent time.Duration) bool {
	gap := e.Time.Sub(b.Last) > silent
	switch e.Kind {
	case event.Discover:
		switch phase {
		case PhaseFirmware: // after a download it has started anew; before, it tries again
			return gap || b.Stage.rank() >= StageProbe.rank() || b.has(PhaseIPXE)
		case PhaseIPXE: // after its script, iPXE asks for no address any more
			return gap || b.Stage.rank() >= StageScript.rank()
		}
		return gap && b.Stage.rank() < StageScript.rank()
	case event.TFTPProbe, event.TFTPStart, event.HTTPStart: // where DHCP is another server's
		return stage == StageBinary && b.Stage.rank() >= StageScript.rank() ||
			stage == StageKernel && gap && b.Stage.rank() >= StageSyslog.rank()
	case event.Script:
		return stage == StageScript && (b.Stage.rank() >= StageKernel.rank() || gap && b.Stage == StageScript)
	}
	return false
}

// Took is the boot's time: until its worker was up, or, for a machine that only
// wants an address, until it had one; else until the last sign.
func (b *Boot) Took() time.Duration {
	end := b.Last
	for _, s := range b.Steps {
		if s.Stage == StageWorker || !b.Netboot && s.Stage == StageAck {
			end = s.Start
			break
		}
	}
	return max(0, end.Sub(b.Start))
}

// has reports whether a phase has spoken.
func (b *Boot) has(p Phase) bool {
	for i := range b.Steps {
		if b.Steps[i].Phase == p {
			return true
		}
	}
	return false
}

// lastPhase is who spoke DHCP last.
func (b *Boot) lastPhase() Phase {
	for i := len(b.Steps) - 1; i >= 0; i-- {
		if s := &b.Steps[i]; s.Phase != "" && s.Stage.rank() <= StageAck.rank() && s.Stage != StageFile {
			return s.Phase
		}
	}
	return ""
}

// last returns the last step of a stage, nil if there is none.
func (b *Boot) last(stage Stage) *Step {
	for i := len(b.Steps) - 1; i >= 0; i-- {
		if b.Steps[i].Stage == stage {
			return &b.Steps[i]
		}
	}
	return nil
}

// add appends a step; beyond the limit it returns one that is not kept. Files
// that are no progress may take half of the room.
func (b *Boot) add(s Step, limit int) *Step {
	if s.Stage == StageFile {
		limit /= 2
	}
	if len(b.Steps) >= limit {
		b.Dropped++
		return &s
	}
	b.Steps = append(b.Steps, s)
	return &b.Steps[len(b.Steps)-1]
}

// apply records an event in the boot that it belongs to.
func (b *Boot) apply(e event.Event, phase Phase, stage Stage, steps int) {
	if e.Time.After(b.Last) {
		b.Last = e.Time
	}
	if e.Arch != "" {
		b.Arch = e.Arch
	}
	if e.Client != "" {
		b.Client = e.Client
	}
	if phase == PhaseFirmware || phase == PhaseIPXE || stage.rank() >= StageProbe.rank() && stage.rank() <= StageInitramfs.rank() {
		b.Netboot = true
	}
	switch e.Kind {
	case event.Discover, event.Offer, event.Request, event.Ack, event.Inform:
		b.dhcp(e, phase, stage, steps)
	case event.TFTPProbe, event.TFTPStart, event.TFTPProgress, event.TFTPDone, event.TFTPAbort,
		event.HTTPStart, event.HTTPProgress, event.HTTPDone, event.HTTPAbort, event.Script:
		b.transfer(e, stage, steps)
	case event.WorkerUp:
		b.sign(StageSyslog, e, steps)
		b.sign(StageWorker, e, steps)
	case event.Syslog:
		b.sign(StageSyslog, e, steps)
	default:
		b.mark(e)
	}
}

// dhcpStage is the stage of a DHCP event.
func dhcpStage(k event.Kind) Stage {
	switch k {
	case event.Discover:
		return StageDiscover
	case event.Offer:
		return StageOffer
	case event.Request:
		return StageRequest
	case event.Ack, event.Inform:
		return StageAck
	}
	return ""
}

// dhcp records one of the four steps, with the earlier ones of the same round:
// a round ends with its ACK for a DISCOVER and an OFFER, never for a renewal.
func (b *Boot) dhcp(e event.Event, phase Phase, stage Stage, limit int) {
	s := b.sameRound(stage, phase)
	if s == nil {
		s = b.add(Step{Stage: stage, Phase: phase, Start: e.Time}, limit)
	}
	s.Count++
	s.End = later(s.End, e.Time)
	s.Peer, s.Detail = cover(s.Peer, e.Peer), cover(s.Detail, e.Detail)
	if e.Kind == event.Offer || e.Kind == event.Ack {
		s.File = cover(s.File, e.File)
	}
	if phase == PhaseOS && b.Stage.rank() >= StageScript.rank() {
		switch e.Kind {
		case event.Discover:
			note(&b.Marks.OSDiscover, e)
		case event.Ack:
			note(&b.Marks.OSAddress, e)
		}
	}
	if e.Kind == event.Ack && e.IP != "" {
		b.IP = e.IP
	}
}

func (b *Boot) sameRound(stage Stage, phase Phase) *Step {
	opens := stage == StageDiscover || stage == StageOffer
	for i := len(b.Steps) - 1; i >= 0; i-- {
		s := &b.Steps[i]
		switch {
		case s.Stage == stage && s.Phase == phase:
			return s
		case s.Stage == StageSyslog || s.Stage == StageWorker || s.Stage == StageFile:
			continue // renewals go on beside them
		case s.Stage.rank() >= StageProbe.rank(), s.Phase != phase:
			return nil
		case s.Stage == StageDiscover && !opens, s.Stage == StageAck && opens:
			return nil
		}
	}
	return nil
}

// transfer records a download. Retries of one file are one step; what it shows
// is the last try.
func (b *Boot) transfer(e event.Event, stage Stage, limit int) {
	s := b.last(stage)
	if s == nil || s.File != e.File && e.File != "" {
		s = b.add(Step{Stage: stage, Phase: b.loader(stage), Start: e.Time.Add(-max(e.Duration, 0)), File: e.File}, limit)
	}
	began := e.Kind == event.TFTPStart || e.Kind == event.HTTPStart || e.Kind == event.TFTPProbe || e.Kind == event.Script
	if began || s.Count == 0 {
		s.Count++
	}
	if began {
		s.Bytes, s.Rate, s.Took, s.Aborted, s.Detail = 0, 0, 0, false, ""
	}
	s.Protocol = protocolOf(e.Kind)
	s.End = later(s.End, e.Time)
	s.Size, s.Bytes = max(s.Size, e.Size), max(s.Bytes, e.Bytes)
	s.Retransmits = max(s.Retransmits, e.Retransmits)
	s.Took = max(s.Took, e.Duration)
	if s.Took > 0 {
		s.Rate = int64(float64(s.Bytes) / s.Took.Seconds())
	}
	s.Detail = cover(s.Detail, e.Detail)
	s.Running = e.Kind == event.TFTPStart || e.Kind == event.HTTPStart || e.Kind == event.TFTPProgress || e.Kind == event.HTTPProgress
	s.Aborted = e.Kind == event.TFTPAbort || e.Kind == event.HTTPAbort
	s.Peer = cover(s.Peer, e.Peer)
}

func protocolOf(k event.Kind) string {
	switch k {
	case event.TFTPProbe, event.TFTPStart, event.TFTPProgress, event.TFTPDone, event.TFTPAbort:
		return "tftp"
	}
	return "http"
}

// loader is who downloads: binaries before an iPXE has spoken are the firmware's.
func (b *Boot) loader(stage Stage) Phase {
	if stage.rank() >= StageScript.rank() || b.has(PhaseIPXE) {
		return PhaseIPXE
	}
	return PhaseFirmware
}

// sign records a stage of which only the first sign matters.
func (b *Boot) sign(stage Stage, e event.Event, limit int) {
	s := b.last(stage)
	if s == nil {
		s = b.add(Step{Stage: stage, Phase: PhaseOS, Start: e.Time, Detail: e.Detail}, limit)
	}
	s.Count++
	s.End = later(s.End, e.Time)
}

// mark records what is not a step.
func (b *Boot) mark(e event.Event) {
	switch e.Kind {
	case event.Silence:
		note(&b.Marks.Silence, e)
	case event.RivalDHCP:
		note(&b.Marks.Rival, e)
	case event.Nak:
		note(&b.Marks.Nak, e)
	case event.Decline:
		note(&b.Marks.Decline, e)
	case event.Loop:
		note(&b.Marks.Loop, e)
	case event.NoBinary:
		note(&b.Marks.NoBinary, e)
	case event.Unknown:
		note(&b.Marks.Unknown, e)
	}
}

func note(m **Mark, e event.Event) {
	if *m == nil {
		*m = &Mark{First: e.Time}
	}
	(*m).Last = later((*m).Last, e.Time)
	(*m).Count++
	(*m).Peer, (*m).Detail = cover((*m).Peer, e.Peer), cover((*m).Detail, e.Detail)
}

// cover is the newer text if there is one.
func cover(old, newer string) string {
	if newer != "" {
		return newer
	}
	return old
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
