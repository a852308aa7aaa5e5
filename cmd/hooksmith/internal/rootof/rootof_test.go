package rootof

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"hooksmith/publish/hooktest"
	"hooksmith/publish/inspect"
)

// files are what every form of the tests holds.
var files = map[string]string{
	"lib/modules/" + hooktest.Release + "/modules.dep":   "kernel/ice.ko:\n",
	"lib/modules/" + hooktest.Release + "/kernel/ice.ko": "module",
	"lib/firmware/intel/ice.pkg":                         "",
	"etc/modprobe.d/a.conf":                              "blacklist ice\n",
}

func entries() []hooktest.Entry {
	var list []hooktest.Entry
	for _, path := range slices.Sorted(maps.Keys(files)) {
		list = append(list, hooktest.Entry{Name: path, Data: files[path]})
	}
	return append(list, hooktest.Entry{Name: "bin/sh", Data: "not looked at"})
}

func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(files[path]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[path])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// kernelFiles is a LinuxKit kernel image.
func kernelFiles(t *testing.T) map[string]string {
	return map[string]string{"kernel": string(hooktest.Kernel(hooktest.Release, "")), "kernel.tar": string(tarOf(t, files)), "System.map": ""}
}

func image(t *testing.T, layers ...map[string]string) v1.Image {
	t.Helper()
	img := empty.Image
	for _, l := range layers {
		b := tarOf(t, l)
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func writeDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOpen(t *testing.T) {
	tag, err := name.NewTag("hook-kernel:test")
	if err != nil {
		t.Fatal(err)
	}
	saved, oci := filepath.Join(t.TempDir(), "saved.tar"), t.TempDir()
	if err := tarball.WriteToFile(saved, tag, image(t, kernelFiles(t))); err != nil {
		t.Fatal(err)
	}
	path, err := layout.Write(oci, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendImage(image(t, map[string]string{"kernel": "replaced"}, kernelFiles(t))); err != nil {
		t.Fatal(err)
	}
	archive := hooktest.Archive(entries()...)
	more := slices.Concat(hooktest.Pad(hooktest.Archive(hooktest.Entry{Name: "kernel/x86/microcode/x.bin", Data: "early"})), hooktest.Pad(hooktest.Zstd(hooktest.Archive(entries()[:2]...))), hooktest.Gzip(hooktest.Archive(entries()[2:]...)))
	plain := writeDir(t, files)
	for what, ref := range map[string]string{
		"cpio":             write(t, "initramfs", archive),
		"zstd":             write(t, "initramfs", hooktest.Zstd(archive)),
		"gzip":             write(t, "initramfs", hooktest.Gzip(archive)),
		"lz4":              write(t, "initramfs", hooktest.LZ4(archive)),
		"several segments": write(t, "initramfs", more),
		"output folder":    writeDir(t, map[string]string{"initramfs-x86_64": string(archive), "vmlinuz-x86_64": string(hooktest.Kernel(hooktest.Release, ""))}),
		"folder":           plain,
		"modules' folder":  filepath.Join(plain, "lib/modules", hooktest.Release),
		"tar":              write(t, "root.tar", tarOf(t, files)),
		"tar.gz":           write(t, "root.tar.gz", hooktest.Gzip(tarOf(t, files))),
		"tar.zst":          write(t, "kernel.tar.zst", hooktest.Zstd(tarOf(t, files))),
		"kernel's folder":  writeDir(t, kernelFiles(t)),
		"kernel's tar":     write(t, "image.tar", tarOf(t, kernelFiles(t))),
		"docker save":      saved,
		"OCI layout":       oci,
	} {
		t.Run(what, func(t *testing.T) {
			r, err := Open(t.Context(), ref, inspect.Choice{})
			if err != nil {
				t.Fatal(err)
			}
			check(t, r)
		})
	}
	r, err := OpenImage(t.Context(), image(t, kernelFiles(t)))
	if err != nil {
		t.Fatal(err)
	}
	check(t, r)
}

func check(t *testing.T, r *Root) {
	t.Helper()
	for path, want := range files {
		if b, err := fs.ReadFile(r.FS, path); err != nil || string(b) != want {
			t.Errorf("%s: %v, %q", path, err, b)
		}
	}
	dir := r.dir
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); dir != "" && err == nil {
		t.Errorf("%s is left", dir)
	}
}

// TestHardLinks: of names that share a content, newc has it with one of them.
func TestHardLinks(t *testing.T) {
	for _, data := range [][2]string{{"", "module"}, {"module", ""}} {
		file := write(t, "initramfs", hooktest.Archive(
			hooktest.Entry{Name: "lib/modules/1/a.ko", Data: data[0], Ino: 7, Links: 2},
			hooktest.Entry{Name: "lib/modules/1/b.ko", Data: data[1], Ino: 7, Links: 2},
			hooktest.Entry{Name: "usr/x", Data: ""},
		))
		r, err := Open(t.Context(), file, inspect.Choice{})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a.ko", "b.ko"} {
			if b, err := fs.ReadFile(r.FS, "lib/modules/1/"+name); err != nil || string(b) != "module" {
				t.Errorf("%s: %v, %q", name, err, b)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	stopped, stop := context.WithCancel(t.Context())
	stop()
	two := writeDir(t, map[string]string{"manifest.json": `[{"Layers":[]},{"Layers":[]}]`})
	for _, tt := range []struct {
		ctx       context.Context
		ref, want string
	}{
		{t.Context(), write(t, "vmlinuz", hooktest.Kernel(hooktest.Release, "")), "is a kernel: its modules are in the initramfs"},
		{t.Context(), write(t, "text", []byte("hello, world")), "is the beginning of neither an archive"},
		{t.Context(), t.TempDir(), "initramfs"},
		{t.Context(), two, "there are 2 images in it"},
		{t.Context(), writeDir(t, map[string]string{"oci-layout": "{}", "index.json": `{"manifests":[]}`}), "there are 0 images in it"},
		{t.Context(), writeDir(t, map[string]string{"modules.dep": ""}), "is not below lib/modules"},
		{t.Context(), writeDir(t, map[string]string{"kernel": "x", "kernel.tar": "x"}), "kernel image: "},
		{t.Context(), write(t, "cut.tar.gz", hooktest.Gzip(tarOf(t, files)[:520])), "tar"},
		{t.Context(), filepath.Join(t.TempDir(), "none"), "no such file"},
		{stopped, write(t, "initramfs", hooktest.Archive(entries()...)), "canceled"},
		{stopped, write(t, "root.tar", tarOf(t, files)), "canceled"},
	} {
		r, err := Open(tt.ctx, tt.ref, inspect.Choice{})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.ref, err, tt.want)
		}
		if r != nil {
			t.Errorf("%s: something beside an error", tt.ref)
		}
	}
}
