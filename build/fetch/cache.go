package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrOffline is wrapped by the errors of an offline Cache that lacks something.
var ErrOffline = errors.New("not in the cache, and --offline forbids downloads")

// Task is one piece of long work whose progress is shown. Add counts bytes,
// negative ones too, when a download starts again.
type Task interface {
	Add(n int64)
	Done(err error)
}

// Observer shows progress. Total is in bytes, 0 if unknown.
type Observer interface {
	Begin(name string, total int64) Task
}

// Cache is a content-addressed folder with a downloader in front of it. The
// zero value with Dir set works. It is safe for concurrent use, by several
// processes too.
type Cache struct {
	Dir      string        // made when first needed
	Offline  bool          // never touch the network
	Client   *http.Client  // nil: one with sane limits and the environment's proxies
	Observer Observer      // nil: silent
	Log      *slog.Logger  // nil: silent
	Retries  int           // tries over all URLs, in a row, that may bring nothing more of a download; 0: 5
	Backoff  time.Duration // before the second try, then doubled; 0: 500 ms

	once  sync.Once
	slots chan struct{} // limits parallel downloads
	locks Locks         // one maker per key within the process
}

const parallelDownloads = 4

func (c *Cache) init() {
	c.once.Do(func() {
		if c.Client == nil {
			c.Client = newClient()
		}
		if c.Observer == nil {
			c.Observer = Silent{}
		}
		if c.Log == nil {
			c.Log = slog.New(slog.DiscardHandler)
		}
		if c.Retries == 0 {
			c.Retries = 5
		}
		if c.Backoff == 0 {
			c.Backoff = 500 * time.Millisecond
		}
		c.slots = make(chan struct{}, parallelDownloads)
	})
}

// Blob returns a file with exactly the contents that sha256hex and size (in
// bytes) name: from the cache, verified again, or from the first of urls that
// gives it. The caller closes the file.
func (c *Cache) Blob(ctx context.Context, urls []string, sha256hex string, size int64) (*os.File, error) {
	return c.blob(ctx, urls, exactly(sha256hex, size))
}

func (c *Cache) blob(ctx context.Context, urls []string, w want) (*os.File, error) {
	c.init()
	sha256hex := w.sha256
	if len(sha256hex) != 64 || strings.Trim(sha256hex, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("fetching %s: %q is no SHA-256", displayName(urls), sha256hex)
	}
	defer c.locks.Lock(sha256hex)()
	path := filepath.Join(c.Dir, "blobs", "sha256", sha256hex[:2], sha256hex)
	if f, err := openVerified(path, w); err == nil {
		return f, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		c.Log.Warn("cached file is damaged, fetching it again", "file", path, "error", err)
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	if c.Offline {
		return nil, fmt.Errorf("%s (sha256 %s): %w", displayName(urls), sha256hex, ErrOffline)
	}
	if err := c.download(ctx, urls, w, path); err != nil {
		return nil, err
	}
	return os.Open(path)
}

// openVerified opens path if it holds what it should. Hashing costs about a
// millisecond per megabyte and finds bad disks and half-copied caches.
func openVerified(path string, w want) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	switch {
	case err != nil:
	case w.size >= 0 && n != w.size:
		err = fmt.Errorf("%s has %d bytes, want %d", path, n, w.size)
	case hex.EncodeToString(h.Sum(nil)) != w.sha256:
		err = fmt.Errorf("%s has another SHA-256 than its name", path)
	default:
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Derive returns the file that mk writes for key, made at most once: later
// calls, also of later processes, return the cached one. The key must name
// everything that the content depends on. The caller closes the file.
func (c *Cache) Derive(ctx context.Context, key string, mk func(ctx context.Context, w io.Writer) error) (*os.File, error) {
	c.init()
	dir, name := c.derived(key)
	defer c.locks.Lock(name)()
	if f := openDerived(dir, name); f != nil {
		return f, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	tmp, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp.Name())
	if err := mk(ctx, tmp); err != nil {
		tmp.Close()
		return nil, err
	}
	size, err := tmp.Seek(0, io.SeekEnd)
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if err == nil {
		err = os.Rename(tmp.Name(), derivedPath(dir, name, size))
	}
	if err != nil {
		tmp.Close()
		return nil, err
	}
	_, err = tmp.Seek(0, io.SeekStart)
	return tmp, err
}

// Has reports whether Derive would find the file for key.
func (c *Cache) Has(key string) bool {
	f := openDerived(c.derived(key))
	if f == nil {
		return false
	}
	f.Close()
	return true
}

// Forget removes the file for key, so that Derive makes it again. Who has it open
// reads on.
func (c *Cache) Forget(key string) error {
	dir, name := c.derived(key)
	defer c.locks.Lock(name)()
	found, err := findDerived(dir, name)
	for _, path := range found {
		if gone := os.Remove(path); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// derived is the folder of the file for key, and how its name begins.
func (c *Cache) derived(key string) (dir, name string) {
	sum := sha256.Sum256([]byte(key))
	name = hex.EncodeToString(sum[:])
	return filepath.Join(c.Dir, "derived", name[:2]), name
}

// derivedPath carries the size in the name, so that a file that a crash of
// the machine left short is not taken for the whole one.
func derivedPath(dir, name string, size int64) string {
	return filepath.Join(dir, name+"-"+strconv.FormatInt(size, 10))
}

// findDerived lists the files of a name, of whatever size. The folder is no
// pattern: it may have brackets in its name.
func findDerived(dir, name string) ([]string, error) {
	found, err := fs.Glob(os.DirFS(dir), name+"-*")
	for i := range found {
		found[i] = filepath.Join(dir, found[i])
	}
	return found, err
}

func openDerived(dir, name string) *os.File {
	found, err := findDerived(dir, name)
	if err != nil {
		return nil
	}
	for _, path := range found {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if st, err := f.Stat(); err == nil && derivedPath(dir, name, st.Size()) == path {
			now := time.Now() // marks it as used, for pruning
			_ = os.Chtimes(path, now, now)
			return f
		}
		f.Close()
		_ = os.Remove(path)
	}
	return nil
}

// Locks has a lock for every key. The zero value works.
type Locks struct {
	mu    sync.Mutex
	byKey map[string]*sync.Mutex
}

// Lock makes sure that one goroutine at a time makes what key names; it
// returns the unlock function.
func (l *Locks) Lock(key string) (unlock func()) {
	l.mu.Lock()
	m, ok := l.byKey[key]
	if !ok {
		m = &sync.Mutex{}
		if l.byKey == nil {
			l.byKey = map[string]*sync.Mutex{}
		}
		l.byKey[key] = m
	}
	l.mu.Unlock()
	m.Lock()
	return m.Unlock
}

func displayName(urls []string) string {
	if len(urls) == 0 {
		return "input without a URL"
	}
	return urls[0]
}

// Silent is an Observer, and a Task, that shows nothing.
type Silent struct{}

// Begin returns a silent task.
func (Silent) Begin(string, int64) Task { return Silent{} }

// Add counts nothing.
func (Silent) Add(int64) {}

// Done ends nothing.
func (Silent) Done(error) {}
