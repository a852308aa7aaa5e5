package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func testIndex(t *testing.T, fsys fstest.MapFS) *Index {
	t.Helper()
	x, err := ReadIndex(context.Background(), fsys, testRelease, X86_64)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// someModules is a kernel in small, with the knots that real ones have.
func someModules() fstest.MapFS {
	fsys := modulesFS(map[string]string{
		"kernel/drivers/net/ethernet/a/nic-a.ko":  "depends=mii,libcrc32c|alias=pci:v00008086d*|firmware=a/one.bin|firmware=a/two-*.bin",
		"kernel/drivers/net/mii.ko":               "",
		"kernel/lib/libcrc32c.ko":                 "depends=|softdep=pre: crc32c",
		"kernel/crypto/crc32c_generic.ko":         "alias=crc32c alias=crypto-crc32c",
		"kernel/arch/x86/crypto/crc32c-intel.ko":  "depends=crypto_builtin|alias=crc32c|alias=crypto-crc32c",
		"kernel/drivers/gpu/drm/drm.ko":           "",
		"kernel/drivers/net/ethernet/b/fancy.ko":  "depends=drm|softdep=pre: nothere crypto-sha9 post: late",
		"kernel/drivers/net/ethernet/b/old_cs.ko": "",
		"kernel/drivers/misc/late.ko":             "",
		"kernel/net/tun.ko":                       "depends=|alias=devname:net/tun|alias=char-major-10-200",
	})
	fsys["modules.builtin"] = &fstest.MapFile{Data: []byte("kernel/crypto/crypto_builtin.ko\nkernel/drivers/nvme/host/nvme.ko\n")}
	fsys["modules.builtin.modinfo"] = &fstest.MapFile{Data: []byte("nvme.license=GPL\x00nvme.alias=pci:v*bc01sc08i02*\x00nvme.parm=x:a\nb\x00other.alias=x\x00")}
	fsys["modules.order"] = &fstest.MapFile{Data: []byte("kernel/net/tun.ko\nkernel/arch/x86/crypto/crc32c-intel.ko\nkernel/crypto/crc32c_generic.ko\nkernel/lib/libcrc32c.ko\nkernel/drivers/net/mii.ko\nkernel/gone.ko\n")}
	return fsys
}

const somePolicy = `
never:
  - {why: x, modules: [drivers/gpu/**, "**/*_cs"]}
groups:
  - {name: nic, why: x, modules: [drivers/net/ethernet/**]}
  - {name: tun, why: x, modules: [tun]}
  - {name: nvme, why: x, modules: [nvme, nvme-fabrics]}
  - {name: arm, why: x, arch: [aarch64], modules: [nic_a]}
firmware:
  - {name: a, package: firmware-a, files: [a/**]}
`

func testPolicy(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := ParsePolicy("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func whys(s *Selection) []string {
	var list []string
	for _, m := range s.Modules {
		list = append(list, m.Name+": "+m.Why)
	}
	slices.Sort(list)
	return list
}

func TestSelect(t *testing.T) {
	x := testIndex(t, someModules())
	p := testPolicy(t, somePolicy)
	for _, tt := range []struct {
		name     string
		req      Request
		want     []string
		warnings []string
	}{
		{"group with its needs", Request{Groups: []string{"nic"}}, []string{
			"crc32c_generic: softdep of libcrc32c", "crc32c_intel: softdep of libcrc32c", "drm: needed by fancy", "fancy: group nic",
			"late: softdep of fancy", "libcrc32c: needed by nic_a", "mii: needed by nic_a", "nic_a: group nic",
		}, nil},
		{"by name", Request{Modules: []string{"crc32c-intel", "nvme"}}, []string{"crc32c_intel: asked for by name"}, nil},
		{"pattern without match", Request{Groups: []string{"nvme", "tun"}}, []string{"tun: group tun"},
			[]string{`module group nvme: "nvme-fabrics" matches nothing in kernel 6.12.1-test`}},
		{"nothing", Request{}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := p.Select(x, tt.req)
			if err != nil {
				t.Fatal(err)
			}
			if got := whys(s); !slices.Equal(got, tt.want) {
				t.Errorf("got\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(tt.want, "\n "))
			}
			if !slices.Equal(s.Warnings, tt.warnings) {
				t.Errorf("warnings %q", s.Warnings)
			}
		})
	}
}

func TestSelectErrors(t *testing.T) {
	p := testPolicy(t, somePolicy)
	for _, tt := range []struct {
		name    string
		modules map[string]string
		req     Request
		message string
	}{
		{"missing dependency", map[string]string{"kernel/drivers/net/ethernet/a.ko": "depends=b"}, Request{Groups: []string{"nic"}},
			"module a (kernel/drivers/net/ethernet/a.ko) depends on b, which kernel 6.12.1-test has neither as a module nor built in"},
		{"unknown group", nil, Request{Groups: []string{"nix"}}, `unknown module group "nix" (known: nic, tun, nvme, arm, all)`},
		{"group of another architecture", nil, Request{Groups: []string{"arm"}}, "module group arm is for aarch64, not for x86_64"},
		{"unknown module", nil, Request{Modules: []string{"nope"}}, `module "nope": kernel 6.12.1-test has no module of this name`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := p.Select(testIndex(t, modulesFS(tt.modules)), tt.req)
			if err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error %v, want %q", err, tt.message)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	s, err := testPolicy(t, somePolicy).Select(testIndex(t, someModules()), Request{Groups: []string{"nic", "tun"}})
	if err != nil {
		t.Fatal(err)
	}
	files, err := s.Files()
	if err != nil {
		t.Fatal(err)
	}
	const nic, intel, generic, crc = "kernel/drivers/net/ethernet/a/nic-a.ko", "kernel/arch/x86/crypto/crc32c-intel.ko", "kernel/crypto/crc32c_generic.ko", "kernel/lib/libcrc32c.ko"
	want := map[string]string{
		"modules.dep": lines("kernel/net/tun.ko:; " + intel + ":; " + generic + ":; " + crc + ":; kernel/drivers/net/mii.ko:; " +
			"kernel/drivers/gpu/drm/drm.ko:; kernel/drivers/misc/late.ko:; " + nic + ": " + crc + " kernel/drivers/net/mii.ko; " +
			"kernel/drivers/net/ethernet/b/fancy.ko: kernel/drivers/gpu/drm/drm.ko"),
		"modules.alias": lines("# Aliases extracted from modules themselves.; alias devname:net/tun tun; alias char-major-10-200 tun; " +
			"alias crc32c crc32c_intel; alias crypto-crc32c crc32c_intel; alias crc32c crc32c_generic; alias crypto-crc32c crc32c_generic; " +
			"alias pci:v00008086d* nic_a"),
		"modules.softdep":       lines("# Soft dependencies extracted from modules themselves.; softdep libcrc32c pre: crc32c; softdep fancy pre: nothere crypto-sha9 post: late"),
		"modules.devname":       lines("# Device nodes to trigger on-demand module loading.; tun net/tun c10:200"),
		"modules.builtin":       lines("kernel/crypto/crypto_builtin.ko; kernel/drivers/nvme/host/nvme.ko"),
		"modules.builtin.alias": lines("# Aliases of drivers that are built into the kernel.; alias pci:v*bc01sc08i02* nvme"),
		"modules.order": lines("kernel/net/tun.ko; " + intel + "; " + generic + "; " + crc + "; kernel/drivers/net/mii.ko; kernel/drivers/gpu/drm/drm.ko; " +
			"kernel/drivers/misc/late.ko; " + nic + "; kernel/drivers/net/ethernet/b/fancy.ko"),
	}
	for _, f := range files {
		if string(f.Data) != want[f.Path] {
			t.Errorf("%s:\n%s\nwant:\n%s", f.Path, f.Data, want[f.Path])
		}
		delete(want, f.Path)
	}
	if len(want) > 0 {
		t.Errorf("not written: %v", want)
	}
}

func TestCycles(t *testing.T) {
	for name, modules := range map[string]map[string]string{
		"a -> a":           {"kernel/a.ko": "depends=a"},
		"a -> b -> a":      {"kernel/a.ko": "depends=b", "kernel/b.ko": "depends=a"},
		"b -> c -> d -> b": {"kernel/a.ko": "depends=b", "kernel/b.ko": "depends=c", "kernel/c.ko": "depends=d", "kernel/d.ko": "depends=b"},
	} {
		s, err := testPolicy(t, somePolicy).Select(testIndex(t, modulesFS(modules)), Request{Modules: []string{"a"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Files(); err == nil || !strings.HasSuffix(err.Error(), ": "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLongChain(t *testing.T) {
	modules := map[string]string{"kernel/m0.ko": ""}
	for i := range 300 {
		modules[fmt.Sprintf("kernel/m%d.ko", i+1)] = fmt.Sprintf("depends=m%d", i)
	}
	s, err := testPolicy(t, somePolicy).Select(testIndex(t, modulesFS(modules)), Request{Modules: []string{"m300"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Files(); err == nil || !strings.Contains(err.Error(), "needs more than 256 others") {
		t.Errorf("error %v", err)
	}
}

func TestReadIndexErrors(t *testing.T) {
	otherRelease := testModule{}.object("license=GPL\x00vermagic=6.11.0 SMP \x00")
	for _, tt := range []struct{ name, path, message string }{
		{"newline in name", "kernel/a\nb.ko", "cannot stand in modules.dep"},
		{"blank in folder", "kernel/a b/c.ko", "cannot stand in modules.dep"},
		{"colon", "kernel/a:.ko", "cannot stand in modules.dep"},
		{"no name", "kernel/.ko", "no module file"},
		{"two of one name", "kernel/x/nic_a.ko", "two modules are called nic_a: kernel/drivers/net/ethernet/a/nic-a.ko and kernel/x/nic_a.ko"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fsys := someModules()
			fsys[tt.path] = &fstest.MapFile{Data: testModule{}.bytes("x")}
			_, err := ReadIndex(context.Background(), fsys, testRelease, X86_64)
			if err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error %v, want %q", err, tt.message)
			}
		})
	}
	for name, b := range map[string][]byte{"is built for kernel \"6.11.0\"": otherRelease, "no ELF file": []byte("x")} {
		fsys := someModules()
		fsys["kernel/bad.ko"] = &fstest.MapFile{Data: b}
		_, err := ReadIndex(context.Background(), fsys, testRelease, X86_64)
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "kernel/bad.ko") {
			t.Errorf("error %v, want %q", err, name)
		}
	}
}

func TestReadIndexCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ReadIndex(ctx, someModules(), testRelease, X86_64); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestUpdates: a module in updates/ takes the place of the kernel's own, and
// is carried without being asked for.
func TestUpdates(t *testing.T) {
	fsys := someModules()
	fsys["updates/nic_a.ko"] = &fstest.MapFile{Data: testModule{info: []string{"license=GPL", "depends=mii"}}.bytes("nic_a")}
	s, err := testPolicy(t, somePolicy).Select(testIndex(t, fsys), Request{})
	if err != nil {
		t.Fatal(err)
	}
	if got := whys(s); !slices.Equal(got, []string{"mii: needed by nic_a", "nic_a: from updates/"}) {
		t.Errorf("%q", got)
	}
}

func TestEncode(t *testing.T) {
	x := testIndex(t, someModules())
	var a, b bytes.Buffer
	if err := errors.Join(x.Encode(&a), testIndex(t, someModules()).Encode(&b)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("two runs give different bytes")
	}
	y, err := DecodeIndex(&a)
	if err != nil || !reflect.DeepEqual(x, y) {
		t.Errorf("%v, %+v", err, y)
	}
	for _, text := range []string{"", "{", `{"version":1}`, `{"version":1,"release":"x","modules":[{"path":"b"},{"path":"a"}]}`} {
		if _, err := DecodeIndex(strings.NewReader(text)); err == nil {
			t.Errorf("%q accepted", text)
		}
	}
	if _, err := DecodeIndex(strings.NewReader(`{"version":99}`)); !errors.Is(err, ErrIndexVersion) {
		t.Errorf("error %v", err)
	}
}

func TestFirmwareMissing(t *testing.T) {
	s, err := testPolicy(t, somePolicy).Select(testIndex(t, someModules()), Request{Groups: []string{"nic"}})
	if err != nil {
		t.Fatal(err)
	}
	one, two := "a/one.bin", "a/two-*.bin"
	for _, tt := range []struct {
		name  string
		files []string
		want  []string
	}{
		{"none", nil, []string{one, two}},
		{"plain", []string{"usr/lib/firmware/a/one.bin", "usr/lib/firmware/a/two-3.bin"}, nil},
		{"before usr-merge", []string{"lib/firmware/a/one.bin", "lib/firmware/a/two-3.bin"}, nil},
		{"compressed", []string{"usr/lib/firmware/a/one.bin.xz", "usr/lib/firmware/a/two-3.bin.zst"}, nil},
		{"updates", []string{"usr/lib/firmware/updates/a/one.bin"}, []string{two}},
		{"updates of the release", []string{"usr/lib/firmware/updates/" + testRelease + "/a/one.bin.xz"}, []string{two}},
		{"of the release", []string{"usr/lib/firmware/" + testRelease + "/a/two-.bin"}, []string{one}},
		{"elsewhere", []string{"usr/lib/firmware/b/one.bin", "a/one.bin"}, []string{one, two}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := fstest.MapFS{}
			for _, f := range tt.files {
				tree[f] = &fstest.MapFile{Data: []byte("x")}
			}
			var got []string
			for _, m := range s.FirmwareMissing(tree) {
				got = append(got, m.Files...)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("missing %q, want %q", got, tt.want)
			}
		})
	}
	if hasFirmware(fstest.MapFS{"etc/passwd": {}}, testRelease, "../../../etc/passwd") {
		t.Error("left the firmware folder")
	}
	if hasFirmware(fstest.MapFS{"usr/lib/firmware/a/one.bin": {Mode: fs.ModeDir}}, testRelease, one) {
		t.Error("a folder is no firmware")
	}
}
