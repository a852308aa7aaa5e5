package kernel

import (
	"strings"
	"testing"
)

func TestParsePolicyErrors(t *testing.T) {
	const ok = "groups:\n  - {name: a, why: x, modules: [a]}\n"
	for _, tt := range []struct{ name, text, message string }{
		{"empty", "", "no groups"},
		{"unknown key", ok + "group: []\n", "p.yaml:3:1: unknown field"},
		{"unknown key inside", "groups:\n  - name: a\n    why: x\n    module: [a]\n", "p.yaml:4:5: unknown field"},
		{"doubled key", "groups:\n  - name: a\n    name: b\n", "p.yaml:3:5: mapping key"},
		{"no list", "groups: 7\n", "p.yaml:1:9: "},
		{"not yaml", "groups: [\n", "p.yaml:1:"},
		{"doubled name", ok + "  - {name: a, why: x, modules: [b]}\n", `groups[1]: name "a" is taken`},
		{"reserved name", "groups:\n  - {name: all, why: x, modules: [b]}\n", `name "all" is taken`},
		{"bad name", "groups:\n  - {name: A b, why: x, modules: [b]}\n", `name "A b"`},
		{"no reason", "groups:\n  - {name: a, modules: [b]}\n", "group a: needs why and modules"},
		{"no modules", "groups:\n  - {name: a, why: x}\n", "group a: needs why and modules"},
		{"bad arch", "groups:\n  - {name: a, why: x, arch: [amd64], modules: [b]}\n", `arch "amd64": known are x86_64 and aarch64`},
		{"bad pattern", "groups:\n  - name: a\n    why: x\n    modules:\n      - 'a['\n", `p.yaml:5:9: module pattern "a[": syntax error in pattern`},
		{"suffix", "groups:\n  - {name: a, why: x, modules: [a.ko]}\n", `leave out the leading "kernel/" and the suffix ".ko"`},
		{"kernel/", "groups:\n  - {name: a, why: x, modules: [kernel/fs/**]}\n", "leave out the leading"},
		{"pattern of another kind", "groups:\n  - {name: a, why: x, modules: [{x: y}]}\n", "p.yaml:2:"},
		{"rule without reason", "never: [{modules: [a]}]\n" + ok, "never[0]: needs why and modules"},
		{"firmware without package", ok + "firmware: [{name: a, files: [a]}]\n", "firmware a: needs package and files"},
		{"firmware glob", ok + "firmware: [{name: a, package: b, files: [/a]}]\n", "relative to /lib/firmware"},
		{"firmware doubled", ok + "firmware: [{name: a, package: b, files: [a]}, {name: a, package: b, files: [a]}]\n", `firmware[1]: name "a" is taken`},
		{"too long", strings.Repeat("#", maxPolicy+1), "more than 1048576 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParsePolicy("p.yaml", []byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error %v, want %q", err, tt.message)
			}
		})
	}
}

func TestPattern(t *testing.T) {
	for _, tt := range []struct {
		pattern, path string
		want          bool
	}{
		{"drivers/net/ethernet/**", "kernel/drivers/net/ethernet/intel/ice/ice.ko.xz", true},
		{"drivers/net/ethernet/**", "kernel/drivers/net/ethernet/jme.ko.zst", true},
		{"drivers/net/ethernet/**", "kernel/drivers/net/mii.ko.gz", false},
		{"drivers/net/*", "kernel/drivers/net/mii.ko", true},
		{"drivers/net/*", "kernel/drivers/net/phy/libphy.ko", false},
		{"**/*_cs", "kernel/drivers/net/ethernet/8390/pcnet_cs.ko", true},
		{"**/*_cs", "kernel/pcnet_cs.ko", true},
		{"drivers/**/intel/**", "kernel/drivers/net/ethernet/intel/igc/igc.ko", true},
		{"virtio-net", "kernel/drivers/net/virtio_net.ko", true},
		{"virtio_rng", "kernel/drivers/char/hw_random/virtio-rng.ko.xz", true},
		{"virtio*", "kernel/drivers/net/virtio_net.ko", true},
		{"virtio", "kernel/drivers/net/virtio_net.ko", false},
		{"updates/**", "updates/ice.ko", true},
	} {
		p, err := ParsePattern(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		name, err := moduleName(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.match(newTarget(tt.path, name)); got != tt.want {
			t.Errorf("%s %s: %v", tt.pattern, tt.path, got)
		}
	}
	for _, bad := range []string{"", "/a", "a/", "a//b", "a/**b/c", "**", "a**", "**/**/**/**/a", "a/[", "a.ko.xz"} {
		if _, err := ParsePattern(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(somePolicy))
	f.Add([]byte("groups: [{name: a, why: b, modules: ['**/[a-z]*/?x', b]}]"))
	f.Add([]byte("groups: !0 #")) // the decoder panics
	f.Add([]byte("groups: &a [{name: b, why: c, modules: [*a]}]"))
	target := newTarget("kernel/drivers/net/ethernet/intel/ice/ice.ko.xz", "ice")
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePolicy("p.yaml", b)
		if err != nil {
			return
		}
		for _, g := range p.Groups {
			matchAny(g.Modules, target)
		}
		p.FirmwareFor("a/b.bin", X86_64)
	})
}
