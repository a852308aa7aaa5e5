package timeline

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// The state file: bucket machines, MAC (6 bytes) -> record; boots, MAC and ID
// (8 bytes, big endian) -> Boot; logs, MAC and Seq -> Line. All values are JSON.
var (
	bucketMachines = []byte("machines")
	bucketBoots    = []byte("boots")
	bucketLogs     = []byte("logs")
)

// file is the open state file.
type file struct {
	db   *bolt.DB
	path string
}

// record is a machine in the state file.
type record struct {
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	IP      string    `json:"ip,omitempty"`
	Count   int       `json:"count"`
	Next    uint64    `json:"next"` // Seq of the next line
	Dropped uint64    `json:"dropped,omitempty"`
}

// pending is what is not in the state file yet. Its size is bounded by what is
// in memory; beyond maxDrops, dropped machines are found by a sweep.
type pending struct {
	off      bool // memory only
	machines map[*machine]bool
	boots    map[*Boot]*machine
	dropped  map[string]bool
	sweep    bool
}

const maxDrops = 8192

func (p *pending) machine(m *machine) {
	if !p.off {
		p.machines[m] = true
	}
}

func (p *pending) boot(m *machine, b *Boot) {
	if !p.off {
		p.machines[m], p.boots[b] = true, m
	}
}

func (p *pending) drop(m *machine) {
	if p.off {
		return
	}
	delete(p.machines, m)
	for _, b := range m.boots {
		delete(p.boots, b)
	}
	if len(p.dropped) >= maxDrops {
		p.sweep, p.dropped = true, map[string]bool{}
	}
	p.dropped[m.mac] = true
}

// openFile opens the state file, or puts a damaged one aside and makes another.
func openFile(path string) (f *file, aside string, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, "", fmt.Errorf("making the folder of the timeline's state file: %w", err)
	}
	db, err := openBolt(path)
	if err == nil {
		return &file{db, path}, "", nil
	}
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, "", fmt.Errorf("opening %s: another process holds it (is hooksmith serve running already?)", path)
	}
	if errors.Is(err, fs.ErrPermission) || !damaged(err) {
		return nil, "", fmt.Errorf("opening the timeline's state file %s: %w", path, err)
	}
	aside = path + ".damaged"
	if err := os.Rename(path, aside); err != nil {
		return nil, "", fmt.Errorf("putting the damaged state file aside: %w", err)
	}
	if db, err = openBolt(path); err != nil {
		return nil, "", fmt.Errorf("opening the timeline's state file %s: %w", path, err)
	}
	return &file{db, path}, aside, nil
}

func damaged(err error) bool {
	return errors.Is(err, bolterrors.ErrInvalid) || errors.Is(err, bolterrors.ErrChecksum) ||
		errors.Is(err, bolterrors.ErrVersionMismatch) || errors.Is(err, errDamaged)
}

var errDamaged = errors.New("damaged")

// openBolt opens a database with its buckets. Bolt panics on some damage.
func openBolt(path string) (db *bolt.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	if info, err := os.Stat(path); err == nil && info.Size() > 0 && info.Size() < 4*4096 {
		return nil, fmt.Errorf("%w: too short", errDamaged) // Bolt would read beyond its end
	}
	db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: 2 * time.Second, NoFreelistSync: true})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketMachines, bucketBoots, bucketLogs} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func key(mac string, n uint64) []byte {
	hw, err := net.ParseMAC(mac)
	if err != nil { // resolve lets no other through
		hw = make(net.HardwareAddr, 6)
	}
	return binary.BigEndian.AppendUint64(hw, n)
}

// batch is a copy of what is pending, to be written without the lock.
type batch struct {
	dropped  []string
	sweep    map[string]bool // the machines there are; nil: no sweep
	machines []machineBatch
	boots    map[*Boot]*machine
}

type machineBatch struct {
	of       *machine
	fresh    bool // what the file has of this address is another's
	record   record
	oldest   uint64 // boots before are dropped
	boots    []*Boot
	firstSeq uint64 // lines before are dropped
	lines    []Line
}

// takeBatch moves what is pending into a batch; nil: nothing is.
func (t *Timeline) takeBatch() *batch {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &t.pending
	if len(p.machines) == 0 && len(p.dropped) == 0 && !p.sweep {
		return nil
	}
	b := &batch{dropped: slices.Sorted(maps.Keys(p.dropped)), boots: p.boots}
	if p.sweep {
		b.sweep = map[string]bool{}
		for mac := range t.machines {
			b.sweep[mac] = true
		}
	}
	boots := map[*machine][]*Boot{}
	for boot, m := range p.boots {
		boots[m] = append(boots[m], boot.clone())
	}
	for m := range p.machines {
		mb := machineBatch{of: m, fresh: m.fresh, boots: boots[m], firstSeq: m.logs.first(), lines: slices.Clone(m.logs.after(m.logs.written)),
			record: record{m.first, m.last, m.ip, m.count, m.logs.next, m.logs.dropped}}
		if len(m.boots) > 0 {
			mb.oldest = m.boots[0].ID
		}
		b.machines = append(b.machines, mb)
	}
	slices.SortFunc(b.machines, func(x, y machineBatch) int { return slices.Compare([]byte(x.of.mac), []byte(y.of.mac)) })
	t.pending = emptyPending()
	return b
}

