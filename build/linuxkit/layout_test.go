package linuxkit

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
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
