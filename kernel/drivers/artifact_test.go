package drivers

import (
	"debug/elf"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"hooksmith/kernel"
	"hooksmith/publish/hooktest"
)

const release = "6.12.1-test"

// object is a module with these strings in .modinfo.
func object(machine elf.Machine, name string, info ...string) *fstest.MapFile {
	return &fstest.MapFile{Data: hooktest.Driver(byte(machine), name, release, info...)}
}

// root is a small root file system: ice, and be2net that needs another.
func root(machine elf.Machine) fstest.MapFS {
	const dir = "usr/lib/modules/" + release + "/"
	return fstest.MapFS{
		dir + "kernel/net/ice.ko":                object(machine, "ice", "alias=pci:v00008086d00001593sv*sd*bc*sc*i*", "firmware=intel/ice/ddp/ice.pkg"),
		dir + "kernel/net/be2net.ko":             object(machine, "be2net", "alias=pci:v000010DFd00000720sv*sd*bc*sc*i*", "depends=helper"),
		dir + "kernel/net/helper.ko":             object(machine, "helper"),
		dir + "modules.alias":                    {Data: []byte("# made by depmod\nalias pci:v00008086d00001593sv*sd*bc*sc*i* ice\nalias pci:v000010DFd00000720sv*sd*bc*sc*i* be2net\n")},
		dir + "modules.dep":                      {Data: []byte("kernel/net/ice.ko:\nkernel/net/be2net.ko: kernel/net/helper.ko\nkernel/net/helper.ko:\n")},
		dir + "modules.builtin":                  {Data: []byte("kernel/drivers/nvme/host/nvme.ko\n")},
		"usr/lib/firmware/intel/ice/ddp/ice.pkg": {},
	}
}

func TestOpen(t *testing.T) {
	const dir = "usr/lib/modules/" + release + "/"
	with := func(add map[string]string, drop ...string) fstest.MapFS {
		r := root(elf.EM_X86_64)
		for name, text := range add {
			r[name] = &fstest.MapFile{Data: []byte(text)}
		}
		for _, name := range drop {
			delete(r, name)
		}
		return r
	}
	for _, tt := range []struct {
		name   string
		root   fs.FS
		device string
		state  State
		todo   string
	}{
		{"as depmod left it", with(nil), "8086:1593", OK, ""},
		{"needs another", with(nil), "10df:0720", OK, ""},
		{"what it needs is not there", with(nil, dir+"kernel/net/helper.ko"), "10df:0720", Blocked, "be2net: needs helper, which is not in"},
		{"the same without modules.dep", with(nil, dir+"kernel/net/helper.ko", dir+"modules.dep"), "10df:0720", Blocked, "be2net: needs helper, which is not in"},
		{"not in modules.dep", with(map[string]string{dir + "modules.dep": "x.ko:\n"}), "8086:1593", Blocked, "ice: not in modules.dep"},
		{"not in modules.alias", with(map[string]string{dir + "modules.alias": "alias x y\n"}), "8086:1593", Missing, "ice: it is in, but that of kernel 6.12.1-test does not know the device"},
		{"no modules.alias", with(nil, dir+"modules.alias"), "8086:1593", OK, ""},
		{"blacklisted", with(map[string]string{"etc/modprobe.d/a.conf": "# no ice\nblacklist \\\n ice\n"}), "8086:1593", Blocked, "ice: blacklisted in /etc/modprobe.d/a.conf"},
		{"the file is hidden", with(map[string]string{"etc/modprobe.d/a.conf": "", "usr/lib/modprobe.d/a.conf": "blacklist ice\n"}), "8086:1593", OK, ""},
		{"switched off", with(map[string]string{"usr/lib/modprobe.d/a.conf": "install helper /bin/true\n"}), "10df:0720", Blocked, "be2net: needs helper, which is switched off in /usr/lib/modprobe.d/a.conf"},
		{"alias of modprobe.d", with(map[string]string{"etc/modprobe.d/a.conf": "alias pci:v0000DEADd0000BEEF* ice\n"}), "pci:v0000DEADd0000BEEFsv00000000sd00000000bc02sc00i00", OK, ""},
		{"built in by modules.builtin", with(nil), "144d:a80a@010802", BuiltIn, ""},
		{"built in by modules.builtin.alias", with(map[string]string{dir + "modules.builtin.alias": "alias pci:v0000DEADd0000BEEFsv*sd*bc*sc*i* nvme\n"}), "dead:beef@0100", BuiltIn, ""},
		{"no firmware", with(nil, "usr/lib/firmware/intel/ice/ddp/ice.pkg"), "8086:1593", OK, "ice: firmware by --firmware ice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := Open(t.Context(), tt.root, Options{Source: "x"})
			if err != nil {
				t.Fatal(err)
			}
			r, err := (&Checker{Artifact: a, Table: table(t), Policy: policy(t)}).Check(devices(t, tt.device))
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Devices[0]; got.State != tt.state || !strings.HasPrefix(strings.Join(got.Todo, "\n"), tt.todo) || tt.todo == "" && len(got.Todo) > 0 {
				t.Errorf("%+v, want %s", got, tt.state)
			}
			if (len(a.Warnings) > 0) != (tt.name == "no modules.alias") || a.Release != release || a.Arch != kernel.X86_64 {
				t.Errorf("%+v", a)
			}
		})
	}
}

func TestOpenErrors(t *testing.T) {
	two := root(elf.EM_X86_64)
	two["lib/modules/5.10.1/modules.dep"] = &fstest.MapFile{}
	two["usr/lib/modules/5.10.1/modules.dep"] = &fstest.MapFile{}
	foreign := root(elf.EM_MIPS)
	for _, tt := range []struct {
		root    fs.FS
		release string
		want    string
	}{
		{fstest.MapFS{"init": {}}, "", "x: there is no folder lib/modules/RELEASE in it"},
		{two, "", "x: there are modules of several kernels in it (5.10.1, 6.12.1-test): choose one by --release"},
		{two, "1.0", "x: there are no modules of kernel 1.0 in it"},
		{foreign, "", "x: module be2net.ko: "},
	} {
		if _, err := Open(t.Context(), tt.root, Options{Source: "x", Release: tt.release}); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
	if a, err := Open(t.Context(), two, Options{Source: "x", Release: release}); err != nil || a.Release != release {
		t.Errorf("%v", err)
	}
	if a, err := Open(t.Context(), root(elf.EM_AARCH64), Options{}); err != nil || a.Arch != kernel.AArch64 {
		t.Errorf("%v", err)
	}
}

// TestOpenLinks: lib is a link to usr/lib, as usr-merge has it.
func TestOpenLinks(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, root(elf.EM_X86_64)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("usr/lib", filepath.Join(dir, "lib")); err != nil {
		t.Fatal(err)
	}
	a, err := Open(t.Context(), os.DirFS(dir), Options{Source: "x"})
	if err != nil || !a.has("ice") || len(a.missing["ice"]) != 0 {
		t.Errorf("%v, %+v", err, a)
	}
}
