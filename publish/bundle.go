package publish

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"golang.org/x/sync/errgroup"

	"hooksmith/build"
	"hooksmith/publish/store"
	"hooksmith/publish/verify"
)

const maxBundle = 32 << 20

// HookFile is a file of HookOS that a bundle names.
type HookFile struct {
	Name string // vmlinuz-x86_64
	URI  string
	Role string // kernel, initramfs or iso
	Arch string // x86_64 or aarch64
}

type archive struct {
	Name string `yaml:"name"`
	URI  string `yaml:"uri"`
}

// bundle is the part of EKS Anywhere's Bundles that is about HookOS
// (release/api/v1alpha1/bundle_types.go); older ones have no iso.
type bundle struct {
	Kind string `yaml:"kind"`
	Spec struct {
		VersionsBundles []versionBundle `yaml:"versionsBundles"`
	} `yaml:"spec"`
}

type versionBundle struct {
	KubeVersion string `yaml:"kubeVersion"`
	Tinkerbell  struct {
		Stack struct {
			Hook struct {
				Initramfs archives `yaml:"initramfs"`
				Vmlinuz   archives `yaml:"vmlinuz"`
				ISO       archives `yaml:"iso"`
			} `yaml:"hook"`
		} `yaml:"tinkerbellStack"`
	} `yaml:"tinkerbell"`
}

type archives struct {
	Amd archive `yaml:"amd"`
	Arm archive `yaml:"arm"`
}

func isBundle(source string) bool {
	u, isURL, err := store.Parse(source)
	if err == nil && isURL {
		source = u.Path
	}
	return strings.HasSuffix(source, ".yaml") || strings.HasSuffix(source, ".yml")
}

// ParseBundle finds the HookOS of a Kubernetes version in a bundle; "" is the
// newest.
func ParseBundle(data []byte, kubeVersion string) ([]HookFile, error) {
	var b bundle
	if err := yaml.Unmarshal(data, &b); err != nil {
		return nil, fmt.Errorf("reading the bundle: %w", err)
	}
	if b.Kind != "Bundles" {
		return nil, fmt.Errorf("kind %q: not a bundle of EKS Anywhere (kind Bundles)", b.Kind)
	}
	versions := b.Spec.VersionsBundles
	slices.SortStableFunc(versions, func(x, y versionBundle) int { return compareVersions(x.KubeVersion, y.KubeVersion) })
	var known []string
	for _, v := range slices.Backward(versions) {
		known = append(known, v.KubeVersion)
		if kubeVersion != "" && v.KubeVersion != kubeVersion {
			continue
		}
		h := v.Tinkerbell.Stack.Hook
		return hookFiles([]HookFile{
			{URI: h.Vmlinuz.Amd.URI, Role: "kernel", Arch: "x86_64"}, {URI: h.Initramfs.Amd.URI, Role: "initramfs", Arch: "x86_64"}, {URI: h.ISO.Amd.URI, Role: "iso", Arch: "x86_64"},
			{URI: h.Vmlinuz.Arm.URI, Role: "kernel", Arch: "aarch64"}, {URI: h.Initramfs.Arm.URI, Role: "initramfs", Arch: "aarch64"}, {URI: h.ISO.Arm.URI, Role: "iso", Arch: "aarch64"},
		})
	}
	return nil, fmt.Errorf("the bundle has no Kubernetes version %q, only %s", kubeVersion, strings.Join(known, ", "))
}

// hookFiles leaves out what has no URI and checks the others.
func hookFiles(all []HookFile) ([]HookFile, error) {
	var files []HookFile
	for _, f := range all {
		if f.URI == "" {
			continue
		}
		u, err := url.Parse(f.URI)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return nil, fmt.Errorf("the bundle names %q, which is no web address", f.URI)
		}
		if f.Name = path.Base(u.Path); !verify.PlainName(f.Name) || slices.ContainsFunc(files, func(o HookFile) bool { return o.Name == f.Name }) {
			return nil, fmt.Errorf("the bundle's %q gives no usable file name", f.URI)
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return nil, errors.New("the bundle names no HookOS (tinkerbellStack.hook is empty)")
	}
	return files, nil
}

func compareVersions(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		m, _ := strconv.Atoi(x[i])
		n, _ := strconv.Atoi(y[i])
		if c := cmp.Compare(m, n); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(x), len(y))
}

