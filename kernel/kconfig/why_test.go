package kconfig

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// all is a configuration in which what can be on by itself is.
func all() Config {
	return Config{
		"MODULES": "y", "64BIT": "y", "X86": "y", "HAVE_KERNEL_GZIP": "y", "KERNEL_GZIP": "y", "KERNEL_XZ": "n",
		"NET": "y", "PCI": "y", "NET_VENDOR_EMULEX": "y", "BE2NET": "m", "BE2NET_HWMON": "y", "LOG_SHIFT": "18",
		"LOCALVERSION": `""`, "PHYS_START": "0x1000000",
	}
}

func with(c Config, changes ...string) Config {
	for _, s := range changes {
		a, _ := ParseAssignment(s)
		c[a.Name] = a.Value
	}
	return c
}

func TestWhy(t *testing.T) {
	tree := smallTree(t, "x86")
	for _, tt := range []struct {
		config Config
		want   string
		reason string // empty: it is so
	}{
		{all(), "BE2NET=m", ""},
		{all(), "NOSUCH_AT_ALL=n", "CONFIG_NOSUCH_AT_ALL: this kernel has no such symbol"},
		{all(), "BE2NTE=y", "no such symbol (for this architecture) / did you mean CONFIG_BE2NET?"},
		{all(), "EXPERT=n", ""},
		{all(), "LOCALVERSION=", ""},
		{all(), "PHYS_START=0x01000000", ""},
		{all(), "PHYS_START=1000000", ""},
		{all(), "OF_ONLY=m", "CONFIG_OF_ONLY=m did not stick, it is n: it depends on OF || COMPILE_TEST, " +
			"OF is no symbol of this kernel (for this architecture) and COMPILE_TEST is n (drivers/net/Kconfig:36) and on"},
		{with(all(), "BE2NET=n", "PCI=n"), "BE2NET=m", "it is n: it depends on PCI, which is n (drivers/net/emulex/benet/Kconfig:4)"},
		{with(all(), "BE2NET=n", "NET_VENDOR_EMULEX=n", "NET=n"), "BE2NET=m",
			"it depends on NET, which is n (drivers/net/Kconfig:7) and on NET_VENDOR_EMULEX, which is n (drivers/net/Kconfig:12)"},
		{with(all(), "BE2NET_HWMON=n", "BE2NET=y", "MDIO=m"), "BE2NET_HWMON=y",
			"!(BE2NET=y && MDIO=m), BE2NET is y and MDIO is m (drivers/net/emulex/benet/Kconfig:10)"},
		{with(all(), "MODULES=n", "BE2NET=y"), "BE2NET=m", "it is y: "},
		{all(), "EXPERT=m", `"m" is not y or n, and it is a bool (Kconfig:17)`},
		{all(), "BE2NET=yes", `"yes" is not y, m or n, and it is a tristate`},
		{all(), "LOG_SHIFT=x", `"x" is no whole number`},
		{all(), "PHYS_START=xyz", `"xyz" is no hexadecimal number`},
		{all(), "LOG_SHIFT=28", "it has to be from 12 to 25 (Kconfig:52)"},
		{with(all(), "EXPERT=y"), "LOG_SHIFT=9", "it has to be from 10 to 30 (Kconfig:53)"},
		{all(), "PHYS_START=0x2000000", "it depends on EXPERT || COMPILE_TEST, EXPERT is n and COMPILE_TEST is n (Kconfig:45)"},
		{all(), "MDIO=m", "it has no prompt (drivers/net/Kconfig:22) and is on only if one of these selects it: CONFIG_PHYLIB (n, drivers/net/Kconfig:20)"},
		{with(all(), "PHYLIB=m", "MDIO=m"), "MDIO=n", "it is selected by CONFIG_PHYLIB, which is m (drivers/net/Kconfig:20)"},
		{all(), "X86=n", "nobody can set it here, and its default is y (arch/x86/Kconfig:2)"},
		{all(), "KERNEL_XZ=y", `it is one of the choice "Kernel compression mode" (Kconfig:28), in which CONFIG_KERNEL_GZIP is on`},
		{all(), "KERNEL_GZIP=n", `one of the choice "Kernel compression mode" has to be on (Kconfig:28)`},
		{with(all(), "CC_HAS_GOTO=n"), "JUMP=y", "it depends on CC_HAS_GOTO, which is n (Kconfig:61)"},
		{with(all(), "CC_HAS_GOTO=y"), "JUMP=y", "by something that the compiler tells"},
		{all(), "GOTO_DIRECT=y", "by something that the compiler tells"},
	} {
		a, err := ParseAssignment(tt.want)
		if err != nil {
			t.Fatal(err)
		}
		r := tree.Why(tt.config, a)
		got := ""
		if r != nil {
			got = r.Error() + " / " + r.Hint()
		}
		if (got == "") != (tt.reason == "") || !strings.Contains(got, tt.reason) {
			t.Errorf("%s: %q\nwant %q", tt.want, got, tt.reason)
		}
	}
}

