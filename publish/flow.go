package publish

import (
	"context"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/time/rate"

	"hooksmith/publish/store"
)

// Observer is shown what goes on; its tasks may be used concurrently.
type Observer interface {
	Begin(name string, total int64) Task
}

// Task is one transfer.
type Task interface {
	Add(n int64)
	Done(err error)
}

type silent struct{}

func (silent) Begin(string, int64) Task { return silent{} }
func (silent) Add(int64)                {}
func (silent) Done(error)               {}

// flow counts what goes through and holds it to a rate.
type flow struct {
	limit    *rate.Limiter // nil: none
	observer Observer
	sent     atomic.Int64
}

const burst = 256 << 10

func newFlow(bytesPerSecond int64, o Observer) *flow {
	f := &flow{observer: o}
	if o == nil {
		f.observer = silent{}
	}
	if bytesPerSecond > 0 {
		f.limit = rate.NewLimiter(rate.Limit(bytesPerSecond), burst)
	}
	return f
}

func (f *flow) wait(ctx context.Context, n int) error {
	for f.limit != nil && n > 0 {
		piece := min(n, burst)
		if err := f.limit.WaitN(ctx, piece); err != nil {
			return err
		}
		n -= piece
	}
	return ctx.Err()
}

// upload is content that is counted, and read no faster than allowed.
type upload struct {
	io.ReaderAt
	ctx  context.Context // ReadAt has none of its own, and may wait long
	flow *flow
	task Task
}

// ReadAt fills p, in pieces that the limit knows.
func (u *upload) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		end := len(p)
		if u.flow.limit != nil {
			end = min(end, done+burst)
		}
		n, err := u.ReaderAt.ReadAt(p[done:end], off+int64(done))
		done += n
		u.count(int64(n))
		if err != nil {
			return done, err
		}
		if err := u.flow.wait(u.ctx, n); err != nil {
			return done, err
		}
	}
	return done, nil
}

func (u *upload) count(n int64) {
	u.flow.sent.Add(n)
	u.task.Add(n)
}

// File lets the kernel copy, if nothing has to be held back.
func (u *upload) File() (*os.File, func(n int64)) {
	f, ok := u.ReaderAt.(*os.File)
	if !ok || u.flow.limit != nil {
		return nil, nil
	}
	return f, u.count
}

// Quiet reads what stays here: its hash is compared.
func (u *upload) Quiet() store.Content { return u.ReaderAt }

// download is a stream that is counted, and read no faster than allowed.
type download struct {
	io.Reader
	ctx  context.Context
	flow *flow
	task Task
}

func (d *download) Read(p []byte) (int, error) {
	if d.flow.limit != nil {
		p = p[:min(len(p), burst)]
	}
	n, err := d.Reader.Read(p)
	d.task.Add(int64(n))
	if waitErr := d.flow.wait(d.ctx, n); waitErr != nil {
		return n, waitErr
	}
	return n, err
}
