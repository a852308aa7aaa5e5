package dhcp

import (
	"net/netip"
	"path"
	"strings"
	"sync"
	"time"

	"hooksmith/serve/event"
	"hooksmith/serve/ipxe"
)

// LoopFile is what an iPXE loads that would go on loading itself: tftp://SERVER/MAC/loop.ipxe. Serve LoopScript there.
const LoopFile = "loop.ipxe"

// What makes a loop. An iPXE comes back within seconds, a machine that somebody turned off and on does not.
const (
	loopWindow    = time.Minute
	firmwareLoads = 3
	maxLoops      = 4096 // machines that are remembered
)

// loops remembers which machines loaded a binary and have not asked for a script since.
type loops struct {
	sync.Mutex
	machines map[string]*loads
}

type loads struct {
	given  string // the binary that was named last
	binary string // that was loaded
	count  int
	last   time.Time
}

// breakLoop changes the decision for a machine that asks for a binary right after having loaded it.
//
// An iPXE that does so was started from that binary and is not ours by its user class; each round would start
// the same again. It gets a script by TFTP, which every iPXE can fetch, that says so on the machine's screen: silence
// would look like a broken network. A firmware runs no script; the third time it gets nothing for a minute, so that it
// goes on to its next boot device instead of trying for ever.
func (x *exchange) breakLoop(d ipxe.Decision) ipxe.Decision {
	switch d.Kind {
	case ipxe.BinaryTFTP, ipxe.BinaryURL, ipxe.BinaryHTTP:
	default:
		return d
	}
	n := x.loops.ask(x.mac, d.Binary, x.now)
	switch {
	case d.Kind == ipxe.BinaryURL && n > 0:
		d = ipxe.Decision{Kind: ipxe.BinaryURL, Binary: LoopFile, Arch: d.Arch, Reason: "an iPXE that has just loaded " + d.Binary +
			" asks for it again: what that starts has no HTTP and is no iPXE of ours; give binaries with HTTP, or name its user class to this server"}
	case n >= firmwareLoads:
		d = ipxe.Decision{Arch: d.Arch, Reason: "the firmware has loaded " + d.Binary + " again and again and no script was asked for: it does not run, or finds no network; " +
			"try another binary for this machine"}
	default:
		return d
	}
	x.event(event.Event{Kind: event.Loop, File: d.Binary, Detail: d.Reason})
	if x.mayLog(x.query) {
		x.Log.Warn("boot loop", "mac", x.mac, "reason", d.Reason)
	}
	return d
}

// ask records what is named to a machine and returns how often it has loaded that without going on.
func (l *loops) ask(mac, binary string, now time.Time) int {
	l.Lock()
	defer l.Unlock()
	m := l.machines[mac]
	if m == nil {
		if len(l.machines) >= maxLoops {
			l.forgetOld(now)
		}
		m = &loads{}
		l.machines[mac] = m
	}
	if m.count > 0 && now.Sub(m.last) > loopWindow {
		*m = loads{}
	}
	m.given = binary
	if m.binary != binary {
		return 0
	}
	return m.count
}

// forgetOld makes room: machines that loaded nothing of late, then any.
func (l *loops) forgetOld(now time.Time) {
	for mac, m := range l.machines {
		if now.Sub(m.last) > loopWindow {
			delete(l.machines, mac)
		}
	}
	for mac := range l.machines {
		if len(l.machines) < maxLoops*3/4 {
			return
		}
		delete(l.machines, mac)
	}
}

// loaded counts a download.
func (l *loops) loaded(mac, file string, now time.Time) {
	l.Lock()
	defer l.Unlock()
	m := l.machines[mac]
	if m == nil || m.given != file {
		return
	}
	if m.binary != file || now.Sub(m.last) > loopWindow {
		m.binary, m.count = file, 0
	}
	m.count++
	m.last = now
}

func (l *loops) clear(mac string) {
	l.Lock()
	defer l.Unlock()
	delete(l.machines, mac)
}

// Observe tells the server what machines download: who loads a binary again without having got a script since is in
// a loop. Events without a MAC address are found by their IP address. It is quick and safe for concurrent use.
func (s *Server) Observe(e event.Event) {
	switch e.Kind {
	case event.TFTPDone, event.HTTPDone, event.Script:
	default:
		return
	}
	mac := e.MAC
	if mac == "" {
		ip, err := netip.ParseAddr(e.IP)
		if err != nil {
			return
		}
		if mac, _ = s.MACOf(ip); mac == "" {
			return
		}
	}
	file := path.Base(e.File)
	if e.Kind == event.Script || strings.HasSuffix(file, "auto.ipxe") || file == LoopFile {
		s.engine.loops.clear(mac)
		return
	}
	now := e.Time
	if now.IsZero() {
		now = s.engine.Now()
	}
	s.engine.loops.loaded(mac, file, now)
}

// LoopScript is what stands at LoopFile for a machine.
func LoopScript(mac string) string {
	return ipxe.MessageScript(
		"this machine loads iPXE again and again: stopped by hooksmith serve",
		"machine "+mac+": the iPXE that was just loaded has no HTTP, and its user class is not known as ours",
		"serve a binary with HTTP (--ipxe-dir), or name its user class (--ipxe-user-class)",
	)
}
