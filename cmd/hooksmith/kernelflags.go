package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/adrg/xdg"
	"github.com/spf13/cobra"

	"hooksmith/build"
	"hooksmith/build/debian"
	"hooksmith/build/docker"
	"hooksmith/build/fetch"
	"hooksmith/cmd/hooksmith/internal/kernelsource"
	"hooksmith/configs"
	"hooksmith/kernel"
	"hooksmith/kernel/compile"
	"hooksmith/kernel/kconfig"
)

// kernelConfigs is the folder with kernel configurations: among the configs
// that hooksmith carries, and, before those, in the working folder.
const kernelConfigs = "kernel"

// kernelFlags say what kernel a flavor has, and where it is compiled; kernel
// and kernel-config share them.
type kernelFlags struct {
	source                               kernelsource.Flags
	flavors, kconfig                     string
	mirror, snapshot, cacheDir           string
	dockerContext, network, progressMode string
	offline                              bool
	jobs                                 int
}

func (o *kernelFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	o.source.Add(f)
	f.StringVar(&o.flavors, "config", "", "`FILE` with flavors of your own (default hooksmith.yaml, if it is there)")
	f.StringVar(&o.kconfig, "kconfig", "", "the kernel's configuration `FILE` (default configs/kernel/NAME here, if it is there, else the built-in one)")
	f.StringVar(&o.mirror, "debian-mirror", "", "`URL` of a Debian mirror (default those of this host's APT sources, then ftp.debian.org)")
	f.StringVar(&o.snapshot, "debian-snapshot", "", "take Debian's source of this `TIME`, as in 20260912T083000Z, from snapshot.debian.org")
	f.StringVar(&o.cacheDir, "cache-dir", "", "`FOLDER` for downloads (default $XDG_CACHE_HOME/hooksmith)")
	f.BoolVar(&o.offline, "offline", false, "use the cache of downloads only")
	f.StringVar(&o.dockerContext, "docker-context", "", "`NAME` of the Docker context (default DOCKER_HOST, else the current context)")
	f.StringVar(&o.network, "network", "", "`NETWORK` with which Docker builds the compilers' image (docker build --network)")
	f.IntVarP(&o.jobs, "jobs", "j", 0, "compile so many files at once (default the Docker daemon's processors)")
	o.progressMode = "auto"
	addChoice(cmd, &o.progressMode, "progress", "auto shows how far it is; plain is what make prints", "auto", "plain")
}

// kernelTarget is the kernel of a flavor.
type kernelTarget struct {
	Flavor build.Flavor
	Name   string // of the configuration: generic-6.12.y-x86_64
	File   string // of the configuration; "": the built-in one
	Spec   compile.Spec
	Vars   map[string]string
}

// target finds out what the arguments and flags name. Nothing is compiled, but
// the source may be asked for its version.
func (o *kernelFlags) target(ctx context.Context, a *app, args []string) (*kernelTarget, error) {
	words, vars, err := splitVariables(args)
	if err != nil {
		return nil, err
	}
	if o.jobs < 0 || o.jobs > 4096 {
		return nil, usagef("--jobs %d: give the number of files to compile at once, or leave it out", o.jobs)
	}
	shared := inputFlags{}
	if err := shared.setVariables(a, vars); err != nil {
		return nil, err
	}
	t := &kernelTarget{Vars: vars}
	if t.Flavor, err = findFlavor(o.flavors, words); err != nil {
		return nil, err
	}
	if t.Flavor.Kernel.Version == "" {
		return nil, withHint(fmt.Errorf("the kernel of flavor %s is not compiled: it is %s", t.Flavor.ID, t.Flavor.Kernel),
			"flavors with kernel: {version: M.m, config: NAME} have a kernel to compile: hooksmith list")
	}
	if err := o.readConfig(t); err != nil {
		return nil, err
	}
	return t, o.open(ctx, a, t)
}

// readConfig reads the configuration: --kconfig, the file of the working
// folder, the one that hooksmith carries.
func (o *kernelFlags) readConfig(t *kernelTarget) error {
	t.Name = t.Flavor.KernelConfigName()
	t.Spec.ConfigName = t.Name // also of --kconfig: by this name build finds the flavor's kernel
	var err error
	if t.File = o.kconfig; t.File != "" {
		t.Spec.Config, err = readKernelFile(t.File)
	} else {
		t.Spec.Config, t.File, err = readKernelConfig(t.Name)
	}
	if errors.Is(err, fs.ErrNotExist) && t.File == "" {
		return withHint(fmt.Errorf("there is no kernel configuration %s", t.Name), "give one with --kconfig FILE: what savedefconfig of Linux %s makes", t.Flavor.Kernel.Version)
	}
	if err != nil {
		return fmt.Errorf("kernel configuration: %w", err)
	}
	// The kernel's own tools warn of what is none, and take their defaults.
	symbols, err := kconfig.Parse(bytes.NewReader(t.Spec.Config))
	if err == nil && len(symbols) == 0 {
		err = errors.New("it sets no symbol")
	}
	if err != nil {
		return fmt.Errorf("kernel configuration %s: %w", cmp.Or(t.File, t.Name), err)
	}
	t.Spec.Arch, err = kernel.ParseArch(t.Flavor.Arch)
	return err
}

