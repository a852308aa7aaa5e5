package initramfs

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/semaphore"

	"hooksmith/build/rootfs"
)

// memoryLimit is what the encoders and decoders of a Write may take together.
const memoryLimit = 192 << 20

// Ahead compresses segments while the trees of others are still being made.
// A Write whose Options name it takes what it finds there and compresses the
// rest. What Compress makes is what Write would make; what Stream makes and
// Adopt takes has the same records in another order.
type Ahead struct {
	opt    Options
	below  []plan
	err    error // why nothing can lie over below
	memory *semaphore.Weighted
	mu     sync.Mutex
	parts  map[string]part // by key
}

// NewAhead returns an Ahead for a Write with the same Cache, which must not be
// nil, and Program. The caller closes it after Write.
func NewAhead(opt Options) *Ahead {
	return &Ahead{opt: opt, memory: semaphore.NewWeighted(memoryLimit), parts: map[string]part{}}
}

// Over says, before the first Compress, what the trees of the segments before
// those will have, together.
func (a *Ahead) Over(trees ...*rootfs.Tree) {
	var below []Segment
	for _, t := range trees {
		below = append(below, Segment{Tree: t})
	}
	a.below, a.err = planAll(below)
}

// Compress makes a segment that is not the first, as Write will over those that
// have what Over said. It may be called by several goroutines at once.
func (a *Ahead) Compress(ctx context.Context, seg Segment) error {
	p, err := newPlan(seg, false, a.below)
	if err != nil || a.err != nil {
		return nil // Write knows all segments, and says what is wrong
	}
	key, err := p.key(a.opt.Program)
	if err != nil {
		return fmt.Errorf("segment %q: %w", seg.Name, err)
	}
	made, err := p.compressed(ctx, key, a.opt, a.memory)
	if err != nil {
		return errors.Join(fmt.Errorf("segment %q: %w", seg.Name, err), made.remove())
	}
	return a.put(key, made)
}

// put keeps a part for Write.
func (a *Ahead) put(key string, made part) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, twice := a.parts[key]; twice {
		return made.remove()
	}
	a.parts[key] = made
	return nil
}

// take gives a segment away, if it is there.
func (a *Ahead) take(key string) (part, bool) {
	if a == nil {
		return part{}, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.parts[key]
	delete(a.parts, key)
	return p, ok
}

// Left is how many segments no Write took: work for nothing.
func (a *Ahead) Left() int {
	if a == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.parts)
}

// Close drops what no Write took. A nil Ahead has nothing.
func (a *Ahead) Close() error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, p := range a.parts {
		errs = append(errs, p.remove())
	}
	clear(a.parts)
	return errors.Join(errs...)
}
