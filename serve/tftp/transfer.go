package tftp

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// transfer sends one file to one client. Block numbers are counted from 1 without wrapping; block 0 is the OACK.
type transfer struct {
	*engine
	origin
	asked   request
	raw     []byte // the RRQ, to know its copies
	request Request
	began   time.Time

	// Shared with the goroutine of the listening socket.
	link       atomic.Pointer[link]
	box        atomic.Pointer[mailbox]
	again      atomic.Pointer[later]
	superseded atomic.Bool
	stopped    atomic.Bool
	finished   atomic.Bool  // it is no longer among the running
	confirmed  atomic.Bool  // the client acknowledged something
	answered   atomic.Int64 // when its first answer arrived, in Unix nanoseconds; 0: not yet, or not known
	heard      moment       // the last progress

	// The run.
	terms
	src   source
	buf   *buffer
	chunk []byte // content from block chunkAt, in buf
	at    uint64
	ended bool  // the content ends in chunk
	size  int64 // -1: unknown

	met        bool   // something came from the client
	base, next uint64 // first block not acknowledged, next block to send
	high       uint64 // first block never sent
	last       uint64 // final block, as soon as it is known
	sent       time.Time
	timed      bool      // what is under way was sent once: its acknowledgement is a sample
	repaired   bool      // base was already sent again because of a repeated acknowledgement
	doubt      bool      // what was sent last was a repetition: a lower acknowledgement may come from that
	suspect    time.Time // when to send the window again, if nothing else comes; zero: no need
	pacer      pacer
	told       time.Time // last Progress

	retransmits, timeouts int
}

// outcome is how a transfer ended.
type outcome struct {
	kind       Kind
	err        Error
	fromClient bool
	tell       bool // send err to the client
}

// run is the whole of a transfer: open, connect, negotiate, send, clean up.
func (t *transfer) run() {
	file, err := t.Files.Open(t.ctx, t.request)
	if err != nil {
		t.refused(t.origin, t.request.Name, t.began, err)
		return
	}
	defer file.Close()

	t.buf = t.buffers.Get().(*buffer)
	defer func() { t.buf.vec.reset(); t.buffers.Put(t.buf) }()
	l, err := t.dial(t.engine, t.origin, t.buf)
	if err != nil {
		t.log.Error("tftp transfer has no socket; raise the limit of open files or lower MaxTransfers", "client", t.client, "error", err)
		return
	}
	defer t.leave(l)
	if m, ok := l.(*mailbox); ok {
		t.box.Store(m)
	}
	t.link.Store(&l)
	if t.stopped.Load() {
		l.stop()
	}
	t.open(file, l)
	t.report(t.event(Started))
	t.end(l, t.send(l))
}

// open settles the terms.
func (t *transfer) open(file File, l link) {
	t.size = file.Size()
	t.src = &octets{file, t.size}
	if t.request.Mode == "netascii" {
		t.src, t.size = &netascii{file: file, size: t.size}, -1
	}
	limit := l.payload() - 4
	if t.MaxBlockSize > 0 && (t.Fragments || t.MaxBlockSize < limit) {
		limit = t.MaxBlockSize
	}
	t.terms = negotiate(t.asked.options, bounds{block: min(max(limit, minBlock), maxBlock), window: t.MaxWindow, size: t.size})
	t.pacer = pacer{fixed: t.timeout, ceiling: t.Timeout}
	t.last, t.told = math.MaxUint64, t.began
	t.base, t.next, t.high = 1, 1, 1
	if len(t.granted) > 0 {
		t.base, t.next, t.high = 0, 0, 0
	}
}

// send is the loop: fill the window, wait, move the window by what comes.
func (t *transfer) send(l link) outcome {
	now := time.Now()
	for t.base <= t.last {
		if t.due() {
			if err := t.transmit(l, now); err != nil {
				return t.failed(err)
			}
		}
		wait := t.deadline().Sub(now)
		p, err := []byte(nil), errTimeout
		if wait > 0 {
			p, err = l.recv(wait)
		}
		now = time.Now()
		switch {
		case err == errTimeout:
			if !t.silent(now) {
				return outcome{kind: Aborted, err: Error{CodeUndefined, "the client does not answer"}, tell: true}
			}
		case err != nil:
			return t.failed(err)
		default:
			if !t.met {
				t.met = true
				t.answered.Store(l.arrived())
			}
			if end, over := t.packet(p, now); over {
				return end
			}
		}
	}
	return outcome{kind: Finished}
}

