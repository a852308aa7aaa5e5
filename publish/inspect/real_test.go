package inspect_test

import (
	"bytes"
	"hash/maphash"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hooksmith/publish/hooktest"
	"hooksmith/publish/inspect"
)

// realSet opens what HOOKSMITH_BOOT_DIR names: an out/hook of the default flavor.
func realSet(t testing.TB) *inspect.Set {
	t.Helper()
	dir := os.Getenv("HOOKSMITH_BOOT_DIR")
	if dir == "" {
		t.Skip("HOOKSMITH_BOOT_DIR is not set: build a flavor and name its folder to test over real artifacts")
	}
	set, err := inspect.Open(t.Context(), dir, inspect.Choice{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	})
	return set
}

func TestReal(t *testing.T) {
	set := realSet(t)
	opt := inspect.Options{Contents: true, Seed: maphash.MakeSeed()}
	r, err := inspect.Inspect(t.Context(), set, opt)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Warnings) > 0 || r.Modules == nil || r.Modules.Release != r.Kernel.Release || len(r.Modules.List) != set.Build.Kernel.Modules {
		t.Errorf("kernel %s, modules for %v, warnings %q", r.Kernel.Release, r.Modules, r.Warnings)
	}
	for _, m := range r.Modules.List {
		if m.Vermagic == "" {
			t.Errorf("%s: no version magic", m.Path)
		}
	}
	if r.Initramfs.Memory != set.Build.UnpackedBytes {
		t.Logf("memory %d, the build says %d", r.Initramfs.Memory, set.Build.UnpackedBytes)
	}
	if len(r.Initramfs.Segments) != len(set.Build.Segments) || len(r.Services) < 4 || len(r.Packages) < 10 {
		t.Errorf("segments %+v, services %d, packages %d", r.Initramfs.Segments, len(r.Services), len(r.Packages))
	}
	again, err := inspect.Inspect(t.Context(), set, opt)
	if err != nil {
		t.Fatal(err)
	}
	if d := inspect.Compare(r, again); !d.Same {
		t.Errorf("not the same as itself: %+v", d)
	}
	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
}

// TestTools reads what the tools of a distribution make.
func TestTools(t *testing.T) {
	root := t.TempDir()
	for name, b := range map[string]string{"init": "#!/bin/sh\n", "scripts/functions": "x", "usr/lib/modules/6.1.0-amd64/kernel/a.ko": hooktest.Module("a", "6.1.0-amd64")} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	early := hooktest.Archive(hooktest.Entry{Name: "kernel/x86/microcode/AuthenticAMD.bin", Data: "microcode"})
	for _, compress := range []string{"cat", "xz --check=crc32", "zstd -q -19 -c", "gzip", "lz4 -l -c"} {
		t.Run(compress, func(t *testing.T) {
			for _, tool := range []string{"cpio", strings.Fields(compress)[0]} {
				if _, err := exec.LookPath(tool); err != nil {
					t.Skipf("there is no %s: install Debian's package of that name", tool)
				}
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-c", "find . | sort | cpio --quiet -o -H newc | "+compress)
			cmd.Dir = root
			packed, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			r, err := look(t, slices.Concat(hooktest.Pad(early), packed), inspect.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Warnings) > 0 || r.Initramfs.Layout != "initramfs-tools" || len(r.Initramfs.Segments) != 2 || len(r.Firmware) != 1 || len(r.Modules.List) != 1 || r.Modules.List[0].Vermagic == "" {
				t.Errorf("%+v, warnings %q, modules %+v", r.Initramfs, r.Warnings, r.Modules)
			}
		})
	}
}

// BenchmarkInspect and BenchmarkDiff are over HOOKSMITH_BOOT_DIR.
func BenchmarkInspect(b *testing.B) {
	set := realSet(b)
	b.SetBytes(set.Initramfs.Size)
	for b.Loop() {
		if _, err := inspect.Inspect(b.Context(), set, inspect.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDiff(b *testing.B) {
	set := realSet(b)
	b.SetBytes(2 * set.Initramfs.Size)
	opt := inspect.Options{Contents: true, Seed: maphash.MakeSeed()}
	for b.Loop() {
		var r [2]*inspect.Report
		for i := range r {
			var err error
			if r[i], err = inspect.Inspect(b.Context(), set, opt); err != nil {
				b.Fatal(err)
			}
		}
		inspect.Compare(r[0], r[1])
	}
}