func TestNormalize(t *testing.T) {
	tree := smallTree(t, "x86")
	for in, want := range map[string]string{
		"LOCALVERSION=-x y": `CONFIG_LOCALVERSION="-x y"`, `LOCALVERSION="a\"b"`: `CONFIG_LOCALVERSION="a\"b"`,
		`LOCALVERSION=a"b`: `CONFIG_LOCALVERSION="a\"b"`, "LOCALVERSION=y": `CONFIG_LOCALVERSION="y"`,
		"PHYS_START=ff": "CONFIG_PHYS_START=0xff", "LOG_SHIFT=14": "CONFIG_LOG_SHIFT=14", "NET=n": "# CONFIG_NET is not set",
	} {
		a, err := ParseAssignment(in)
		if err != nil {
			t.Fatal(err)
		}
		if a, err = tree.Normalize(a); err != nil || a.String() != want {
			t.Errorf("%s: %s, %v", in, a, err)
		}
	}
}

func TestEnable(t *testing.T) {
	tree := smallTree(t, "x86")
	none := func() Config { return Config{"MODULES": "y", "64BIT": "y", "X86": "y"} }
	for _, tt := range []struct {
		config Config
		name   string
		want   string // steps, or the error
	}{
		{none(), "BE2NET", "NET=y PCI=y NET_VENDOR_EMULEX=y BE2NET=m"},
		{all(), "BE2NET", ""},
		{with(none(), "PCI=y"), "BE2NET_HWMON", "NET=y NET_VENDOR_EMULEX=y BE2NET=m BE2NET_HWMON=y"},
		{none(), "MDIO", "NET=y PHYLIB=m"},
		{none(), "TWO_WAYS", "PHYLIB || VENDOR2 (drivers/net/Kconfig:29): PHYLIB or VENDOR2 would do: choose one"},
		{with(none(), "VENDOR2=y"), "TWO_WAYS", "NET=y TWO_WAYS=m"},
		{none(), "OF_ONLY", "CONFIG_OF_ONLY depends on OF || COMPILE_TEST (drivers/net/Kconfig:36): CONFIG_OF: this kernel has no such symbol"},
		{none(), "HAVE_KERNEL_GZIP", ""}, // X86 selects it already
		{none(), "NOSUCH", "no such symbol"},
		{none(), "LOCALVERSION", "CONFIG_LOCALVERSION is a string: it is neither on nor off"},
	} {
		steps, err := tree.Enable(tt.config, tt.name, Mod)
		got := spell(steps)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want && (err == nil || !strings.Contains(got, tt.want)) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func spell(steps []Step) string {
	var words []string
	for _, s := range steps {
		words = append(words, s.Name+"="+s.Value)
	}
	return strings.Join(words, " ")
}

func TestDrivers(t *testing.T) {
	tree := smallTree(t, "x86")
	m, err := ParseMakefiles(linux, "x86")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string // steps, or a part of the error or of its hint
		at         string
	}{
		{"be2net", "NET=y PCI=y NET_VENDOR_EMULEX=y BE2NET=m", "drivers/net/emulex/benet/Makefile:1"},
		{"be2net.ko.xz", "NET=y PCI=y NET_VENDOR_EMULEX=y BE2NET=m", "drivers/net/emulex/benet/Makefile:1"},
		{"/lib/modules/6.12/kernel/drivers/misc/hpilo.ko", "PCI=y HP_ILO=m", "drivers/misc/Makefile:1"},
		{"mdio_bus", "NET=y PHYLIB=m", "drivers/net/phy/Makefile:2"},
		{"mdio-bus", "NET=y PHYLIB=m", "drivers/net/phy/Makefile:2"},
		{"libphy", "NET=y PHYLIB=m", "drivers/net/phy/Makefile:4"},
		{"overlay", "OVERLAY_FS=m", "drivers/misc/Makefile:3"},
		{"always", "", "drivers/misc/Makefile:6"},
		{"both", "MISC_A=m MISC_B=m", "drivers/misc/Makefile:8"},
		{"single", "MISC_B=m", "drivers/misc/Makefile:10"},
		{"shared", "shared is built by CONFIG_MISC_A (drivers/misc/Makefile:4) or by CONFIG_MISC_B (drivers/misc/Makefile:5)", ""},
		{"be_cmds", "be_cmds is no module of this kernel, but a part of be2net / did you mean be2net?", ""},
		{"be2nte", "no Makefile of this kernel builds a module of that name (for this architecture) / did you mean be2net?", ""},
		{"xyz", "--external-module", ""},
		{"of_only", "this kernel has no such symbol", ""},
	} {
		steps, d, err := m.Enable(tree, Config{"MODULES": "y", "64BIT": "y"}, tt.name)
		got, at := spell(steps), ""
		if d != nil {
			at = d.At.String()
		}
		if err != nil {
			got = err.Error()
			var hinted interface{ Hint() string }
			if errors.As(err, &hinted) {
				got += " / " + hinted.Hint()
			}
		}
		if got != tt.want && (err == nil || !strings.Contains(got, tt.want)) || at != tt.at {
			t.Errorf("%s: %q at %q, want %q at %q", tt.name, got, at, tt.want, tt.at)
		}
	}
}

func TestMakeAssignment(t *testing.T) {
	for line, want := range map[string][]string{
		"obj-$(CONFIG_A) += a.o":                  {"obj-$(CONFIG_A)", " a.o"},
		"obj-$(CONFIG_A)+= a.o":                   {"obj-$(CONFIG_A)", " a.o"},
		"obj-$(subst m,y,$(CONFIG_A))\t+= a.o b/": {"obj-$(subst m,y,$(CONFIG_A))", " a.o b/"},
		"obj-$(CONFIG_A:m=y) := x/":               {"obj-$(CONFIG_A:m=y)", " x/"},
		"a-objs := b.o":                           {"a-objs", " b.o"},
		"all: x":                                  nil,
		"$(obj)/x.o: y.c":                         nil,
		"include $(srctree)/x":                    nil,
		"= x":                                     nil,
		"x-$( = y":                                nil,
	} {
		left, right, ok := makeAssignment(line)
		if ok != (want != nil) || ok && !slices.Equal([]string{left, right}, want) {
			t.Errorf("%q: %q %q %v", line, left, right, ok)
		}
	}
}

func FuzzMakefile(f *testing.F) {
	f.Add("obj-$(CONFIG_A) += a.o b/ \\\n c.o\nifdef CONFIG_B\na-objs := x.o\nelse ifeq ($(CONFIG_C),y)\nendif\n", "a")
	f.Add("obj-$(subst m,y,$(CONFIG_X:m=y)) += ../../x/ $(y).o\n", "x.ko")
	f.Fuzz(func(t *testing.T, text, name string) {
		m := &Modules{drivers: map[string][]*Driver{}, parts: map[string][]string{}, gates: map[string][]gate{}}
		m.makefile("drivers/a/Makefile", text, "x86")
		tree := &Tree{Symbols: map[string]*Symbol{}}
		_, _, _ = m.Enable(tree, Config{}, name)
	})
}

func FuzzTar(f *testing.F) {
	f.Add([]byte("x"), 0)
	f.Fuzz(func(t *testing.T, data []byte, strip int) {
		source, err := ReadTar(strings.NewReader(string(data)), strip&3)
		if err == nil {
			_, _ = ParseMakefiles(source, "x86")
		}
	})
}
