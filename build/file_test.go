package build

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hooksmith/build/linuxkit"
)

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

func TestTarFormat(t *testing.T) {
	opt := fileOptions(t, linuxkitFile, "files: [{path: etc/two, contents: '2'}, {path: new/folder/x, contents: ''}]\n")
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
		"etc/motd":                             {"files[0]", "linuxkit.files"},
		"etc/two":                              {"files[1]", "linuxkit.files"},
		"new":                                  {"files[2]", "linuxkit.files"},
		"new/folder":                           {"files[2]", "linuxkit.files"},
		"containers":                           {"onboot[0]", "docker.io/library/one:1"},
		"containers/services/b":                {"services[1]", "docker.io/library/two:1"},
	} {
		if got[name] != want {
			t.Errorf("%s: %+v, want %+v", name, got[name], want)
		}
	}
	for name, r := range got {
		if r.location == "" || r.source == "" {
			t.Errorf("%s: nobody knows what it is from: %+v", name, r)
		}
	}
	if content["boot/kernel"] != "a kernel" || content["boot/cmdline"] != "console=ttyS0" || content["etc/two"] != "2" {
		t.Errorf("contents: %q %q %q", content["boot/kernel"], content["boot/cmdline"], content["etc/two"])
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

// A plan says what will be fetched, each layer once, and lists are lists.
func TestSummaryOfFile(t *testing.T) {
	opt := fileOptions(t, linuxkitFile)
	var want int64
	for _, img := range opt.Images.(imageMap) {
		want += must(img.Manifest()).Layers[0].Size
	}
	want -= must(opt.Images.(imageMap)["docker.io/library/merged:1"].Manifest()).Layers[0].Size // not in the file
	s := must(NewPlan(t.Context(), opt)).Summary()
	if s.ImageBytes != want || s.DownloadBytes != 0 || s.Packages == nil || len(s.Images) != 3 {
		t.Errorf("summary %+v, want %d bytes of images", s, want)
	}
	if !strings.HasPrefix(s.Kernel, "docker.io/library/kernel:6.6.1@sha256:") {
		t.Errorf("kernel %s", s.Kernel)
	}
}

// What never ends is no source, and is not waited for. What has content but no
// size arrives whole.
func TestOddFileSources(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{pipe, "/dev/zero", t.TempDir()} {
		for _, optional := range []bool{false, true} {
			opt := fileOptions(t, fmt.Sprintf("files:\n  - {path: x, source: %q, optional: %t}\n", source, optional))
			opt.Open = linuxkit.DirSource("", "")
			if _, err := Build(t.Context(), opt); err == nil || !strings.Contains(err.Error(), `a.yml:2:15: files[0] "x": `+source+" is not a regular file") {
				t.Errorf("%s: error %v", source, err)
			}
		}
	}
	opt := fileOptions(t, "files: [{path: version, source: /proc/version}]\n")
	opt.Open = linuxkit.DirSource("", "")
	if _, err := Build(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, filepath.Join(opt.Out, "test-initrd.img"))["version"]; !strings.HasPrefix(got, "100600 Linux version") {
		t.Errorf("/proc/version has become %q", got)
	}
}

func TestFileErrors(t *testing.T) {
	for name, tt := range map[string]struct{ yaml, want string }{
		"unknown image":   {"init: [nothing:1]\n", "a.yml:1:8: init[0]: image docker.io/library/nothing:1: MANIFEST_UNKNOWN"},
		"unknown key":     {"inti: []\n", "a.yml:1:1"},
		"unset variable":  {"init: ['${WHAT}']\n", "${WHAT} is not set"},
		"no kernel tar":   {"kernel:\n  image: kernel:6.6.1\n  tar: System.map\n", `a.yml:3:3: kernel "docker.io/library/kernel:6.6.1": modules: reading layer kernel tar 1 sha256:`},
		"hostile layer":   {"init: [init:1]\nservices: [{name: x, image: bad:1}]\n", `a.yml:2:22: image docker.io/library/bad:1: reading layer sha256:`},
		"unknown service": {"init: [init:1]\nservices: [{name: x, image: no:2}]\n", `services[0] "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			opt := fileOptions(t, tt.yaml)
			opt.Images.(imageMap)["docker.io/library/bad:1"] = testImage(t, v1.Config{}, gzipped(t, text("../etc/passwd", "")))
			if _, err := Build(t.Context(), opt); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
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
	long := strings.Repeat(strings.Repeat("n", 249)+"/", 16) + "end" // 4003 bytes, within PATH_MAX
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
