package build

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

func TestPool(t *testing.T) {
	p := newPool()
	var ran []int64
	var note func(weight int64, more ...int64) job
	note = func(weight int64, more ...int64) job {
		return job{weight, func(context.Context) error {
			ran = append(ran, weight)
			for _, w := range more {
				p.add(note(w))
			}
			return nil
		}}
	}
	for _, j := range []job{note(3), note(9, 5, 8), note(7)} {
		p.add(j)
	}
	if err := p.run(t.Context(), 1); err != nil || !slices.Equal(ran, []int64{9, 8, 7, 5, 3}) {
		t.Errorf("%v: jobs ran as %v", err, ran)
	}
	if err := newPool().run(t.Context(), 3); err != nil {
		t.Errorf("an empty pool: %v", err)
	}
}

// TestPoolParallel: jobs that wait for jobs that others add.
func TestPoolParallel(t *testing.T) {
	p := newPool()
	var n atomic.Int64
	var both sync.WaitGroup
	both.Add(2)
	for range 2 {
		p.add(job{1, func(context.Context) error {
			both.Done()
			both.Wait() // they run beside each other
			for range 50 {
				p.add(job{2, func(context.Context) error { n.Add(1); return nil }})
			}
			return nil
		}})
	}
	if err := p.run(t.Context(), 4); err != nil || n.Load() != 100 {
		t.Errorf("%v, %d of 100 jobs ran", err, n.Load())
	}
}

func TestPoolFails(t *testing.T) {
	broken := errors.New("broken")
	p := newPool()
	ready := make(chan struct{})
	p.add(job{3, func(ctx context.Context) error { close(ready); <-ctx.Done(); return ctx.Err() }})
	p.add(job{2, func(context.Context) error { <-ready; return broken }})
	p.add(job{1, func(context.Context) error { t.Error("a job ran after a failure"); return nil }})
	if err := p.run(t.Context(), 2); err != broken {
		t.Errorf("error %v", err)
	}
}
