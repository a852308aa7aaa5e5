package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/adrg/xdg"
	"github.com/spf13/cobra"

	"hooksmith/build"
	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/build/initramfs"
	"hooksmith/configs"
	"hooksmith/guest/embedded"
)

// inputFlags say where a build's inputs come from; build and update share them.
type inputFlags struct {
	config, mirror, snapshot, cacheDir string
	offline                            bool
	set, firmware, sshKeys, cas        []string
}

func (o *inputFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.config, "config", "", "`FILE` with flavors of your own (default hooksmith.yaml, if it is there)")
	f.StringVar(&o.mirror, "debian-mirror", "", "`URL` of a Debian mirror (default this host's APT sources, else ftp.debian.org)")
	f.StringVar(&o.snapshot, "debian-snapshot", "", "take the packages of this `TIME`, as in 20260912T083000Z, from snapshot.debian.org")
	f.StringVar(&o.cacheDir, "cache-dir", "", "`FOLDER` for downloads and unpacked packages (default $XDG_CACHE_HOME/hooksmith)")
	f.BoolVar(&o.offline, "offline", false, "use the cache only; fail if something is not in it")
	f.StringArrayVar(&o.set, "set", nil, "set a variable of the template, `NAME=VALUE` (repeatable)")
	f.StringSliceVar(&o.firmware, "firmware", nil, "add firmware for these drivers or packages, as in bnx2,ice (non-free-firmware)")
	f.StringArrayVar(&o.sshKeys, "ssh-key", nil, "run an SSH server that lets in the public keys of this `FILE` (repeatable)")
	f.StringArrayVar(&o.cas, "bake-ca", nil, "make HookOS trust the CA certificates of this PEM `FILE` (repeatable)")
}

// options turns the flags into what the build library takes. It reads the
// files that they name, and nothing from the network.
func (o *inputFlags) options(a *app, args []string) (build.Options, error) {
	flavor, err := findFlavor(o.config, args)
	if err != nil {
		return build.Options{}, err
	}
	opt := build.Options{
		Flavor:  flavor,
		Vars:    map[string]string{},
		Configs: configs.FS, Guest: embedded.FS(), Version: ourVersion(),
		Snapshot: o.snapshot, Firmware: o.firmware,
		Log: a.log, Observer: a.progress,
	}
	for _, kv := range o.set {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return opt, usagef("--set %s: want NAME=VALUE", kv)
		}
		opt.Vars[name] = value
	}
	if opt.Mirrors, err = o.mirrors(); err != nil {
		return opt, err
	}
	if opt.Epoch, err = a.sourceDateEpoch(); err != nil {
		return opt, err
	}
	if opt.SSHKeys, err = readFiles("--ssh-key", o.sshKeys); err != nil {
		return opt, err
	}
	if opt.CACertificates, err = readFiles("--bake-ca", o.cas); err != nil {
		return opt, err
	}
	opt.Cache = &fetch.Cache{Dir: o.cache(), Offline: o.offline, Observer: a.progress, Log: a.log}
	return opt, nil
}

func (o *inputFlags) cache() string {
	if o.cacheDir != "" {
		return o.cacheDir
	}
	return filepath.Join(xdg.CacheHome, "hooksmith")
}

func (o *inputFlags) mirrors() (debian.Mirrors, error) {
	if o.mirror == "" {
		return debian.HostMirrors(os.DirFS("/")), nil
	}
	m, err := debian.ParseMirror(o.mirror)
	if err != nil {
		return m, &usageError{fmt.Errorf("--debian-mirror: %w", err)}
	}
	return m, nil
}

// findFlavor finds the flavor that the arguments name, or this host's default.
func findFlavor(config string, args []string) (build.Flavor, error) {
	flavors, err := loadFlavors(config)
	if err != nil {
		return build.Flavor{}, err
	}
	if len(args) == 0 {
		return flavors.Default(runtime.GOARCH)
	}
	f, err := flavors.Find(args[0])
	return f, withHint(err, "hooksmith list prints all flavors")
}

// loadFlavors reads the built-in flavors and the user's.
func loadFlavors(config string) (*build.Flavors, error) {
	flavors, err := build.LoadFlavors(configs.FS)
	if err != nil {
		return nil, err
	}
	path := config
	if path == "" {
		path = "hooksmith.yaml"
	}
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) && config == "" {
		return flavors, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading flavors: %w", err)
	}
	return flavors, flavors.Override(path, b)
}

// sourceDateEpoch is the time that no file of the output is newer than, as
// reproducible-builds.org defines SOURCE_DATE_EPOCH.
func (a *app) sourceDateEpoch() (time.Time, error) {
	v, ok := a.lookupEnv("SOURCE_DATE_EPOCH")
	if !ok || v == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		return time.Time{}, usagef("SOURCE_DATE_EPOCH=%s: want seconds since 1970", v)
	}
	return time.Unix(n, 0).UTC(), nil
}

func readFiles(flag string, paths []string) ([]byte, error) {
	var all []byte
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		b, err := io.ReadAll(io.LimitReader(f, 1<<20))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		all = append(append(all, b...), '\n')
	}
	return all, nil
}

