package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
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

func TestLinuxKitFile(t *testing.T) {
	opt := fileOptions(t, linuxkitFile)
	a, err := Build(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"test-kernel": "a kernel", "test-cmdline": "console=ttyS0"} {
		if b, err := os.ReadFile(filepath.Join(opt.Out, name)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	got := entries(t, filepath.Join(opt.Out, "test-initrd.img"))
	busybox := "100755 " + strings.Repeat("busybox", 3)[:20]
	for p, want := range map[string]string{
		"init":                                 "100755 #!/usr/bin/busybox s",
		"usr/bin/busybox":                      busybox,
		"lib/modules/6.6.1/a.ko":               "100644 module",
		"boot":                                 "040755 ",
		"etc/motd":                             "100644 hello",
		"containers/onboot/000-once/lower/one": "100644 1",
		"containers/services/b/lower/two":      "100644 2",
		"containers/services/b/lower/usr/bin/busybox": busybox,
		"containers/services/a/rootfs":                "040755 ",
	} {
		if got[p] != want {
			t.Errorf("%s: %q, want %q", p, got[p], want)
		}
	}
	for _, p := range []string{"boot/kernel", "etc/hooksmith", "containers/services/a/lower"} {
		if v, ok := got[p]; ok {
			t.Errorf("%s is there: %s", p, v)
		}
	}
	var segments []string
	for _, s := range a.Segments {
		segments = append(segments, s.Name)
		if len(s.Holds) == 0 {
			t.Errorf("segment %s does not say what it holds", s.Name)
		}
	}
	if want := []string{"base", "shared", "onboot/000-once", "services/a", "services/b", "kernel modules", "files"}; !slices.Equal(segments, want) {
		t.Errorf("segments %q, want %q", segments, want)
	}
	if a.Kernel.Modules != 1 || a.Kernel.Cmdline != "console=ttyS0" || !strings.Contains(a.Kernel.Source, "@sha256:") {
		t.Errorf("kernel %+v", a.Kernel)
	}
}

// However it is divided, the kernel sees the same files, and shared ones once.
func TestSegmentsMakeNoDifference(t *testing.T) {
	var trees []map[string]string
	for _, one := range []bool{true, false} {
		opt := fileOptions(t, linuxkitFile)
		opt.OneSegment = one
		a, err := Build(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		trees = append(trees, entries(t, filepath.Join(opt.Out, "test-initrd.img")))
		if one != (len(a.Segments) == 1) {
			t.Errorf("%d segments", len(a.Segments))
		}
	}
	for p, v := range trees[0] {
		if trees[1][p] != v {
			t.Errorf("%s: %q in one segment, %q in several", p, v, trees[1][p])
		}
	}
	if len(trees[0]) != len(trees[1]) {
		t.Errorf("%d entries and %d", len(trees[0]), len(trees[1]))
	}
}

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

func TestTarFormat(t *testing.T) {
	opt := fileOptions(t, linuxkitFile, "files: [{path: etc/two, contents: '2'}]\n")
	opt.Format = Tar
	if _, err := Build(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	f := must(os.Open(filepath.Join(opt.Out, "test.tar")))
	defer f.Close()
	type record struct{ location, source string }
	got := map[string]record{}
	content := map[string]string{}
	seen := map[string]bool{}
	for tr := tar.NewReader(f); ; {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(hdr.Name, "/")
		if parent := path.Dir(name); parent != "." && !seen[parent] {
			t.Errorf("%s stands before its parent", name)
		}
		seen[name] = true
		got[name] = record{hdr.PAXRecords["LINUXKIT.location"], hdr.PAXRecords["LINUXKIT.source"]}
		content[name] = string(must(io.ReadAll(tr)))
	}
	for name, want := range map[string]record{
		"boot/kernel":                          {"kernel", "docker.io/library/kernel:6.6.1"},
		"lib/modules/6.6.1/a.ko":               {"kernel", "docker.io/library/kernel:6.6.1"},
		"init":                                 {"init[0]", "docker.io/library/init:1"},
		"containers/onboot/000-once/lower/one": {"onboot[0]", "docker.io/library/one:1"},
		"containers/services/b/config.json":    {"services[1]", "docker.io/library/two:1"},
		"etc/motd":                             {"files", "linuxkit.files"},
	} {
		if got[name] != want {
			t.Errorf("%s: %+v, want %+v", name, got[name], want)
		}
	}
	if content["boot/kernel"] != "a kernel" || content["boot/cmdline"] != "console=ttyS0" || content["etc/two"] != "2" {
		t.Errorf("contents: %q %q %q", content["boot/kernel"], content["boot/cmdline"], content["etc/two"])
	}
}

// A changed file of the template makes one segment anew; the bytes are those
// of a build from nothing.
func TestRebuildMakesWhatChanged(t *testing.T) {
	opt := fileOptions(t, linuxkitFile)
	first, err := Build(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	opt.Files[0].Data = bytes.Replace(opt.Files[0].Data, []byte("hello"), []byte("bye"), 1)
	opt.Out = t.TempDir()
	second, err := Build(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range second.Segments {
		if (s.SHA256 != first.Segments[i].SHA256) != (s.Name == groupFiles) {
			t.Errorf("segment %s: changed: %t", s.Name, s.SHA256 != first.Segments[i].SHA256)
		}
	}
	opt.Cache, opt.Out = &fetch.Cache{Dir: t.TempDir(), Offline: true}, t.TempDir()
	clean, err := Build(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	compareHashes(t, hashes(clean), hashes(second))
	if clean.BuildID != second.BuildID || clean.BuildID == first.BuildID {
		t.Error("build ids do not follow the inputs")
	}
}

func TestFileSource(t *testing.T) {
	src := filepath.Join(t.TempDir(), "motd")
	if err := os.WriteFile(src, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	opt := fileOptions(t, "init: [init:1]\nfiles: [{path: etc/motd, source: "+src+"}, {path: etc/none, source: /no/such, optional: true}]\n")
	opt.Open = linuxkit.DirSource("", "")
	a, err := Build(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if got := entries(t, filepath.Join(opt.Out, "test-initrd.img")); got["etc/motd"] != "100600 from a file" {
		t.Errorf("motd: %q", got["etc/motd"])
	}
	if !slices.ContainsFunc(a.Inputs, func(in Input) bool { return in.Kind == "file" && in.Name == src && in.SHA256 != "" }) {
		t.Error("the file is not among the inputs")
	}
	opt.Files[0].Data = []byte("init: [init:1]\nfiles: [{path: etc/motd, source: /no/such}]\n")
	if _, err := Build(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "a.yml:2:") {
		t.Errorf("error %v", err)
	}
}

func TestFileErrors(t *testing.T) {
	for name, tt := range map[string]struct{ yaml, want string }{
		"unknown image":   {"init: [nothing:1]\n", "a.yml:1:8: init[0]: image docker.io/library/nothing:1: MANIFEST_UNKNOWN"},
		"unknown key":     {"inti: []\n", "a.yml:1:1"},
		"unset variable":  {"init: ['${WHAT}']\n", "${WHAT} is not set"},
		"unknown service": {"init: [init:1]\nservices: [{name: x, image: no:2}]\n", `services[0] "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Build(t.Context(), fileOptions(t, tt.yaml)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// A lock file of image digests holds the build to them.
func TestLockedImages(t *testing.T) {
	opt := fileOptions(t, linuxkitFile)
	if _, err := Build(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	lock, err := ParseLock(LockName, must(os.ReadFile(filepath.Join(opt.Out, LockName))))
	if err != nil {
		t.Fatal(err)
	}
	opt.Lock = lock
	if _, err := Build(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	images := fileImages(t)
	images["docker.io/library/one:1"] = images["docker.io/library/two:1"]
	opt.Images = images
	_, err = Build(t.Context(), opt)
	if err == nil || !strings.Contains(err.Error(), "~ image docker.io/library/one:1: sha256:") {
		t.Errorf("error %v", err)
	}
}

func TestLintOfBuild(t *testing.T) {
	opt := fileOptions(t, `
init: [init:1]
services:
  - {name: a, image: one:1, binds: ["/a:/b"], binds.add: ["/c:/d"], hostname: x}
files: [{path: usr/bin/x, contents: ""}]
`)
	found, err := Lint(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string]bool{}
	for _, f := range found {
		rules[f.Rule] = Serious(f)
	}
	for rule, serious := range map[string]bool{"binds-hide-add": false, "hostname-uts": true, "file-parent": false} {
		if got, ok := rules[rule]; !ok || got != serious {
			t.Errorf("rule %s: found %t, serious %t; findings %v", rule, ok, got, found)
		}
	}
}

// Peak memory does not follow the image's size, nor time the number of layers
// more than it must.
func TestManyLayersAndFiles(t *testing.T) {
	if raceDetector || testing.Short() {
		t.Skip("takes too long under the race detector")
	}
	var layers []v1.Layer
	for i := range 300 {
		layers = append(layers, gzipped(t, text(fmt.Sprintf("layers/%03d", i), fmt.Sprint(i)), text("top", fmt.Sprint(i))))
	}
	var many []linuxkit.Entry
	for i := range 100_000 {
		many = append(many, text(fmt.Sprintf("many/%02d/%05d", i%100, i), ""))
	}
	long := strings.Repeat(strings.Repeat("n", 249)+"/", 15) + "end" // 3753 bytes, within PATH_MAX
	layers = append(layers, gzipped(t, many...), gzipped(t, text(long, "long")))
	opt := fileOptions(t, "init: [big:1]\n")
	opt.Images.(imageMap)["docker.io/library/big:1"] = testImage(t, v1.Config{}, layers...)
	if _, err := Build(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	got := entries(t, filepath.Join(opt.Out, "test-initrd.img"))
	if got["top"] != "100644 299" || got["layers/007"] != "100644 7" || got[long] != "100644 long" || len(got) < 100_300 {
		t.Errorf("%d entries, top %q", len(got), got["top"])
	}
	runtime.KeepAlive(opt)
}

func TestManifestOfFile(t *testing.T) {
	opt := fileOptions(t, linuxkitFile)
	opt.NoSBOM = true
	if _, err := Build(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	var m Manifest
	if err := json.Unmarshal(must(os.ReadFile(filepath.Join(opt.Out, ManifestName))), &m); err != nil {
		t.Fatal(err)
	}
	images := 0
	for _, in := range m.Builds[0].Inputs {
		if in.Kind == "image" && strings.HasPrefix(in.Version, "sha256:") {
			images++
		}
	}
	if images != 4 {
		t.Errorf("%d images among the inputs, want 4", images)
	}
	if _, err := os.Stat(filepath.Join(opt.Out, SBOMName)); !errors.Is(err, os.ErrNotExist) {
		t.Error("an SBOM in spite of NoSBOM")
	}
}

// A second build of the same has nothing to do, and notices whatever else has
// touched its files.
func TestUpToDate(t *testing.T) {
	opt := fileOptions(t, linuxkitFile)
	opt.Program = "one"
	initrd := filepath.Join(opt.Out, "test-initrd.img")
	build := func() (rebuilt bool) {
		t.Helper()
		before, err := noteOf(opt.Out, "test-initrd.img")
		a, buildErr := Build(t.Context(), opt)
		if buildErr != nil {
			t.Fatal(buildErr)
		}
		after := must(noteOf(opt.Out, "test-initrd.img"))
		if len(a.Files) != 3 || len(a.Segments) == 0 {
			t.Errorf("artifacts: %+v", a)
		}
		return err != nil || before != after
	}
	want := func(name string, rebuilt bool) {
		t.Helper()
		if got := build(); got != rebuilt {
			t.Errorf("%s: built again: %t", name, got)
		}
	}
	want("first", true)
	want("nothing changed", false)
	data := must(os.ReadFile(initrd))
	data[len(data)/2] ^= 1
	if err := os.WriteFile(initrd, data, 0o644); err != nil {
		t.Fatal(err)
	}
	want("damaged", true)
	if err := os.Remove(filepath.Join(opt.Out, ChecksumName)); err != nil {
		t.Fatal(err)
	}
	want("checksums gone", true)
	opt.Program = "two"
	want("another program", true)
	opt.Level = 1
	want("another level", true)
	opt.Files[0].Data = append(opt.Files[0].Data, "# comment\n"...)
	want("another file", true)
	want("the same", false)
	opt.Program = ""
	want("a program without a name", true)
}
