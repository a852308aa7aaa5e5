package timeline

import (
	"context"
	"iter"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"hooksmith/serve/event"
	"hooksmith/serve/hardware"
)

// Options of a Timeline. The zero value works: memory only, default limits.
type Options struct {
	Path   string           // the state file, made if it is not there; "": memory only
	Log    *slog.Logger     // nil: silent
	Now    func() time.Time // nil: time.Now
	Limits Limits
	Waits  Waits

	// Lookup and LookupIP find hardware records; nil: none is known and no
	// machine is called unknown for that. They must be fast.
	Lookup   func(mac string) (*hardware.Machine, bool)
	LookupIP func(ip netip.Addr) (*hardware.Machine, bool)

	// Reached is told once per boot and stage how long after the boot's start
	// it came there; nil: nobody. It must not block nor call the Timeline.
	Reached func(stage Stage, after time.Duration)
}

// Limits bound what packets can cause. Zero fields get the defaults.
type Limits struct {
	Machines    int   // 4096; those without a hardware record go first, then the longest silent
	Boots       int   // per machine: 10
	Steps       int   // per boot: 48
	LogBytes    int64 // per machine: 512 KiB, lines with their overhead
	AllLogBytes int64 // 64 MiB
	LineBytes   int   // longer lines are cut: 4096
}

// Waits are the times after which something that did not happen is called a
// problem. Zero fields get the defaults.
type Waits struct {
	Offer     time.Duration // DISCOVER to OFFER: 5 s
	Request   time.Duration // OFFER to REQUEST: 15 s
	Download  time.Duration // ACK to the first download: 20 s
	Script    time.Duration // binary loaded to script: 60 s
	Kernel    time.Duration // script to kernel: 30 s
	Initramfs time.Duration // kernel loaded to initramfs: 60 s
	Transfer  time.Duration // a download without a sign: 2 min
	Syslog    time.Duration // initramfs loaded to the first line: 3 min
	Worker    time.Duration // first line to worker: 5 min
	Silent    time.Duration // until a DISCOVER begins a new boot, and a machine is called silent: 5 min
	Again     time.Duration // three boots within it are a boot loop: 15 min
}

// Timeline is the recorder. All methods are safe for concurrent use.
type Timeline struct {
	opt     Options
	file    *file // nil: memory only
	flushMu sync.Mutex

	mu       sync.Mutex // of what follows
	machines map[string]*machine
	byIP     map[string]string
	seq      uint64
	gone     uint64 // seq at which a machine was last dropped
	nextBoot uint64
	logBytes int64
	evicted  uint64
	unplaced uint64
	floor    uint64 // seq at Open
	orphans  []event.Event
	changed  chan struct{} // closed at a change; nil: nobody waits
	pending  pending
	disk     Disk
}

// Open opens or makes the state file and reads what it holds. A file that is
// damaged is put aside under another name, with a log line: recording must not
// stop a server that boots machines. A file that another process holds is an
// error.
func Open(opt Options) (*Timeline, error) { return open(opt) }

// Run writes to the state file in the background and watches for boots that
// have come to a standstill, until ctx is done; then it writes what is left.
func (t *Timeline) Run(ctx context.Context) { t.run(ctx) }

// Close writes what is left and closes the state file. Run must have returned.
func (t *Timeline) Close() error { return t.closeFile() }

// Event records an event. It is an event.Sink: it never waits for the disk. An
// event without a MAC address is given to the machine that last got its IP. An
// event.Syslog is a sign of life only; use Log for the line itself, instead.
func (t *Timeline) Event(e event.Event) { t.event(e) }

// Log records a syslog line and what it says about the boot.
func (t *Timeline) Log(l Line) { t.logLine(l) }

// Machines returns all machines, the worst first, then the latest.
func (t *Timeline) Machines() []Machine { return t.snapshot(0) }

// Machine returns one machine with its earlier boots.
func (t *Timeline) Machine(mac string) (Detail, bool) { return t.detail(mac) }

// Status returns the whole in figures.
func (t *Timeline) Status() Status { return t.status() }

// Logs returns the lines of a machine that q picks, the oldest first.
func (t *Timeline) Logs(mac string, q Query) []Line { return t.logs(mac, q) }

// Follow yields the lines that Logs returns, and then those that come, until
// ctx is done. A reader that is too slow misses lines, as Line.Seq shows.
func (t *Timeline) Follow(ctx context.Context, mac string, q Query) iter.Seq[Line] {
	return t.follow(ctx, mac, q)
}

// Update is what changed between two moments.
type Update struct {
	Seq      uint64    // to be given to Subscribe after a break
	Machines []Machine // as they are now
	Reset    bool      // Machines are all there are: forget others
}

// Subscribe yields updates until ctx is done: at once what changed after since
// (0: everything), then what changes, in bundles. A slow reader misses what was
// in between, never the latest. It holds nothing while the reader is busy.
func (t *Timeline) Subscribe(ctx context.Context, since uint64) iter.Seq[Update] {
	return t.subscribe(ctx, since)
}
