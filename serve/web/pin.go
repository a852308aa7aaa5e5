package web

import (
	"net/netip"
	"path"
	"time"
)

// A machine fetches the kernel, then the initramfs, whose modules must be that
// kernel's. When a new build is put in place in between, it gets the old
// initramfs: its first file pins the build, until it fetches that file again or
// asks for a script (then it boots anew), or is silent for pinTime.
const (
	pinTime = 5 * time.Minute
	maxPins = 8192
)

// pin is what a client is going on with.
type pin struct {
	folder *folder
	snap   *snapshot
	first  string // the file that it began with
	used   time.Time
}

// choose returns the snapshot for one request, and whether it is a former one.
func (a *artifacts) choose(f *folder, base string, who asker) (snap *snapshot, former bool) {
	if document(base) || who.fresh || !who.ip.IsValid() {
		return f.current, false
	}
	p := a.pins[who.ip]
	if p != nil && p.folder == f && a.now().Sub(p.used) < pinTime && (p.first != base || who.rest) {
		p.used = a.now()
		return p.snap, p.snap != f.current
	}
	if who.head || f.current.files[base] == nil {
		return f.current, false
	}
	a.unpin(who.ip)
	if len(a.pins) >= maxPins {
		a.expire()
	}
	if len(a.pins) < maxPins {
		f.current.refs++
		a.pins[who.ip] = &pin{folder: f, snap: f.current, first: base, used: a.now()}
	}
	return f.current, false
}

// document reports files about the artifacts, which nobody boots: they are
// always the present ones.
func document(base string) bool {
	switch path.Ext(base) {
	case ".json", ".txt", ".lock", ".md", ".asc", ".sig", ".minisig":
		return true
	}
	return false
}

// booting says that a machine begins to boot.
func (a *artifacts) booting(ip netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unpin(ip)
}

// touch says that a machine is still at it.
func (a *artifacts) touch(ip netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.pins[ip]; p != nil {
		p.used = a.now()
	}
}

func (a *artifacts) unpin(ip netip.Addr) {
	if p := a.pins[ip]; p != nil {
		p.snap.release()
		delete(a.pins, ip)
	}
}

func (a *artifacts) expire() {
	for ip, p := range a.pins {
		if a.now().Sub(p.used) >= pinTime {
			a.unpin(ip)
		}
	}
}
