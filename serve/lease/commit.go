package lease

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// op is one change that somebody waits for.
type op struct {
	mac  string                         // whose records it touches besides the planned addresses
	plan func(moment) ([]change, error) // nil: bind rec
	rec  record                         // of a Bind, without its times
	last time.Duration                  // of a Bind
	one  [1]change                      // room for changes
	all  *group

	changes []change
	at      moment // of the transaction
	err     error
}

// group is ops that one caller waits for.
type group struct {
	left int // the committer's alone
	done chan struct{}
}

// finish is called once for each op, by the committer.
func (o *op) finish(err error) {
	o.err = err
	if o.all.left--; o.all.left == 0 {
		close(o.all.done)
	}
}

// change hands o to the committer and waits until it is on disk.
func (s *Store) change(ctx context.Context, o *op) (Lease, error) {
	if err := s.changes(ctx, []*op{o}); err != nil {
		return Lease{}, err
	}
	if o.err != nil || len(o.changes) == 0 {
		return Lease{}, o.err
	}
	return o.changes[0].rec.lease(o.at), nil
}

// changes hands ops to the committer and waits until all are on disk or refused.
// An error means that nothing is known of any; else each has its own.
func (s *Store) changes(ctx context.Context, ops []*op) error {
	if err := ctx.Err(); err != nil || len(ops) == 0 {
		return err
	}
	all := &group{left: len(ops), done: make(chan struct{})}
	for _, o := range ops {
		o.all = all
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.queue = append(s.queue, ops...)
	s.mu.Unlock()
	s.poke()
	select {
	case <-all.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// committer is the state of the goroutine that owns the file.
type committer struct {
	offset time.Duration // of the wall clock, as the times on disk have it
	pruned time.Duration
	broken error
}

const (
	maxBatch     = 1024
	pruneBatch   = 4096
	pruneEvery   = time.Hour
	clockSetFrom = 2 * time.Second // what counts as setting the clock
	foldAfter    = 5 * time.Second // without anything to do
)

// run is the group commit: while one transaction is synced to disk, what comes
// in queues up for the next.
func (s *Store) run(c committer) {
	defer close(s.done)
	for {
		var idle <-chan time.Time
		if len(s.journal.ahead) > 0 {
			idle = time.After(foldAfter)
		}
		select {
		case <-s.wake:
		case <-idle:
			s.tidy(&c)
			continue
		}
		for s.step(&c) {
		}
		if s.finished() {
			s.restamp(&c)
			s.tidy(&c)
			return
		}
	}
}

// tidy folds the journal when there is time for it.
func (s *Store) tidy(c *committer) {
	if c.broken != nil || len(s.journal.ahead) == 0 {
		return
	}
	s.restamp(c)
	s.mu.Lock()
	now := s.clock.read()
	s.mu.Unlock()
	if err := s.fold(c, nil, now); err != nil {
		s.opt.Log.Error("the leases stay in the journal for now", "file", s.journal.path, "error", err)
	}
}

func (s *Store) finished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed && len(s.queue) == 0
}

// step writes one transaction. It returns false when nothing is queued.
func (s *Store) step(c *committer) bool {
	// 1. The times on disk must be those of the clock that new ones are of.
	s.restamp(c)
	// 2. Plan as much of the queue as goes into one transaction.
	s.mu.Lock()
	now := s.clock.read()
	if len(s.queue) == 0 {
		s.mu.Unlock()
		return false
	}
	batch := s.takeBatch(now)
	changes := s.withPruning(c, now.elapsed, batch)
	s.pin(changes)
	s.mu.Unlock()
	// 3. Write it, and let everybody know.
	err := s.write(c, changes, now)
	s.finish(batch, changes, now, err)
	return true
}

// takeBatch plans what is queued, in order. What touches an address or a client
// of an earlier one of the batch stays in the queue: its plan must see the
// other's result.
func (s *Store) takeBatch(now moment) []*op {
	var batch, later []*op
	ips, macs := map[uint32]bool{}, map[string]bool{}
	queue := s.queue
	for i, o := range queue {
		if len(batch) == maxBatch {
			later = append(later, queue[i:]...)
			break
		}
		if o.mac != "" && macs[o.mac] {
			later = append(later, o)
			continue
		}
		macs[o.mac] = true
		changes, err := s.plan(o, now)
		switch {
		case err != nil || len(changes) == 0:
			o.finish(err)
		case slices.ContainsFunc(changes, func(c change) bool { return ips[c.ip] }):
			later = append(later, o)
		default:
			for _, c := range changes {
				ips[c.ip] = true
			}
			o.changes = changes
			batch = append(batch, o)
		}
	}
	s.queue = later
	return batch
}

// plan says what an op changes.
func (s *Store) plan(o *op, now moment) ([]change, error) {
	if o.plan != nil {
		return o.plan(now)
	}
	return s.planBind(o, now)
}

// withPruning adds, once in a while, what is to be forgotten.
func (s *Store) withPruning(c *committer, now time.Duration, batch []*op) []change {
	var all []change
	touched := map[uint32]bool{}
	for _, o := range batch {
		all = append(all, o.changes...)
		for _, ch := range o.changes {
			touched[ch.ip] = true
		}
	}
	if now < plus(c.pruned, pruneEvery) {
		return all
	}
	old := s.planPrune(pruneBatch, now)
	if len(old) < pruneBatch {
		c.pruned = now
	}
	for _, ch := range old {
		if !touched[ch.ip] {
			all = append(all, ch)
		}
	}
	return all
}

// pin keeps Offer away from the addresses of a transaction.
func (s *Store) pin(changes []change) {
	for _, c := range changes {
		mac := ""
		if c.rec != nil && c.rec.status == bound {
			mac = c.rec.mac
		}
		s.pending[c.ip] = mac
		s.refresh(c.ip)
	}
}

// finish makes the transaction's changes visible, or drops them, and answers.
func (s *Store) finish(batch []*op, changes []change, now moment, err error) {
	s.mu.Lock()
	clear(s.pending)
	for _, c := range changes {
		switch {
		case err != nil:
		case c.rec == nil:
			s.records.remove(c.ip)
		default:
			s.records.put(c.rec)
			s.drop(s.offers.byIP[c.ip])
			s.drop(s.offers.byHolder[holder{c.rec.mac, c.rec.prefix()}])
		}
		s.refresh(c.ip)
	}
	if err == nil {
		for _, o := range batch {
			o.at = now
			if o.plan == nil {
				s.stats.Binds++
			}
		}
	}
	s.mu.Unlock()
	for _, o := range batch {
		o.finish(err)
	}
}

// restamp writes the leases with new times when somebody set the wall
// clock: after a restart only wall time is left to go by.
func (s *Store) restamp(c *committer) {
	s.mu.Lock()
	now := s.clock.read()
	var changes []change
	set := now.offset() - c.offset
	if set.Abs() >= clockSetFrom {
		changes = s.planRestamp()
	}
	s.mu.Unlock()
	if set.Abs() < clockSetFrom {
		return
	}
	if err := s.write(c, changes, now); err != nil {
		s.opt.Log.Error("the clock was set, but the leases could not be written with the new time", "by", set, "error", err)
		return
	}
	c.offset = now.offset()
	s.opt.Log.Info("the clock was set; leases keep their remaining time", "by", set.Round(time.Second), "leases", len(changes))
}

// write commits one transaction and counts.
func (s *Store) write(c *committer, changes []change, now moment) error {
	if len(changes) == 0 {
		return nil
	}
	err := c.broken
	if err == nil {
		if err = s.transaction(c, changes, now); err != nil {
			err = fmt.Errorf("writing leases to %s: %w", s.path, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.LastError = ""
	if err != nil {
		s.stats.Failures++
		s.stats.LastError = err.Error()
		return err
	}
	s.stats.Commits++
	return nil
}
