package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Partial is a file on its way: what came of it so far, with its hash, in a
// file that a later Get, or a later run, goes on with. Whoever has opened it
// decides whom to ask, how often, and whether what came is right.
type Partial struct {
	size, limit int64
	add         func(int64)

	file  *os.File
	hash  hash.Hash
	have  int64
	mixed bool // not all of that came in one answer
}

// OpenPartial opens and locks the partial file of that name, so that two
// processes that want the same file do not write into each other's: it waits
// for the other one, until ctx is done, and says so. Load comes next, unless
// the other has brought the file. The caller closes it.
func OpenPartial(ctx context.Context, log *slog.Logger, name string) (*Partial, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	tell := sync.OnceFunc(func() { log.Info("waiting for another process, which has the file", "file", name) })
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		if err := flockWait(ctx, f, tell); err != nil {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", name, err)
		}
		// The holder before us may have renamed the file away.
		held, err1 := f.Stat()
		now, err2 := os.Stat(name)
		if err1 == nil && err2 == nil && os.SameFile(held, now) {
			return &Partial{file: f, hash: sha256.New()}, nil
		}
		f.Close()
	}
}

// Whole is what a Partial is to become.
type Whole struct {
	Size  int64         // bytes; -1: not known
	Limit int64         // no more than one byte beyond it is taken
	Add   func(n int64) // counts the bytes that are there, negative ones when they are thrown away; nil: silent
}

// Load hashes what an earlier run has left.
func (p *Partial) Load(w Whole) error {
	p.size, p.limit, p.add = w.Size, w.Limit, w.Add
	if p.add == nil {
		p.add = func(int64) {}
	}
	n, err := io.Copy(p.hash, io.LimitReader(p.file, p.limit+1))
	if err != nil {
		return err
	}
	p.have, p.mixed = n, n > 0
	p.add(n)
	if n > p.limit {
		return p.Restart()
	}
	return nil
}

// Have is how many bytes there are.
func (p *Partial) Have() int64 { return p.have }

// IsMixed reports whether what is there came in several answers: if it is
// wrong, that may be the fault of an earlier run or of another server.
func (p *Partial) IsMixed() bool { return p.mixed }

// Sum is the SHA-256 of what is there, in hexadecimal.
func (p *Partial) Sum() string { return hex.EncodeToString(p.hash.Sum(nil)) }

// Restart throws away what came: wrong bytes are no start to resume from.
func (p *Partial) Restart() error {
	p.add(-p.have)
	p.have, p.mixed = 0, false
	p.hash.Reset()
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	_, err := p.file.Seek(0, io.SeekStart)
	return err
}

// Get appends what ask brings of the bytes from offset on: the answer 200, 206
// or 416. An error of ask's is returned as it is. Without an error all came,
// as far as the size is known.
func (p *Partial) Get(ctx context.Context, ask func(ctx context.Context, offset int64) (*http.Response, error)) error {
	resp, err := ask(ctx, p.have)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := p.position(resp); err != nil {
		return err
	}
	p.mixed = p.have > 0
	_, err = io.Copy(appender{p}, io.LimitReader(resp.Body, p.limit-p.have+1))
	switch {
	case err != nil:
		return fmt.Errorf("%w (after %s)", err, p.progress(p.have))
	case p.have < p.size:
		return fmt.Errorf("connection ended after %s: %w", p.progress(p.have), io.ErrUnexpectedEOF)
	}
	return nil
}

// position makes the file end where the answer begins.
func (p *Partial) position(resp *http.Response) error {
	from := resp.Header.Get("Content-Range")
	switch {
	case resp.StatusCode == http.StatusOK:
		return p.Restart() // from the start, also if the server knows no ranges
	case resp.StatusCode != http.StatusPartialContent:
	case from == "", strings.HasPrefix(from, fmt.Sprintf("bytes %d-", p.have)):
		return nil // RFC 9110 section 15.3.7 wants it there; without it the hash will tell
	}
	asked := p.have
	if err := p.Restart(); err != nil {
		return err
	}
	got := resp.Status
	if from != "" {
		got += fmt.Sprintf(" %q", from)
	}
	return fmt.Errorf("asked for bytes from %d on, got %s", asked, got)
}

// progress tells how far n bytes are.
func (p *Partial) progress(n int64) string {
	if p.size < 0 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%d of %d bytes", n, p.size)
}

// Commit puts the file in its place.
func (p *Partial) Commit(name string) error { return os.Rename(p.file.Name(), name) }

// Remove is for a file that is there already.
func (p *Partial) Remove() error { return os.Remove(p.file.Name()) }

// Close unlocks what came, and keeps it.
func (p *Partial) Close() error { return p.file.Close() }

// appender hashes what has been written, even where the disk was full.
type appender struct{ *Partial }

func (a appender) Write(b []byte) (int, error) {
	n, err := a.file.Write(b)
	a.hash.Write(b[:n])
	a.have += int64(n)
	a.add(int64(n))
	return n, err
}

// flockWait locks a file alone. A flock that waits would not end with ctx.
// What takes longer than tellAfter is told.
func flockWait(ctx context.Context, f *os.File, tell func()) error {
	const pause, tellAfter = 100 * time.Millisecond, time.Second
	for began := time.Now(); ; {
		err := Flock(f, unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		if time.Since(began) >= tellAfter {
			tell()
		}
		if err := Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// Flock locks a file as the call of that name does, which a signal may
// interrupt.
func Flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
