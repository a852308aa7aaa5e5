package kerneltest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	dockerimage "github.com/docker/docker/api/types/image"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"hooksmith/build/docker"
	"hooksmith/cmd/hooksmith/internal/qemu"
	"hooksmith/cmd/hooksmith/internal/qemutest"
	"hooksmith/configs"
	"hooksmith/kernel"
	"hooksmith/kernel/compile"
	"hooksmith/kernel/source"
)

// made is what hooksmith kernel --json prints.
type made struct {
	Ref, Release, Where   string
	Digest                v1.Hash
	Compiled              bool
	Objects, Hits, Misses int
}

func readMade(t *testing.T, r result) made {
	t.Helper()
	var m made
	if err := json.Unmarshal([]byte(r.stdout), &m); err != nil {
		t.Fatalf("%s: %v", r.stdout, err)
	}
	return m
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// testdata is a file of ours for commands that run elsewhere.
func testdata(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestKernel compiles the small kernel from Debian's source, with a patch, a
// module from outside that needs the patch, and one that needs that module; looks into the image; and boots
// HookOS with it, up to Docker. Then one symbol changes, and ccache has nearly
// all of the rest.
func TestKernel(t *testing.T) {
	l := needLab(t)
	t.Parallel()
	file := filepath.Join(t.TempDir(), "kernel.tar")
	args := l.kernelArgs("hook-vm-amd64", "--patch", testdata(t, "header.patch"), "--external-module", testdata(t, "hello"),
		"--external-module", testdata(t, "greet"), "--export", file, "--json")
	cmd := l.command(t, append(args, "--force")...)
	r := l.kernel(t, cmd)
	m := readMade(t, r)
	if !m.Compiled || !strings.HasPrefix(m.Release, "6.12.") || !strings.HasPrefix(m.Ref, l.repository+":6.12.") {
		t.Errorf("%+v", m)
	}
	t.Logf("%+v", m)
	checkEstimate(t, r, m.Objects)
	if found := l.leftovers(t, cmd); len(found) > 0 {
		t.Errorf("left behind: %q", found)
	}
	checkImage(t, file, m)

	first := filepath.Join(filepath.Dir(file), "first.tar") // file will be replaced
	if err := os.Link(file, first); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.turns <- struct{}{} })
	t.Run("boots", func(t *testing.T) { t.Parallel(); l.boot(t, first) })
	t.Run("one symbol", func(t *testing.T) { t.Parallel(); l.rebuild(t, m) })
	t.Run("again", func(t *testing.T) { t.Parallel(); l.again(t, args, file, m) })
}

// again asks for a kernel that is there, in the daemon and in the registry.
func (l *lab) again(t *testing.T, args []string, file string, m made) {
	t.Run("is not compiled", func(t *testing.T) {
		again := l.kernel(t, l.command(t, args...))
		wantParts(t, again.stderr, "is in the Docker daemon already", "--force")
		if a := readMade(t, again); a.Compiled || a.Ref != m.Ref || a.Where != "the Docker daemon" {
			t.Errorf("%+v", a)
		}
		checkImage(t, file, m) // which was exported again, out of the daemon
	})
	t.Run("pushed", func(t *testing.T) {
		p := readMade(t, l.kernel(t, l.command(t, append(args, "--push")...)))
		pushed, err := remote.Image(must(name.ParseReference(m.Ref)))
		if err != nil {
			t.Fatal(err)
		}
		if digest := must(pushed.Digest()); p.Compiled || p.Digest != m.Digest || digest != m.Digest {
			t.Errorf("%+v, and the registry has %s", p, digest)
		}
		if _, err := l.daemon(t).ImageRemove(t.Context(), m.Ref, dockerimage.RemoveOptions{}); err != nil {
			t.Fatal(err)
		}
		again := l.kernel(t, l.command(t, args...))
		wantParts(t, again.stderr, "is in the registry already")
		checkImage(t, file, m)
	})
}

// checkEstimate compares what was promised with what was compiled.
func checkEstimate(t *testing.T, r result, objects int) {
	t.Helper()
	about := regexp.MustCompile(`compiling vm-6\.12\.y-x86_64: started \(about (\d+) objects\)`).FindStringSubmatch(r.stderr)
	if about == nil {
		t.Fatalf("no estimate: %s", r.stderr)
	}
	n, _ := strconv.Atoi(about[1])
	t.Logf("%d objects, estimated %d", objects, n)
	if objects < 300 || n < objects*3/4 || n > objects*4/3 {
		t.Errorf("estimate %d for %d objects", n, objects)
	}
}

