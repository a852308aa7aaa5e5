package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"hooksmith/build/docker"
	"hooksmith/build/fetch"
)

// store is the content that came from elsewhere, shared by all processes:
//
//	oci-layout            so that other tools can read the blobs
//	blobs/sha256/HEX      manifests, configurations, layers
//	partial/HEX           downloads that are under way or were cut
//	records/HEX.json      what a tag, a daemon's image or an archive stood for
//	lock                  held shared to use a blob, alone to prune one
//
// A blob is found under its digest only after it was verified. Its mtime is
// when it was last used.
type store struct {
	dir   string
	locks fetch.Locks // one maker per blob within the process
}

func openStore(dir string) (*store, error) {
	for _, sub := range []string{"blobs/sha256", "partial", "records"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("making the image cache: %w", err)
		}
	}
	marker := filepath.Join(dir, "oci-layout")
	if _, err := os.Stat(marker); errors.Is(err, fs.ErrNotExist) {
		if err := renameio.WriteFile(marker, []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644); err != nil {
			return nil, fmt.Errorf("making the image cache: %w", err)
		}
	}
	return &store{dir: dir}, nil
}

func (s *store) blobPath(h v1.Hash) string {
	return filepath.Join(s.dir, "blobs", "sha256", filepath.Base(h.Hex))
}

// storedFile is a blob of the store.
type storedFile struct{ *os.File }

// discard removes a blob that turned out to be damaged.
func (f *storedFile) discard() { _ = os.Remove(f.Name()) }

// open opens a blob and marks it as used; fs.ErrNotExist if it is not there.
func (s *store) open(h v1.Hash) (*storedFile, error) {
	unlock, err := flock(filepath.Join(s.dir, "lock"), unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer unlock()
	f, err := os.Open(s.blobPath(h))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	_ = os.Chtimes(f.Name(), now, now) // a cache that is read-only works too
	return &storedFile{f}, nil
}

// has reports whether the store has a blob of that size (-1: any), and marks
// it as used, so that it is not pruned in the next hour.
func (s *store) has(h v1.Hash, size int64) bool {
	f, err := s.open(h)
	if err != nil {
		return false
	}
	defer f.Close()
	st, err := f.Stat()
	return err == nil && st.Mode().IsRegular() && (size < 0 || st.Size() == size)
}

// put stores small content, such as a manifest.
func (s *store) put(content []byte) (v1.Hash, error) {
	sum := sha256.Sum256(content)
	h := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
	if s.has(h, int64(len(content))) {
		if there, err := os.ReadFile(s.blobPath(h)); err == nil && bytes.Equal(there, content) {
			return h, nil
		}
	}
	return h, renameio.WriteFile(s.blobPath(h), content, 0o644)
}

// incoming is a blob whose digest is known only when all of it came.
type incoming struct {
	s    *store
	f    *os.File
	h    hash.Hash
	size int64
	head [4]byte // its first bytes, which tell how it is compressed
}

func (s *store) create() (*incoming, error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, "partial"), ".new-*")
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil { // hands off, prune
		f.Close()
		return nil, err
	}
	return &incoming{s: s, f: f, h: sha256.New()}, nil
}

func (in *incoming) Write(p []byte) (int, error) {
	if in.size < int64(len(in.head)) {
		copy(in.head[in.size:], p)
	}
	n, err := in.f.Write(p)
	in.h.Write(p[:n])
	in.size += int64(n)
	return n, err
}

// commit puts the blob under its digest, in place of one that is there: that
// may be damaged.
func (in *incoming) commit() (v1.Hash, error) {
	h := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(in.h.Sum(nil))}
	err := in.f.Chmod(0o644)
	if err == nil {
		err = os.Rename(in.f.Name(), in.s.blobPath(h))
	}
	if err != nil {
		in.abort()
		return h, err
	}
	return h, in.f.Close()
}

func (in *incoming) abort() {
	_ = os.Remove(in.f.Name())
	_ = in.f.Close()
}

// record remembers what key stood for.
type record struct {
	Key    string  `json:"key"`
	Images []named `json:"images"`
}

// named is a manifest or an index with the names it goes by.
type named struct {
	Names []string      `json:"names,omitempty"`
	Desc  v1.Descriptor `json:"descriptor"`
}

func (s *store) recordPath(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(s.dir, "records", hex.EncodeToString(sum[:])+".json")
}

func (s *store) remember(key string, images ...named) error {
	b, err := json.Marshal(record{key, images})
	if err != nil {
		return err
	}
	return renameio.WriteFile(s.recordPath(key), b, 0o644)
}

// recall returns what remember was given, nil if nothing. A damaged record is
// none.
func (s *store) recall(key string) []named {
	path := s.recordPath(key)
	b, err := docker.ReadLimited(path, maxManifest)
	if err != nil {
		return nil
	}
	var r record
	if json.Unmarshal(b, &r) != nil || r.Key != key {
		return nil
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now)
	return r.Images
}

// flock locks the file of that name, made if it is missing.
func flock(name string, how int) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_RDONLY|os.O_CREATE, 0o644)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return func() {}, nil // somebody else's cache, read only: nothing to prune either
	}
	if err != nil {
		return nil, err
	}
	if err := fetch.Flock(f, how); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", name, err)
	}
	return func() { f.Close() }, nil
}
