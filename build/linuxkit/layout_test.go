package linuxkit

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

const library = "docker.io/library/"

func TestSection1_6Order(t *testing.T) {
	img := image(t, v1.Config{}, []Entry{{Name: "bin/", Mode: 0o755}, {Name: "bin/x", Mode: 0o755, Data: []byte("x")}})
	source := images{library + "a:1": img, library + "b:1": img, library + "c:1": img}
	parts := layout(t, `
files: [{path: etc/motd, contents: hi}]
services: [{name: s1, image: a:1}, {name: s2, image: b:1, readonly: true}, {name: s3, image: b:1}, {name: s4, image: "docker.io/library/b:1", readonly: true}]
onshutdown: [{name: bye, image: c:1}]
onboot: [{name: one, image: a:1}, {name: one, image: c:1}]
volumes: [{name: v, image: a:1}, {name: blank}]
init: [a:1, b:1]
`, source, Options{})
	want := []string{
		"parents |",
		"init[0] docker.io/library/a:1|", "init[1] docker.io/library/b:1|",
		"volume[0] v|containers/volumes/v/lower", "volume[0] v|containers/volumes/v",
		"volume[1] blank|containers/volumes/blank",
		"onboot[0] one|containers/onboot/000-one/lower", "onboot[0] one|containers/onboot/000-one",
		"onboot[1] one|containers/onboot/001-one/lower", "onboot[1] one|containers/onboot/001-one",
		"onshutdown[0] bye|containers/onshutdown/000-bye",
		"services[0] s1|containers/services/s1",
		"services[1] s2|containers/services/s2/rootfs", "services[1] s2|containers/services/s2",
		"services[2] s3|containers/services/s3",
		"services[3] s4|containers/services/s4",
		"files |",
	}
	var got []string
	for _, p := range parts {
		name := p.Name
		if name == p.Location {
			name = ""
		}
		got = append(got, fmt.Sprintf("%s %s|%s", p.Location, name, p.Prefix))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	all := unpack(t, parts)
	for path, want := range map[string]string{
		"bin/x":                                    "0 0755 0:0 x",
		"containers/onboot/000-one/lower":          "5 0755 0:0",
		"containers/onboot/000-one/lower/bin/x":    "0 0755 0:0 x",
		"containers/onboot/000-one/tmp":            "5 0755 0:0",
		"containers/onboot/000-one/rootfs":         "5 0755 0:0",
		"containers/services/s2/rootfs/bin/x":      "0 0755 0:0 x",
		"containers/services/s4/rootfs":            "5 0755 0:0",
		"containers/volumes/v/lower/bin/x":         "0 0755 0:0 x",
		"containers/volumes/v/tmp":                 "5 0755 0:0",
		"containers/volumes/v/merged":              "5 0755 0:0",
		"containers/volumes/blank/lower":           "5 0755 0:0",
		"containers/volumes/blank/tmp":             "5 0755 0:0",
		"containers/volumes/blank/merged":          "5 0755 0:0",
		"containers/services/s2/tmp":               "",
		"containers/services/s4/tmp":               "",
		"containers/services/s3/lower":             "",
		"containers/services/s3/rootfs/bin/x":      "",
		"containers/onshutdown/000-bye/lower":      "",
		"containers/volumes/v/lower/etc/hostname":  "",
		"containers/volumes/v/lower/.wh.resolv":    "",
		"containers/onboot/000-one/.wh.Dockerfile": "",
	} {
		n, ok := all[path]
		if got := n.String(); ok != (want != "") || ok && got != want {
			t.Errorf("%s: got %v %s, want %q", path, ok, got, want)
		}
	}
	if n := all["containers/onboot/000-one/config.json"]; n.hdr.Mode != 0o644 || !n.hdr.ModTime.Equal(Epoch) {
		t.Errorf("%+v", n.hdr)
	}
}

// The tree of the first container of an image is everybody's.
func TestSection1_6SharedTrees(t *testing.T) {
	source := images{library + "a:1": image(t, v1.Config{}), library + "b:1": image(t, v1.Config{})}
	all := unpack(t, layout(t, `
onboot: [{name: first, image: a:1}, {name: ro, image: b:1, readonly: true}]
services: [{name: second, image: a:1}, {name: third, image: a:1, readonly: true}, {name: rw, image: b:1}]`, source, Options{}))
	for path, want := range map[string]string{
		"containers/onboot/000-first/runtime.json": `"lowerdir=/containers/onboot/000-first/lower"`,
		"containers/services/second/runtime.json":  `"lowerdir=/containers/onboot/000-first/lower"`,
		"containers/services/third/runtime.json":   `"source": "/containers/onboot/000-first/lower"`,
		"containers/onboot/001-ro/runtime.json":    `"source": "/containers/onboot/001-ro/rootfs"`,
		"containers/services/rw/runtime.json":      `"lowerdir=/containers/onboot/001-ro/rootfs"`,
	} {
		if got := all.file(t, path); !strings.Contains(got, want) {
			t.Errorf("%s: no %s in\n%s", path, want, got)
		}
	}
}

func TestSection1_6ReadonlyVolume(t *testing.T) {
	source := images{library + "a:latest": image(t, v1.Config{})}
	yaml := "volumes: [{name: v, image: a, readonly: true}]"
	if _, ok := unpack(t, layout(t, yaml, source, Options{}))["containers/volumes/v/tmp"]; ok {
		t.Error("a tmp makes the init mount a writable overlay")
	}
	if _, ok := unpack(t, layout(t, yaml, source, Options{Compat: true}))["containers/volumes/v/tmp"]; !ok {
		t.Error("LinuxKit makes tmp in any case")
	}
}

// indexes is a resolver that has indexes.
type indexes struct {
	images
	index v1.ImageIndex
}

func (i indexes) Index(_ context.Context, ref string) (v1.ImageIndex, error) {
	if i.index == nil {
		return nil, fmt.Errorf("no index %s", ref)
	}
	return i.index, nil
}

func TestSection1_6OCIVolume(t *testing.T) {
	platform := func(arch string, layers int64) v1.Image {
		img := must(random.Image(1000, layers))
		config := must(img.ConfigFile()).DeepCopy()
		config.OS, config.Architecture = "linux", arch
		return must(mutate.ConfigFile(img, config))
	}
	amd64, arm64 := platform("amd64", 2), platform("arm64", 1)
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: amd64, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: arm64, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}})
	tests := []struct {
		name, keys string
		source     Resolver
		blobs      int
		err        string
	}{
		{"all", "", indexes{nil, index}, 4 + 3, ""},
		{"one platform", "platforms: [linux/arm64]", indexes{nil, index}, 3, ""},
		{"single image", "", images{library + "a:latest": amd64}, 4, ""},
		{"missing platform", "platforms: [linux/riscv64]", indexes{nil, index}, 0, `volumes[0] "v": no image for linux/riscv64; there are linux/amd64, linux/arm64`},
		{"missing index", "", indexes{}, 0, `hook.yaml:1:34: volumes[0] "v": image index docker.io/library/a:latest: no index`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := parse(t, "volumes: [{name: v, format: oci, image: a, "+test.keys+"}]")
			parts, err := Layout(t.Context(), cfg, test.source, Options{})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for name, n := range flatten(t, parts[0].Layers) {
				file := filepath.Join(dir, filepath.FromSlash(name))
				if n.hdr.Typeflag == tar.TypeDir {
					try(t, os.MkdirAll(file, 0o755))
					continue
				}
				try(t, os.MkdirAll(filepath.Dir(file), 0o755))
				try(t, os.WriteFile(file, []byte(n.data), 0o644))
			}
			read := must(ocilayout.ImageIndexFromPath(dir))
			if err := validate.Index(read); err != nil {
				t.Error(err)
			}
			if blobs := must(filepath.Glob(dir + "/blobs/sha256/*")); len(blobs) != test.blobs {
				t.Errorf("%d blobs, want %d", len(blobs), test.blobs)
			}
		})
	}
}

