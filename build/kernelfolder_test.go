package build

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"hooksmith/build/fetch"
	"hooksmith/kernel"
	"hooksmith/publish/hooktest"
)

var discard = slog.New(slog.DiscardHandler)

// bareBzImage has the headers and the banner of a kernel for x86, and nothing
// to run.
func bareBzImage(release string) []byte {
	b := make([]byte, 16<<10)
	b[0x1f1] = 4 // setup sectors
	binary.LittleEndian.PutUint16(b[0x1fe:], 0xaa55)
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x206:], 0x020f)
	binary.LittleEndian.PutUint16(b[0x20e:], 0x600) // the banner, less 0x200
	binary.LittleEndian.PutUint16(b[0x236:], 0x7f)  // 64 bit
	binary.LittleEndian.PutUint32(b[0x238:], 2047)
	copy(b[0x800:], release+" (builder@host) #1 SMP Test\x00")
	return b
}

// put writes files into a folder, parents made.
func put(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func installed(release string) map[string][]byte {
	modules := "lib/modules/" + release + "/"
	return map[string][]byte{
		"vmlinuz-" + release: bareBzImage(release), "System.map-" + release: []byte("map"),
		modules + "modules.dep": []byte("kernel/a.ko:\n"), modules + "kernel/a.ko": []byte("module"),
		"lib/modules/5.4.0-other/kernel/b.ko": []byte("of another kernel"),
	}
}

// A flavor is built with the kernel of a folder, of either form; the modules go
// in whole, and the same folder gives the same bytes.
func TestKernelFolder(t *testing.T) {
	for name, files := range map[string]map[string][]byte{
		"image's files": {"kernel": bareBzImage("6.6.1"), "kernel.tar": kernelTar(t), "System.map": []byte("x"), "note.txt": []byte("x")},
		"installed":     installed("6.6.1"),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, files)
			opt := fileOptions(t, strings.Replace(linuxkitFile, "image: kernel:6.6.1", "image: ${HOOK_KERNEL_IMAGE}", 1))
			opt.Kernel = must(KernelFolder(t.Context(), opt.Cache, dir, kernel.X86_64))
			if !strings.HasPrefix(opt.Kernel.Ref, "hooksmith/kernel-folder:6.6.1-") {
				t.Errorf("reference %s", opt.Kernel.Ref)
			}
			a := must(Build(t.Context(), opt))
			if a.Kernel.Version != "6.6.1" || a.Kernel.Modules != 1 {
				t.Errorf("%+v", a.Kernel)
			}
			got := entries(t, filepath.Join(opt.Out, "test-initrd.img"))
			var modules []string
			for path := range got {
				if strings.HasSuffix(path, ".ko") {
					modules = append(modules, path)
				}
			}
			if !slices.Equal(modules, []string{"lib/modules/6.6.1/a.ko"}) && !slices.Equal(modules, []string{"lib/modules/6.6.1/kernel/a.ko"}) {
				t.Errorf("modules %v", modules)
			}
			again := must(KernelFolder(t.Context(), &fetch.Cache{Dir: t.TempDir()}, dir, kernel.X86_64))
			if again.Ref != opt.Kernel.Ref || must(again.Image.Digest()) != must(opt.Kernel.Image.Digest()) {
				t.Error("the same folder gives another image")
			}
		})
	}
}

// hook.json names the firmware that a compiled kernel's modules and built-in
// drivers ask for and that the initramfs lacks.
func TestFirmwareMissingOfCompiledKernel(t *testing.T) {
	files := installed("6.6.1")
	modules := "lib/modules/6.6.1/"
	driver := func(name string, info ...string) []byte { return hooktest.Driver(62, name, "6.6.1", info...) }
	files[modules+"kernel/a.ko"] = driver("a", "firmware=a/there.bin", "firmware=a/lacking.bin")
	files[modules+"kernel/full.ko"] = driver("full", "firmware=a/there.bin")
	files[modules+"modules.builtin"] = []byte("kernel/b.ko\n")
	files[modules+"modules.builtin.modinfo"] = []byte("b.firmware=b.fw\x00")
	unreadable := maps.Clone(files)
	unreadable[modules+"kernel/a.ko"] = []byte("module")
	template := strings.Replace(linuxkitFile, "image: kernel:6.6.1", "image: ${HOOK_KERNEL_IMAGE}", 1) +
		"  - {path: usr/lib/firmware/a/there.bin, contents: x, mode: '0644'}\n"
	for _, tt := range []struct {
		name, kernel string
		files        map[string][]byte
		want         []MissingFirmware
		warn         bool
	}{
		{"modules", "", files, []MissingFirmware{{"a", []string{"a/lacking.bin"}}, {"b", []string{"b.fw"}}}, false},
		{"without modules", "{image: '${HOOK_KERNEL_IMAGE}', tar: none}", files, nil, false},
		{"unreadable", "", unreadable, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, tt.files)
			text := template
			if tt.kernel != "" {
				text = "kernel: " + tt.kernel + "\ninit: [init:1]\n"
			}
			opt := fileOptions(t, text)
			opt.Kernel = must(KernelFolder(t.Context(), opt.Cache, dir, kernel.X86_64))
			for _, from := range []string{"the modules", "the cache"} {
				var log bytes.Buffer
				opt.Out, opt.Log = t.TempDir(), slog.New(slog.NewTextHandler(&log, nil))
				a := must(Build(t.Context(), opt))
				if !reflect.DeepEqual(a.FirmwareMissing, append([]MissingFirmware{}, tt.want...)) {
					t.Errorf("from %s: missing %+v, want %+v", from, a.FirmwareMissing, tt.want)
				}
				if warned := strings.Contains(log.String(), "firmware"); warned != tt.warn {
					t.Errorf("from %s: it said %s", from, log.String())
				}
			}
		})
	}
}

func TestKernelFolderRefuses(t *testing.T) {
	with := func(change func(map[string][]byte)) map[string][]byte {
		files := installed("6.6.1")
		change(files)
		return files
	}
	for _, tt := range []struct {
		name  string
		files map[string][]byte
		arch  kernel.Arch
		want  string
	}{
		{"empty", nil, kernel.X86_64, "no kernel"},
		{"no modules", map[string][]byte{"kernel": bareBzImage("6.6.1")}, kernel.X86_64, "no modules"},
		{"two kernels", with(func(f map[string][]byte) { f["vmlinuz-5.4.0-other"] = bareBzImage("5.4.0-other") }), kernel.X86_64, "several kernels"},
		{"modules of another", map[string][]byte{"vmlinuz": bareBzImage("6.6.1"), "lib/modules/5.4/modules.dep": nil}, kernel.X86_64, "no modules for it"},
		{"depmod did not run", with(func(f map[string][]byte) { delete(f, "lib/modules/6.6.1/modules.dep") }), kernel.X86_64, "depmod"},
		{"another machine", installed("6.6.1"), kernel.AArch64, "need one for aarch64"},
		{"text", map[string][]byte{"kernel": []byte("hello"), "kernel.tar": nil}, kernel.X86_64, "kernel:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, tt.files)
			_, err := KernelFolder(t.Context(), &fetch.Cache{Dir: t.TempDir()}, dir, tt.arch)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
	if _, err := KernelFolder(t.Context(), &fetch.Cache{Dir: t.TempDir()}, "/nonexistent", kernel.X86_64); err == nil {
		t.Error("no error for a folder that is not there")
	}
}
