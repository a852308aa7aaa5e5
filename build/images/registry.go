package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hooksmith/build/fetch"
)

// parallelDownloads is how many blobs come at once; a registry shares its
// bandwidth over them anyway.
const parallelDownloads = 4

// Mirror is asked before the registry that it mirrors.
type Mirror struct {
	Host string // registry, such as docker.io; "*": every registry
	URL  string // https://mirror.example, or with a path that is put before repositories
}

// ParseMirror reads HOST=URL, or a URL alone for every registry.
func ParseMirror(s string) (Mirror, error) {
	m := Mirror{Host: "*", URL: s}
	if host, rest, ok := strings.Cut(s, "="); ok && !strings.Contains(host, "/") {
		m = Mirror{Host: host, URL: rest}
	}
	if !strings.Contains(m.URL, "://") {
		m.URL = "https://" + m.URL
	}
	u, err := url.Parse(m.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || m.Host == "" {
		return Mirror{}, fmt.Errorf("mirror %q: write HOST=URL, such as docker.io=https://mirror.example", s)
	}
	return m, nil
}

// registries is the way to all registries, for one Sources.
type registries struct {
	store     *store
	trust     *hostTransport
	transport http.RoundTripper // trust with patience
	keychain  authn.Keychain
	mirrors   []Mirror
	offline   bool
	retries   int
	pause     time.Duration
	progress  Progress
	log       *slog.Logger
	slots     chan struct{} // limits parallel downloads

	mu    sync.Mutex
	hosts map[string]*endpoint // by host and repository
}

// endpoint is a repository on a host: the one that a reference names, or its
// copy on a mirror.
type endpoint struct {
	host string // for humans
	repo name.Repository

	mu     sync.Mutex
	client *http.Client // that has logged in; nil before
	asUser bool         // with credentials
	err    error        // of the last try to log in,
	failed time.Time    // and when that was
}

// askAgain is how long a registry that did not answer is left alone, so that
// a mirror that is down costs time once and not for each blob.
const askAgain = time.Minute

// repository is a repository with all endpoints that may serve it. It is the
// content of images from registries: what was downloaded once comes from the
// store.
type repository struct {
	*registries
	ref       reference
	endpoints []*endpoint
}

// repository returns the endpoints for ref: its mirrors, then its own host.
func (r *registries) repository(ref reference) (*repository, error) {
	out := &repository{registries: r, ref: ref}
	for _, m := range r.mirrors {
		if m.Host != "*" && canonicalHost(m.Host) != ref.repo.RegistryStr() {
			continue
		}
		u, err := url.Parse(m.URL)
		if err != nil {
			return nil, err
		}
		registry, err := registryOf(u.Host, u.Scheme == "http")
		if err != nil {
			return nil, fmt.Errorf("mirror %s: %w", m.URL, err)
		}
		prefix := strings.Trim(strings.TrimPrefix(strings.Trim(u.Path, "/")+"/", "v2/"), "/") // containerd's configuration has /v2 in it
		out.endpoints = append(out.endpoints, r.endpoint("mirror "+m.URL, registry.Repo(prefix, ref.repo.RepositoryStr())))
	}
	host := ref.repo.RegistryStr()
	registry, err := registryOf(host, r.trust.isInsecure(host))
	if err != nil {
		return nil, err
	}
	out.endpoints = append(out.endpoints, r.endpoint("registry "+displayHost(host), registry.Repo(ref.repo.RepositoryStr())))
	return out, nil
}

// registryOf is a registry's address. Where plain HTTP is allowed, HTTPS is
// tried first.
func registryOf(host string, plain bool) (name.Registry, error) {
	if plain {
		return name.NewRegistry(host, name.Insecure)
	}
	return name.NewRegistry(host)
}

func (r *registries) endpoint(host string, repo name.Repository) *endpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := host + " " + repo.Name()
	if r.hosts[key] == nil {
		r.hosts[key] = &endpoint{host: host, repo: repo}
	}
	return r.hosts[key]
}

// connect does the registry's token or basic authentication, once.
func (r *registries) connect(ctx context.Context, e *endpoint) (*http.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client != nil {
		return e.client, nil
	}
	if e.err != nil && time.Since(e.failed) < askAgain {
		return nil, e.err
	}
	err := r.login(ctx, e)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	e.err, e.failed = err, time.Now()
	return e.client, err
}