// due reports whether the window has room.
func (t *transfer) due() bool {
	if t.base == 0 {
		return t.next == 0
	}
	return t.next <= t.last && t.next < t.base+uint64(t.window)
}

// transmit sends the OACK or the window from next on.
func (t *transfer) transmit(l link, now time.Time) error {
	t.sent, t.timed = now, t.next == t.high
	if t.next == 0 {
		t.next, t.high = 1, 1
		return t.lossy(l.send(oackPacket(t.granted)))
	}
	for t.due() {
		want := min(t.base+uint64(t.window)-t.next, uint64(batchBlocks(t.block)))
		data, count, err := t.load(t.next, int(want))
		if err != nil {
			return err
		}
		if err := t.lossy(l.blocks(uint16(t.next), data, t.block, count)); err != nil {
			return err
		}
		end := t.next + uint64(count)
		if t.next < t.high {
			t.retransmits += int(min(t.high, end) - t.next)
		}
		t.next, t.high = end, max(t.high, end)
	}
	return nil
}

// lossy takes errors of sending for what they are, a lost packet, which the timeout repairs; but a client that is gone
// and a stop are final.
func (t *transfer) lossy(err error) error {
	if err == errGone || err == errStopped {
		return err
	}
	if err != nil {
		t.log.Debug("tftp packet not sent", "client", t.client, "error", err)
	}
	return nil
}

// load gives the content of up to count blocks from first, reading ahead, and how many blocks that is.
func (t *transfer) load(first uint64, count int) ([]byte, int, error) {
	if !t.loaded(first, count) {
		if err := t.fill(first); err != nil {
			return nil, 0, err
		}
	}
	data := t.chunk[(first-t.at)*uint64(t.block):]
	if whole := len(data) / t.block; whole >= count {
		return data[:count*t.block], count, nil
	}
	return data, int(t.last - first + 1), nil
}

// loaded reports whether the chunk has these blocks, or all that there are of them.
func (t *transfer) loaded(first uint64, count int) bool {
	if t.chunk == nil || first < t.at {
		return false
	}
	from, size := (first-t.at)*uint64(t.block), uint64(len(t.chunk))
	return from+uint64(count*t.block) <= size || t.ended && from <= size
}

// fill reads a chunk that starts at a block: as many whole windows as fit, to be read once each.
func (t *transfer) fill(first uint64) error {
	group := min(t.window, batchBlocks(t.block)) * t.block
	p := t.buf.chunk[:max(1, chunkSize/group)*group]
	n, err := t.src.fill(p, int64(first-1)*int64(t.block))
	if err != nil {
		return fmt.Errorf("reading %s: %w", t.request.Name, err)
	}
	t.chunk, t.at, t.ended = p[:n], first, n < len(p)
	if t.ended {
		t.last = first + uint64(n/t.block)
	}
	return nil
}

// packet takes what the client sent; over is true at the end.
func (t *transfer) packet(p []byte, now time.Time) (end outcome, over bool) {
	switch opcode(p) {
	case opAck:
		if block, ok := parseAck(p); ok {
			t.ack(block, now)
		}
	case opError:
		e, ok := parseError(p)
		if !ok {
			return outcome{}, false
		}
		end = outcome{kind: Aborted, err: *e, fromClient: true}
		if t.base == 0 && t.request.Size && (e.Code == CodeOption || e.Code == CodeUndefined) {
			end.kind = Probe
		}
		return end, true
	case opRead, opWrite:
		t.requestAgain(packet{origin: t.origin, data: p}, now)
	}
	return outcome{}, false
}

// ack moves the window. The number counts from the last acknowledged block, so that it may wrap; anything outside of what
// is under way is an old copy.
func (t *transfer) ack(block uint16, now time.Time) {
	moved := uint64(block - uint16(t.base-1))
	if moved > t.next-t.base {
		return
	}
	if moved == 0 {
		t.repeated(now)
		return
	}
	if t.timed && t.base+moved == t.next {
		t.pacer.sample(now.Sub(t.sent))
	}
	t.base += moved
	t.repaired, t.suspect, t.pacer.backoff = false, time.Time{}, 0
	// RFC 7440: a lower block is where the client wants the next window to start. But clients like EDK2 also acknowledge
	// every block that they have already, so that going back could feed itself: after one repetition the window only
	// slides, and goes back when nothing comes.
	switch lower := t.base < t.next; {
	case lower && t.doubt:
		t.suspectLoss(now)
	default:
		t.next, t.doubt = t.base, lower
	}
	t.progress(now)
}

