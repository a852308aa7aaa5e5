package images

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hooksmith/build/fetch"
)

// origin is a place that may have a blob.
type origin struct {
	name string
	get  func(ctx context.Context, offset int64) (*http.Response, error) // 200 or 206
}

// download is one blob on its way into the store.
type download struct {
	desc  v1.Descriptor
	label string // for progress
	tries int
	pause time.Duration
	begin Progress
	log   *slog.Logger

	part *fetch.Partial
}

// finalError is one that asking the same origin again will not change: it gave
// wrong bytes, or no answer although the transport was patient.
type finalError struct{ error }

func (f finalError) Unwrap() error { return f.error }

// fetch brings a blob into the store from the first origin that gives it,
// through a partial file that the next origin, or the next run, goes on with.
func (s *store) fetch(ctx context.Context, d *download, origins []origin) (err error) {
	if d.part, err = fetch.OpenPartial(ctx, d.log, filepath.Join(s.dir, "partial", filepath.Base(d.desc.Digest.Hex))); err != nil {
		return err
	}
	defer d.part.Close()
	if s.has(d.desc.Digest, d.desc.Size) { // another process was faster
		return d.part.Remove()
	}
	add, done := d.begin.start(d.label, d.desc.Size)
	defer func() { done(err) }()
	if err := d.part.Load(fetch.Whole{Size: d.desc.Size, Limit: d.desc.Size, Add: add}); err != nil {
		return err
	}
	if err := d.from(ctx, origins); err != nil {
		return err
	}
	return d.part.Commit(s.blobPath(d.desc.Digest))
}

// from tries the origins in turn, each until it brings no more.
func (d *download) from(ctx context.Context, origins []origin) error {
	var errs []error
	for _, o := range origins {
		err := d.persist(ctx, o)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		errs = append(errs, fmt.Errorf("%s: %w", o.name, err))
	}
	return errors.Join(errs...)
}

// persist resumes from one origin until the blob is whole, or tries requests
// in a row brought nothing new.
func (d *download) persist(ctx context.Context, o origin) error {
	patience := fetch.NewPatience(d.tries, d.pause, d.part)
	for {
		err := d.bring(ctx, o)
		var final finalError
		if err == nil || errors.As(err, &final) || !worthRetry(err) {
			return err
		}
		patience.Note(err)
		wait, again := patience.Again()
		if !again {
			return fmt.Errorf("%w (if something on the way cuts long downloads, name a --mirror, or copy the image with another tool and name that with --layout)", patience.GaveUp())
		}
		d.log.Log(ctx, patience.Level(), "download broke off, trying again", "what", d.label, "from", o.name, "reason", err, "wait", wait)
		if err := fetch.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// bring gets the blob from one origin. Where it went on with what an earlier
// run or another origin had brought, and that is wrong, it begins anew: the
// fault need not be this origin's.
func (d *download) bring(ctx context.Context, o origin) error {
	if err := d.resume(ctx, o); err != nil {
		return err
	}
	mixed := d.part.IsMixed()
	err := d.check()
	if err == nil || !mixed {
		return err
	}
	d.log.Info("what had come before is wrong, downloading from the beginning", "what", d.label, "from", o.name, "reason", err)
	return d.bring(ctx, o)
}

// resume asks for what is missing and appends it.
func (d *download) resume(ctx context.Context, o origin) error {
	if d.part.Have() == d.desc.Size {
		return nil
	}
	return d.part.Get(ctx, func(ctx context.Context, offset int64) (*http.Response, error) {
		resp, err := o.get(ctx, offset)
		if err != nil {
			return nil, finalError{err}
		}
		return resp, nil
	})
}

// check compares the whole with what was promised.
func (d *download) check() error {
	have, got := d.part.Have(), d.part.Sum()
	if have == d.desc.Size && got == d.desc.Digest.Hex {
		return nil
	}
	bad := finalError{fmt.Errorf("wrong digest: got %d bytes with sha256:%s, want %d bytes with %s (a broken mirror, or a proxy that changes files?)", have, got, d.desc.Size, d.desc.Digest)}
	if have > d.desc.Size {
		bad = finalError{fmt.Errorf("wrong size: more than the %d bytes that the manifest promises for %s", d.desc.Size, d.desc.Digest)}
	}
	return errors.Join(bad, d.part.Restart())
}

// Progress is told when something long begins; total is in bytes, 0 if it is
// not known. It returns what counts bytes (negative ones too, when a download
// starts again) and what is called at the end. Nil is silent.
type Progress func(name string, total int64) (add func(n int64), done func(err error))

func (p Progress) start(name string, total int64) (func(int64), func(error)) {
	if p == nil {
		return func(int64) {}, func(error) {}
	}
	return p(name, total)
}
