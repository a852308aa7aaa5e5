package timeline

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"hooksmith/serve/event"
	"hooksmith/serve/hardware"
)

// machine is what is held of one. Its fields are guarded by Timeline.mu.
type machine struct {
	mac     string
	first   time.Time
	last    time.Time
	ip      string // that it was last given
	count   int
	boots   []*Boot // oldest first; the last one is the present one
	logs    logBuffer
	version uint64
	fresh   bool   // not written yet
	shown   string // fingerprint of the last diagnosis, see check
}

func (m *machine) boot() *Boot {
	if len(m.boots) == 0 {
		return nil
	}
	return m.boots[len(m.boots)-1]
}

// Strings of events are short; a packet can make them long.
const (
	maxField  = 255
	maxDetail = 1024
	maxOrphan = 64 // events whose machine is not known yet
	orphanAge = 2 * time.Minute
)

func (t *Timeline) event(e event.Event) {
	if e.Time.IsZero() {
		e.Time = t.opt.Now()
	}
	e.IP, e.Peer, e.File = clean(e.IP, maxField), clean(e.Peer, maxField), clean(e.File, maxField)
	e.Arch, e.Client, e.Detail = clean(e.Arch, maxField), clean(e.Client, maxField), clean(e.Detail, maxDetail)

	t.mu.Lock()
	defer t.mu.Unlock()
	mac := t.resolve(e.MAC, e.IP)
	if mac == "" {
		t.orphan(e)
		return
	}
	for _, earlier := range t.adopt(mac, e) {
		t.record(mac, earlier)
	}
	t.record(mac, e)
	t.notify()
}

