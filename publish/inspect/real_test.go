package inspect_test

import (
	"bytes"
	"hash/maphash"
	"os"
	"testing"

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