// checkImage opens what --export wrote as docker load, LinuxKit and our own
// build see it.
func checkImage(t *testing.T, file string, m made) {
	t.Helper()
	img, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.OS != "linux" || cfg.Architecture != "amd64" {
		t.Errorf("image for %s/%s", cfg.OS, cfg.Architecture)
	}
	for label, want := range map[string]string{
		"org.opencontainers.image.version": m.Release, "dev.hooksmith.kernel.config": "vm-6.12.y-x86_64",
		"dev.hooksmith.kernel.patches": "header.patch=", "dev.hooksmith.kernel.external": "hello=",
	} {
		if !strings.HasPrefix(cfg.Config.Labels[label], want) {
			t.Errorf("label %s is %q, want %q", label, cfg.Config.Labels[label], want)
		}
	}
	dir := unpack(t, img)
	k, err := kernel.OpenLinuxKit(os.DirFS(dir), kernel.X86_64)
	if err != nil {
		t.Fatal(err)
	}
	if k.Release != m.Release {
		t.Errorf("release %s, want %s", k.Release, m.Release)
	}
	modules := readTar(t, filepath.Join(dir, "kernel.tar"), m.Release)
	if !strings.Contains(modules["modules.dep"], "updates/hello/hello.ko") || !strings.Contains(modules["modules.alias"], "alias hooksmith:hello hello") {
		t.Errorf("depmod does not know the module from outside:\n%.2000s", modules["modules.dep"])
	}
	if !regexp.MustCompile(`(?m)^updates/greet/greet\.ko\S*: updates/hello/hello\.ko`).MatchString(modules["modules.dep"]) {
		t.Errorf("a module from outside that needs another one:\n%.2000s", modules["modules.dep"])
	}
	if symbols, err := os.ReadFile(filepath.Join(dir, "System.map")); err != nil || !strings.Contains(string(symbols), " startup_64\n") {
		t.Errorf("System.map: %v", err)
	}
}

// unpack writes the image's files into a folder.
func unpack(t *testing.T, img v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	r := mutate.Extract(img)
	defer r.Close()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(dir, filepath.Base(h.Name)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(f, tr); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

// readTar reads depmod's files of a kernel.tar.
func readTar(t *testing.T, path, release string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := map[string]string{}
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Year() != 2000 {
			t.Errorf("%s: owner %d:%d, time %s", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		if dir, name := filepath.Split(h.Name); strings.HasSuffix(dir, "lib/modules/"+release+"/") && strings.HasPrefix(name, "modules.") {
			b, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			found[name] = string(b)
		}
	}
}

// boot builds HookOS with the kernel and boots it in QEMU.
func (l *lab) boot(t *testing.T, file string) {
	out := filepath.Join(t.TempDir(), "out")
	r := l.run(t, l.command(t, "build", "hook-vm-amd64", "--kernel", file, "--out", out))
	if r.code != 0 {
		t.Fatalf("hooksmith build: %s", r.stderr)
	}
	v := qemutest.Boot(t, qemu.Machine{
		Arch: qemu.AMD64, Accel: "tcg", MemoryMiB: 2048, CPUs: 1, Netdev: "user",
		Kernel: filepath.Join(out, "vmlinuz-vm-x86_64"), Initrd: filepath.Join(out, "initramfs-vm-x86_64"),
		Append: []string{"panic=-1"}, Extra: []string{"-no-reboot"},
	})
	v.Wait(`hooksmith: init started.*$`)
	if got := v.Wait(`hooksmith: docker: ready \((\w+).*$`)[1]; got != "overlay2" {
		t.Errorf("storage driver %s, want overlay2", got)
	}
	v.Login()
	if got := v.Run(`modprobe hooksmith:hello; dmesg | grep hello`); !strings.Contains(got, "hello from outside of the kernel") {
		t.Errorf("the module from outside: %q", got)
	}
	if got := v.Run(`modprobe greet; dmesg | grep greet`); !strings.Contains(got, "greet: hello from outside of the kernel") {
		t.Errorf("the module from outside that uses it: %q", got)
	}
	v.Run(`service exec hook-docker sh -c 'tar -C / -c usr/bin/busybox | docker import - bb'`)
	if got := v.Run(`docker run --rm bb /usr/bin/busybox ip -4 -o addr show eth0`); !strings.Contains(got, " 172.17.0.") {
		t.Errorf("a container's network: %q", got)
	}
	v.Lacks(`restarting in|Initramfs unpacking failed|segfault`)
}

// rebuild changes one symbol and compiles a part of the kernel again: the one
// that every kernel has.
func (l *lab) rebuild(t *testing.T, first made) {
	config, err := configs.FS.ReadFile("kernel/vm-6.12.y-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	src, err := source.Open(t.Context(), l.trimmed)
	if err != nil {
		t.Fatal(err)
	}
	b := &compile.Builder{Docker: docker.Config{Host: "unix://" + l.socket}, Network: l.network}
	spec := compile.Spec{Arch: kernel.X86_64, ConfigName: "vm-6.12.y-x86_64", Config: append(config, "CONFIG_DUMMY=m\n"...), Source: src}
	if strings.HasSuffix(first.Ref, spec.Tag()) {
		t.Error("another configuration has the same tag")
	}
	w, err := b.Open(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var out bytes.Buffer
	start := time.Now()
	if err := w.Run(t.Context(), nil, "make", "-j2", "init/", "kernel/", "mm/"); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	if err := w.Run(t.Context(), &out, "sh", "/src/kernel.sh", "hits"); err != nil {
		t.Fatal(err)
	}
	var hits, misses int
	if _, err := fmt.Sscan(out.String(), &hits, &misses); err != nil {
		t.Fatalf("%q: %v", out.String(), err)
	}
	t.Logf("%d objects out of the cache, %d compiled, %s", hits, misses, took.Round(time.Second))
	if hits < 100 || hits < 9*misses {
		t.Errorf("%d objects out of the cache, %d compiled: one symbol was changed", hits, misses)
	}
}
