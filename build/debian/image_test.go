package debian

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/google/go-containerregistry/pkg/v1/validate"
)

const testImage = `
name: hook-test
packages: [ca-certificates, iptables, busybox-static, docker.io, "only-arm [arm64]"]
binaries:
  /usr/bin/hookguest: guest-linux-${arch}
links:
  /init: usr/bin/hookguest
  /usr/lib/${triplet}/x.so: y.so
busybox:
  /usr/bin: [sh, "["]
  /sbin: [modprobe]
files:
  - {path: /etc/motd, contents: "hello\n"}
  - {path: etc/secret, contents: "s", mode: "0600", uid: 1, gid: 2}
  - {path: /worker, directory: true}
  - {path: bin/tool, symlink: ../x}
drop:
  - usr/share/ca-certificates/**
  - usr/bin/gone
  - usr/lib/*/lib*.so.1
  - usr/lib/*/sub/**
  - usr/share/ca-certificates/mozilla/A.crt
env: [PATH=/bin]
entrypoint: [/usr/bin/hookguest]
cmd: [docker]
cwd: /worker
label:
  capabilities: [all]
  runtime: {mkdir: [/var/run/docker]}
  oomScoreAdj: -800
`

// testPackages are the packages of testImage, by name.
func testPackages(t *testing.T) (lookup func(string) (*Package, error), open func(*Package) (io.ReadCloser, error)) {
	debs := map[string][]byte{
		"ca-certificates": debOf(t, "ca-certificates", "1", "amd64",
			entry{name: "./usr/share/ca-certificates/mozilla/B.crt", body: "B"}, entry{name: "./usr/share/ca-certificates/mozilla/A.crt", body: "A\n\n"},
			entry{name: "./usr/share/ca-certificates/README", body: "no"}, entry{name: "./usr/share/doc/ca-certificates/copyright", body: "free"}),
		"iptables": debOf(t, "iptables", "1", "amd64", entry{name: "./usr/sbin/xtables-nft-multi", body: "x"},
			entry{name: "./usr/lib/x86_64-linux-gnu/libfoo.so.1", body: "x"}, entry{name: "./usr/lib/x86_64-linux-gnu/libfoo.so.2", body: "x"},
			entry{name: "./usr/lib/x86_64-linux-gnu/sub/"}, entry{name: "./usr/lib/x86_64-linux-gnu/sub/x"}, entry{name: "./usr/lib/x86_64-linux-gnu/sub/y/z"}),
		"busybox-static": debOf(t, "busybox-static", "1", "amd64", entry{name: "./usr/bin/busybox", body: "b"}),
		"docker.io":      debOf(t, "docker.io", "1", "amd64", entry{name: "./usr/sbin/dockerd", body: "d"}),
	}
	lookup = func(name string) (*Package, error) {
		deb, ok := debs[name]
		if !ok {
			return nil, fmt.Errorf("no package %s", name)
		}
		return packageOf(name, "1", "amd64", deb), nil
	}
	open = func(p *Package) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(debs[p.Name])), nil }
	return lookup, open
}

var testGuest = fstest.MapFS{"guest-linux-amd64": {Data: []byte("guest")}, "guest-linux-arm64": {Data: []byte("guest arm")}}

