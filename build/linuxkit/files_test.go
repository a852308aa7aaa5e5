package linuxkit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

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
		{"optional and below a file", "{path: a/x, source: src.txt/gone, optional: true}", map[string]string{"a/x": ""}},
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
		{"{path: ./., contents: a}", `hook.yaml:1:16: files[0] "./.": path: "./." is not the path of a file`},
		{"{path: a/../b, contents: a}", `"a/../b": .. is not allowed`},
		{"{path: /TRAILER!!!, contents: a}", `hook.yaml:1:16: files[0] "/TRAILER!!!": path: "/TRAILER!!!": this name ends a cpio archive`},
		{"{path: a/" + strings.Repeat("n", 256) + "/b, contents: a}", `a file name has at most 255 bytes, this has 256`},
		{"{path: " + strings.Repeat("n/", 2048) + "b, contents: a}", `a path has at most 4095 bytes`},
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

// saysSize is a file that says that it has so many bytes, as those of /proc and
// /sys do.
type saysSize struct {
	fs.File
	size int64
}

type infoOfSize struct {
	fs.FileInfo
	size int64
}

func (f saysSize) Stat() (fs.FileInfo, error) {
	st, err := f.File.Stat()
	return infoOfSize{st, f.size}, err
}

func (i infoOfSize) Size() int64 { return i.size }

// What says a wrong size, but no large one, arrives whole.
func TestFilesThatSayAnotherSize(t *testing.T) {
	for _, tt := range []struct{ says, has int }{{0, 3}, {4096, 3}, {64 << 10, 0}, {4096, 100_000}, {0, 0}, {4096, 4096}, {1 << 20, 1 << 20}} {
		local := fstest.MapFS{"a": {Data: bytes.Repeat([]byte("x"), tt.has)}}
		open := func(name string) (fs.File, error) {
			f, err := local.Open(name)
			return saysSize{f, int64(tt.says)}, err
		}
		all := unpack(t, layout(t, "files: [{path: a, source: a}]", nil, Options{Open: open}))
		if got := all.file(t, "a"); len(got) != tt.has {
			t.Errorf("%d bytes of %d, instead of %d", len(got), tt.has, tt.says)
		}
	}
	local := fstest.MapFS{"a": {Data: make([]byte, maxUnsized+1)}}
	_, err := Layout(t.Context(), parse(t, "files: [{path: a, source: a}]"), images{}, Options{Open: func(name string) (fs.File, error) {
		f, err := local.Open(name)
		return saysSize{f, 4096}, err
	}})
	if err == nil || !strings.Contains(err.Error(), "a says that it has 4096 bytes, and has more than 16777216") {
		t.Errorf("a file without an end: %v", err)
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
