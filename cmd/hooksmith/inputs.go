package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/adrg/xdg"
	"github.com/spf13/cobra"

	"hooksmith/build"
	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/build/linuxkit"
	"hooksmith/configs"
	"hooksmith/guest/embedded"
	"hooksmith/kernel"
)

// inputFlags say where a build's inputs come from; build and update share them.
type inputFlags struct {
	config, mirror, snapshot, cacheDir string
	offline                            bool
	set, firmware, sshKeys, cas        []string
	files                              []string
	name, arch                         string
	compat, decompress                 bool
	images                             sourceFlags
	embed                              embedFlags
}

func (o *inputFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.config, "config", "", "`FILE` with flavors of your own (default hooksmith.yaml, if it is there)")
	f.StringVar(&o.mirror, "debian-mirror", "", "`URL` of a Debian mirror (default those of this host's APT sources, then ftp.debian.org)")
	f.StringVar(&o.snapshot, "debian-snapshot", "", "take the packages of this `TIME`, as in 20260912T083000Z, from snapshot.debian.org")
	o.addCacheDir(cmd)
	o.images.add(cmd)
	o.embed.add(cmd)
	f.BoolVar(&o.offline, "offline", false, "use the cache only; fail if something is not in it")
	f.StringArrayVar(&o.set, "set", nil, "set a variable of the template, `NAME=VALUE` (repeatable)")
	f.StringSliceVar(&o.firmware, "firmware", nil, "add firmware for these drivers or packages, as in bnx2,ice (non-free-firmware)")
	f.StringArrayVar(&o.sshKeys, "ssh-key", nil, "run an SSH server that lets in the public keys of this `FILE` (repeatable)")
	f.StringArrayVarP(&o.files, "file", "f", nil, "build this LinuxKit `FILE` instead of a flavor; - is stdin (repeatable: later files add to earlier ones)")
	f.StringVar(&o.name, "name", "", "with --file: the `NAME` of the results (default that of the first file)")
	f.StringVar(&o.arch, "arch", "", "with --file: the `ARCHITECTURE`, amd64 or arm64 (default this machine's)")
	f.BoolVar(&o.compat, "compat", false, "do what LinuxKit does where that differs from its documentation")
	f.BoolVar(&o.decompress, "decompress-kernel", false, "take the uncompressed kernel out of a kernel image")
	f.StringArrayVar(&o.cas, "bake-ca", nil, "make HookOS trust the CA certificates of this PEM `FILE` (repeatable)")
}

func (o *inputFlags) addCacheDir(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.cacheDir, "cache-dir", "", "`FOLDER` for downloads and unpacked packages (default $XDG_CACHE_HOME/hooksmith)")
}

// options turns the flags into what the build library takes. It reads the
// files that they name, and nothing from the network.
func (o *inputFlags) options(ctx context.Context, a *app, args []string) (build.Options, error) {
	words, vars, err := splitVariables(args)
	if err != nil {
		return build.Options{}, err
	}
	given := slices.Sorted(maps.Keys(vars))
	var flavor build.Flavor
	if len(o.files) == 0 {
		flavor, err = findFlavor(o.config, words)
	} else {
		flavor, err = o.fileFlavor(words)
	}
	if err != nil {
		return build.Options{}, err
	}
	opt := build.Options{
		Flavor:  flavor,
		Vars:    vars,
		Configs: configs.FS, Guest: embedded.FS(), Version: ourVersion(),
		Snapshot: o.snapshot, Firmware: o.firmware,
		Log: a.log, Observer: a.progress,
	}
	if err := o.setVariables(a, opt.Vars); err != nil {
		return opt, err
	}
	if opt.Files, err = o.readFiles(a); err != nil {
		return opt, err
	}
	home, _ := a.lookupEnv("HOME")
	opt.Open = linuxkit.DirSource("", home)
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
	if err := o.checkVariables(a, &opt, given); err != nil {
		return opt, err
	}
	opt.Cache = &fetch.Cache{Dir: o.cache(), Offline: o.offline, Observer: a.progress, Log: a.log}
	opt.Compat, opt.DecompressKernel, opt.Program = o.compat, o.decompress, program()
	sources, err := o.images.sources(ctx, a, &opt, o.cache(), o.offline)
	if err != nil {
		return opt, err
	}
	opt.Images = sources
	return opt, o.embed.apply(ctx, a, &opt, sources)
}

func (o *inputFlags) cache() string {
	if o.cacheDir != "" {
		return o.cacheDir
	}
	return filepath.Join(xdg.CacheHome, "hooksmith")
}

