package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"golang.org/x/sync/errgroup"

	"hooksmith/publish/store"
	"hooksmith/publish/verify"
)

// upload brings every file of a set below its id and reads it back there. What
// another set has already is copied inside the store.
func (p *publisher) upload(ctx context.Context, s *set) error {
	var known *Entry // this set as it was published before, perhaps cut off
	if e := p.index.find(s.id); e != nil {
		then := *e
		known = &then
	}
	entry := s.entry(p.opt.Now())
	if known != nil && known.Complete {
		entry.Published = known.Published
	}
	if known == nil && len(p.index.Sets) >= maxSets {
		return fmt.Errorf("%d sets are published there, which is the most: remove old ones with --prune --keep N", maxSets)
	}
	elsewhere := p.index.byContent()
	if known == nil || !known.Complete {
		p.index.put(entry) // a set that is cut off can be found, and removed
		if err := p.index.save(ctx, p.store); err != nil {
			return err
		}
	}
	first, again := firstOfEach(s.objects)
	for _, round := range [][]Object{first, again} {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(p.opt.Parallel)
		for _, o := range round {
			g.Go(func() error { return p.bring(ctx, s, o, elsewhere[o.SHA256], known != nil) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
		for _, o := range round {
			elsewhere[o.SHA256] = s.id + "/" + o.Name
		}
	}
	return p.finish(ctx, entry, known)
}

// finish enters a set of which every byte was read back. What it had when it
// was published before (then), and has no more, a signature, is removed.
func (p *publisher) finish(ctx context.Context, entry Entry, then *Entry) error {
	entry.Complete = true
	p.index.put(entry)
	if p.index.Current == entry.ID && !slices.Equal(p.was.Files, entry.Files) {
		// The stable names have the files of before: if we are cut off here, the next command sets them.
		p.index.Switching = &Switching{From: entry.ID, To: entry.ID}
	}
	if err := p.index.save(ctx, p.store); err != nil {
		return err
	}
	left := goneNames(then, &entry)
	for i, name := range left {
		left[i] = entry.ID + "/" + name
	}
	return p.remove(ctx, left)
}

// byContent says where a content is: SHA-256 to name.
func (x *Index) byContent() map[string]string {
	at := map[string]string{}
	for _, e := range x.Sets {
		for _, f := range e.Files {
			if e.Complete {
				at[f.SHA256] = e.ID + "/" + f.Name
			}
		}
	}
	return at
}

// firstOfEach divides objects: one of each content, and its other names.
func firstOfEach(all []Object) (first, again []Object) {
	seen := map[string]bool{}
	for _, o := range all {
		if seen[o.SHA256] {
			again = append(again, o)
		} else {
			first = append(first, o)
		}
		seen[o.SHA256] = true
	}
	return first, again
}

// bring makes one object of the set, in the way that moves least.
func (p *publisher) bring(ctx context.Context, s *set, o Object, elsewhere string, maybeThere bool) error {
	name := s.id + "/" + o.Name
	if maybeThere {
		err := p.verify(ctx, name, o)
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	if elsewhere != "" && elsewhere != name {
		err := p.store.Copy(ctx, elsewhere, name)
		if err == nil {
			err = p.verify(ctx, name, o)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	err := p.send(ctx, s, o, name, o.SHA256)
	if errors.As(err, new(*mismatchError)) {
		// What was left of an upload that was cut off may be to blame.
		err = errors.Join(p.store.Delete(ctx, name), p.send(ctx, s, o, name, ""))
	}
	return err
}

func (p *publisher) send(ctx context.Context, s *set, o Object, name, key string) error {
	content, done, err := s.content(o.Name)
	if err != nil {
		return err
	}
	task := p.flow.observer.Begin(o.Name, o.Size)
	err = p.store.Put(ctx, name, key, o.Size, &upload{ReaderAt: content, ctx: ctx, flow: p.flow, task: task})
	err = errors.Join(err, done())
	if err != nil {
		err = fmt.Errorf("uploading %s: %w", o.Name, err)
	} else {
		err = p.verify(ctx, name, o)
	}
	task.Done(err)
	return err
}

// verifyAll reads a whole set back.
func (p *publisher) verifyAll(ctx context.Context, e *Entry) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.opt.Parallel)
	for _, o := range e.Files {
		g.Go(func() error { return p.verify(ctx, e.ID+"/"+o.Name, o) })
	}
	return g.Wait()
}

// mismatchError: what is in the store is not what was sent.
type mismatchError struct{ error }

func (e *mismatchError) Unwrap() error { return e.error }

// verify reads an object back. Broken connections are continued.
func (p *publisher) verify(ctx context.Context, name string, o Object) error {
	r := &continued{ctx: ctx, p: p, name: name, size: o.Size}
	defer r.Close()
	d := &download{Reader: r, ctx: ctx, flow: p.flow, task: silent{}}
	err := verify.Check(ctx, verify.File{Name: name, Size: o.Size, SHA256: o.SHA256}, d)
	if err != nil {
		err = fmt.Errorf("reading back: %w", err)
		if r.err == nil && ctx.Err() == nil {
			return &mismatchError{err}
		}
	}
	return err
}

// continued reads an object and goes on where a connection broke.
type continued struct {
	ctx   context.Context
	p     *publisher
	name  string
	size  int64
	off   int64
	rc    io.ReadCloser
	tries int
	err   error // that ended it
}

func (c *continued) Read(b []byte) (int, error) {
	for {
		n, err := c.read(b)
		c.off += int64(n)
		if n > 0 {
			c.tries = 0
			return n, nil
		}
		if errors.Is(err, io.EOF) && c.off >= c.size {
			return 0, io.EOF
		}
		_ = c.Close()
		c.tries++
		if errors.Is(err, io.EOF) {
			if c.tries > 1 {
				return 0, io.EOF // it is that short
			}
			continue
		}
		if c.tries >= c.p.opt.Retry.Tries || c.ctx.Err() != nil || !store.Transient(err) || errors.Is(err, fs.ErrNotExist) {
			c.err = err
			return 0, err
		}
	}
}

func (c *continued) read(b []byte) (int, error) {
	if c.rc == nil {
		rc, err := c.p.store.Get(c.ctx, c.name, c.off, -1)
		if err != nil {
			return 0, err
		}
		c.rc = rc
	}
	return c.rc.Read(b)
}

// Close ends the connection of the moment.
func (c *continued) Close() error {
	if c.rc == nil {
		return nil
	}
	err := c.rc.Close()
	c.rc = nil
	return err
}
