package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"sort"
	"strings"
)

// source is an unpacked kernel source tree; its version is major.minor.
type source struct{ dir, version string }

var makefileVersion = regexp.MustCompile(`(?m)^VERSION = (\d+)\nPATCHLEVEL = (\d+)$`)

// openSources finds out which versions the trees are, by which it returns them.
func openSources(dirs []string) (map[string]source, error) {
	all := make(map[string]source)
	for _, dir := range dirs {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(filepath.Join(dir, "Makefile"))
		if err != nil {
			return nil, fmt.Errorf("reading a kernel source tree: %w", err)
		}
		m := makefileVersion.FindSubmatch(text)
		if m == nil {
			return nil, fmt.Errorf("%s/Makefile names no VERSION and PATCHLEVEL: is this a kernel source tree?", dir)
		}
		v := string(m[1]) + "." + string(m[2])
		all[v] = source{dir, v}
	}
	return all, nil
}

// makeConfig makes the configuration of a recipe: merge, complete, check, save.
func makeConfig(ctx context.Context, r recipe, dir fs.FS, s source, work string) ([]byte, error) {
	// 1. What the fragments say to this version and architecture.
	asks, err := r.asks(dir)
	if err != nil {
		return nil, err
	}
	out := filepath.Join(work, s.version+"-"+r.Arch)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	files, err := writeFragments(out, r, asks)
	if err != nil {
		return nil, err
	}

	// 2. The kernel's own script merges them onto the base, Kconfig answers what is left open.
	base, target := filepath.Join(s.dir, "arch", architectures[r.Arch].folder, "configs", r.Base), "olddefconfig"
	if r.Base == "allnoconfig" {
		base, target = os.DevNull, "allnoconfig"
	}
	merge := exec.CommandContext(ctx, filepath.Join(s.dir, "scripts/kconfig/merge_config.sh"), append([]string{"-m", "-O", out, base}, files...)...)
	if err := runIn(out, merge); err != nil {
		return nil, err
	}
	if err := kbuild(ctx, s, r, out, target); err != nil {
		return nil, err
	}

	// 3. Every symbol stuck.
	config, err := os.ReadFile(filepath.Join(out, ".config"))
	if err != nil {
		return nil, err
	}
	known, err := symbols(s.dir)
	if err != nil {
		return nil, err
	}
	if err := stuck(r, asks, parseConfig(config), known); err != nil {
		return nil, err
	}

	// 4. What differs from the defaults is the file.
	if err := kbuild(ctx, s, r, out, "savedefconfig"); err != nil {
		return nil, err
	}
	saved, err := os.ReadFile(filepath.Join(out, "defconfig"))
	if err != nil || !r.neighbour() {
		return saved, err
	}
	return pin(r, saved, asks), nil
}

// writeFragments writes the fragments without comments and without what is for other kernels.
func writeFragments(out string, r recipe, asks [][]ask) ([]string, error) {
	var files []string
	for i, list := range asks {
		var b bytes.Buffer
		for _, a := range list {
			fmt.Fprintln(&b, a)
		}
		file := filepath.Join(out, r.Fragments[i]+".config")
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// kbuild runs a configuration target of the kernel's build system.
func kbuild(ctx context.Context, s source, r recipe, out, target string) error {
	a := architectures[r.Arch]
	args := []string{"-s", "-C", s.dir, "O=" + out, "ARCH=" + a.arch}
	if r.Arch != map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH] {
		args = append(args, "CROSS_COMPILE="+a.cross)
	}
	if target == "allnoconfig" {
		args = append(args, "KCONFIG_ALLCONFIG="+filepath.Join(out, "merged"))
		if err := os.Rename(filepath.Join(out, ".config"), filepath.Join(out, "merged")); err != nil {
			return err
		}
	}
	return runIn(out, exec.CommandContext(ctx, "make", append(args, target)...))
}

// runIn runs a command, whose output is only of interest when it fails.
func runIn(dir string, cmd *exec.Cmd) error {
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PWD="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

var symbolLine = regexp.MustCompile(`(?m)^[ \t]*(?:menu)?config[ \t]+([A-Za-z0-9_]+)`)

// symbols are all that the Kconfig files of a tree declare, with CONFIG_ in front.
func symbols(dir string) (map[string]bool, error) {
	all := make(map[string]bool)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), "Kconfig") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range symbolLine.FindAllSubmatch(text, -1) {
			all["CONFIG_"+string(m[1])] = true
		}
		return err
	})
	return all, err
}

// stuck says of which symbols Kconfig made something else than what was asked for. Where the Kconfig is that of a
// neighbour, a symbol that it does not know may well exist in the version that the configuration is for.
func stuck(r recipe, asks [][]ask, config map[string]string, known map[string]bool) error {
	var errs []error
	for i, list := range asks {
		for _, a := range list {
			have, ok := config[a.symbol]
			if !ok {
				have = "n"
			}
			where := fmt.Sprintf("fragments/%s.config:%d", r.Fragments[i], a.line)
			switch {
			case !known[a.symbol] && r.neighbour():
			case !known[a.symbol]:
				errs = append(errs, fmt.Errorf("%s: %s does not exist in Linux %s", where, a.symbol, r.Kconfig))
			case have != a.value && ok:
				errs = append(errs, fmt.Errorf("%s: %s did not stick: Kconfig made it %s", where, a, have))
			case have != a.value:
				errs = append(errs, fmt.Errorf("%s: %s did not stick: something that it depends on is not set", where, a))
			}
		}
	}
	return errors.Join(errs...)
}

// pin writes the configuration for a version whose own Kconfig was not at hand. What the fragments ask for stands in it
// even where it is the neighbour's default: the default of the version itself may be another one.
func pin(r recipe, saved []byte, asks [][]ask) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Linux %s.y, but merged and checked with the Kconfig of Linux %s: recipes.yaml says why.\n", r.Version, r.Kconfig)
	fmt.Fprintf(&b, "# The build completes it with olddefconfig, which leaves out what this version does not know.\n")
	b.Write(saved)
	have := parseConfig(saved)
	var rest []string
	for _, list := range asks {
		for _, a := range list {
			if _, ok := have[a.symbol]; !ok {
				rest = append(rest, a.String())
			}
		}
	}
	sort.Strings(rest)
	fmt.Fprintf(&b, "# Asked for by the fragments, and the default of Linux %s, which another version need not share.\n", r.Kconfig)
	for _, line := range rest {
		fmt.Fprintln(&b, line)
	}
	return b.Bytes()
}