func (o *inputFlags) mirrors() (debian.Mirrors, error) {
	if o.snapshot != "" {
		if _, err := debian.SnapshotMirrors(o.snapshot); err != nil {
			return debian.Mirrors{}, &usageError{fmt.Errorf("--debian-snapshot: %w", err)}
		}
	}
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
	f, err := flavors.Buildable(args[0])
	hint := "hooksmith list prints all flavors"
	if ext := filepath.Ext(args[0]); ext == ".yml" || ext == ".yaml" {
		hint = "a LinuxKit file is built with --file " + args[0]
	}
	return f, withHint(err, "%s", hint)
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
	if err == nil {
		err = flavors.Override(path, b)
	} else if os.IsNotExist(err) && config == "" {
		err = nil
	} else {
		err = fmt.Errorf("reading flavors: %w", err)
	}
	hashKernelConfigs(flavors)
	return flavors, err
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
		const limit = 1 << 20
		b, err := io.ReadAll(io.LimitReader(f, limit+1))
		f.Close()
		if err == nil && len(b) > limit {
			err = fmt.Errorf("%s has more than %d bytes", p, limit)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		all = append(append(all, b...), '\n')
	}
	return all, nil
}

// splitVariables takes the NAME=VALUE words out of the arguments. A value may
// hold more of '='.
func splitVariables(args []string) (words []string, vars map[string]string, err error) {
	vars = map[string]string{}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		switch {
		case !ok:
			words = append(words, arg)
		case name == "":
			return nil, nil, usagef("%q: want NAME=VALUE", arg)
		default:
			vars[name] = value
		}
	}
	if len(words) > 1 {
		return nil, nil, usagef("unexpected argument %q", words[1])
	}
	return words, vars, nil
}

// buildVariables are those of the environment that upstream's build reads and
// that mean something here. Words of the command line and --set win.
var buildVariables = []string{
	"HOOK_VERSION", "HOOK_KERNEL_OCI_BASE", "HOOK_LK_CONTAINERS_OCI_BASE", "HOOK_KERNEL_IMAGE",
	"KERNEL_POINT_RELEASE", "USE_LATEST_BUILT_KERNEL",
}

func (o *inputFlags) setVariables(a *app, vars map[string]string) error {
	for _, name := range buildVariables {
		if _, set := vars[name]; set {
			continue
		}
		if value, ok := a.lookupEnv(name); ok && value != "" {
			vars[name] = value
		}
	}
	for _, kv := range o.set {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return usagef("--set %s: want NAME=VALUE", kv)
		}
		vars[name] = value
	}
	return nil
}

// checkVariables refuses a --set of what the template does not have: it is most
// often misspelt. Words may also be those of upstream's build.sh that mean
// nothing here, such as DEBUG=yes: they are named.
func (o *inputFlags) checkVariables(a *app, opt *build.Options, words []string) error {
	have, err := opt.TemplateVariables()
	if err != nil {
		return nil // the build says so
	}
	unknown := func(name string) bool {
		_, ofFlavor := opt.Flavor.Variables[name]
		return !ofFlavor && !slices.Contains(have, name) && !slices.Contains(buildVariables, name)
	}
	for _, kv := range o.set {
		name, _, _ := strings.Cut(kv, "=")
		if !unknown(name) {
			continue
		}
		hint := "the template has no variables"
		if len(have) > 0 {
			hint = "it has " + strings.Join(have, ", ")
		}
		return withHint(usagef("--set %s: the template has no variable %s", kv, name), "%s", hint)
	}
	for _, name := range words {
		if unknown(name) {
			a.log.Warn("the template has no such variable: it is left out of account", "variable", name)
		}
	}
	return nil
}

// fileFlavor is what --file builds: named after the first file, as LinuxKit
// does it.
func (o *inputFlags) fileFlavor(words []string) (build.Flavor, error) {
	if len(words) > 0 {
		return build.Flavor{}, usagef("--file builds LinuxKit files, and %q is a flavor: give one of them", words[0])
	}
	if len(o.sshKeys) > 0 {
		return build.Flavor{}, usagef("--ssh-key is for flavors: add a service to the LinuxKit file (configs/hook-ssh.yaml shows how)")
	}
	name := o.name
	if name == "" {
		if o.files[0] == "-" {
			return build.Flavor{}, usagef("--file -: say with --name what the results are called")
		}
		base := filepath.Base(o.files[0])
		name = strings.TrimSuffix(base, filepath.Ext(base))
	}
	if strings.Contains(name, "/") || strings.ContainsFunc(name, unicode.IsControl) || strings.HasPrefix(name, ".") {
		return build.Flavor{}, usagef("--name %q: want the beginning of a file name", name)
	}
	arch := o.arch
	if arch == "" {
		arch = runtime.GOARCH
	}
	if _, err := kernel.ParseArch(arch); err != nil {
		return build.Flavor{}, usagef("--arch: %v", err)
	}
	return build.FileFlavor(name, arch), nil
}

// readFiles reads the LinuxKit files.
func (o *inputFlags) readFiles(a *app) ([]linuxkit.Source, error) {
	var files []linuxkit.Source
	for _, path := range o.files {
		data, err := readFile(a, path)
		if err != nil {
			return nil, fmt.Errorf("--file: %w", err)
		}
		files = append(files, linuxkit.Source{Name: path, Data: data})
	}
	return files, nil
}

func readFile(a *app, path string) ([]byte, error) {
	const limit = 16 << 20
	var r io.Reader = a.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && len(data) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, err
}

// program names this executable for caches of what it computes: two builds of
// hooksmith may give other bytes for the same input.
func program() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	st, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %d %d", ourVersion(), st.Size(), st.ModTime().UnixNano())
}
