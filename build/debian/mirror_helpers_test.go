package debian_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/build/rootfs"
)

// The cache of a build is what the repository is read through.
var _ debian.Fetcher = (*fetch.Cache)(nil)

// mirrorFetcher keeps blobs in a folder.
type mirrorFetcher struct {
	client http.Client
	dir    string

	mu         sync.Mutex
	downloaded int64
}

func newMirrorFetcher(t testing.TB) *mirrorFetcher {
	t.Helper()
	dir := os.Getenv("HOOKSMITH_TEST_CACHE")
	if dir == "" {
		dir = t.TempDir()
	}
	return &mirrorFetcher{client: http.Client{Timeout: 2 * time.Minute}, dir: dir}
}

func (f *mirrorFetcher) get(ctx context.Context, url string, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	n, err := io.Copy(w, resp.Body)
	f.mu.Lock()
	f.downloaded += n
	f.mu.Unlock()
	return err
}

func (f *mirrorFetcher) Latest(ctx context.Context, urls []string, limit int64) ([]byte, error) {
	var errs []error
	for _, u := range urls {
		var b bytes.Buffer
		err := f.get(ctx, u, &b)
		if err == nil {
			return b.Bytes(), nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (f *mirrorFetcher) Blob(ctx context.Context, urls []string, sum string, size int64) (*os.File, error) {
	name := filepath.Join(f.dir, sum)
	if file, err := os.Open(name); err == nil {
		return file, nil
	}
	var errs []error
	for _, u := range urls {
		err := f.download(ctx, u, name, sum)
		if err == nil {
			return os.Open(name)
		}
		errs = append(errs, fmt.Errorf("%s: %w", u, err))
	}
	return nil, errors.Join(errs...)
}

func (f *mirrorFetcher) download(ctx context.Context, url, name, sum string) error {
	part, err := os.CreateTemp(f.dir, "part")
	if err != nil {
		return err
	}
	defer os.Remove(part.Name())
	defer part.Close()
	h := sha256.New()
	if err := f.get(ctx, url, io.MultiWriter(part, h)); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return fmt.Errorf("SHA-256 is %s", got)
	}
	return os.Rename(part.Name(), name)
}

// store holds unpacked layers by identity, as a build's cache does.
type store struct {
	images map[*debian.Plan][]v1.Layer

	mu    sync.Mutex
	files map[string]*os.File
	index map[string]*rootfs.Layer
	names map[string]*debian.Package
}

// unpackAll unpacks the layers of all images, each once, in parallel.
func unpackAll(t testing.TB, f *mirrorFetcher, m debian.Mirrors, all []*debian.Plan) *store {
	t.Helper()
	s := &store{images: map[*debian.Plan][]v1.Layer{}, files: map[string]*os.File{}, index: map[string]*rootfs.Layer{}, names: map[string]*debian.Package{}}
	todo := map[string]*debian.Layer{}
	for _, p := range all {
		img, err := p.Image(func(pkg *debian.Package) (io.ReadCloser, error) { return pkg.Open(t.Context(), f, m) })
		if err != nil {
			t.Fatal(err)
		}
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		s.images[p] = layers
		for _, l := range layers {
			l := l.(*debian.Layer)
			todo[l.Identity()] = l
			if l.Package != nil {
				s.names[l.Identity()] = l.Package
			}
		}
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	dir := t.TempDir()
	for id, l := range todo {
		g.Go(func() error { return s.unpack(filepath.Join(dir, fmt.Sprintf("%x", sha256.Sum256([]byte(id)))), id, l) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range s.files {
			f.Close()
		}
	})
	return s
}

func (s *store) unpack(name, id string, l *debian.Layer) error {
	r, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{file}, r, make([]byte, 1<<20))
	if err != nil {
		return err
	}
	index, err := rootfs.Index(file, n)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[id], s.index[id] = file, index
	return nil
}

func (s *store) layers(t *testing.T, p *debian.Plan) []*rootfs.Layer {
	var out []*rootfs.Layer
	for _, l := range s.images[p] {
		out = append(out, s.index[l.(*debian.Layer).Identity()])
	}
	return out
}
