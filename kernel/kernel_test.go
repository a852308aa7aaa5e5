package kernel

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

func debianMap() fstest.MapFS {
	return fstest.MapFS{
		"boot/vmlinuz-" + testRelease:                                {Data: testBzImage()},
		"boot/config-" + testRelease:                                 {Data: []byte("# x\nCONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D=\"text\"\n")},
		"usr/lib/modules/" + testRelease + "/kernel/a.ko":            {Data: []byte("x")},
		"usr/lib/modules/" + testRelease + "/modules.builtin":        {},
		"usr/share/doc/linux-image-" + testRelease + "/changelog.gz": {},
	}
}

func TestOpenDebian(t *testing.T) {
	k, err := OpenDebian(debianMap(), X86_64)
	if err != nil {
		t.Fatal(err)
	}
	if k.Release != testRelease || k.Arch != X86_64 || k.ModulesDir != "usr/lib/modules/"+testRelease {
		t.Errorf("%+v", k)
	}
	if !k.Config.BuiltIn("CONFIG_A") || k.Config.BuiltIn("CONFIG_B") || !k.Config.Enabled("CONFIG_B") || k.Config.Enabled("CONFIG_C") || k.Config["CONFIG_D"] != "text" {
		t.Errorf("%v", k.Config)
	}
	f, err := k.OpenImage()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || !bytes.Equal(b, testBzImage()) {
		t.Errorf("image: %d bytes, %v", len(b), err)
	}
	dir, err := k.Modules()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Stat(dir, "kernel/a.ko"); err != nil {
		t.Error(err)
	}
	if _, err := k.OpenModulesTar(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("tar: %v", err)
	}
}

func TestOpenDebianErrors(t *testing.T) {
	for _, tt := range []struct {
		name, message string
		change        func(fstest.MapFS)
	}{
		{"no image", "no boot/vmlinuz-*", func(m fstest.MapFS) { delete(m, "boot/vmlinuz-"+testRelease) }},
		{"two images", "more than one boot/vmlinuz-*", func(m fstest.MapFS) { m["boot/vmlinuz-2"] = &fstest.MapFile{} }},
		{"no modules", "no usr/lib/modules/*", func(m fstest.MapFS) {
			delete(m, "usr/lib/modules/"+testRelease+"/kernel/a.ko")
			delete(m, "usr/lib/modules/"+testRelease+"/modules.builtin")
		}},
		{"modules of two releases", "more than one usr/lib/modules/*", func(m fstest.MapFS) { m["usr/lib/modules/2/x"] = &fstest.MapFile{} }},
		{"other release", "is Linux 6.11.0, but the modules are for 6.12.1-test", func(m fstest.MapFS) {
			b := testBzImage()
			copy(b[0x800:], "6.11.0 (x) #1\x00")
			m["boot/vmlinuz-"+testRelease] = &fstest.MapFile{Data: b}
		}},
		{"other architecture", "is a kernel for aarch64, need one for x86_64", func(m fstest.MapFS) {
			m["boot/vmlinuz-"+testRelease] = &fstest.MapFile{Data: testPlain(testBanner)}
		}},
		{"folder as image", "is no regular file", func(m fstest.MapFS) {
			m["boot/vmlinuz-"+testRelease] = &fstest.MapFile{Mode: fs.ModeDir}
		}},
		{"damaged configuration", "line 2: ", func(m fstest.MapFS) {
			m["boot/config-"+testRelease] = &fstest.MapFile{Data: []byte("CONFIG_A=y\nnonsense\n")}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := debianMap()
			tt.change(tree)
			_, err := OpenDebian(tree, X86_64)
			if err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error %v, want %q", err, tt.message)
			}
		})
	}
}

func kernelTar(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		h := &tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg}
		if strings.HasSuffix(name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestOpenLinuxKit(t *testing.T) {
	modules := kernelTar(t, "./", "./lib/", "./lib/modules/"+testRelease+"/modules.order")
	tree := fstest.MapFS{
		"kernel": {Data: testPlain(testBanner)}, "kernel.tar": {Data: modules}, "System.map": {}, "dtbs.tar.gz": {Data: []byte("dtbs")},
	}
	k, err := OpenLinuxKit(tree, AArch64)
	if err != nil {
		t.Fatal(err)
	}
	for open, want := range map[string]string{"tar": string(modules), "dtbs": "dtbs"} {
		f, err := map[string]func() (*Section, error){"tar": k.OpenModulesTar, "dtbs": k.OpenDeviceTrees}[open]()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(f); err != nil || string(b) != want || f.Size() != int64(len(want)) {
			t.Errorf("%s: %d bytes, %v", open, len(b), err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := k.Modules(); !errors.Is(err, ErrNoModulesDir) {
		t.Errorf("modules: %v", err)
	}
	for name, change := range map[string]func(fstest.MapFS){
		"no file /kernel in it":     func(m fstest.MapFS) { delete(m, "kernel") },
		"no file /kernel.tar in it": func(m fstest.MapFS) { delete(m, "kernel.tar") },
		"both /kernel and":          func(m fstest.MapFS) { m["kernel.binary"] = m["kernel"] },
		"modules in kernel.tar are for 6.11.0": func(m fstest.MapFS) {
			m["kernel.tar"] = &fstest.MapFile{Data: kernelTar(t, "usr/lib/modules/6.11.0/modules.order")}
		},
		"kernel.tar: ": func(m fstest.MapFS) { m["kernel.tar"] = &fstest.MapFile{Data: modules[:700]} },
	} {
		broken := fstest.MapFS{}
		for k, v := range tree {
			broken[k] = v
		}
		change(broken)
		if _, err := OpenLinuxKit(broken, AArch64); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want %q", err, name)
		}
	}
	tree["kernel.tar"] = &fstest.MapFile{Data: kernelTar(t, "etc/x")} // all built in
	if _, err := OpenLinuxKit(tree, AArch64); err != nil {
		t.Error(err)
	}
}

// TestOpenRealKernels: Debian's images are EFI programs, signed, of the
// release of their modules, and unpack what we pack.
func TestOpenRealKernels(t *testing.T) {
	for _, r := range allReal {
		k, err := OpenDebian(r.tree(t), r.arch)
		if err != nil {
			t.Fatal(err)
		}
		if !k.Image.EFI || !k.Image.Signed || k.Image.LoadSize < k.Image.Size || !strings.Contains(k.Image.Version, " Debian ") {
			t.Errorf("%s: %+v", r.name, k.Image)
		}
		if r.arch == X86_64 && k.Image.CommandLine != 2047 {
			t.Errorf("%s: command line of %d bytes", r.name, k.Image.CommandLine)
		}
		for _, symbol := range []string{"CONFIG_RD_ZSTD", "CONFIG_RD_GZIP", "CONFIG_MODULE_DECOMPRESS", "CONFIG_DEVTMPFS", "CONFIG_TMPFS_XATTR"} {
			if !k.Config.BuiltIn(symbol) {
				t.Errorf("%s: %s is %q", r.name, symbol, k.Config[symbol])
			}
		}
	}
}
