package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"hooksmith/publish/sign"
	"hooksmith/publish/store"
)

// Options say what to publish and where to. From and Dest are required by
// Publish, Dest by all others.
type Options struct {
	From string // folder with hook.json
	Dest string // folder or URL; see store.Open, and oci://

	Access    store.Access
	Key       *sign.PrivateKey // nil: a signature that lies in From goes along
	Keep      int              // sets that stay, the current one among them; 0: all
	RateLimit int64            // bytes per second, both ways together; 0: none
	Parallel  int              // files at once; 0: 3
	Retry     store.Patience   // zero: 6 tries from half a second on
	By        string           // who we are, for whoever waits for us
	Observer  Observer         // nil: silent
	Log       *slog.Logger     // nil: silent
	Now       func() time.Time // nil: time.Now
}

func (o *Options) fill() {
	if o.Parallel == 0 {
		o.Parallel = 3
	}
	if o.Retry.Tries == 0 {
		o.Retry = store.Patience{Tries: 6, Pause: 500 * time.Millisecond, Log: o.Log}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Result is what a command has done.
type Result struct {
	ID       string        `json:"id"`
	Previous string        `json:"previous,omitempty"` // what the stable names meant before
	Sent     int64         `json:"sent_bytes"`
	Total    int64         `json:"total_bytes"`
	Files    []Object      `json:"files"`
	Gone     []string      `json:"gone,omitempty"`    // stable names that the set does not have
	Removed  []string      `json:"removed,omitempty"` // sets, by Keep
	AtOnce   bool          `json:"at_once"`           // all stable names switched at the same moment
	Took     time.Duration `json:"took_ns"`
}

// Publish puts the set in From to Dest and switches the stable names to it.
// If it fails, the stable names mean what they did before. A *BusyError means
// that somebody else is publishing there.
func Publish(ctx context.Context, opt Options) (*Result, error) {
	opt.fill()
	start := opt.Now()
	// 1. What there is to publish.
	s, err := readSet(opt.From, opt.Key, start)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(opt.Dest, ociScheme) {
		return publishOCI(ctx, opt, s)
	}
	// 2. The destination, for us alone; a switch that was cut off is completed.
	var result *Result
	err = locked(ctx, opt, func(ctx context.Context, p *publisher) error {
		// 3. All files below the set's id, read back.
		if err := p.upload(ctx, s); err != nil {
			return err
		}
		// 4. The stable names.
		result, err = p.switchTo(ctx, s.id, s)
		if err != nil {
			return err
		}
		// 5. Sets that nobody needs any more.
		result.Removed, err = p.prune(ctx, opt.Keep)
		result.Sent, result.Took = p.flow.sent.Load(), opt.Now().Sub(start)
		return err
	})
	return result, err
}

// Rollback makes the stable names mean a set that was published before, after
// reading it back. Id may be the beginning of one.
func Rollback(ctx context.Context, opt Options, id string) (*Result, error) {
	opt.fill()
	start := opt.Now()
	if strings.HasPrefix(opt.Dest, ociScheme) {
		return rollbackOCI(ctx, opt, id)
	}
	opt.Access.Existing = true
	var result *Result
	err := locked(ctx, opt, func(ctx context.Context, p *publisher) error {
		e, err := p.index.resolve(id)
		if err != nil {
			return err
		}
		if err := p.verifyAll(ctx, e); err != nil {
			return err
		}
		result, err = p.switchTo(ctx, e.ID, nil)
		if err == nil {
			result.Took = opt.Now().Sub(start)
		}
		return err
	})
	return result, err
}

// Prune removes sets so that Keep are left.
func Prune(ctx context.Context, opt Options) (removed []string, err error) {
	opt.fill()
	if strings.HasPrefix(opt.Dest, ociScheme) {
		return pruneOCI(ctx, opt)
	}
	opt.Access.Existing = true
	err = locked(ctx, opt, func(ctx context.Context, p *publisher) error {
		removed, err = p.prune(ctx, opt.Keep)
		return err
	})
	return removed, err
}

// List returns what the destination holds. It changes nothing.
func List(ctx context.Context, opt Options) (*Index, error) {
	opt.fill()
	if strings.HasPrefix(opt.Dest, ociScheme) {
		return listOCI(ctx, opt)
	}
	opt.Access.Existing = true
	st, err := store.Open(ctx, opt.Dest, opt.Access)
	if err != nil {
		return nil, err
	}
	x, err := loadIndex(ctx, store.Retry(st, opt.Retry))
	return x, errors.Join(err, st.Close())
}

// Unlock removes the lock of a publisher that was killed.
func Unlock(ctx context.Context, opt Options) error {
	opt.fill()
	if strings.HasPrefix(opt.Dest, ociScheme) {
		return errors.New("a registry has no lock")
	}
	opt.Access.Existing = true
	st, err := store.Open(ctx, opt.Dest, opt.Access)
	if err != nil {
		return err
	}
	if _, ok := st.(store.Locker); ok {
		return errors.Join(errors.New("a folder's lock ends with the process that holds it: there is nothing to unlock"), st.Close())
	}
	return errors.Join(store.Retry(st, opt.Retry).Delete(ctx, lockName), st.Close())
}

// publisher is one command at work in a destination that it has locked.
type publisher struct {
	opt   Options
	store store.Store // with patience
	lock  *lock
	index *Index
	was   *Entry // the set that the stable names mean, as they mean it; nil before the first
	flow  *flow
}

// locked runs fn with the destination locked and its index read.
func locked(ctx context.Context, opt Options, fn func(ctx context.Context, p *publisher) error) (err error) {
	st, err := store.Open(ctx, opt.Dest, opt.Access)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	p := &publisher{opt: opt, store: store.Retry(st, opt.Retry), flow: newFlow(opt.RateLimit, opt.Observer)}
	l, alive, err := takeLock(ctx, p.store, opt.By, opt.Now)
	if err != nil {
		return err
	}
	p.lock = l
	defer func() { err = errors.Join(err, l.release(ctx)) }()
	if p.index, err = loadIndex(alive, p.store); err != nil {
		return err
	}
	if err := p.repair(alive); err != nil {
		return fmt.Errorf("completing a switch that was cut off: %w", err)
	}
	if e := p.index.find(p.index.Current); e != nil {
		now := *e
		p.was = &now
	}
	if err := fn(alive, p); err != nil {
		if cause := context.Cause(alive); cause != nil && ctx.Err() == nil {
			return cause // the lock was lost: that is why
		}
		return err
	}
	return nil
}
