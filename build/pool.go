package build

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// job is work that takes about so long, in any unit. It may add others to the
// pool that runs it.
type job struct {
	weight int64
	run    func(ctx context.Context) error
}

// pool runs jobs side by side, always the heaviest that waits: so no long one
// is left alone at the end.
type pool struct {
	mu      sync.Mutex
	change  *sync.Cond // a job came or ended
	waiting []job
	running int
	err     error
}

func newPool() *pool {
	p := &pool{}
	p.change = sync.NewCond(&p.mu)
	return p
}

// add gives the pool another job.
func (p *pool) add(j job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, _ := slices.BinarySearchFunc(p.waiting, j, func(a, b job) int { return cmp.Compare(a.weight, b.weight) })
	p.waiting = slices.Insert(p.waiting, i, j) // of equal ones the first that was added runs first
	p.change.Broadcast()
}

// run returns when all jobs have ended, or the first that failed and those
// beside it. The others are dropped, and the context of all is done.
func (p *pool) run(ctx context.Context, workers int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for j := p.next(); j != nil; j = p.next() {
				p.ended(j(ctx), cancel)
			}
		})
	}
	group.Wait()
	return p.err
}

// next waits for a job; nil: there will be none.
func (p *pool) next() func(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.waiting) == 0 && p.running > 0 && p.err == nil {
		p.change.Wait()
	}
	if len(p.waiting) == 0 || p.err != nil {
		return nil
	}
	last := len(p.waiting) - 1
	j := p.waiting[last]
	p.waiting = p.waiting[:last]
	p.running++
	return j.run
}

func (p *pool) ended(err error, cancel func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	if err != nil && p.err == nil {
		p.err = err
		cancel()
	}
	p.change.Broadcast()
}