func (r *registries) login(ctx context.Context, e *endpoint) error {
	auth, err := authn.Resolve(ctx, r.keychain, e.repo)
	if err != nil {
		return fmt.Errorf("reading credentials for %s from docker's configuration: %w", displayHost(e.repo.RegistryStr()), err)
	}
	e.asUser = auth != authn.Anonymous
	t, err := transport.NewWithContext(ctx, e.repo.Registry, auth, r.transport, []string{e.repo.Scope(transport.PullScope)})
	if err != nil {
		return e.explain(err)
	}
	e.client = &http.Client{Transport: t}
	return nil
}

// do sends a request below /v2/REPOSITORY/ of an endpoint. Any other status
// than those wanted is an error.
func (r *registries) do(ctx context.Context, e *endpoint, method, path string, header http.Header, want ...int) (*http.Response, error) {
	client, err := r.connect(ctx, e)
	if err != nil {
		return nil, err
	}
	// The scheme is the one that worked when the transport logged in.
	u := url.URL{Scheme: "https", Host: e.repo.RegistryStr(), Path: "/v2/" + e.repo.RepositoryStr() + "/" + path}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = header
	resp, err := client.Do(req)
	if err != nil {
		return nil, e.explain(err)
	}
	if slices.Contains(want, resp.StatusCode) {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, e.explain(transport.CheckError(resp, want...))
}

var manifestTypes = []string{
	string(types.OCIImageIndex), string(types.DockerManifestList),
	string(types.OCIManifestSchema1), string(types.DockerManifestSchema2),
	string(types.DockerManifestSchema1Signed), // to be able to say what is wrong
}

// resolve asks the endpoints in turn what ref stands for, and stores the
// manifest. known is what it stood for earlier, to save a download.
func (r *repository) resolve(ctx context.Context, known v1.Descriptor) (v1.Descriptor, error) {
	identifier := r.ref.tag
	if r.ref.hasDigest() {
		identifier = r.ref.digest.String()
	}
	var errs []error
	for _, e := range r.endpoints {
		d, err := r.manifest(ctx, e, identifier, known)
		if err == nil {
			return d, nil
		}
		if ctx.Err() != nil {
			return v1.Descriptor{}, ctx.Err()
		}
		errs = append(errs, &placeError{e.host, err})
	}
	return v1.Descriptor{}, joinPlaces(errs)
}

// manifest reads one manifest from one endpoint into the store.
func (r *repository) manifest(ctx context.Context, e *endpoint, identifier string, known v1.Descriptor) (v1.Descriptor, error) {
	header := http.Header{"Accept": {strings.Join(manifestTypes, ", ")}}
	if known.Digest != (v1.Hash{}) && r.store.has(known.Digest, known.Size) {
		// Docker Hub counts the GETs of manifests, not the HEADs.
		resp, err := r.do(ctx, e, http.MethodHead, "manifests/"+identifier, header.Clone(), http.StatusOK)
		if err == nil {
			resp.Body.Close()
			if resp.Header.Get("Docker-Content-Digest") == known.Digest.String() {
				return known, nil
			}
		}
	}
	raw, said, err := r.rawManifest(ctx, e, identifier, header)
	if err != nil {
		return v1.Descriptor{}, err
	}
	got, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return v1.Descriptor{}, err
	}
	promised := said.Get("Docker-Content-Digest")
	if strings.Contains(identifier, ":") {
		promised = identifier
	}
	if strings.HasPrefix(promised, "sha256:") && promised != got.String() {
		return v1.Descriptor{}, fmt.Errorf("wrong digest: got a manifest with %s, want %s (a broken mirror, or a proxy that changes files?)", got, promised)
	}
	hint, _, _ := strings.Cut(said.Get("Content-Type"), ";")
	m, err := parseManifest(raw, types.MediaType(hint))
	if err != nil {
		return v1.Descriptor{}, err
	}
	_, err = r.store.put(raw)
	return m.desc, err
}

