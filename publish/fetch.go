package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/registry/remote"

	"hooksmith/build"
	"hooksmith/publish/sign"
	"hooksmith/publish/store"
	"hooksmith/publish/verify"
)

// FetchOptions say what to fetch. Source and Dir are required.
type FetchOptions struct {
	Source string // what Publish takes as Dest, with or without a set's id; a bundle of EKS Anywhere (file or URL ending in .yaml)
	Dir    string // gets the files, under their names

	Key         *sign.PublicKey // refuse what is not signed by it; nil: hashes alone
	KubeVersion string          // of a bundle, such as 1.31; "": the newest
	Access      store.Access
	RateLimit   int64
	Parallel    int
	Retry       store.Patience
	Observer    Observer
	Log         *slog.Logger
	Now         func() time.Time
}

// Fetched is what is in the folder afterwards.
type Fetched struct {
	ID      string   `json:"id"`
	Signed  bool     `json:"signed"` // and verified
	Files   []Object `json:"files"`
	Moved   int64    `json:"moved_bytes"`
	Omitted []string `json:"omitted,omitempty"` // documents for which the signature does not vouch
}

// opener opens a file of the source at an offset.
type opener func(ctx context.Context, o Object, off int64) (io.ReadCloser, error)

// Fetch mirrors a set into a folder. Nothing gets its name there before all of
// it is verified; what was fetched before is not fetched again.
func Fetch(ctx context.Context, opt FetchOptions) (*Fetched, error) {
	common := Options{Retry: opt.Retry, Parallel: opt.Parallel, Now: opt.Now, Log: opt.Log}
	common.fill()
	opt.Retry, opt.Parallel, opt.Now = common.Retry, common.Parallel, common.Now
	if opt.Dir == "" {
		return nil, errors.New("no folder to fetch into: name one")
	}
	if isBundle(opt.Source) {
		return fetchBundle(ctx, opt)
	}
	if strings.HasPrefix(opt.Source, ociScheme) {
		return fetchOCI(ctx, opt)
	}
	if st, err := os.Stat(opt.Source); !strings.Contains(opt.Source, "://") && (err != nil || !st.IsDir()) {
		return nil, fmt.Errorf("%s: neither a folder nor a bundle (.yaml) nor a URL", opt.Source)
	}
	opt.Access.Existing = true
	st, err := store.Open(ctx, opt.Source, opt.Access)
	if err != nil {
		return nil, err
	}
	fetched, err := fetchStore(ctx, opt, store.Retry(st, opt.Retry))
	return fetched, errors.Join(err, st.Close())
}

// fetchStore reads hook.json and then, if there is a folder of that set's id,
// everything from there: whatever is published meanwhile.
func fetchStore(ctx context.Context, opt FetchOptions, s store.Store) (*Fetched, error) {
	head, prefix, err := headOf(ctx, s, opt.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opt.Source, err)
	}
	open := func(ctx context.Context, o Object, off int64) (io.ReadCloser, error) {
		return s.Get(ctx, prefix+o.Name, off, -1)
	}
	small := map[string][]byte{build.ManifestName: head.Raw}
	for _, name := range append(verify.Documents(), sign.Name) {
		data, err := readSmall(ctx, s, prefix+name, verify.MaxManifest)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		small[name] = data
	}
	return fetchSet(ctx, opt, head, small, open)
}

// headOf reads hook.json, and its signature if there is a key: below the set's
// id, where nothing changes in a switch, else under the stable names.
func headOf(ctx context.Context, s store.Store, key *sign.PublicKey) (head *verify.Report, prefix string, err error) {
	raw, err := readSmall(ctx, s, build.ManifestName, verify.MaxManifest)
	if err != nil {
		return nil, "", fmt.Errorf("opening %s: %w", build.ManifestName, err)
	}
	prefix = verify.ID(raw) + "/"
	if again, err := readSmall(ctx, s, prefix+build.ManifestName, verify.MaxManifest); err == nil && bytes.Equal(again, raw) {
		if head, err = verify.Head(ctx, storeSource{s, prefix}, key); err == nil {
			return head, prefix, nil
		}
	}
	head, err = verify.Head(ctx, storeSource{s, ""}, key)
	return head, "", err
}

