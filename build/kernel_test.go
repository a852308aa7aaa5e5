package build

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestKernelVariants(t *testing.T) {
	tests := []struct {
		name, kernel string
		decompress   bool
		check        func(t *testing.T, out string, got map[string]string)
		want         string // in the error
	}{
		{name: "another binary", kernel: "{image: 'kernel:6.6.1', binary: other}", check: func(t *testing.T, out string, _ map[string]string) {
			if b, _ := os.ReadFile(filepath.Join(out, "test-kernel")); string(b) != "another kernel" {
				t.Errorf("kernel %q", b)
			}
			if _, err := os.Stat(filepath.Join(out, "test-cmdline")); !os.IsNotExist(err) {
				t.Error("a command line without one in the file")
			}
		}},
		{name: "no modules", kernel: "{image: 'kernel:6.6.1', tar: none}", check: func(t *testing.T, _ string, got map[string]string) {
			if _, ok := got["lib"]; ok {
				t.Error("modules are there")
			}
		}},
		{name: "microcode", kernel: "{image: 'kernel:6.6.1', ucode: ucode.cpio}", check: func(t *testing.T, out string, got map[string]string) {
			b, _ := os.ReadFile(filepath.Join(out, "test-initrd.img"))
			if !bytes.HasPrefix(b, append([]byte("0707micro"), 0, 0, 0, 0x28, 0xb5, 0x2f, 0xfd)) {
				t.Errorf("the initramfs begins with %q", b[:20])
			}
		}},
		{name: "no kernel", kernel: "{}", check: func(t *testing.T, out string, got map[string]string) {
			if _, err := os.Stat(filepath.Join(out, "test-kernel")); !os.IsNotExist(err) {
				t.Error("there is a kernel")
			}
		}},
		{name: "no such binary", kernel: "{image: 'kernel:6.6.1', binary: vmlinuz}", want: "a.yml:1:"},
		{name: "no such image", kernel: "{image: 'kernel:9'}", want: "docker.io/library/kernel:9"},
		{name: "not compressed", kernel: "{image: 'kernel:6.6.1'}", decompress: true, want: "decompressing kernel"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opt := fileOptions(t, "kernel: "+tt.kernel+"\ninit: [init:1]\n")
			opt.DecompressKernel = tt.decompress
			_, err := Build(t.Context(), opt)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("error %v, want one with %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]string
			if !strings.Contains(tt.kernel, "ucode") { // no archive that our reader knows
				got = entries(t, filepath.Join(opt.Out, "test-initrd.img"))
			}
			tt.check(t, opt.Out, got)
		})
	}
}

// Modules of a kernel.tar with lib/ stay where init has lib -> usr/lib.
func TestModulesUnderUsrMerge(t *testing.T) {
	opt := fileOptions(t, "kernel: {image: 'kernel:6.6.1'}\ninit: [merged:1]\n")
	a, err := Build(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	got := entries(t, filepath.Join(opt.Out, "test-initrd.img"))
	if got["usr/lib/modules/6.6.1/a.ko"] != "100644 module" || got["lib"] != "120000 usr/lib" || got["usr/lib/libc.so"] != "100644 libc" {
		t.Errorf("tree: %q", got)
	}
	if i := slices.IndexFunc(a.Segments, func(s Segment) bool { return s.Name == groupModules }); i < 0 {
		t.Error("no segment of modules")
	}
}
