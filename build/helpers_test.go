package build

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"hooksmith/build/fetch"
	"hooksmith/build/initramfs"
	"hooksmith/build/linuxkit"
	"hooksmith/build/rootfs"
	"hooksmith/configs"
	"hooksmith/guest/embedded"
)

// imageMap is a source of images that knows these references.
type imageMap map[string]v1.Image

func (m imageMap) Image(_ context.Context, ref string) (v1.Image, error) {
	if img, ok := m[ref]; ok {
		return img, nil
	}
	return nil, fmt.Errorf("MANIFEST_UNKNOWN: %s", ref)
}

func (m imageMap) Tags(_ context.Context, repository string) ([]string, error) {
	var tags []string
	for ref := range m {
		if tag, ok := strings.CutPrefix(ref, repository+":"); ok {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return tags, nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// gzipped is a layer as registries have it.
func gzipped(t testing.TB, entries ...linuxkit.Entry) v1.Layer {
	t.Helper()
	rc := must(must(linuxkit.NewLayer(linuxkit.Epoch, entries...)).Uncompressed())
	defer rc.Close()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_ = must(io.Copy(z, rc))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return must(tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }))
}

func testImage(t testing.TB, config v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	img := must(mutate.AppendLayers(empty.Image, layers...))
	file := must(img.ConfigFile()).DeepCopy()
	file.Config = config
	return must(mutate.ConfigFile(img, file))
}

func text(name, content string) linuxkit.Entry {
	return linuxkit.Entry{Name: name, Mode: 0o644, Data: []byte(content)}
}

func dir(name string) linuxkit.Entry { return linuxkit.Entry{Name: name + "/", Mode: 0o755} }

// kernelTar is a kernel.tar as LinuxKit's and Hook's kernels have it.
func kernelTar(t testing.TB) []byte {
	t.Helper()
	l := must(linuxkit.NewLayer(linuxkit.Epoch, dir("."), dir("lib"), dir("lib/modules"), dir("lib/modules/6.6.1"), text("lib/modules/6.6.1/a.ko", "module")))
	rc := must(l.Uncompressed())
	defer rc.Close()
	return must(io.ReadAll(rc))
}

func kernelImage(t testing.TB) v1.Image {
	t.Helper()
	return testImage(t, v1.Config{}, gzipped(t,
		linuxkit.Entry{Name: "kernel", Mode: 0o755, Data: []byte("a kernel")},
		linuxkit.Entry{Name: "kernel.tar", Mode: 0o644, Data: kernelTar(t)},
		text("other", "another kernel"), text("ucode.cpio", "0707micro"), text("System.map", "x"),
	))
}

// fileImages are images in the likeness of LinuxKit's.
func fileImages(t testing.TB) imageMap {
	t.Helper()
	busybox := linuxkit.Entry{Name: "usr/bin/busybox", Mode: 0o755, Data: []byte(strings.Repeat("busybox", 1000))}
	one := v1.Config{Entrypoint: []string{"/usr/bin/busybox"}, Labels: map[string]string{linuxkit.LabelKey: `{"binds": ["/run:/run"], "capabilities": ["CAP_SYS_ADMIN"]}`}}
	return imageMap{
		"docker.io/library/kernel:6.6.1": kernelImage(t),
		"docker.io/library/init:1": testImage(t, v1.Config{}, gzipped(t,
			dir("usr"), dir("usr/bin"), busybox, linuxkit.Entry{Name: "init", Mode: 0o755, Data: []byte("#!/usr/bin/busybox sh\n")})),
		"docker.io/library/merged:1": testImage(t, v1.Config{}, gzipped(t,
			dir("usr"), dir("usr/lib"), linuxkit.Entry{Name: "lib", Link: "usr/lib"}, text("usr/lib/libc.so", "libc"))),
		"docker.io/library/one:1": testImage(t, one, gzipped(t, dir("usr"), dir("usr/bin"), busybox, text("one", "1"))),
		"docker.io/library/two:1": testImage(t, one, gzipped(t, dir("usr"), dir("usr/bin"), busybox, text("two", "2"))),
	}
}

const linuxkitFile = `
kernel:
  image: kernel:6.6.1
  cmdline: console=ttyS0
init: [init:1]
onboot:
  - {name: once, image: one:1, command: [/one]}
services:
  - {name: a, image: one:1}
  - {name: b, image: two:1}
files:
  - {path: etc/motd, contents: "hello", mode: "0644"}
`

// fileOptions build LinuxKit files with images in memory, nothing of Debian.
func fileOptions(t testing.TB, files ...string) Options {
	t.Helper()
	opt := Options{
		Flavor: FileFlavor("test", "amd64"), Out: t.TempDir(), Version: "test", Vars: map[string]string{},
		Images: fileImages(t), Configs: configs.FS, Guest: embedded.FS(), Cache: &fetch.Cache{Dir: t.TempDir(), Offline: true},
	}
	for i, f := range files {
		opt.Files = append(opt.Files, linuxkit.Source{Name: fmt.Sprintf("%c.yml", 'a'+i), Data: []byte(f)})
	}
	return opt
}

// entries is an initramfs as the kernel would have it: path to type, mode and
// content.
func entries(t testing.TB, file string) map[string]string {
	t.Helper()
	f := must(os.Open(file))
	defer f.Close()
	m := map[string]string{}
	links := map[string]string{}
	err := initramfs.Read(f, initramfs.Limits{}, func(e initramfs.Entry, r io.Reader) error {
		content := e.Target
		if e.Mode&rootfs.ModeType == rootfs.ModeFile {
			content = string(must(io.ReadAll(r)))
			if e.Links > 1 {
				key := fmt.Sprint(e.Segment, " ", e.Ino)
				if content == "" {
					content = links[key]
				}
				links[key] = content
			}
		}
		m[e.Name] = fmt.Sprintf("%06o %.20s", e.Mode, content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
