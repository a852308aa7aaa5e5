package timeline

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
)

func open(opt Options) (*Timeline, error) {
	opt.Limits.setDefaults()
	opt.Waits.setDefaults()
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	t := &Timeline{opt: opt, machines: map[string]*machine{}, byIP: map[string]string{}, pending: emptyPending()}
	if opt.Path == "" {
		t.pending.off = true
	} else if err := t.openFile(); err != nil {
		return nil, err
	}
	// Numbers start at the clock, so that a subscriber's from before a restart
	// are older than all of these.
	t.seq = uint64(max(opt.Now().UnixMilli(), 1))
	t.floor = t.seq
	for _, m := range t.machines {
		m.version = t.seq
		if n := len(m.logs.lines); n > 0 { // after damage: numbers have no gaps
			m.logs.next = m.logs.lines[n-1].Seq + 1
			m.logs.written = m.logs.next - 1
		}
	}
	return t, nil
}

func (t *Timeline) openFile() error {
	f, aside, err := openFile(t.opt.Path)
	if err != nil {
		return err
	}
	if aside != "" {
		t.opt.Log.Error("the timeline's state file was damaged; a new one was begun", "file", f.path, "damaged", aside)
	}
	if err := t.load(f); err != nil { // as far as it went, it is in memory and written again
		t.opt.Log.Error("the timeline's state file is damaged in part; what could be read is kept", "file", f.path, "error", err)
	}
	t.file = f
	t.disk = Disk{Path: f.path}
	if info, err := os.Stat(f.path); err == nil {
		t.disk.Bytes = info.Size()
	}
	return nil
}

// load reads the state file into memory.
func (t *Timeline) load(f *file) (err error) {
	defer func() {
		if p := recover(); p != nil { // Bolt's word for a damaged page
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	return f.db.View(func(tx *bolt.Tx) error {
		for _, b := range []struct {
			name []byte
			load func(k, v []byte) error
		}{{bucketMachines, t.loadMachine}, {bucketBoots, t.loadBoot}, {bucketLogs, t.loadLine}} {
			if err := tx.Bucket(b.name).ForEach(b.load); err != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
		}
		return nil
	})
}

func (t *Timeline) loadMachine(k, v []byte) error {
	var r record
	if err := json.Unmarshal(v, &r); err != nil || len(k) != 6 {
		return cmp.Or(err, errDamaged)
	}
	if len(t.machines) >= t.opt.Limits.Machines {
		t.pending.sweep = true
		return nil
	}
	m := &machine{mac: net.HardwareAddr(k).String(), first: r.First, last: r.Last, ip: r.IP, count: r.Count}
	m.logs.next, m.logs.dropped = r.Next, r.Dropped
	m.logs.written = r.Next - min(1, r.Next)
	t.machines[m.mac] = m
	if r.IP == "" {
		return nil
	}
	if other := t.machines[t.byIP[r.IP]]; other == nil || other.last.Before(r.Last) {
		t.byIP[r.IP] = m.mac
	}
	return nil
}

// ofKey finds the machine of a key, nil for one that is not kept.
func (t *Timeline) ofKey(k []byte) (m *machine, n uint64, err error) {
	if len(k) != 14 {
		return nil, 0, errDamaged
	}
	return t.machines[net.HardwareAddr(k[:6]).String()], binary.BigEndian.Uint64(k[6:]), nil
}

func (t *Timeline) loadBoot(k, v []byte) error {
	m, id, err := t.ofKey(k)
	if m == nil || err != nil {
		return err
	}
	b := &Boot{}
	if err := json.Unmarshal(v, b); err != nil || b.ID != id {
		return cmp.Or(err, errDamaged)
	}
	for i := range b.Steps { // what was under way has ended with the server
		if s := &b.Steps[i]; s.Running {
			s.Running, s.Aborted, s.Detail = false, true, "the boot server was stopped"
		}
	}
	if m.boots = append(m.boots, b); len(m.boots) > t.opt.Limits.Boots {
		m.boots = m.boots[1:]
	}
	t.nextBoot = max(t.nextBoot, id)
	return nil
}

func (t *Timeline) loadLine(k, v []byte) error {
	m, seq, err := t.ofKey(k)
	if m == nil || err != nil {
		return err
	}
	var l Line
	if err := json.Unmarshal(v, &l); err != nil || l.Seq != seq {
		return cmp.Or(err, errDamaged)
	}
	b := &m.logs
	if n := len(b.lines); n > 0 && b.lines[n-1].Seq+1 != seq || seq >= b.next {
		return nil // a gap: from a write that was cut; the later ones are lost
	}
	before := b.bytes
	b.lines = append(b.lines, l)
	b.bytes += l.cost()
	b.trim(t.opt.Limits.LogBytes)
	t.logBytes += b.bytes - before
	return nil
}

func (l *Limits) setDefaults() {
	l.Machines = cmp.Or(l.Machines, 4096)
	l.Boots = cmp.Or(l.Boots, 10)
	l.Steps = cmp.Or(l.Steps, 48)
	l.LogBytes = cmp.Or(l.LogBytes, 512<<10)
	l.AllLogBytes = cmp.Or(l.AllLogBytes, 64<<20)
	l.LineBytes = cmp.Or(l.LineBytes, 4096)
}

func (w *Waits) setDefaults() {
	w.Offer = cmp.Or(w.Offer, 5*time.Second)
	w.Request = cmp.Or(w.Request, 15*time.Second)
	w.Download = cmp.Or(w.Download, 20*time.Second)
	w.Script = cmp.Or(w.Script, time.Minute)
	w.Kernel = cmp.Or(w.Kernel, 30*time.Second)
	w.Initramfs = cmp.Or(w.Initramfs, time.Minute)
	w.Transfer = cmp.Or(w.Transfer, 2*time.Minute)
	w.Syslog = cmp.Or(w.Syslog, 3*time.Minute)
	w.Worker = cmp.Or(w.Worker, 5*time.Minute)
	w.Silent = cmp.Or(w.Silent, 5*time.Minute)
	w.Again = cmp.Or(w.Again, 15*time.Minute)
}