// TestSection1_7 has a row for every statement about the filter. The oracle's
// tree is what counts, not the list of entries.
func TestSection1_7(t *testing.T) {
	full := []Entry{
		{Name: ".dockerenv"}, {Name: "Dockerfile", Data: []byte("FROM x")}, {Name: "dev/", Mode: 0o700}, {Name: "dev/console"},
		{Name: "dev/pts/", Mode: 0o700}, {Name: "dev/pts/0", Data: []byte("0")}, {Name: "dev/shm/", Mode: 0o1777}, {Name: "dev/null", Type: tar.TypeChar},
		{Name: "etc/", Mode: 0o711}, {Name: "etc/hostname", Data: []byte("h")}, {Name: "etc/hosts", Mode: 0o600, Data: []byte("1.2.3.4 x")},
		{Name: "etc/resolv.conf", Data: []byte("nameserver 1.1.1.1")}, {Name: "etc/mtab", Data: []byte("mtab")},
		{Name: "sub/Dockerfile", Data: []byte("kept")}, {Name: "proc/", Mode: 0o555}, {Name: "sys/", Mode: 0o555},
	}
	links := []Entry{{Name: "etc/hosts", Link: "/run/hosts"}, {Name: "etc/resolv.conf", Link: "/run/resolv"}, {Name: "dev/pts/7", Data: []byte("orphan")}}
	const hosts, resolv, gone = "0 0644 0:0 " + hostsFile, "0 0644 0:0 " + resolvFile, ""
	tests := []struct {
		name   string
		layers []Entry
		want   map[string]string
	}{
		{"empty", nil, map[string]string{
			"dev": "5 0755 0:0", "dev/pts": "5 0755 0:0", "dev/shm": "5 0755 0:0", "etc": "5 0755 0:0", "etc/hosts": hosts,
			"etc/mtab": "2 0755 0:0 -> /proc/mounts", "etc/resolv.conf": resolv, "proc": "5 0755 0:0", "sys": "5 0755 0:0",
		}},
		{"full", full, map[string]string{
			".dockerenv": gone, "Dockerfile": gone, "dev/console": gone, "etc/hostname": gone,
			"dev/pts": "5 0755 0:0", "dev/shm": "5 0755 0:0", "dev/pts/0": "0 0000 0:0 0", "dev/null": "3 0000 0:0",
			"etc/hosts": hosts, "etc/resolv.conf": resolv, "etc/mtab": "0 0000 0:0 mtab", "sub/Dockerfile": "0 0000 0:0 kept",
			"dev": "5 0700 0:0", "etc": "5 0711 0:0", "proc": "5 0555 0:0", "sys": "5 0555 0:0",
		}},
		{"links, no parents", links, map[string]string{"etc/hosts": hosts, "etc/resolv.conf": resolv, "dev/pts/7": "0 0000 0:0 orphan"}},
	}
	for _, test := range tests {
		img := image(t, v1.Config{}, test.layers)
		source := images{library + "a:latest": img}
		all := unpack(t, layout(t, "init: [a]\nvolumes: [{name: v, image: a}]\nonboot: [{name: o, image: a}]", source, Options{}))
		for _, prefix := range []string{"", "containers/volumes/v/lower/", "containers/onboot/000-o/lower/"} {
			for path, want := range test.want {
				if path == "etc/resolv.conf" && !strings.Contains(prefix, "onboot") {
					want = "2 0777 0:0 -> /run/resolvconf/resolv.conf"
				}
				n, ok := all[prefix+path]
				if got := n.String(); ok != (want != gone) || ok && got != want {
					t.Errorf("%s: %s: got %v %q, want %q", test.name, prefix+path, ok, got, want)
				}
			}
		}
	}
	if len(hostsFile) != 160 || len(resolvFile) != 29 {
		t.Errorf("%d and %d bytes", len(hostsFile), len(resolvFile))
	}
}

