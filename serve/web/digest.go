package web

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// identity tells one state of a file from another.
type identity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64 // nanoseconds
}

func identityOf(info fs.FileInfo) identity {
	id := identity{size: info.Size(), mtime: info.ModTime().UnixNano()}
	id.fill(info)
	return id
}

// same reports whether both are one file with one content: a link to it more
// or less, which changes ctime, is no matter.
func (id identity) same(o identity) bool {
	o.ctime = id.ctime
	return id == o
}

// digest is the hash of a file's content, once done is closed.
type digest struct {
	done   chan struct{}
	sha256 string // "" if it could not be computed
	sha512 string // only if it was wanted
}

// tag is the ETag, "" if it is not known yet.
func (d *digest) tag() string {
	select {
	case <-d.done:
		if d.sha256 != "" {
			return `"` + d.sha256 + `"`
		}
	default:
	}
	return ""
}

// wait gives the hash some time.
func (d *digest) wait(ctx context.Context, most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-d.done:
	case <-ctx.Done():
	case <-timer.C:
	}
}

const (
	smallFile  = 4 << 20 // hashed at once: some milliseconds
	maxDigests = 4096
	hashBlock  = 1 << 20
)

// digests hashes files, each state of a file once, one file at a time, in the
// background.
type digests struct {
	mu      sync.Mutex
	known   map[identity]*digest
	queue   []job
	working bool
	stopped bool
	worker  sync.WaitGroup
}

// job is a file to be hashed.
type job struct {
	id     identity
	digest *digest
	open   func() (f *os.File, done func(), err error)
	want   string          // hex of SHA-256 or SHA-512 that someone claims, or ""
	report func(d *digest) // after it is done
}

func newDigests() *digests { return &digests{known: map[identity]*digest{}} }

// urgency says when a small file is hashed: large ones have to wait.
type urgency int

const (
	later urgency = iota
	now
)

// of returns the digest of a file, which j.open opens when its turn comes.
func (d *digests) of(j job, when urgency) *digest {
	d.mu.Lock()
	known, ok := d.known[j.id]
	if !ok {
		d.shrink()
		known = &digest{done: make(chan struct{})}
		j.digest = known
		d.known[j.id] = known
		d.queue = append(d.queue, j)
	}
	if when == now && j.id.size <= smallFile {
		if i := slices.IndexFunc(d.queue, func(q job) bool { return q.digest == known }); i >= 0 {
			j = d.queue[i]
			d.queue = slices.Delete(d.queue, i, i+1)
			d.mu.Unlock()
			d.run(j)
			return known
		}
	}
	d.start()
	d.mu.Unlock()
	return known
}

// start has the queue worked on. The caller holds mu.
func (d *digests) start() {
	if len(d.queue) > 0 && !d.working && !d.stopped {
		d.working = true
		d.worker.Go(d.work)
	}
}

// shrink forgets one that is done when there are many.
func (d *digests) shrink() {
	if len(d.known) < maxDigests {
		return
	}
	for id, old := range d.known {
		if old.tag() != "" {
			delete(d.known, id)
			return
		}
	}
}

// work empties the queue and ends.
func (d *digests) work() {
	for {
		d.mu.Lock()
		if len(d.queue) == 0 || d.stopped {
			d.working = false
			d.mu.Unlock()
			return
		}
		j := d.queue[0]
		d.queue = d.queue[1:]
		d.mu.Unlock()
		d.run(j)
	}
}

// run hashes one file. What cannot be hashed is forgotten, so that it is tried
// again when it is asked for again.
func (d *digests) run(j job) {
	if err := d.hash(j); err != nil {
		d.mu.Lock()
		delete(d.known, j.id)
		d.mu.Unlock()
	}
	close(j.digest.done)
	if j.report != nil {
		j.report(j.digest)
	}
}

var (
	errChanged = errors.New("changed while it was read")
	errStopped = errors.New("the server stops")
)

func (d *digests) hash(j job) error {
	f, done, err := j.open()
	if err != nil {
		return err
	}
	defer done()
	if err := unchanged(f, j.id); err != nil {
		return err
	}
	sum := sha256.New()
	w := io.Writer(sum)
	var sum512 hash.Hash
	if len(j.want) == 2*sha512.Size {
		sum512 = sha512.New()
		w = io.MultiWriter(sum, sum512)
	}
	if err := d.copy(w, io.NewSectionReader(f, 0, j.id.size)); err != nil {
		return fmt.Errorf("reading %s: %w", f.Name(), err)
	}
	if err := unchanged(f, j.id); err != nil {
		return err
	}
	if sum512 != nil {
		j.digest.sha512 = hex.EncodeToString(sum512.Sum(nil))
	}
	j.digest.sha256 = hex.EncodeToString(sum.Sum(nil))
	return nil
}

// copy reads in blocks, so that a stop need not wait for the end of an ISO.
func (d *digests) copy(w io.Writer, r *io.SectionReader) error {
	block := make([]byte, min(hashBlock, r.Size()))
	for {
		n, err := r.Read(block)
		w.Write(block[:n])
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case d.stopping():
			return errStopped
		}
	}
}

func (d *digests) stopping() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopped
}

// resume lets the worker work, also after a stop.
func (d *digests) resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = false
	d.start()
}

// stop ends the worker and waits for it.
func (d *digests) stop() {
	d.mu.Lock()
	d.stopped = true
	d.mu.Unlock()
	d.worker.Wait()
}

func unchanged(f *os.File, id identity) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !identityOf(info).same(id) {
		return errChanged
	}
	return nil
}