// storeSource is a store as verify wants it.
type storeSource struct {
	store.Store
	prefix string
}

func (s storeSource) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	return s.Get(ctx, s.prefix+name, 0, -1)
}

func fetchOCI(ctx context.Context, opt FetchOptions) (*Fetched, error) {
	repo, tag, err := openOCI(opt.Source)
	if err != nil {
		return nil, err
	}
	_, m, err := readManifest(ctx, repo, tag)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opt.Source, err)
	}
	blobs := blobSource{repo, map[string]ocispec.Descriptor{}}
	for _, l := range m.Layers {
		blobs.layers[l.Annotations[ocispec.AnnotationTitle]] = l
	}
	head, err := verify.Head(ctx, blobs, opt.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opt.Source, err)
	}
	small := map[string][]byte{build.ManifestName: head.Raw}
	for _, name := range append(verify.Documents(), sign.Name) {
		rc, err := blobs.Open(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.LimitReader(rc, verify.MaxManifest))
		if err := errors.Join(err, rc.Close()); err != nil {
			return nil, err
		}
		small[name] = data
	}
	return fetchSet(ctx, opt, head, small, blobs.at)
}

// blobSource is a manifest's layers by their titles.
type blobSource struct {
	repo   *remote.Repository
	layers map[string]ocispec.Descriptor
}

func (b blobSource) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	return b.at(ctx, Object{Name: name}, 0)
}

func (b blobSource) at(ctx context.Context, o Object, off int64) (io.ReadCloser, error) {
	l, ok := b.layers[o.Name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: o.Name, Err: fs.ErrNotExist}
	}
	rc, err := b.repo.Blobs().Fetch(ctx, l)
	if err != nil || off == 0 {
		return rc, err
	}
	if s, ok := rc.(io.Seeker); ok { // the registry has ranges
		if _, err := s.Seek(off, io.SeekStart); err == nil {
			return rc, nil
		}
	}
	if _, err := io.CopyN(io.Discard, rc, off); err != nil {
		return nil, errors.Join(err, rc.Close())
	}
	return rc, nil
}