func planOf(t *testing.T, yaml string) *Plan {
	t.Helper()
	d, err := ParseDefinition("test.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	lookup, _ := testPackages(t)
	p, err := d.Plan("amd64", lookup, testGuest)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestImage(t *testing.T) {
	p := planOf(t, testImage)
	_, open := testPackages(t)
	img, err := p.Image(open)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 6 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	r, err := layers[4].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	wantLines(t, listTar(t, r), []string{"0755 0:0 usr/bin/hookguest = guest"})

	r, err = layers[5].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	for _, line := range listTar(t, r) {
		if !strings.Contains(line, " etc/passwd ") && !strings.Contains(line, " etc/shadow ") && !strings.Contains(line, "nsswitch") && !strings.Contains(line, "etc/hosts") {
			got = append(got, line)
		}
	}
	wantLines(t, got, []string{
		"0777 0:0 bin -> usr/bin", "0755 0:0 dev/", "0755 0:0 etc/", "0644 0:0 etc/group = " + groups + "docker:x:999:\n", "0644 0:0 etc/motd = hello\n",
		"0600 1:2 etc/secret = s", "0644 0:0 etc/ssl/certs/ca-certificates.crt = A\nB\n", "0777 0:0 init -> usr/bin/hookguest",
		"0777 0:0 lib -> usr/lib", "0777 0:0 lib64 -> usr/lib64", "0755 0:0 proc/", "0700 0:0 root/", "0755 0:0 run/", "0777 0:0 sbin -> usr/sbin",
		"0755 0:0 sys/", "1777 0:0 tmp/", "0755 0:0 usr/", "0755 0:0 usr/bin/", "0644 0:0 usr/bin/.wh.gone = ", "0777 0:0 usr/bin/[ -> busybox",
		"0777 0:0 usr/bin/sh -> busybox", "0777 0:0 usr/bin/tool -> ../x", "0755 0:0 usr/lib/",
		"0644 0:0 usr/lib/x86_64-linux-gnu/.wh.libfoo.so.1 = ", "0644 0:0 usr/lib/x86_64-linux-gnu/.wh.sub = ",
		"0777 0:0 usr/lib/x86_64-linux-gnu/x.so -> y.so", "0755 0:0 usr/lib64/",
		"0755 0:0 usr/sbin/", "0777 0:0 usr/sbin/ip6tables -> xtables-nft-multi", "0777 0:0 usr/sbin/ip6tables-restore -> xtables-nft-multi",
		"0777 0:0 usr/sbin/ip6tables-save -> xtables-nft-multi", "0777 0:0 usr/sbin/iptables -> xtables-nft-multi",
		"0777 0:0 usr/sbin/iptables-restore -> xtables-nft-multi", "0777 0:0 usr/sbin/iptables-save -> xtables-nft-multi",
		"0777 0:0 usr/sbin/modprobe -> ../bin/busybox", "0644 0:0 usr/share/.wh.ca-certificates = ", "0644 0:0 usr/share/.wh.doc = ",
		"0755 0:0 var/", "0755 0:0 var/lib/", "0755 0:0 var/log/", "0777 0:0 var/run -> /run", "1777 0:0 var/tmp/", "0755 0:0 worker/",
	})
}

func TestImageConfig(t *testing.T) {
	p := planOf(t, testImage)
	lookup, open := testPackages(t)
	var opened atomic.Int32
	img, err := p.Image(func(q *Package) (io.ReadCloser, error) { opened.Add(1); return open(q) })
	if err != nil {
		t.Fatal(err)
	}
	c, err := img.Unhashed().ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c.Architecture != "amd64" || c.OS != "linux" || c.Config.WorkingDir != "/worker" ||
		!slices.Equal(c.Config.Entrypoint, []string{"/usr/bin/hookguest"}) || !slices.Equal(c.Config.Cmd, []string{"docker"}) || !slices.Equal(c.Config.Env, []string{"PATH=/bin"}) {
		t.Errorf("config %+v", c)
	}
	if got, want := c.Config.Labels[LabelKey], `{"capabilities":["all"],"oomScoreAdj":-800,"runtime":{"mkdir":["/var/run/docker"]}}`; got != want {
		t.Errorf("label is\n%s, want\n%s", got, want)
	}
	if _, err := img.Unhashed().Layers(); err != nil || opened.Load() > 0 {
		t.Errorf("%d packages were unpacked to read settings, %v", opened.Load(), err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	raw, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	again, err := p.Definition.Plan("amd64", lookup, testGuest)
	if err != nil {
		t.Fatal(err)
	}
	img2, err := again.Image(open)
	if err != nil {
		t.Fatal(err)
	}
	if raw2, _ := img2.RawConfigFile(); !bytes.Equal(raw, raw2) || again.Ref != p.Ref {
		t.Error("two builds differ")
	}
	if n := len(c.History); n != 6 || !json.Valid(raw) {
		t.Errorf("%d history entries", n)
	}
}

// TestPlanRef: the reference changes with everything that the image consists
// of, and is known without opening a package.
func TestPlanRef(t *testing.T) {
	base := planOf(t, testImage)
	if !strings.HasPrefix(base.Ref, "hooksmith/hook-test:") || !strings.HasSuffix(base.Ref, "-amd64") || len(base.Ref) != len("hooksmith/hook-test:-amd64")+12 {
		t.Errorf("ref %s", base.Ref)
	}
	refs := map[string]string{"base": base.Ref}
	note := func(name, ref string) {
		for other, r := range refs {
			if r == ref {
				t.Errorf("%s and %s have one reference", name, other)
			}
		}
		refs[name] = ref
	}
	for name, change := range map[string][2]string{
		"file": {"hello", "hallo"}, "mode": {"0600", "0640"}, "drop": {"usr/bin/gone", "usr/bin/went"}, "env": {"PATH=/bin", "PATH=/sbin"},
		"label": {"-800", "-801"}, "package": {"iptables, ", ""}, "cmd": {"[docker]", "[other]"},
	} {
		note(name, planOf(t, strings.Replace(testImage, change[0], change[1], 1)).Ref)
	}
	lookup, _ := testPackages(t)
	newer := func(name string) (*Package, error) {
		p, err := lookup(name)
		if err == nil && name == "docker.io" {
			p.SHA256 = strings.Repeat("a", 64)
		}
		return p, err
	}
	p, err := base.Definition.Plan("amd64", newer, testGuest)
	if err != nil {
		t.Fatal(err)
	}
	note("other package content", p.Ref)
	p, err = base.Definition.Plan("amd64", lookup, fstest.MapFS{"guest-linux-amd64": {Data: []byte("guesT")}})
	if err != nil {
		t.Fatal(err)
	}
	note("other program", p.Ref)
}

func TestPlanErrors(t *testing.T) {
	d, err := ParseDefinition("test.yaml", []byte(testImage))
	if err != nil {
		t.Fatal(err)
	}
	lookup, open := testPackages(t)
	anyArch := func(name string) (*Package, error) {
		p, err := lookup(name)
		if err == nil {
			p.Architecture = "all"
		}
		return p, err
	}
	_, err = d.Plan("arm64", anyArch, testGuest)
	wantError(t, err, "image hook-test", "no package only-arm")
	_, err = d.Plan("amd64", lookup, fstest.MapFS{})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing program: %v", err)
	}
	other := func(name string) (*Package, error) { return packageOf(name, "1", "arm64", []byte("x")), nil }
	_, err = d.Plan("amd64", other, testGuest)
	wantError(t, err, "image hook-test for amd64: package ca-certificates:arm64=1 is for another architecture")
	_, err = d.Plan("mips", lookup, testGuest)
	wantError(t, err, `architecture "mips" is not one of amd64, arm64`)

	p, err := d.Plan("amd64", lookup, testGuest)
	if err != nil {
		t.Fatal(err)
	}
	img, _ := p.Image(func(q *Package) (io.ReadCloser, error) {
		if q.Name == "ca-certificates" {
			return nil, errors.New("mirror is on fire")
		}
		return open(q)
	})
	_, err = img.RawConfigFile()
	wantError(t, err, "mirror is on fire")
	_, err = img.layers[5].Uncompressed()
	wantError(t, err, "image hook-test: collecting certificates", "mirror is on fire")
}

func TestParseDefinitionErrors(t *testing.T) {
	for _, tt := range []struct{ yaml, want string }{
		{"name: a-b\ncolour: red\n", `x.yaml:2:1: unknown field "colour"`},
		{"name: a-b\nfiles:\n  - path: x\n    owner: 1\n", `x.yaml:4:5: unknown field "owner"`},
		{"name: a-b\nname: c\n", "x.yaml:2:1: "},
		{"name: a-b\npackages: 7x: y\n", "x.yaml:2:"},
		{"name: a-b\npackages: {a: b}\n", "x.yaml:2:"},
		{"", "no image definition"},
		{"name: a-b\n---\nname: c-d\n", "more than one document"},
		{"packages: [runc]\n", `name: "" is not`},
		{"name: ../x\n", "name: "},
		{"name: a-b\npackages: ['runc (= 1.2)']\n", "packages: "},
		{"name: a-b\npackages: [Runc]\n", "not a package name"},
		{"name: a-b\nenv: [PATH]\n", "env: "},
		{"name: a-b\ncwd: x\n", "cwd: "},
		{"name: a-b\nlabel: {image: x}\n", "label: image"},
		{"name: a-b\nfiles: [{contents: x}]\n", "files[0]: it has no path"},
		{"name: a-b\nfiles: [{path: ../x}]\n", "files: path"},
		{"name: a-b\nfiles: [{path: a/.wh.b}]\n", "files: path"},
		{"name: a-b\nfiles: [{path: x, mode: '0888'}]\n", "octal"},
		{"name: a-b\nfiles: [{path: x, mode: '77777'}]\n", "octal"},
		{"name: a-b\nfiles: [{path: x, contents: a, directory: true}]\n", "only one of"},
		{"name: a-b\nfiles: [{path: x, uid: -1}]\n", "negative"},
		{"name: a-b\nfiles: [{path: bin/x}, {path: /usr/bin/x}]\n", "given by files already"},
		{"name: a-b\nlinks: {x: ''}\n", "bad target"},
		{"name: a-b\nlinks: {'${x}/y': z}\n", "the variables are"},
		{"name: a-b\nbusybox: {/bin: [sh]}\n", "busybox-static"},
		{"name: a-b\ndrop: ['**']\n", "drop: pattern"},
		{"name: a-b\nkeep: ['usr/[']\n", "keep: pattern"},
		{"name: a-b\nbinaries: {/init: ../guest}\n", "not the name of a program"},
	} {
		_, err := ParseDefinition("x.yaml", []byte(tt.yaml))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "x.yaml") {
			t.Errorf("%q: error %v, want %q", tt.yaml, err, tt.want)
		}
	}
}

func TestFileMode(t *testing.T) {
	for yaml, want := range map[string]int64{"mode: '0755'": 0o755, "mode: \"1777\"": 0o1777, "mode: 0755": 0o755, "mode: 755": 0o755, "mode: '0640' # why": 0o640, "uid: 0": 0o644, "directory: true": 0o755} {
		d, err := ParseDefinition("x.yaml", []byte("name: a-b\nfiles:\n  - path: x\n    "+yaml+"\n"))
		if err != nil {
			t.Error(err)
			continue
		}
		if got, _ := d.Files[0].mode(); got != want {
			t.Errorf("%s is %o, want %o", yaml, got, want)
		}
	}
}

func TestReadDefinitions(t *testing.T) {
	fsys := fstest.MapFS{"b.yaml": {Data: []byte("name: b-b\n")}, "a.yaml": {Data: []byte("name: a-a\n")}, "README.md": {Data: []byte("x")}}
	got, err := ReadDefinitions(fsys)
	if err != nil || len(got) != 2 || got[0].Name != "a-a" || got[0].Suite != DefaultSuite {
		t.Errorf("%+v %v", got, err)
	}
	fsys["c.yaml"] = &fstest.MapFile{Data: []byte("name: a-a\n")}
	_, err = ReadDefinitions(fsys)
	wantError(t, err, "c.yaml: image a-a is defined in a.yaml already")
}