// progress notes that the client moved on.
func (t *transfer) progress(now time.Time) {
	t.heard.set(now)
	if !t.confirmed.Load() {
		t.confirmed.Store(true)
	}
	t.forgetCopy()
	if t.base > 1 {
		t.src.release(int64(t.base-1) * int64(t.block))
	}
	if now.Sub(t.told) >= time.Second {
		t.told = now
		t.report(t.event(Progress))
	}
}

// repeated is an acknowledgement of what is acknowledged already. It never causes a packet by itself (the sorcerer's
// apprentice). With a window it may also be the client's way to say that the window's first block is missing: then nothing
// else follows, and after two round trips, once, the window is sent again without waiting for the timeout.
func (t *transfer) repeated(now time.Time) {
	if t.window > 1 && t.base > 0 && !t.repaired && t.suspect.IsZero() {
		t.suspectLoss(now)
	}
}

// suspectLoss has the window sent again unless something comes within two round trips.
func (t *transfer) suspectLoss(now time.Time) {
	if t.pacer.smoothed > 0 {
		t.suspect = now.Add(2*t.pacer.smoothed + time.Millisecond)
	}
}

// deadline is when to stop waiting.
func (t *transfer) deadline() time.Time {
	d := t.sent.Add(t.pacer.interval())
	if !t.suspect.IsZero() && t.suspect.Before(d) {
		return t.suspect
	}
	return d
}

// silent handles a timeout; false means that patience is over.
func (t *transfer) silent(now time.Time) bool {
	t.next, t.doubt = t.base, t.base > 0
	if !t.suspect.IsZero() {
		t.suspect, t.repaired = time.Time{}, true
		return true
	}
	t.timeouts++
	patience := t.GiveUp / 3
	if t.confirmed.Load() {
		patience = max(t.GiveUp, 3*t.timeout)
	}
	if t.heard.since(now) >= patience {
		return false
	}
	t.pacer.backoff++
	t.repaired = false
	return true
}

// failed turns an error of the link or the file into an outcome.
func (t *transfer) failed(err error) outcome {
	switch {
	case t.next > t.last && (errors.Is(err, errGone) || isStopped(err) && t.superseded.Load()):
		return outcome{kind: Finished, err: Error{CodeUndefined, "the last acknowledgement is missing"}}
	case errors.Is(err, errGone):
		return outcome{kind: Aborted, err: Error{CodeUndefined, errGone.Error()}}
	case isStopped(err) && t.superseded.Load():
		return outcome{kind: Aborted, err: Error{CodeUndefined, "the client started another transfer from the same port"}}
	case isStopped(err):
		return outcome{kind: Aborted, err: Error{CodeUndefined, "the server is stopping"}, tell: true}
	}
	t.log.Error("tftp file cannot be read", "client", t.client, "file", t.request.Name, "error", err)
	return outcome{kind: Aborted, err: *asError(err), tell: true}
}

// end tells the client and the observers.
func (t *transfer) end(l link, o outcome) {
	if o.tell {
		t.lossy(l.send(errorPacket(&o.err)))
	}
	e := t.event(o.kind)
	e.Code, e.Message, e.FromClient = o.err.Code, o.err.Message, o.fromClient
	t.report(e)
	if o.kind != Finished && !o.fromClient && !t.superseded.Load() {
		t.again.Store(nil) // only a client that ended the transfer itself can have meant a new one
	}
}

// leave closes the link; the client's requests that were waiting in it are kept for finish.
func (t *transfer) leave(l link) {
	for _, p := range l.close() {
		t.engine.handle(p, time.Now())
	}
}

// finish frees the port and starts what the client asked for meanwhile.
func (t *transfer) finish() {
	now := time.Now()
	t.running.remove(t.key(), ending{at: now, sent: t.link.Load() != nil, raw: t.raw, answered: t.answered.Load()})
	t.finished.Store(true)
	t.startLater(now)
}

func (t *transfer) event(k Kind) Event {
	e := Event{Kind: k, Client: t.client, Local: t.local, Interface: t.iface, File: t.request.Name, Size: t.size,
		BlockSize: t.block, Window: t.window, Duration: time.Since(t.began), RTT: t.pacer.smoothed,
		Retransmits: t.retransmits, Timeouts: t.timeouts}
	if t.base > 1 {
		e.Bytes = int64(t.base-1) * int64(t.block)
	}
	if t.base > t.last {
		e.Bytes -= int64(t.block) - t.lastLen()
		e.Size = e.Bytes
	}
	return e
}

// lastLen is the length of the final block.
func (t *transfer) lastLen() int64 {
	return int64(len(t.chunk)) - int64(t.last-t.at)*int64(t.block)
}
