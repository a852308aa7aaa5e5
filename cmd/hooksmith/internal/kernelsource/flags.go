package kernelsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/kernel/source"
)

// EnvKernelOrg is the variable of the environment for --kernel-org.
const EnvKernelOrg = "HOOKSMITH_KERNEL_ORG"

// Flags say what kernel to compile.
type Flags struct {
	Source, SHA256, KernelOrg    string
	Keyrings, Patches, Externals []string
}

// Add adds the flags to a command.
func (f *Flags) Add(fs *pflag.FlagSet) {
	fs.StringVar(&f.Source, "source", "", "the kernel's source: a tar, a folder, a `URL`, debian (linux-source-M.m), kernel.org or a release of it such as 6.6.107 (default debian for 6.12, else kernel.org)")
	fs.StringVar(&f.SHA256, "source-sha256", "", "SHA-256 `HEX` of the archive that --source names")
	fs.StringVar(&f.KernelOrg, "kernel-org", "", "`URL` of a mirror of kernel.org (default $"+EnvKernelOrg+", else kernel.org)")
	fs.StringArrayVar(&f.Keyrings, "keyring", nil, "believe signatures by the OpenPGP keys of this `FILE` too (repeatable)")
	fs.StringArrayVar(&f.Patches, "patch", nil, "apply this `FILE` to the source with patch -p1 (repeatable, in order)")
	fs.StringArrayVar(&f.Externals, "external-module", nil, "build the modules of this `DIR|TAR` too (repeatable)")
}

// Env is what the flags are looked up in. Configs and Cache are required.
type Env struct {
	Series   string // of the flavor's configuration: 6.12. "": any, if --source says what
	Point    string // KERNEL_POINT_RELEASE
	Configs  fs.FS
	Cache    *fetch.Cache
	Mirrors  debian.Mirrors
	Snapshot string
	Getenv   func(string) string // nil: there is no environment
	Now      func() time.Time    // nil: time.Now
	Log      *slog.Logger        // nil: silent
}

// debianSeries is the kernel of Debian stable, whose source comes from there
// unless it is said otherwise.
const debianSeries = "6.12"

// Open finds the source that the flags and the flavor name. Archives are
// downloaded when they are read, except those at a URL, which say only inside
// what version they are.
func (f *Flags) Open(ctx context.Context, env Env) (source.Source, error) {
	s, err := f.open(ctx, env)
	if err != nil {
		return nil, err
	}
	if env.Series != "" {
		err = source.CheckSeries(s, env.Series)
	}
	if err == nil && env.Point != "" {
		err = checkPoint(s, env)
	}
	return s, err
}

func checkPoint(s source.Source, env Env) error {
	want, err := source.PointRelease(env.Series, env.Point)
	if err == nil && s.Version() != want {
		err = fmt.Errorf("KERNEL_POINT_RELEASE asks for Linux %s, but %s is %s (--source kernel.org has all releases)", want, s, s.Version())
	}
	return err
}

func (f *Flags) open(ctx context.Context, env Env) (source.Source, error) {
	ref := f.Source
	if ref == "" {
		if ref = "kernel.org"; env.Series == debianSeries && env.Point == "" {
			ref = "debian"
		}
	}
	isURL := strings.HasPrefix(ref, "http://") || strings.HasPrefix(ref, "https://")
	if f.SHA256 != "" && !isURL {
		return f.openHashed(ctx, ref)
	}
	switch {
	case isURL && f.SHA256 != "":
		return source.Download(ctx, env.Cache, ref, strings.ToLower(strings.TrimPrefix(f.SHA256, "sha256:")))
	case isURL:
		opt, err := f.kernelOrg(env)
		if err != nil {
			return nil, err
		}
		return source.SignedURL(ctx, ref, opt)
	case ref == "debian":
		return openDebian(ctx, env)
	case ref == "kernel.org":
		return f.openKernelOrg(ctx, env, "")
	case source.Series(ref) != "" && !exists(ref):
		if env.Series != "" && source.Series(ref) != env.Series { // whatever kernel.org has
			return nil, fmt.Errorf("--source %s: the configuration is for Linux %s: give a release of that, or a flavor whose kernel version is %s", ref, env.Series, source.Series(ref))
		}
		return f.openKernelOrg(ctx, env, ref)
	}
	return source.Open(ctx, ref)
}

// openHashed opens an archive of this machine that shall have a given hash.
func (f *Flags) openHashed(ctx context.Context, path string) (source.Source, error) {
	if st, err := os.Stat(path); err != nil || st.IsDir() {
		return nil, fmt.Errorf("--source-sha256: it is for a tar or a URL, and --source is %q", path)
	}
	s, err := source.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	if want := strings.ToLower(strings.TrimPrefix(f.SHA256, "sha256:")); s.Hash() != want {
		return nil, fmt.Errorf("kernel source %s: its SHA-256 is %s, --source-sha256 says %s", path, s.Hash(), want)
	}
	return s, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (f *Flags) openKernelOrg(ctx context.Context, env Env, version string) (source.Source, error) {
	opt, err := f.kernelOrg(env)
	if err != nil {
		return nil, err
	}
	switch {
	case version != "":
	case env.Point != "":
		if version, err = source.PointRelease(env.Series, env.Point); err != nil {
			return nil, err
		}
	case env.Series == "":
		return nil, errors.New("--source kernel.org: say which release, as in --source 6.6.107")
	default:
		version = env.Series
	}
	return source.KernelOrg(ctx, version, opt)
}

// kernelOrg reads the keys.
func (f *Flags) kernelOrg(env Env) (source.KernelOrgOptions, error) {
	opt := source.KernelOrgOptions{Base: f.KernelOrg, Fetch: env.Cache, Keys: &source.Keyring{}, Now: env.Now, Log: env.Log}
	if opt.Base == "" && env.Getenv != nil {
		opt.Base = env.Getenv(EnvKernelOrg)
	}
	shipped, err := fs.Glob(env.Configs, "keyrings/kernel/*.asc")
	if err != nil {
		return opt, err
	}
	for _, name := range shipped {
		data, err := fs.ReadFile(env.Configs, name)
		if err == nil {
			err = opt.Keys.Add(path.Base(name), data)
		}
		if err != nil {
			return opt, err
		}
	}
	for _, name := range f.Keyrings {
		data, err := readFile(name, 4<<20)
		if err == nil {
			err = opt.Keys.Add(name, data)
		}
		if err != nil {
			return opt, fmt.Errorf("--keyring: %w", err)
		}
	}
	return opt, nil
}

// OpenPatches reads the patches, in the order of the flags.
func (f *Flags) OpenPatches() ([]source.Patch, error) {
	var all []source.Patch
	for _, name := range f.Patches {
		data, err := readFile(name, source.MaxPatch)
		if err != nil {
			return nil, fmt.Errorf("--patch: %w", err)
		}
		p, err := source.ParsePatch(name, data)
		if err != nil {
			return nil, fmt.Errorf("--patch: %w", err)
		}
		all = append(all, p)
	}
	return all, nil
}

// OpenExternals opens the modules from elsewhere, in the order of the flags.
func (f *Flags) OpenExternals(ctx context.Context) ([]source.External, error) {
	var all []source.External
	for _, name := range f.Externals {
		e, err := source.OpenExternal(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("--external-module: %w", err)
		}
		if slices.ContainsFunc(all, func(o source.External) bool { return o.Name == e.Name }) {
			return nil, fmt.Errorf("--external-module %s: there is another one called %s", name, e.Name)
		}
		all = append(all, e)
	}
	return all, nil
}

func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return data, err
}