func newBuild(a *app) *cobra.Command {
	var (
		in                     inputFlags
		out, lock, compress    string
		level                  int
		locked, dryRun, noSBOM bool
		asJSON                 bool
	)
	cmd := &cobra.Command{
		Use:     "build [FLAVOR]",
		Aliases: []string{"linuxkit"},
		Short:   "Build a kernel and an initramfs",
		Long: `Build the kernel and the initramfs of a flavor. The packages come from a Debian
mirror, each verified by Debian's signatures; they are kept in a cache. Nothing
needs root, Docker or a registry, and the same inputs give the same bytes.

--out then holds vmlinuz-* and initramfs-* under the flavor's output id and under
the names that Tinkerbell and EKS Anywhere ask for, hook.json (what is in them),
checksum.txt, sbom.spdx.json and hooksmith.lock (the exact inputs).`,
		Example: `  # the default flavor of this machine's architecture
  hooksmith build

  # another flavor, with firmware for Broadcom and Intel E800 cards and an SSH server
  hooksmith build hook-debian-amd64 --firmware bnx2,ice --ssh-key ~/.ssh/id_ed25519.pub

  # exactly what was built before, from the inputs in its lock file
  hooksmith build --locked

  # what would be built, and what would be downloaded for it
  hooksmith build hook-debian-arm64 --dry-run`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeFlavors,
		RunE: func(cmd *cobra.Command, args []string) error {
			opt, err := in.options(a, args)
			if err != nil {
				return err
			}
			opt.Out, opt.NoSBOM, opt.Level = out, noSBOM, level
			if opt.Compression, err = initramfs.ParseCompression(compress); err != nil {
				return &usageError{fmt.Errorf("--compress: %w", err)}
			}
			if locked {
				if opt.Lock, err = readLock(lock, out); err != nil {
					return err
				}
			}
			if dryRun {
				return a.printPlan(cmd, opt, asJSON)
			}
			result, err := build.Build(cmd.Context(), opt)
			if err != nil {
				return err
			}
			return a.printArtifacts(out, result, asJSON)
		},
	}
	in.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&out, "out", "o", filepath.Join("out", "hook"), "`FOLDER` for the results")
	f.StringVar(&compress, "compress", "zstd", "compression of the initramfs: zstd, gzip or none")
	f.IntVar(&level, "level", 0, "compression `LEVEL`: zstd 1-22, gzip 1-9 (default balances time and size)")
	f.BoolVar(&locked, "locked", false, "build from the lock file; fail if anything differs from it")
	f.StringVar(&lock, "lock", "", "lock `FILE` (default hooksmith.lock, else the one in --out)")
	f.BoolVar(&dryRun, "dry-run", false, "print the plan and build nothing")
	f.BoolVar(&noSBOM, "no-sbom", false, "write no sbom.spdx.json")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// lockPath is where the lock file is: the one given, else the one of the
// current folder (checked in beside hooksmith.yaml), else the last build's.
func lockPath(given, out string) string {
	if given != "" {
		return given
	}
	if _, err := os.Stat(build.LockName); err == nil {
		return build.LockName
	}
	return filepath.Join(out, build.LockName)
}

func readLock(given, out string) (*build.Lock, error) {
	path := lockPath(given, out)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, withHint(fmt.Errorf("--locked: %w", err), "make it with: hooksmith update")
	}
	return build.ParseLock(path, b)
}

func (a *app) printPlan(cmd *cobra.Command, opt build.Options, asJSON bool) error {
	plan, err := build.NewPlan(cmd.Context(), opt)
	if err != nil {
		return err
	}
	s := plan.Summary()
	if asJSON {
		return a.printJSON(s)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "flavor\t%s\n", s.Flavor)
	fmt.Fprintf(w, "kernel\t%s\n", s.Kernel)
	for _, img := range s.Images {
		fmt.Fprintf(w, "image\t%s\n", img)
	}
	for _, p := range s.Packages {
		fmt.Fprintf(w, "package\t%s %s\t%s\n", p.Name, p.Version, byteCount(p.Size))
	}
	fmt.Fprintf(w, "total\t%d packages\t%s\n", len(s.Packages), byteCount(s.DownloadBytes))
	for _, name := range s.Outputs {
		fmt.Fprintf(w, "output\t%s\n", filepath.Join(opt.Out, name))
	}
	return w.Flush()
}

func (a *app) printArtifacts(out string, r *build.Artifacts, asJSON bool) error {
	if asJSON {
		return a.printJSON(r)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	for _, f := range r.Files {
		fmt.Fprintf(w, "%s\t%s\tsha256:%s\n", filepath.Join(out, f.Name), byteCount(f.Size), f.SHA256)
		for _, alias := range f.Aliases {
			fmt.Fprintf(w, "%s\t\t= %s\n", filepath.Join(out, alias), f.Name)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "%s: kernel %s, needs %d MiB of RAM\n", r.Flavor, r.Kernel.Version, r.RAMNeededMiB)
	if n := len(r.FirmwareMissing); n > 0 {
		fmt.Fprintf(a.stderr, "%d modules want firmware that is not in (hook.json lists it; --firmware adds it)\n", n)
	}
	return nil
}

// ourVersion is this hooksmith's version, for hook.json and os-release.
func ourVersion() string {
	info, _ := debug.ReadBuildInfo()
	return readBuildInfo(info).Version
}