func emptyPending() pending {
	return pending{machines: map[*machine]bool{}, boots: map[*Boot]*machine{}, dropped: map[string]bool{}}
}

// flush writes what is pending, in one transaction. A batch that could not be
// written is pending again.
func (t *Timeline) flush() error {
	if t.file == nil {
		return nil
	}
	t.flushMu.Lock()
	defer t.flushMu.Unlock()
	b := t.takeBatch()
	if b == nil {
		return nil
	}
	err := t.file.db.Update(b.write)
	var size int64
	if info, statErr := os.Stat(t.file.path); statErr == nil {
		size = info.Size()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle(b, err, size)
	return err
}

// settle notes what became of a batch. The lock is held.
func (t *Timeline) settle(b *batch, err error, size int64) {
	if err == nil {
		t.disk = Disk{Path: t.file.path, Bytes: size, Written: t.opt.Now()}
		for _, mb := range b.machines {
			mb.of.fresh = false
			mb.of.logs.written = max(mb.of.logs.written, mb.record.Next-min(1, mb.record.Next))
		}
		return
	}
	t.disk.Error = err.Error()
	if t.disk.Since.IsZero() {
		t.disk.Since = t.opt.Now()
	}
	for _, mac := range b.dropped {
		t.pending.dropped[mac] = true
	}
	t.pending.sweep = t.pending.sweep || b.sweep != nil
	for _, mb := range b.machines {
		if t.machines[mb.of.mac] == mb.of {
			t.pending.machines[mb.of] = true
		}
	}
	for boot, m := range b.boots {
		if t.machines[m.mac] == m && slices.Contains(m.boots, boot) {
			t.pending.boots[boot] = m
		}
	}
}

func (b *batch) write(tx *bolt.Tx) error {
	drop := map[string]bool{}
	for _, mac := range b.dropped {
		drop[mac] = true
	}
	if b.sweep != nil {
		err := tx.Bucket(bucketMachines).ForEach(func(k, _ []byte) error {
			if mac := net.HardwareAddr(k).String(); len(k) == 6 && !b.sweep[mac] {
				drop[mac] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, mac := range slices.Sorted(maps.Keys(drop)) {
		if err := dropMachine(tx, mac); err != nil {
			return err
		}
	}
	for i := range b.machines {
		if err := b.machines[i].put(tx); err != nil {
			return fmt.Errorf("writing %s: %w", b.machines[i].of.mac, err)
		}
	}
	return nil
}

func dropMachine(tx *bolt.Tx, mac string) error {
	if err := tx.Bucket(bucketMachines).Delete(key(mac, 0)[:6]); err != nil {
		return err
	}
	if err := deleteBefore(tx.Bucket(bucketBoots), mac, ^uint64(0)); err != nil {
		return err
	}
	return deleteBefore(tx.Bucket(bucketLogs), mac, ^uint64(0))
}

// put writes a machine, its boots and lines, and deletes what memory has let go.
func (mb *machineBatch) put(tx *bolt.Tx) error {
	mac := mb.of.mac
	if mb.fresh {
		if err := dropMachine(tx, mac); err != nil {
			return err
		}
	}
	if err := putJSON(tx.Bucket(bucketMachines), key(mac, 0)[:6], mb.record); err != nil {
		return err
	}
	boots, logs := tx.Bucket(bucketBoots), tx.Bucket(bucketLogs)
	for _, b := range mb.boots {
		if err := putJSON(boots, key(mac, b.ID), b); err != nil {
			return err
		}
	}
	for _, l := range mb.lines {
		if err := putJSON(logs, key(mac, l.Seq), l); err != nil {
			return err
		}
	}
	if err := deleteBefore(boots, mac, mb.oldest); err != nil {
		return err
	}
	return deleteBefore(logs, mac, mb.firstSeq)
}

func putJSON(b *bolt.Bucket, key []byte, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.Put(key, text)
}

// deleteBefore deletes a machine's entries with a smaller number.
func deleteBefore(b *bolt.Bucket, mac string, n uint64) error {
	first, end := key(mac, 0), key(mac, n)
	c := b.Cursor()
	for k, _ := c.Seek(first); k != nil && slices.Compare(k, end) < 0; k, _ = c.Seek(first) {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}

// share is which part of the time may go into writing: when a thousand machines
// boot at once, the server has better things to do.
const share = 20

// run writes and checks once a second, less often when much is written; while
// the disk refuses, it tries every ten seconds.
func (t *Timeline) run(ctx context.Context) {
	var next time.Time
	failed := false
	for pause(ctx, time.Second) {
		t.check(t.opt.Now())
		if time.Now().Before(next) {
			continue
		}
		begin := time.Now()
		err := t.flush()
		next = time.Now().Add(min(share*time.Since(begin), 10*time.Second))
		if err != nil {
			next = time.Now().Add(10 * time.Second)
		}
		if err != nil && !failed {
			t.opt.Log.Error("the timeline is not written; it stays in memory", "file", t.opt.Path, "error", err)
		} else if err == nil && failed {
			t.opt.Log.Info("the timeline is written again", "file", t.opt.Path)
		}
		failed = err != nil
	}
	if err := t.flush(); err != nil {
		t.opt.Log.Error("the end of the timeline was not written", "file", t.opt.Path, "error", err)
	}
}

func (t *Timeline) closeFile() error {
	if t.file == nil {
		return nil
	}
	return errors.Join(t.flush(), t.file.db.Close())
}
