package images

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/build/docker"
	"hooksmith/build/fetch"
)

// pruneGuard is how long after its last use a file counts as in use: a build
// that found it may still be about to open it.
const pruneGuard = time.Hour

// Entry is a file of a cache.
type Entry struct {
	Path string    `json:"path"`
	Kind string    `json:"kind"` // layer, manifest, index, config, partial, record, or what ListFiles was told
	Name string    `json:"name"` // digest or reference, as far as the file tells
	Size int64     `json:"size"` // bytes on disk
	Used time.Time `json:"used"` // when it was last used

	lock string // held alone while it is removed
}

// List lists the image cache in dir, least recently used first. A cache that
// is not there is empty.
func List(dir string) ([]Entry, error) {
	var out []Entry
	for sub, describe := range map[string]func(*Entry){
		"blobs/sha256": describeBlob,
		"partial":      func(e *Entry) { e.Kind, e.Name = "partial", "sha256:"+filepath.Base(e.Path) },
		"records":      describeRecord,
	} {
		entries, err := ListFiles(filepath.Join(dir, sub), "")
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			e.lock = filepath.Join(dir, "lock")
			describe(&e)
			out = append(out, e)
		}
	}
	sortEntries(out)
	return out, nil
}

// ListFiles lists the files below any other cache folder as entries of one
// kind, least recently used first.
func ListFiles(dir, kind string) ([]Entry, error) {
	var out []Entry
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // pruned by somebody else meanwhile
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		out = append(out, Entry{Path: path, Kind: kind, Name: d.Name(), Size: info.Size(), Used: info.ModTime()})
		return nil
	})
	sortEntries(out)
	return out, err
}

func sortEntries(es []Entry) {
	slices.SortFunc(es, func(a, b Entry) int {
		return cmp.Or(a.Used.Compare(b.Used), strings.Compare(a.Path, b.Path))
	})
}

// describeBlob looks at the beginning of a blob for what it is.
func describeBlob(e *Entry) {
	e.Kind, e.Name = "layer", "sha256:"+filepath.Base(e.Path)
	if e.Size > maxConfig {
		return
	}
	f, err := os.Open(e.Path)
	if err != nil {
		return
	}
	defer f.Close()
	head := make([]byte, 1)
	if _, err := io.ReadFull(f, head); err != nil || head[0] != '{' {
		return
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxConfig))
	if err != nil {
		return
	}
	var probe struct {
		SchemaVersion int             `json:"schemaVersion"`
		Manifests     json.RawMessage `json:"manifests"`
	}
	switch err := json.Unmarshal(append(head, raw...), &probe); {
	case err != nil:
	case probe.Manifests != nil:
		e.Kind = "index"
	case probe.SchemaVersion > 0:
		e.Kind = "manifest"
	default:
		e.Kind = "config"
	}
}

// describeRecord names a record by what it is about.
func describeRecord(e *Entry) {
	e.Kind = "record"
	raw, err := docker.ReadLimited(e.Path, maxManifest)
	var r record
	if err == nil && json.NewDecoder(bytes.NewReader(raw)).Decode(&r) == nil {
		e.Name = r.Key
	}
}

// Limits say what Prune keeps.
type Limits struct {
	Age   time.Duration // remove what was not used for so long; 0: no matter how long
	Total int64         // then remove what was not used for longest, until at most so many bytes are left; 0: any number
	Guard time.Duration // keep what was used so recently, whatever else is said; 0: an hour
	Now   time.Time     // zero: now
}

// Prune removes of entries what Limits say, and returns what it removed. What
// is in use stays: what was used within the guard, and downloads that are
// under way. It may run beside builds.
func Prune(entries []Entry, l Limits) ([]Entry, error) {
	if l.Now.IsZero() {
		l.Now = time.Now()
	}
	entries = slices.Clone(entries)
	sortEntries(entries)
	var total int64
	for _, e := range entries {
		total += e.Size
	}
	var removed []Entry
	var errs []error
	for _, e := range entries {
		age := l.Now.Sub(e.Used)
		old := l.Age > 0 && age >= l.Age
		tooMuch := l.Total > 0 && total > l.Total
		if !old && !tooMuch || age < cmp.Or(l.Guard, pruneGuard) {
			continue
		}
		ok, err := e.remove()
		if err != nil {
			errs = append(errs, fmt.Errorf("pruning the cache: %w", err))
		}
		if ok {
			total -= e.Size
			removed = append(removed, e)
		}
	}
	return removed, errors.Join(errs...)
}

// remove removes the file unless it was used since it was listed, or is being
// written.
func (e Entry) remove() (bool, error) {
	if e.lock != "" {
		unlock, err := flock(e.lock, unix.LOCK_EX)
		if err != nil {
			return false, err
		}
		defer unlock()
	}
	f, err := os.Open(e.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.ModTime().Equal(e.Used) || st.Size() != e.Size {
		return false, err
	}
	if fetch.Flock(f, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false, nil // a download under way
	}
	return true, os.Remove(e.Path)
}
