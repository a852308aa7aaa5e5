package kerneltest

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hooksmith/build/docker"
	"hooksmith/cmd/hooksmith/internal/kernelconfig"
	"hooksmith/configs"
	"hooksmith/kernel"
	"hooksmith/kernel/compile"
	"hooksmith/kernel/kconfig"
	"hooksmith/kernel/source"
)

// configured is a workspace with the small kernel's configuration.
func (l *lab) configured(t *testing.T) *compile.Workspace {
	t.Helper()
	src, err := source.Open(t.Context(), l.trimmed)
	if err != nil {
		t.Fatal(err)
	}
	config, err := configs.FS.ReadFile("kernel/vm-6.12.y-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	b := &compile.Builder{Docker: docker.Config{Host: "unix://" + l.socket}, Network: l.network}
	w, err := b.Open(t.Context(), compile.Spec{
		Arch: kernel.X86_64, ConfigName: "vm-6.12.y-x86_64", Config: config, Source: kernelconfig.Trim(src, l.cache().Derive),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// TestKernelConfigEdits asks the real olddefconfig for all sorts of changes:
// what sticks, what does not, and why.
func TestKernelConfigEdits(t *testing.T) {
	l := needLab(t)
	l.turn(t)
	w := l.configured(t)
	original, err := w.ReadFile(t.Context(), ".config")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name            string
		fragment        string
		sets, drivers   []string
		changes, errors []string // parts
		hint            string
	}{
		{name: "values of every type", sets: []string{"CONFIG_DUMMY=m", "NR_CPUS=100", `LOCALVERSION=-a "b"`, "PHYSICAL_START=0x2000000", "SWAP=n"},
			changes: []string{" DUMMY y -> m", " NR_CPUS ", " -> 100", `-> "-a \"b\""`, " PHYSICAL_START 0x1000000 -> 0x2000000"}},
		{name: "a fragment, and --set over it", fragment: "# why\nCONFIG_DUMMY=y\nCONFIG_VLAN_8021Q=m\n# CONFIG_SWAP is not set\n", sets: []string{"DUMMY=m"},
			changes: []string{" DUMMY y -> m"}},
		{name: "drivers", drivers: []string{"be2net", "hpilo.ko", "snd-hda-intel", "mlx5_core"},
			changes: []string{"BE2NET m", "HP_ILO n -> m", "SND_HDA_INTEL m", "MLX5_CORE m", "NET_VENDOR_EMULEX n -> y"}},
		{name: "unknown", sets: []string{"BE2NTE=y"}, errors: []string{"--set: CONFIG_BE2NTE: this kernel has no such symbol"}, hint: "did you mean CONFIG_BE2NET"},
		{name: "unmet", sets: []string{"BE2NET=m", "NR_CPUS=100000", "X86_64=n", "PHYLINK=y", "KERNEL_XZ=y"}, fragment: "CONFIG_EXPERT=n\nCONFIG_MLX5_CORE_EN=y\n", errors: []string{
			"--set: CONFIG_BE2NET=m did not stick, it is n: it depends on NET_VENDOR_EMULEX, which is n (drivers/net/ethernet/emulex/Kconfig:",
			"CONFIG_NR_CPUS=100000 did not stick, ", "it has to be from 2 to 512 (arch/x86/Kconfig:",
			"CONFIG_X86_64=n did not stick, it is y: nobody can set it here",
			"CONFIG_PHYLINK=y did not stick, it is n: it has no prompt (drivers/net/phy/Kconfig:",
			"--fragment f: CONFIG_MLX5_CORE_EN=y did not stick, it is n: it depends on ",
			"nothing was written",
		}, hint: "--set CONFIG_NET_VENDOR_MELLANOX=y --set CONFIG_MLX5_CORE="},
		{name: "wrong type", sets: []string{"NR_CPUS=many", "EXPERT=m"}, errors: []string{`"many" is no whole number`, `"m" is not y or n`}},
		{name: "no driver", drivers: []string{"be2nte"}, errors: []string{"--driver be2nte: no Makefile of this kernel builds a module of that name", "architecture"}, hint: "did you mean be2net"},
		{name: "a part of drivers", drivers: []string{"be_main"}, errors: []string{"be_main is no module of this kernel, but a part of be2iscsi and be2net"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := w.WriteFile(t.Context(), ".config", original); err != nil {
				t.Fatal(err)
			}
			s, err := kernelconfig.Start(t.Context(), w, "x86_64")
			if err != nil {
				t.Fatal(err)
			}
			notes, err := s.Apply(t.Context(), edit(t, tt.fragment, tt.sets, tt.drivers))
			if tt.errors != nil {
				wantError(t, err, tt.errors, tt.hint)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Log(strings.Join(notes, "\n"))
			changes, err := s.Changes(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			for _, c := range changes {
				text.WriteString(c.String() + "\n")
			}
			wantParts(t, text.String(), tt.changes...)
			checkSaved(t, s, changes)
		})
	}
}

func edit(t *testing.T, fragment string, sets, drivers []string) kernelconfig.Edit {
	t.Helper()
	e := kernelconfig.Edit{Drivers: drivers}
	if fragment != "" {
		f, err := kernelconfig.ParseFragment("f", []byte(fragment))
		if err != nil {
			t.Fatal(err)
		}
		e.Fragments = append(e.Fragments, f)
	}
	for _, set := range sets {
		a, err := kconfig.ParseAssignment(set)
		if err != nil {
			t.Fatal(err)
		}
		e.Set = append(e.Set, a)
	}
	return e
}

func wantError(t *testing.T, err error, parts []string, hint string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	wantParts(t, err.Error(), parts...)
	var hinted interface{ Hint() string }
	if hint != "" && (!errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), hint)) {
		t.Errorf("%v: no hint %q", err, hint)
	}
}

// checkSaved: what savedefconfig writes is a configuration, and has a change.
func checkSaved(t *testing.T, s *kernelconfig.Session, changes []kconfig.Change) {
	t.Helper()
	saved, err := s.Saved(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := kconfig.Parse(bytes.NewReader(saved))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(changes, func(ch kconfig.Change) bool { return ch.To != "n" && c[ch.Name] == ch.To }) {
		t.Errorf("nothing of %v is in\n%s", changes, saved)
	}
}

// TestKconfigTree reads all Kconfig files of the real kernel, for both
// architectures, and compares with what the kernel's own tool says: a symbol
// that is off stands in its .config exactly if its prompt is visible.
func TestKconfigTree(t *testing.T) {
	l := needLab(t)
	l.turn(t)
	w := l.configured(t)
	for _, arch := range []string{"x86", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			if err := w.Run(t.Context(), nil, "make", "ARCH="+arch, "CROSS_COMPILE=", "CC=gcc", "defconfig"); err != nil {
				t.Fatal(err)
			}
			data, err := w.ReadFile(t.Context(), ".config")
			if err != nil {
				t.Fatal(err)
			}
			config, err := kconfig.Parse(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			r, err := w.ReadTree(t.Context(), "/src/linux")
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			files, err := kconfig.ReadTar(r, 1)
			if err != nil {
				t.Fatal(err)
			}
			compareVisible(t, readTree(t, files, arch), config)
		})
	}
}

func readTree(t *testing.T, files fs.FS, arch string) *kconfig.Tree {
	t.Helper()
	tree, err := kconfig.ParseTree(files, arch)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range tree.Unknown {
		t.Errorf("not understood: %s", u)
	}
	m, err := kconfig.ParseMakefiles(files, arch)
	if err != nil {
		t.Fatal(err)
	}
	for _, driver := range []string{"be2net", "hpilo", "ionic", "mpi3mr", "qede", "ice", "igc", "ixgbe", "mlx5_core", "megaraid_sas", "nvme", "bnx2x"} {
		if _, err := m.Find(driver); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%s: %d symbols, %d choices, %d files", arch, len(tree.Symbols), len(tree.Choices), len(tree.Files))
	return tree
}

// compareVisible allows for what only the compiler knows.
func compareVisible(t *testing.T, tree *kconfig.Tree, config kconfig.Config) {
	t.Helper()
	checked, compiler := 0, 0
	for _, name := range slices.Sorted(maps.Keys(tree.Symbols)) {
		s := tree.Symbols[name]
		value, there := config[name]
		if s.Type != kconfig.Bool && s.Type != kconfig.Tristate || !s.Prompts() || value == "y" || value == "m" {
			continue
		}
		checked++
		value = "y"
		if s.Type == kconfig.Tristate {
			value = "m"
		}
		r := tree.Why(config, kconfig.Assignment{Name: name, Value: value})
		switch hidden := len(r.Unmet) > 0; {
		case hidden && there:
			t.Errorf("%s is visible for the kernel's tools, but: %v", name, r)
		case !hidden && !there:
			compiler++
			t.Logf("%s is hidden for the kernel's tools, but: %v", name, r)
		}
	}
	t.Logf("%d symbols that are off were compared, %d hang on the compiler", checked, compiler)
	if checked < 5000 || compiler > 20 {
		t.Errorf("%d compared, %d hang on the compiler", checked, compiler)
	}
}

// TestKernelConfigCommand is the command without a terminal: a change is
// printed and written, and is the beginning of the next one; a failure and
// --dry-run write nothing.
func TestKernelConfigCommand(t *testing.T) {
	l := needLab(t)
	l.turn(t)
	cmd := l.configure(t, "--driver", "be2net", "--set", "NR_CPUS=32")
	r := l.run(t, cmd)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	wantParts(t, r.stdout, "+BE2NET m\n", " NET_VENDOR_EMULEX n -> y\n", "-> 32\n")
	wantParts(t, r.stderr, "CONFIG_NET_VENDOR_EMULEX=y (needed by BE2NET), CONFIG_BE2NET=m", "written to "+vmConfig)
	path := filepath.Join(cmd.Dir, vmConfig)
	written, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wantParts(t, string(written), "CONFIG_BE2NET=m\n", "CONFIG_NR_CPUS=32\n")

	for name, tt := range map[string]struct {
		args   []string
		code   int
		stdout string
		stderr []string
	}{
		"dry run":   {[]string{"--dry-run", "--set", "NR_CPUS=16"}, 0, " NR_CPUS 32 -> 16\n", []string{"1 symbols would change"}},
		"no change": {[]string{"--driver", "be2net"}, 0, "", []string{"is built already", "nothing changed"}},
		"failure":   {[]string{"--set", "QEDE=m"}, 1, "", []string{"CONFIG_QEDE=m did not stick", "hint: what it needs, all together: --set "}},
	} {
		t.Run(name, func(t *testing.T) {
			again := l.configure(t, tt.args...)
			again.Dir = cmd.Dir
			r := l.run(t, again)
			if r.code != tt.code || r.stdout != tt.stdout {
				t.Errorf("exit code %d: %q %s", r.code, r.stdout, r.stderr)
			}
			wantParts(t, r.stderr, tt.stderr...)
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, written) {
				t.Errorf("the file changed: %v", err)
			}
			if found := l.leftovers(t, again); len(found) > 0 {
				t.Errorf("left behind: %q", found)
			}
		})
	}
	if found := l.leftovers(t, cmd); len(found) > 0 {
		t.Errorf("left behind: %q", found)
	}
}