func TestSection1_7Apk(t *testing.T) {
	with := func(db string) v1.Image {
		return image(t, v1.Config{}, []Entry{{Name: apkDatabase, Mode: 0o600, Data: []byte(db)}})
	}
	source := images{
		library + "a:latest": with("AAAA"), library + "b:latest": with("BBBB"), library + "none:latest": image(t, v1.Config{}),
		library + "deleted:latest": image(t, v1.Config{}, []Entry{{Name: apkDatabase, Data: []byte("old")}}, []Entry{{Name: "lib/apk/.wh.db"}}),
		library + "big:latest":     imageOf(t, must(NewLayer(Epoch, Entry{Name: apkDatabase, Size: maxApkDatabase + 1, Open: zeroFile}))),
	}
	tests := []struct{ init, want string }{
		{"[a, none, b]", "AAAA\n\nBBBB\n\n"},
		{"[a, none]", "AAAA"},
		{"[a]", "AAAA"},
		{"[b, deleted]", "BBBB"},
	}
	for _, test := range tests {
		n := unpack(t, layout(t, "init: "+test.init, source, Options{}))[apkDatabase]
		if n.data != test.want {
			t.Errorf("%s: %q, want %q", test.init, n.data, test.want)
		}
		if len(test.want) == 12 && (n.hdr.Mode != 0o644 || n.hdr.ModTime.Unix() != 0) {
			t.Errorf("mode %o, time %v", n.hdr.Mode, n.hdr.ModTime)
		}
	}
	if _, err := Layout(t.Context(), parse(t, "init: [a, big]"), source, Options{}); err == nil || !strings.Contains(err.Error(), "init[1]: image big: lib/apk/db/installed has 67108865 bytes") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Layout(ctx, parse(t, "init: [a, b]"), source, Options{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func zeroFile() (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(zeroReader{}, maxApkDatabase+1)), nil
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestSection1_9 has a row for every statement about files.
func TestSection1_9(t *testing.T) {
	local := fstest.MapFS{"src.txt": {Data: []byte("source"), Mode: 0o777}, "dir/x": {}}
	open := func(name string) (fs.File, error) { return local.Open(name) }
	const owners = "onboot: [{name: one, image: a}, {name: two, image: a}]\n"
	tests := []struct {
		name, files string
		want        map[string]string
	}{
		{"leading slash", "{path: /etc/x, contents: a}", map[string]string{"etc/x": "0 0600 0:0 a"}},
		{"default modes", "{path: x, contents: a}, {path: d, directory: true}", map[string]string{"x": "0 0600 0:0 a", "d": "5 0700 0:0"}},
		{"mode", "{path: x, contents: a, mode: '4755'}, {path: d, directory: true, mode: '1777'}", map[string]string{"x": "0 4755 0:0 a", "d": "5 1777 0:0"}},
		{"empty contents", "{path: x, contents: ''}", map[string]string{"x": "0 0600 0:0"}},
		{"parents of 0644", "{path: a/b/c, contents: x, mode: '0644'}", map[string]string{"a": "5 0755 0:0", "a/b": "5 0755 0:0", "a/b/c": "0 0644 0:0 x"}},
		{"parents of the default", "{path: a/b, contents: x}", map[string]string{"a": "5 0700 0:0"}},
		{"parents of 0640", "{path: a/b, contents: x, mode: '0640'}", map[string]string{"a": "5 0750 0:0"}},
		{"parents of 0004", "{path: a/b, contents: x, mode: '0004'}", map[string]string{"a": "5 0005 0:0"}},
		{"parents have the file's owner", "{path: a/b, contents: x, uid: 5, gid: 6}", map[string]string{"a": "5 0700 5:6", "a/b": "0 0600 5:6 x"}},
		{"parents once", "{path: a/b, contents: x}, {path: a/c, contents: x, mode: '0644', uid: 9}", map[string]string{"a": "5 0700 0:0"}},
		{"a listed folder is no parent", "{path: a, directory: true, mode: '0711'}, {path: a/c, contents: x, mode: '0644'}", map[string]string{"a": "5 0711 0:0"}},
		{"a listed folder wins", "{path: a/c, contents: x, mode: '0644'}, {path: a, directory: true, mode: '0711'}", map[string]string{"a": "5 0711 0:0"}},
		{"owner by name", "{path: x, contents: a, uid: two, gid: one}, {path: y, contents: '', uid: root}", map[string]string{"x": "0 0600 101:100 a", "y": "0 0600 0:0"}},
		{"symlink", "{path: x, symlink: /y/z}", map[string]string{"x": "2 0777 0:0 -> /y/z"}},
		{"source", "{path: x, source: src.txt}", map[string]string{"x": "0 0600 0:0 source"}},
		{"optional and there", "{path: x, source: src.txt, optional: true}", map[string]string{"x": "0 0600 0:0 source"}},
		{"optional and missing", "{path: a/x, source: gone, optional: true}, {path: y, contents: a}", map[string]string{"a/x": "", "a": "", "y": "0 0600 0:0 a"}},
		{"missing file's parent is another's", "{path: a/x, source: gone, optional: true}, {path: a/y, contents: a, mode: '0644'}", map[string]string{"a": "5 0755 0:0"}},
		{"later file wins", "{path: x, contents: a}, {path: x, contents: b, mode: '0644'}", map[string]string{"x": "0 0644 0:0 b"}},
		{"over an image's file", "{path: etc/hosts, contents: a}", map[string]string{"etc/hosts": "0 0600 0:0 a"}},
		{"an image's folder stays", "{path: etc/foo/bar, contents: a}", map[string]string{"etc": "5 0751 3:4", "etc/foo": "5 0700 0:0"}},
		{"a listed image's folder does not", "{path: etc, directory: true, mode: '0500'}", map[string]string{"etc": "5 0500 0:0"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			source := images{library + "a:latest": image(t, v1.Config{}, []Entry{{Name: "etc/", Mode: 0o751, UID: 3, GID: 4}})}
			all := unpack(t, layout(t, owners+"init: [a]\nfiles: ["+test.files+"]", source, Options{Open: open}))
			for path, want := range test.want {
				n, ok := all[path]
				if got := n.String(); ok != (want != "") || ok && got != want {
					t.Errorf("%s: got %v %q, want %q", path, ok, got, want)
				}
			}
		})
	}
}

// LinuxKit turns /etc into 0700 for the sake of etc/foo/bar.
func TestSection1_9CompatParents(t *testing.T) {
	source := images{library + "a:latest": image(t, v1.Config{}, []Entry{{Name: "etc/", Mode: 0o755}})}
	all := unpack(t, layout(t, "init: [a]\nfiles: [{path: etc/foo/bar, contents: a}]", source, Options{Compat: true}))
	if got := all["etc"].String(); got != "5 0700 0:0" {
		t.Error(got)
	}
}

func TestSection1_9Errors(t *testing.T) {
	tests := []struct{ files, want string }{
		{"{contents: a}", `files[0]: missing key "path"`},
		{"{path: /, contents: a}", `"/" is not the path of a file`},
		{"{path: a/../b, contents: a}", `"a/../b": .. is not allowed`},
		{"{path: a/.wh.b, contents: a}", `names that begin with .wh. are deletions`},
		{"{path: x}", `files[0] "x": has no contents: one of contents, source, metadata, symlink and directory is needed`},
		{"{path: x, source: ''}", `has no contents`},
		{"{path: x, source: a, metadata: yaml}", `files[0] "x": metadata and source exclude each other`},
		{"{path: x, directory: true, contents: a}", `contents and directory exclude each other`},
		{"{path: x, symlink: a, contents: a}", `contents and symlink exclude each other`},
		{"{path: x, contents: a, mode: 'rw'}", `mode: "rw" is not an octal mode`},
		{"{path: x, metadata: toml}", `metadata: "toml" is none of json, yaml`},
	}
	for _, test := range tests {
		_, err := Parse(Source{"hook.yaml", []byte("files: [" + test.files + "]")})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.files, err, test.want)
		}
	}
	// Errors of the disk name every file, with its place.
	dir := t.TempDir()
	cfg := parse(t, "files:\n  - {path: a, source: gone}\n  - {path: b, source: .}\n  - {path: c, source: ~/gone}")
	_, err := Layout(t.Context(), cfg, images{}, Options{Open: DirSource(dir, "")})
	for _, want := range []string{
		`hook.yaml:2:6: files[0] "a": reading its source: open ` + dir + `/gone: no such file`,
		`hook.yaml:3:6: files[1] "b": reading its source: . is not a regular file`,
		`hook.yaml:4:6: files[2] "c": reading its source: ~/gone: there is no home directory`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("the cause is lost")
	}
	if _, err := Layout(t.Context(), cfg, images{}, Options{}); err == nil || !strings.Contains(err.Error(), "local files are not to be had here") {
		t.Error(err)
	}
}

func TestSection1_9Source(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	write := func(name, data string) string {
		try(t, os.WriteFile(name, []byte(data), 0o644))
		return name
	}
	absolute := write(filepath.Join(dir, "a"), "relative")
	write(filepath.Join(home, "h"), "home")
	yaml := fmt.Sprintf("files: [{path: a, source: a}, {path: b, source: ~/h}, {path: c, source: %s}]", absolute)
	parts := layout(t, yaml, nil, Options{Open: DirSource(dir, home)})
	all := unpack(t, parts)
	if all.file(t, "a") != "relative" || all.file(t, "b") != "home" || all.file(t, "c") != "relative" {
		t.Errorf("%v", all)
	}
	// A file that changes while the image is built is an error, not a broken tar.
	for _, change := range []struct{ data, want string }{{"short", "shorter than it was"}, {"much longer", "longer than it was"}} {
		write(absolute, change.data)
		r := must(parts[0].Layers[0].Uncompressed())
		if _, err := io.Copy(io.Discard, r); err == nil || !strings.Contains(err.Error(), change.want) {
			t.Errorf("got %v, want %s", err, change.want)
		}
		r.Close()
	}
}

func TestSection1_9Metadata(t *testing.T) {
	first := "kernel: {image: k, cmdline: a}\ninit: [i]\nservices: [{name: s, image: x, env: [], sysctl: {\"on\": '1'}, uid: 5, readonly: yes, resources: {cpu: {quota: -1}}}]\n"
	second := "kernel: {cmdline: b}\nfiles: [{path: m.json, metadata: json}, {path: m.yaml, metadata: yaml}, {path: q, contents: \"a: 'b'\\n#\\t\\u2028\"}]\ninit: [j]\ntrust: {org: [x]}"
	cfg, err := Parse(Source{"a", []byte(first)}, Source{"b", []byte(second)})
	if err != nil {
		t.Fatal(err)
	}
	parts, err := Layout(t.Context(), cfg, images{library + "i:latest": image(t, v1.Config{}), library + "j:latest": image(t, v1.Config{}), library + "x:latest": image(t, v1.Config{})}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	all := unpack(t, parts)
	equalJSON(t, all.file(t, "m.json"), `{
		"kernel": {"image": "k", "cmdline": "b"}, "init": ["i", "j"],
		"services": [{"name": "s", "image": "x", "env": [], "sysctl": {"on": "1"}, "uid": 5, "readonly": true, "resources": {"cpu": {"quota": -1}}}],
		"files": [{"path": "m.json", "metadata": "json"}, {"path": "m.yaml", "metadata": "yaml"}, {"path": "q", "contents": "a: 'b'\n#\t\u2028"}]}`)
	// The YAML is a LinuxKit file again, of the same meaning.
	again, err := Parse(Source{"m.yaml", []byte(all.file(t, "m.yaml"))})
	if err != nil {
		t.Fatalf("%v\n%s", err, all.file(t, "m.yaml"))
	}
	if got := string(must(again.Metadata("json"))); got != all.file(t, "m.json") {
		t.Errorf("got\n%s\nwant\n%s", got, all.file(t, "m.json"))
	}
}

func TestMetadataOfEveryKey(t *testing.T) {
	cfg := parse(t, everyKey)
	for _, format := range []string{"yaml", "json"} {
		data := must(cfg.Metadata(format))
		again, err := Parse(Source{format, data})
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if got := must(again.Metadata(format)); !bytes.Equal(got, data) {
			t.Errorf("got\n%s\nwant\n%s", got, data)
		}
	}
}

// Same input, same bytes; another time is the only difference.
func TestLayoutIsDeterministic(t *testing.T) {
	source := images{library + "a:1": image(t, v1.Config{}, []Entry{{Name: "x", Data: []byte("x")}}), library + "b:1": image(t, v1.Config{})}
	yaml := "init: [a:1, b:1]\nvolumes: [{name: v}]\nservices: [{name: s, image: a:1, sysctl: {b: '1', a: '2'}, annotations: {z: z, y: y}}]\nfiles: [{path: a/b/c, contents: d}]"
	digests := func(opts Options) []string {
		var all []string
		for _, part := range layout(t, yaml, source, opts) {
			for _, layer := range part.Layers {
				all = append(all, must(layer.DiffID()).String())
			}
		}
		return all
	}
	if a, b := digests(Options{}), digests(Options{}); !reflect.DeepEqual(a, b) {
		t.Errorf("%v\n%v", a, b)
	}
	if a, b := digests(Options{}), digests(Options{ModTime: time.Unix(1e9, 0)}); reflect.DeepEqual(a, b) {
		t.Error("the time has no effect")
	}
}

func TestNewLayer(t *testing.T) {
	long := strings.Repeat("n", 300) + "/ü"
	layer := must(NewLayer(Epoch,
		Entry{Name: "d/", Mode: 0o755}, Entry{Name: "d/f", Mode: 0o4755, UID: 1, GID: 70000, Data: bytes.Repeat([]byte("x"), 512)},
		Entry{Name: long, Data: []byte("y")}, Entry{Name: "l", Link: "t"}, Entry{Name: "e"}))
	checkLayer(t, layer)
	all := flatten(t, []v1.Layer{layer})
	if got := all["d/f"].String(); !strings.HasPrefix(got, "0 4755 1:70000 xxx") {
		t.Error(got)
	}
	if all[long].data != "y" || all["l"].hdr.Linkname != "t" || len(all) != 5 {
		t.Errorf("%v", all.paths())
	}
	if _, err := NewLayer(Epoch, Entry{Name: "a\x00b"}); err == nil {
		t.Error("a name with a zero byte")
	}
	broken := must(NewLayer(Epoch, Entry{Name: "a", Size: 1, Open: func() (io.ReadCloser, error) { return nil, fs.ErrPermission }}))
	if _, err := broken.DiffID(); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), `content of "a"`) {
		t.Error(err)
	}
}
