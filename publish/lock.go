package publish

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"hooksmith/publish/store"
)

const (
	lockLife  = 3 * time.Minute  // without a sign of life, somebody else may take it
	lockRenew = 30 * time.Second // how often there is one
)

// BusyError means that another publisher is at work in the destination.
type BusyError struct {
	By    string    // who, as far as known
	Until time.Time // when the lock ends by itself; zero: with the process
	Stays bool      // nothing says whose it is: it may be the rest of one that was killed as it began
}

func (e *BusyError) Error() string {
	if e.By == "" {
		return "another publisher is at work there: nothing was changed"
	}
	return fmt.Sprintf("another publisher is at work there (%s): nothing was changed", e.By)
}

// Hint says when to try again.
func (e *BusyError) Hint() string {
	if e.Stays {
		return "try again when it is done; if none runs, remove what is left of its lock with --unlock"
	}
	if e.Until.IsZero() {
		return "try again when it is done"
	}
	return fmt.Sprintf("try again when it is done; if it was killed, its lock ends at %s, or now with --unlock", e.Until.Format(time.RFC3339))
}

// lock is the right to change a destination.
type lock struct {
	store store.Store
	mine  lockRecord
	free  func() error // of a lock of the kernel's
	now   func() time.Time
	stop  context.CancelFunc
	done  chan struct{}
}

type lockRecord struct {
	Nonce string    `json:"nonce"`
	By    string    `json:"by"`
	Until time.Time `json:"until"`
}

// takeLock returns a *BusyError if somebody has it. The context it returns
// ends when the lock is lost.
func takeLock(ctx context.Context, s store.Store, by string, now func() time.Time) (*lock, context.Context, error) {
	l := &lock{store: s, now: now}
	if local, ok := store.Unwrap(s).(store.Locker); ok {
		free, err := local.Lock(ctx, lockName)
		if errors.Is(err, fs.ErrExist) {
			return nil, nil, &BusyError{}
		}
		if err != nil {
			return nil, nil, fmt.Errorf("locking: %w", err)
		}
		l.free = free
		return l, ctx, nil
	}
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	l.mine = lockRecord{Nonce: hex.EncodeToString(b), By: by, Until: now().Add(lockLife).UTC()}
	if err := l.acquire(ctx); err != nil {
		return nil, nil, err
	}
	alive, cancel := context.WithCancelCause(ctx)
	renewing, stop := context.WithCancel(alive)
	l.stop, l.done = stop, make(chan struct{})
	go l.renew(renewing, cancel)
	return l, alive, nil
}

func (l *lock) acquire(ctx context.Context) error {
	data, err := json.Marshal(l.mine)
	if err != nil {
		return err
	}
	err = l.store.Create(ctx, lockName, data)
	if err == nil {
		return l.mineStill(ctx) // servers without conditions
	}
	if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("locking: %w", err)
	}
	held, err := l.read(ctx)
	if err != nil {
		return fmt.Errorf("locking: %w", err)
	}
	if held.Nonce == l.mine.Nonce { // the answer to a first try was lost
		return nil
	}
	busy := &BusyError{By: held.By, Until: held.Until, Stays: held.Nonce == ""}
	if held.Nonce == "" || l.now().Before(held.Until) {
		return busy
	}
	// One publisher alone may take over this very lock.
	err = l.store.Create(ctx, ".hooksmith/taken-"+held.Nonce+".lock", data)
	if errors.Is(err, fs.ErrExist) {
		return busy
	}
	if err != nil {
		return fmt.Errorf("taking over an old lock: %w", err)
	}
	defer func() { _ = l.store.Delete(context.WithoutCancel(ctx), ".hooksmith/taken-"+held.Nonce+".lock") }()
	if again, err := l.read(ctx); err != nil || again.Nonce != held.Nonce {
		return busy
	}
	if err := l.store.Put(ctx, lockName, "", int64(len(data)), bytes.NewReader(data)); err != nil {
		return fmt.Errorf("taking over an old lock: %w", err)
	}
	return l.mineStill(ctx)
}

// read returns the lock as it is; an empty one while it is being made.
func (l *lock) read(ctx context.Context) (lockRecord, error) {
	var held lockRecord
	data, err := readSmall(ctx, l.store, lockName, 64<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return held, nil
	}
	if err != nil {
		return held, err
	}
	if json.Unmarshal(data, &held) != nil {
		return lockRecord{}, nil
	}
	return held, nil
}

// mineStill is a *BusyError if somebody else took the lock.
func (l *lock) mineStill(ctx context.Context) error {
	if l.free != nil {
		return nil
	}
	held, err := l.read(ctx)
	if err != nil {
		return fmt.Errorf("looking at the lock: %w", err)
	}
	if held.Nonce != l.mine.Nonce {
		return &BusyError{By: held.By, Until: held.Until}
	}
	return nil
}

// renew shows that we live. Whoever could not for the lock's whole life stops.
func (l *lock) renew(ctx context.Context, lost context.CancelCauseFunc) {
	defer close(l.done)
	tick := time.NewTicker(lockRenew)
	defer tick.Stop()
	until := l.mine.Until
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := l.mineStill(ctx); errors.As(err, new(*BusyError)) {
			lost(err)
			return
		}
		next := l.mine
		next.Until = l.now().Add(lockLife).UTC()
		data, err := json.Marshal(next)
		if err == nil {
			err = l.store.Put(ctx, lockName, "", int64(len(data)), bytes.NewReader(data))
		}
		if err == nil {
			until = next.Until
		} else if l.now().After(until) {
			lost(fmt.Errorf("the lock could not be renewed: %w", err))
			return
		}
	}
}

// release gives the lock back.
func (l *lock) release(ctx context.Context) error {
	if l.free != nil {
		return l.free()
	}
	l.stop()
	<-l.done
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := l.mineStill(ctx); err != nil {
		return nil // it is not ours any more, or the store is gone: it ends by itself
	}
	return l.store.Delete(ctx, lockName)
}