// resolve finds the machine of an event: by its MAC address, by who was last
// given the IP, by the hardware data. "" is nobody.
func (t *Timeline) resolve(mac, ip string) string {
	if t.machines[mac] != nil {
		return mac
	}
	if mac != "" {
		if n, err := hardware.NormalizeMAC(mac); err == nil {
			return n
		}
		return ""
	}
	if mac := t.byIP[ip]; mac != "" || ip == "" {
		return mac
	}
	if t.opt.LookupIP == nil {
		return ""
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	if m, ok := t.opt.LookupIP(addr.Unmap()); ok {
		return m.MAC
	}
	return ""
}

// orphan keeps an event of an address that nobody has yet: where another server
// gives the addresses, a machine's MAC comes with its script.
func (t *Timeline) orphan(e event.Event) {
	t.unplaced++
	if e.IP == "" {
		return
	}
	if len(t.orphans) >= maxOrphan {
		t.orphans = slices.Delete(t.orphans, 0, maxOrphan/4)
	}
	t.orphans = append(t.orphans, e)
}

// adopt binds the IP of an event to its machine and returns the orphans of that
// IP. Only an ACK takes an IP from another machine.
func (t *Timeline) adopt(mac string, e event.Event) (orphans []event.Event) {
	switch e.Kind {
	case event.Ack, event.Inform, event.Script, event.Syslog, event.WorkerUp, event.TFTPStart, event.TFTPProbe, event.TFTPDone,
		event.HTTPStart, event.HTTPDone:
	default:
		return nil
	}
	if e.IP == "" || t.byIP[e.IP] != "" && e.Kind != event.Ack {
		return nil
	}
	t.bind(mac, e.IP)
	t.orphans = slices.DeleteFunc(t.orphans, func(o event.Event) bool {
		age := e.Time.Sub(o.Time)
		if o.IP != e.IP {
			return age > orphanAge
		}
		if age >= 0 && age <= orphanAge {
			orphans = append(orphans, o)
			t.unplaced--
		}
		return true
	})
	return orphans
}

// bind says that a machine has an IP, and only that one.
func (t *Timeline) bind(mac, ip string) {
	m := t.machine(mac, t.opt.Now())
	if t.byIP[m.ip] == mac {
		delete(t.byIP, m.ip)
	}
	m.ip, t.byIP[ip] = ip, mac
}

// machine finds or makes a machine.
func (t *Timeline) machine(mac string, at time.Time) *machine {
	m := t.machines[mac]
	if m == nil {
		if len(t.machines) >= t.opt.Limits.Machines {
			t.evict()
		}
		t.seq++
		m = &machine{mac: mac, first: at, last: at, fresh: true, version: t.seq}
		t.machines[mac] = m
	}
	return m
}

// evict makes room: an eighth of the machines go, first those that the hardware
// data do not know, then those not heard of for longest.
func (t *Timeline) evict() {
	all := make([]*machine, 0, len(t.machines))
	for _, m := range t.machines {
		all = append(all, m)
	}
	known := make(map[*machine]int, len(all))
	for _, m := range all {
		if _, ok := t.lookup(m.mac); ok {
			known[m] = 1
		}
	}
	slices.SortFunc(all, func(a, b *machine) int {
		if d := known[a] - known[b]; d != 0 {
			return d
		}
		return a.last.Compare(b.last)
	})
	for _, m := range all[:max(1, len(all)/8)] {
		delete(t.machines, m.mac)
		if t.byIP[m.ip] == m.mac {
			delete(t.byIP, m.ip)
		}
		t.logBytes -= m.logs.bytes
		t.pending.drop(m)
		t.evicted++
	}
	t.seq++
	t.gone = t.seq
}

func (t *Timeline) lookup(mac string) (*hardware.Machine, bool) {
	if t.opt.Lookup == nil {
		return nil, false
	}
	return t.opt.Lookup(mac)
}

var transfers = map[event.Kind]bool{event.TFTPStart: true, event.TFTPProgress: true, event.TFTPDone: true, event.TFTPAbort: true,
	event.HTTPStart: true, event.HTTPProgress: true, event.HTTPDone: true, event.HTTPAbort: true}

// record puts an event into the boot that it belongs to.
func (t *Timeline) record(mac string, e event.Event) {
	m := t.machine(mac, e.Time)
	m.last = later(m.last, e.Time)
	record, _ := t.lookup(mac)
	b := m.boot()
	phase, stage := Phase(""), dhcpStage(e.Kind)
	switch {
	case stage != "":
		var before Phase
		if b != nil {
			before = b.lastPhase()
		}
		phase = phaseOf(e, before)
	case e.Kind == event.Script:
		if stage = StageScript; strings.HasSuffix(e.File, "autoexec.ipxe") || strings.HasSuffix(e.File, "boot.ipxe") {
			stage = StageBinary
		}
	case e.Kind == event.TFTPProbe || e.Kind == event.HTTPDone && e.Bytes == 0 && e.Size > 0: // the latter is a HEAD
		if stage = StageProbe; stageOf(e.File, record) != StageBinary {
			stage = StageFile
		}
		e.Kind = event.TFTPProbe
	case transfers[e.Kind]:
		stage = stageOf(e.File, record)
	case e.Kind == event.Syslog:
		stage = StageSyslog
	case e.Kind == event.WorkerUp:
		stage = StageWorker
	}
	if b == nil || begins(b, e, phase, stage, t.opt.Waits.Silent) {
		b = t.begin(m, e.Time)
	}
	b.apply(e, phase, stage, t.opt.Limits.Steps)
	t.advance(b, stage, e.Time)
	t.touch(m, b)
}

// begin starts a new boot.
func (t *Timeline) begin(m *machine, at time.Time) *Boot {
	if old := m.boot(); old != nil {
		old.End, old.Steps = at, slices.Clone(old.Steps) // without the room to grow
		t.pending.boot(m, old)
	}
	t.nextBoot++
	b := &Boot{ID: t.nextBoot, Start: at, Last: at, Steps: make([]Step, 0, 4)}
	m.boots = append(m.boots, b)
	m.count++
	if over := len(m.boots) - t.opt.Limits.Boots; over > 0 {
		for _, dropped := range m.boots[:over] {
			delete(t.pending.boots, dropped)
		}
		m.boots = slices.Delete(m.boots, 0, over)
	}
	return b
}

// advance moves a boot's furthest stage.
func (t *Timeline) advance(b *Boot, stage Stage, at time.Time) {
	if stage.rank() <= b.Stage.rank() {
		return
	}
	b.Stage = stage
	if t.opt.Reached != nil {
		t.opt.Reached(stage, max(0, at.Sub(b.Start)))
	}
}

// touch makes a change visible to subscribers and to the writer.
func (t *Timeline) touch(m *machine, b *Boot) {
	t.seq++
	m.version = t.seq
	t.pending.boot(m, b)
}