// fetchBundle brings the files that a bundle names. It says nothing of their
// hashes: what comes is recorded in a hook.json, and when it is fetched again,
// what has changed at its origin is refused.
func fetchBundle(ctx context.Context, opt FetchOptions) (*Fetched, error) {
	if opt.Key != nil {
		return nil, fmt.Errorf("%s: bundles have no signature: fetch it without one, then sign what was recorded with: hooksmith sign --key KEY %s", opt.Source, opt.Dir)
	}
	data, err := readBundle(ctx, opt)
	if err != nil {
		return nil, err
	}
	files, err := ParseBundle(data, opt.KubeVersion)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opt.Source, err)
	}
	if err := os.MkdirAll(opt.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder: %w", err)
	}
	f := newFlow(opt.RateLimit, opt.Observer)
	recorded := recordedIn(opt.Dir)
	got := make([]build.File, len(files))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(opt.Parallel)
	for i, file := range files {
		g.Go(func() (err error) {
			got[i], err = (&origin{opt: opt, flow: f}).bring(gctx, file, recorded[file.URI])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return record(opt, files, got, f.sent.Load())
}

// readBundle reads the file or URL.
func readBundle(ctx context.Context, opt FetchOptions) ([]byte, error) {
	if !strings.Contains(opt.Source, "://") {
		return readFile(opt.Source, maxBundle)
	}
	u, _, err := store.Parse(opt.Source)
	if err != nil {
		return nil, err
	}
	name := path.Base(u.Path)
	u.Path = path.Dir(u.Path)
	st, err := store.Open(ctx, u.String(), opt.Access)
	if err != nil {
		return nil, err
	}
	data, err := readSmall(ctx, store.Retry(st, opt.Retry), name, maxBundle)
	return data, errors.Join(err, st.Close())
}

// recordedIn is what an earlier fetch recorded, by URI.
func recordedIn(dir string) map[string]build.File {
	known := map[string]build.File{}
	m, err := build.ReadManifest(dir)
	if err != nil {
		return known
	}
	for _, b := range m.Builds {
		for _, in := range b.Inputs {
			for _, f := range b.Files {
				if in.SHA256 == f.SHA256 && in.Name == f.Name {
					known[in.Source] = f
				}
			}
		}
	}
	return known
}

// record writes the hook.json and checksum.txt of what a bundle named, and
// gives the files their names.
func record(opt FetchOptions, files []HookFile, got []build.File, moved int64) (*Fetched, error) {
	m := build.Manifest{Schema: 1}
	var sums []string
	result := &Fetched{Moved: moved}
	for _, arch := range []string{"aarch64", "x86_64"} {
		a := build.Artifacts{Flavor: "eks-anywhere", OutputID: "eks-anywhere-" + arch, Arch: arch, Generator: "hooksmith fetch"}
		h := sha256.New()
		for i, f := range files {
			if f.Arch != arch {
				continue
			}
			a.Files = append(a.Files, got[i])
			a.Inputs = append(a.Inputs, build.Input{Kind: "file", Name: f.Name, Arch: arch, SHA256: got[i].SHA256, Source: f.URI})
			fmt.Fprintf(h, "%s %s\n", got[i].SHA256, f.URI)
			sums = append(sums, got[i].SHA512+"  "+f.Name+"\n")
			result.Files = append(result.Files, Object{Name: f.Name, Size: got[i].Size, SHA256: got[i].SHA256, Role: f.Role, Arch: arch})
		}
		if len(a.Files) == 0 {
			continue
		}
		a.BuildID = hex.EncodeToString(h.Sum(nil))
		slices.SortFunc(a.Files, func(x, y build.File) int { return strings.Compare(x.Name, y.Name) })
		slices.SortFunc(a.Inputs, func(x, y build.Input) int { return strings.Compare(x.Name, y.Name) })
		m.Builds = append(m.Builds, a)
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	data = append(data, '\n')
	result.ID = verify.ID(data)
	for _, o := range order(result.Files) {
		if err := os.Rename(originPart(opt.Dir, o.Name), filepath.Join(opt.Dir, o.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	slices.SortFunc(sums, func(x, y string) int { return strings.Compare(x[128:], y[128:]) })
	return result, writeSmall(opt.Dir, map[string][]byte{build.ManifestName: data, build.ChecksumName: []byte(strings.Join(sums, ""))})
}

func originPart(dir, name string) string { return filepath.Join(dir, "."+name+".origin.part") }

// origin brings files of which only the address is known.
type origin struct {
	opt  FetchOptions
	flow *flow
}

// bring downloads f, unless the folder has it as recorded.
func (d *origin) bring(ctx context.Context, f HookFile, recorded build.File) (build.File, error) {
	final := filepath.Join(d.opt.Dir, f.Name)
	if recorded.SHA256 != "" {
		if have, err := hashFile(ctx, final); err == nil && have.SHA256 == recorded.SHA256 {
			return named(have, f), nil
		}
	}
	u, err := url.Parse(f.URI)
	if err != nil {
		return build.File{}, err
	}
	name := path.Base(u.Path)
	u.Path = path.Dir(u.Path)
	st, err := store.Open(ctx, u.String(), d.opt.Access)
	if err != nil {
		return build.File{}, err
	}
	defer st.Close()
	task := d.flow.observer.Begin(f.Name, 0)
	err = d.opt.Retry.Do(ctx, "fetching "+f.Name, func() error { return d.download(ctx, st, name, f, task) })
	task.Done(err)
	if err != nil {
		return build.File{}, fmt.Errorf("fetching %s: %w", f.URI, err)
	}
	got, err := hashFile(ctx, originPart(d.opt.Dir, f.Name))
	if err == nil && recorded.SHA256 != "" && got.SHA256 != recorded.SHA256 {
		err = fmt.Errorf("%s is not what it was when it was fetched first (SHA-256 %s, then %s): fetch into a new folder if that is meant", f.URI, got.SHA256, recorded.SHA256)
		err = errors.Join(err, os.Remove(originPart(d.opt.Dir, f.Name)))
	}
	return named(got, f), err
}

func named(b build.File, f HookFile) build.File {
	b.Name, b.Role, b.Arch = f.Name, f.Role, f.Arch
	return b
}

// download continues the part that is there, if its last bytes are the
// origin's: without a hash, that tells another file from the same.
func (d *origin) download(ctx context.Context, st store.Store, name string, f HookFile, task Task) (err error) {
	part, err := os.OpenFile(originPart(d.opt.Dir, f.Name), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, part.Close()) }()
	off, err := part.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	const overlap = 64 << 10
	if off = max(0, off-overlap); off > 0 {
		if same, err := d.agrees(ctx, st, name, part, off, overlap); err != nil {
			return err
		} else if !same {
			off = 0
		}
	}
	if err := part.Truncate(off); err != nil {
		return err
	}
	if _, err := part.Seek(off, io.SeekStart); err != nil {
		return err
	}
	rc, err := st.Get(ctx, name, off, -1)
	if err != nil {
		return err
	}
	defer rc.Close()
	n, err := io.Copy(part, &download{Reader: rc, ctx: ctx, flow: d.flow, task: task})
	d.flow.sent.Add(n)
	return errors.Join(err, part.Sync())
}

func (d *origin) agrees(ctx context.Context, st store.Store, name string, part io.ReaderAt, off, n int64) (bool, error) {
	rc, err := st.Get(ctx, name, off, n)
	var status *store.StatusError
	if errors.As(err, &status) && status.Code == 416 { // shorter than what we have
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer rc.Close()
	theirs, err := io.ReadAll(io.LimitReader(rc, n))
	if err != nil {
		return false, err
	}
	ours := make([]byte, n)
	if _, err := part.ReadAt(ours, off); err != nil {
		return false, err
	}
	return bytes.Equal(theirs, ours), nil
}

// hashFile measures a file.
func hashFile(ctx context.Context, path string) (build.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return build.File{}, err
	}
	defer f.Close()
	h256, h512 := sha256.New(), sha512.New()
	n, err := io.Copy(io.MultiWriter(h256, h512), &download{Reader: f, ctx: ctx, flow: newFlow(0, nil), task: silent{}})
	return build.File{Size: n, SHA256: hex.EncodeToString(h256.Sum(nil)), SHA512: hex.EncodeToString(h512.Sum(nil))}, err
}