// rawManifest returns a manifest as it comes, with the header of the answer. One
// that breaks off is asked for again, but not where that took long: another
// mirror may be quicker.
func (r *repository) rawManifest(ctx context.Context, e *endpoint, identifier string, header http.Header) ([]byte, http.Header, error) {
	patience := fetch.NewPatience(r.retries, r.pause, nil)
	for {
		began := time.Now()
		resp, err := r.do(ctx, e, http.MethodGet, "manifests/"+identifier, header.Clone(), http.StatusOK)
		if err != nil { // the transport has tried it more than once
			return nil, nil, err
		}
		raw, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
		resp.Body.Close()
		switch {
		case err == nil && len(raw) > maxManifest:
			return nil, nil, fmt.Errorf("manifest %s is larger than %d bytes", identifier, maxManifest)
		case err == nil:
			return raw, resp.Header, nil
		}
		err = fmt.Errorf("reading manifest %s: %w", identifier, err)
		patience.Note(err)
		wait, again := patience.Again()
		if !again || !worthRetry(err) || time.Since(began) >= fetch.Stall {
			return nil, nil, patience.GaveUp()
		}
		r.log.Info("manifest broke off, asking again", "from", e.host, "reason", err, "wait", wait)
		if err := fetch.Sleep(ctx, wait); err != nil {
			return nil, nil, err
		}
	}
}

// open returns a part of the image: from the store, or downloaded into it.
func (r *repository) open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	size := d.Size
	if size <= 0 {
		size = -1
	}
	defer r.store.locks.Lock(d.Digest.String())()
	if f, err := r.stored(d.Digest, size); err == nil {
		return f, nil
	}
	if r.offline {
		return nil, fmt.Errorf("%s of %s: %w", d.Digest, r.ref, ErrOffline)
	}
	if err := r.pull(ctx, d); err != nil {
		return nil, fmt.Errorf("downloading %s of %s: %w", d.Digest, r.ref, err)
	}
	return r.stored(d.Digest, size)
}

// stored opens a blob; one of another size was cut by a crash and is removed.
func (r *repository) stored(h v1.Hash, size int64) (io.ReadCloser, error) {
	f, err := r.store.open(h)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && size >= 0 && st.Size() != size {
		f.discard()
		err = fmt.Errorf("%s has %d bytes, want %d", f.Name(), st.Size(), size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// pull downloads a blob or the manifest of an index's image.
func (r *repository) pull(ctx context.Context, d v1.Descriptor) error {
	if d.MediaType.IsImage() || d.MediaType.IsIndex() || d.MediaType.IsSchema1() {
		var errs []error
		for _, e := range r.endpoints {
			_, err := r.manifest(ctx, e, d.Digest.String(), v1.Descriptor{})
			if err == nil || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			errs = append(errs, &placeError{e.host, err})
		}
		return joinPlaces(errs)
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return r.store.fetch(ctx, &download{
		desc: d, label: r.ref.short() + " " + shortDigest(d.Digest),
		tries: r.retries, pause: r.pause, begin: r.progress, log: r.log,
	}, r.origins(d))
}

// origins lists where a blob may be: the endpoints, and for layers that must
// not be distributed the addresses that the manifest gives.
func (r *repository) origins(d v1.Descriptor) []origin {
	var out []origin
	for _, e := range r.endpoints {
		out = append(out, origin{e.host, func(ctx context.Context, offset int64) (*http.Response, error) {
			return r.do(ctx, e, http.MethodGet, "blobs/"+d.Digest.String(), rangeFrom(offset, d.Size), http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable)
		}})
	}
	for _, address := range d.URLs {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			continue
		}
		out = append(out, origin{"the layer's own address " + u.Redacted(), func(ctx context.Context, offset int64) (*http.Response, error) {
			return r.get(ctx, u, rangeFrom(offset, d.Size))
		}})
	}
	return out
}

// get reads a foreign address, without credentials.
func (r *registries) get(ctx context.Context, u *url.URL, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = header
	resp, err := (&http.Client{Transport: r.transport}).Do(req)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
	default:
		resp.Body.Close()
		return nil, fmt.Errorf("server answered %s", resp.Status)
	}
	return resp, nil
}

// rangeFrom asks for the rest of a blob. Some registries understand a range
// only if it has an end.
func rangeFrom(offset, size int64) http.Header {
	h := http.Header{}
	if offset > 0 {
		h.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, size-1))
	}
	return h
}
