package main

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"hooksmith/configs"
)

func shipped(t *testing.T) (fs.FS, []recipe) {
	t.Helper()
	dir, err := fs.Sub(configs.FS, "kernel")
	if err != nil {
		t.Fatal(err)
	}
	recipes, err := readRecipes(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, recipes
}

// TestShipped checks what can be checked without a kernel's source: the form of every fragment, that no symbol stands in
// two of them, that all are used, and that the configurations are there and hold what was asked for.
func TestShipped(t *testing.T) {
	dir, recipes := shipped(t)
	used, files := make(map[string]bool), []string{}
	for _, r := range recipes {
		files = append(files, r.file())
		asks, err := r.asks(dir)
		if err != nil {
			t.Errorf("%s: %v", r.file(), err)
			continue
		}
		for _, name := range r.Fragments {
			used[name+".config"] = true
		}
		text, err := fs.ReadFile(dir, r.file())
		if err != nil {
			t.Error(err)
			continue
		}
		holds(t, r, parseConfig(text), asks)
	}

	entries, err := fs.ReadDir(dir, "fragments")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !used[e.Name()] {
			t.Errorf("no recipe uses fragments/%s", e.Name())
		}
	}
	entries, err = fs.ReadDir(dir, ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() && e.Name() != "recipes.yaml" && !slices.Contains(files, e.Name()) {
			t.Errorf("%s is the result of no recipe", e.Name())
		}
	}
}

// holds says where a configuration contradicts what was asked for. A symbol may be missing from a file: then it is the
// kernel's default, which only Kconfig knows (kerneltest, TestRecipes). The neighbours' configurations name every symbol.
func holds(t *testing.T, r recipe, config map[string]string, asks [][]ask) {
	t.Helper()
	for _, list := range asks {
		for _, a := range list {
			have, ok := config[a.symbol]
			if ok && have != a.value || !ok && r.neighbour() {
				t.Errorf("%s: asked for %s, the file has %q: run scripts/kernel-configs.sh", r.file(), a, have)
			}
		}
	}
}

// TestAskedDrivers names what users of Hook asked for, issue by issue: it must not get lost in a tidy-up.
func TestAskedDrivers(t *testing.T) {
	dir, recipes := shipped(t)
	asked := map[string]string{
		"CONFIG_IGC": "I225, hook#90", "CONFIG_IXGBE": "X520, hook#258", "CONFIG_MLX5_CORE_EN": "XE8640, hook#243",
		"CONFIG_BE2NET": "hook#325, #326", "CONFIG_IONIC": "Pensando, hook#20", "CONFIG_BLK_DEV_MD": "MD RAID, hook#98",
		"CONFIG_QEDE": "eks-anywhere#2906", "CONFIG_ICE": "E800, build-tooling#5156", "CONFIG_ENIC": "UCS, build-tooling",
		"CONFIG_SCSI_FC_ATTRS": "UCS, build-tooling", "CONFIG_BNX2X": "", "CONFIG_BNXT": "", "CONFIG_TIGON3": "", "CONFIG_MLX4_EN": "",
		"CONFIG_MEGARAID_SAS": "", "CONFIG_SCSI_MPT3SAS": "", "CONFIG_SCSI_SMARTPQI": "", "CONFIG_BLK_DEV_NVME": "", "CONFIG_IPMI_SI": "",
		"CONFIG_HP_ILO": "hook#330, whose servers have ARM processors too", "CONFIG_HINIC": "", "CONFIG_LIQUIDIO": "", "CONFIG_BLK_DEV_PCIESSD_MTIP32XX": "",
	}
	x86 := map[string]string{"CONFIG_FCOE_FNIC": "UCS, build-tooling", "CONFIG_SCSI_SNIC": "UCS"}
	arm64 := map[string]string{"CONFIG_OCTEONTX2_AF": "", "CONFIG_OCTEONTX2_PF": "", "CONFIG_OCTEONTX2_VF": ""}
	for _, r := range recipes {
		if r.Name != "generic" {
			continue
		}
		asks, err := r.asks(dir)
		if err != nil {
			t.Fatal(err)
		}
		set := make(map[string]bool)
		for _, a := range slices.Concat(asks...) {
			set[a.symbol] = a.value == "y" || a.value == "m"
		}
		for symbol, why := range asked {
			if !set[symbol] {
				t.Errorf("%s: %s is not asked for (%s)", r.file(), symbol, why)
			}
		}
		for symbol, why := range map[string]map[string]string{"x86_64": x86, "aarch64": arm64}[r.Arch] {
			if !set[symbol] {
				t.Errorf("%s: %s is not asked for (%s)", r.file(), symbol, why)
			}
		}
		if !r.version.less(version{5, 14}) && !set["CONFIG_SCSI_MPI3MR"] {
			t.Errorf("%s: CONFIG_SCSI_MPI3MR is not asked for (hook#309)", r.file())
		}
	}
}

func TestParseFragment(t *testing.T) {
	const good = `# Title.

# Why.
CONFIG_A=y
# CONFIG_B is not set
CONFIG_C="x y"

#: since 5.17
#: until 6.11
#: arch x86_64
# Why not.
CONFIG_D=0x10
`
	f, err := parseFragment([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		v    version
		arch string
		want string
	}{
		{version{5, 10}, "x86_64", "CONFIG_A=y|# CONFIG_B is not set|CONFIG_C=\"x y\""},
		{version{5, 17}, "aarch64", "CONFIG_A=y|# CONFIG_B is not set|CONFIG_C=\"x y\""},
		{version{5, 17}, "x86_64", "CONFIG_A=y|# CONFIG_B is not set|CONFIG_C=\"x y\"|CONFIG_D=0x10"},
		{version{6, 11}, "x86_64", "CONFIG_A=y|# CONFIG_B is not set|CONFIG_C=\"x y\"|CONFIG_D=0x10"},
		{version{6, 12}, "x86_64", "CONFIG_A=y|# CONFIG_B is not set|CONFIG_C=\"x y\""},
	} {
		var got []string
		for _, a := range f.asks(test.v, test.arch) {
			got = append(got, a.String())
		}
		if strings.Join(got, "|") != test.want {
			t.Errorf("%v %s: %q, want %q", test.v, test.arch, got, test.want)
		}
	}

	for text, want := range map[string]string{
		"CONFIG_A=y\n":                           "no comment says why",
		"# Why.\nCONFIG_A=n\n":                   "write # CONFIG_A is not set",
		"# Why.\nCONFIG_A = y\n":                 "is not CONFIG_X=VALUE",
		"# Why.\nCONFIG_A=y # because\n":         "is not CONFIG_X=VALUE",
		"# Why CONFIG_A.\nCONFIG_B=y\n":          "leave out CONFIG_",
		"#: since six\n# Why.\nCONFIG_A=y\n":     "not MAJOR.MINOR",
		"#: arch riscv\n# Why.\nCONFIG_A=y\n":    "neither x86_64 nor aarch64",
		"#: sinse 6.1\n# Why.\nCONFIG_A=y\n":     "none of since, until, arch",
		"#: since 6.1\n# Why.\n\n# CONFIG_A=y\n": "leave out CONFIG_",
		"#: since 6.1\n# Why.\n\nCONFIG_A=y\n":   "followed by no symbol",
	} {
		if _, err := parseFragment([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