// maxKernelConfig bounds configurations; a whole .config has 300 KB.
const maxKernelConfig = 16 << 20

func readKernelFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKernelConfig+1))
	if err == nil && len(data) > maxKernelConfig {
		err = fmt.Errorf("%s is larger than %d MB: this is no kernel configuration", path, maxKernelConfig>>20)
	}
	return data, err
}

// readKernelConfig reads the configuration of that name: the file of the
// working folder, or, with file "", the one that hooksmith carries.
func readKernelConfig(name string) (data []byte, file string, err error) {
	local := filepath.Join("configs", kernelConfigs, name)
	if _, err := os.Stat(local); err == nil {
		data, err = readKernelFile(local)
		return data, local, err
	}
	data, err = fs.ReadFile(configs.FS, path.Join(kernelConfigs, name))
	return data, "", err
}

// hashKernelConfigs tells flavors what their kernels' configurations are now,
// so that a kernel of an older one is noticed. A configuration that cannot be
// read is an error of those commands that need it.
func hashKernelConfigs(flavors *build.Flavors) {
	for i, f := range flavors.All {
		if f.Kernel.Version == "" {
			continue
		}
		if data, _, err := readKernelConfig(f.KernelConfigName()); err == nil {
			sum := sha256.Sum256(data)
			flavors.All[i].Kernel.ConfigSHA256 = hex.EncodeToString(sum[:])
		}
	}
}

// open finds the source and what is added to it.
func (o *kernelFlags) open(ctx context.Context, a *app, t *kernelTarget) error {
	mirrors := debian.HostMirrors(os.DirFS("/"))
	var err error
	if o.mirror != "" {
		if mirrors, err = debian.ParseMirror(o.mirror); err != nil {
			return &usageError{fmt.Errorf("--debian-mirror: %w", err)}
		}
	}
	env := kernelsource.Env{
		Series: t.Flavor.Kernel.Version, Point: t.Vars["KERNEL_POINT_RELEASE"], Configs: configs.FS,
		Cache:   &fetch.Cache{Dir: o.cache(), Offline: o.offline, Observer: a.progress, Log: a.log},
		Mirrors: mirrors, Snapshot: o.snapshot, Log: a.log,
		Getenv: func(name string) string { v, _ := a.lookupEnv(name); return v },
	}
	if t.Spec.Source, err = o.source.Open(ctx, env); err != nil {
		return err
	}
	if t.Spec.Patches, err = o.source.OpenPatches(); err != nil {
		return err
	}
	t.Spec.External, err = o.source.OpenExternals(ctx)
	t.Spec.Jobs = o.jobs
	return err
}

func (o *kernelFlags) cache() string {
	return cmp.Or(o.cacheDir, filepath.Join(xdg.CacheHome, "hooksmith"))
}

// builder compiles where the flags say. What builders and make print is shown
// with --progress plain.
func (o *kernelFlags) builder(a *app) *compile.Builder {
	b := &compile.Builder{
		Docker:  docker.Config{Context: o.dockerContext, Getenv: func(name string) string { v, _ := a.lookupEnv(name); return v }},
		Network: o.network, TempDir: o.cache(), Log: a.log, Observer: compilation{a.progress},
	}
	if o.progressMode == "plain" {
		b.Output = a.progress
	}
	return b
}

// image is the name of the kernel's image.
func (t *kernelTarget) image() (string, error) {
	tag, err := t.Spec.Image(t.repository())
	if err != nil {
		return "", withHint(err, "HOOK_KERNEL_OCI_BASE names the repository: registry.example.com/hook-kernel")
	}
	return tag.Name(), nil
}

// repository is the name of kernel images, without a tag.
func (t *kernelTarget) repository() string {
	return strings.TrimSuffix(cmp.Or(t.Vars["HOOK_KERNEL_OCI_BASE"], build.DefaultKernelBase), ":")
}

// compilation shows the steps of a kernel's compilation.
type compilation struct{ p *progress }

func (c compilation) Begin(step string, objects int) compile.Task {
	return c.p.BeginCount(step, objects)
}
