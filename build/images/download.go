package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// stallTime is how long a download may bring nothing before it is tried again.
const stallTime = 30 * time.Second

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
	stall time.Duration
	begin Progress

	part *os.File
	h    hash.Hash
	have int64
	add  func(int64)
}

// finalError is one that asking the same origin again will not change: it gave
// wrong bytes, or no answer although the transport was patient.
type finalError struct{ error }

func (f finalError) Unwrap() error { return f.error }

// fetch brings a blob into the store from the first origin that gives it,
// through a partial file that the next origin, or the next run, goes on with.
func (s *store) fetch(ctx context.Context, d *download, origins []origin) (err error) {
	if d.part, err = openPartial(filepath.Join(s.dir, "partial", filepath.Base(d.desc.Digest.Hex))); err != nil {
		return err
	}
	defer d.part.Close()
	if s.has(d.desc.Digest, d.desc.Size) { // another process was faster
		return os.Remove(d.part.Name())
	}
	if err := d.rehash(); err != nil {
		return err
	}
	var done func(error)
	d.add, done = d.begin.start(d.label, d.desc.Size)
	defer func() { done(err) }()
	d.add(d.have)
	if err := d.from(ctx, origins); err != nil {
		return err
	}
	return os.Rename(d.part.Name(), s.blobPath(d.desc.Digest))
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
	pause := d.pause
	for failed := 0; ; {
		before := d.have
		err := d.resume(ctx, o)
		if err == nil {
			err = d.check()
		}
		var final finalError
		if err == nil || errors.As(err, &final) || !worthRetry(err) {
			return err
		}
		if d.have > before {
			failed, pause = 0, d.pause
		}
		if failed++; failed >= d.tries {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		pause *= 2
	}
}

// resume asks for what is missing and appends it.
func (d *download) resume(ctx context.Context, o origin) error {
	if d.have == d.desc.Size {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := o.get(ctx, d.have)
	if err != nil {
		return finalError{err}
	}
	defer resp.Body.Close()
	if err := d.position(resp); err != nil {
		return err
	}
	stall := time.AfterFunc(d.stall, func() { cancel(fmt.Errorf("no byte came for %s", d.stall)) })
	defer stall.Stop()
	body := io.TeeReader(io.LimitReader(resp.Body, d.desc.Size-d.have+1), writerFunc(func(p []byte) (int, error) {
		stall.Reset(d.stall)
		d.add(int64(len(p)))
		return d.h.Write(p)
	}))
	n, err := io.Copy(d.part, body)
	d.have += n
	switch {
	case err != nil:
		return d.cause(ctx, err)
	case d.have < d.desc.Size:
		return fmt.Errorf("connection ended after %d of %d bytes: %w", d.have, d.desc.Size, io.ErrUnexpectedEOF)
	}
	return nil
}

// cause replaces "context canceled" by why.
func (d *download) cause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w (after %d of %d bytes)", cause, d.have, d.desc.Size)
	}
	return err
}

// position makes the partial file end where the answer begins.
func (d *download) position(resp *http.Response) error {
	switch {
	case resp.StatusCode == http.StatusOK:
		return d.restart() // from the start, also if the server knows no ranges
	case resp.StatusCode == http.StatusPartialContent && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", d.have)):
		return nil
	}
	if err := d.restart(); err != nil {
		return err
	}
	return fmt.Errorf("asked for bytes from %d on, got %s %q", d.have, resp.Status, resp.Header.Get("Content-Range"))
}

// check compares the whole with what was promised.
func (d *download) check() error {
	got := hex.EncodeToString(d.h.Sum(nil))
	if d.have == d.desc.Size && got == d.desc.Digest.Hex {
		return nil
	}
	bad := finalError{fmt.Errorf("wrong digest: got %d bytes with sha256:%s, want %d bytes with %s (a broken mirror, or a proxy that changes files?)", d.have, got, d.desc.Size, d.desc.Digest)}
	if d.have > d.desc.Size {
		bad = finalError{fmt.Errorf("wrong size: more than the %d bytes that the manifest promises for %s", d.desc.Size, d.desc.Digest)}
	}
	return errors.Join(bad, d.restart()) // wrong bytes are no start to resume from
}

func (d *download) restart() error {
	d.add(-d.have)
	d.have, d.h = 0, sha256.New()
	if err := d.part.Truncate(0); err != nil {
		return err
	}
	_, err := d.part.Seek(0, io.SeekStart)
	return err
}

// rehash brings the hash up to date with what an earlier run left.
func (d *download) rehash() error {
	d.h = sha256.New()
	n, err := io.Copy(d.h, io.LimitReader(d.part, d.desc.Size+1))
	if err != nil {
		return err
	}
	d.have = n
	if n > d.desc.Size {
		d.have, d.h = 0, sha256.New()
		if err := d.part.Truncate(0); err != nil {
			return err
		}
	}
	_, err = d.part.Seek(d.have, io.SeekStart)
	return err
}

// openPartial opens and locks the partial file, so that two processes that
// want the same blob do not write into each other's.
func openPartial(name string) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		if err := flockFile(f, unix.LOCK_EX); err != nil {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", name, err)
		}
		// The holder before us may have renamed the file away.
		held, err1 := f.Stat()
		now, err2 := os.Stat(name)
		if err1 == nil && err2 == nil && os.SameFile(held, now) {
			return f, nil
		}
		f.Close()
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
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