// fetchSet brings all artifacts, then gives everything its name, hook.json last.
func fetchSet(ctx context.Context, opt FetchOptions, head *verify.Report, small map[string][]byte, open opener) (*Fetched, error) {
	files, err := verify.Files(head.Manifest)
	if err != nil {
		return nil, err
	}
	result := &Fetched{ID: head.ID, Signed: head.Signature != nil}
	if head.Signed != nil {
		small[sign.Name] = head.Signed // the one that was verified
	}
	result.Omitted, err = vouched(head, small)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(opt.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder: %w", err)
	}
	f := newFlow(opt.RateLimit, opt.Observer)
	d := &downloads{opt: opt, flow: f, open: open}
	for _, file := range files {
		result.Files = append(result.Files, Object{Name: file.Name, Size: file.Size, SHA256: file.SHA256, Role: file.Role, Arch: file.Arch})
	}
	first, again := firstOfEach(result.Files)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(opt.Parallel)
	for _, o := range first {
		g.Go(func() error { return d.bring(gctx, o) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	result.Moved = f.sent.Load()
	return result, errors.Join(d.place(first, again), writeSmall(opt.Dir, small))
}

// vouched drops the documents that a signature does not cover, and refuses
// those that it contradicts.
func vouched(head *verify.Report, small map[string][]byte) (omitted []string, err error) {
	if head.Signature == nil {
		return nil, nil
	}
	for _, name := range verify.Documents() {
		data, there := small[name]
		want, named := head.Signature.Documents[name]
		switch {
		case named && (!there || sumOf(data) != want):
			return nil, fmt.Errorf("%s is not what was signed", name)
		case there && !named:
			delete(small, name)
			omitted = append(omitted, name)
		}
	}
	return omitted, nil
}

// writeSmall writes the documents, hook.json last.
func writeSmall(dir string, small map[string][]byte) error {
	for _, name := range append(verify.Documents(), sign.Name, build.ManifestName) {
		data, ok := small[name]
		if !ok {
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err // of another set
			}
			continue
		}
		tmp := filepath.Join(dir, "."+name+".part")
		if err := errors.Join(os.WriteFile(tmp, data, 0o644), os.Rename(tmp, filepath.Join(dir, name))); err != nil {
			return err
		}
	}
	return nil
}

// downloads brings files into a folder.
type downloads struct {
	opt  FetchOptions
	flow *flow
	open opener
}

func (d *downloads) part(o Object) string {
	return filepath.Join(d.opt.Dir, "."+o.Name+"."+o.SHA256[:16]+".part")
}

// bring makes the part of o whole: from the file that is there, or from the
// source, going on where an earlier try ended.
func (d *downloads) bring(ctx context.Context, o Object) error {
	file := verify.File{Name: o.Name, Size: o.Size, SHA256: o.SHA256}
	if f, err := os.Open(filepath.Join(d.opt.Dir, o.Name)); err == nil {
		same := verify.Check(ctx, file, f)
		_ = f.Close()
		if same == nil || ctx.Err() != nil {
			return ctx.Err()
		}
	}
	task := d.flow.observer.Begin(o.Name, o.Size)
	fresh := false
	err := d.opt.Retry.Do(ctx, "fetching "+o.Name, func() error {
		err := d.resume(ctx, o, task)
		if !errors.As(err, new(*mismatchError)) {
			return err
		}
		again := !fresh // what was there from an earlier try may be to blame, once
		fresh = true
		if err := errors.Join(err, os.Remove(d.part(o))); again {
			return err
		}
		return store.Permanent(err)
	})
	task.Done(err)
	return err
}

func (d *downloads) resume(ctx context.Context, o Object, task Task) (err error) {
	f, err := os.OpenFile(d.part(o), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	off, err := io.Copy(h, io.LimitReader(f, o.Size))
	if err != nil {
		return err
	}
	if off == o.Size {
		if err := f.Truncate(off); err != nil { // whatever wrote more there
			return err
		}
	} else {
		rc, err := d.open(ctx, o, off)
		if err != nil {
			return fmt.Errorf("fetching %s: %w", o.Name, err)
		}
		defer rc.Close()
		stream := &download{Reader: rc, ctx: ctx, flow: d.flow, task: task}
		n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(stream, o.Size-off))
		d.flow.sent.Add(n)
		if err == nil && off+n < o.Size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("fetching %s: %w", o.Name, err)
		}
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != o.SHA256 {
		return &mismatchError{fmt.Errorf("%s has the SHA-256 %s, not %s as in %s", o.Name, sum, o.SHA256, build.ManifestName)}
	}
	return f.Sync()
}

// place gives the files their names: initramfs before kernel, as publish does;
// other names of a content are hard links.
func (d *downloads) place(first, again []Object) error {
	names := map[string][]string{}
	for _, o := range again {
		names[o.SHA256] = append(names[o.SHA256], o.Name)
	}
	for _, o := range order(first) {
		to := filepath.Join(d.opt.Dir, o.Name)
		if err := os.Rename(d.part(o), to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, alias := range slices.Sorted(slices.Values(names[o.SHA256])) {
			link := filepath.Join(d.opt.Dir, "."+alias+".link")
			_ = os.Remove(link)
			if err := errors.Join(os.Link(to, link), os.Rename(link, filepath.Join(d.opt.Dir, alias))); err != nil {
				return err
			}
			_ = os.Remove(link) // rename does nothing between links of one file
		}
	}
	return nil
}
