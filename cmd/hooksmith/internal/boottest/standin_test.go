package boottest

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"hooksmith/build/initramfs"
	"hooksmith/build/rootfs"
	"hooksmith/cmd/hooksmith/internal/qemu"
)

// standin is a container's image.
type standin struct {
	program string // where the program is; "": standin-program
	label   string // of LinuxKit
	script  string // see testdata/linuxkit/container.go
	layers  []v1.Layer
}

// push puts an image where the registry that ref names would have it.
func (s *standins) push(ref string, img v1.Image) {
	s.t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		s.t.Fatal(err)
	}
	host := strings.TrimPrefix(s.server.URL, "http://")
	tag, err := name.NewTag(host+"/"+parsed.Context().RepositoryStr()+":"+parsed.Identifier(), name.Insecure)
	if err == nil {
		err = remote.Write(tag, img)
	}
	if err != nil {
		s.t.Fatalf("pushing %s: %v", ref, err)
	}
}

// initImage is the stand-in for linuxkit/init.
func (s *standins) initImage() v1.Image {
	return s.image(v1.Config{}, tarred(s.t,
		entry{Name: "init", Mode: 0o755, content: s.program},
		entry{Name: "var/run", Typeflag: tar.TypeSymlink, Linkname: "/run"},
	))
}

// runcImage is this host's runc with what it is linked with.
func (s *standins) runcImage() v1.Image {
	s.t.Helper()
	runc, err := exec.LookPath("runc")
	if err != nil {
		s.t.Fatal(err)
	}
	libraries, err := exec.Command("ldd", runc).Output()
	if err != nil {
		s.t.Fatalf("ldd %s: %v", runc, err)
	}
	entries := []entry{{Name: "usr/bin/runc", Mode: 0o755, content: readFile(s.t, runc)}}
	for _, lib := range regexp.MustCompile(`/\S+`).FindAllString(string(libraries), -1) {
		if lib = strings.TrimPrefix(lib, "/"); !slices.ContainsFunc(entries, func(e entry) bool { return e.Name == lib }) {
			entries = append(entries, entry{Name: lib, Mode: 0o755, content: readFile(s.t, "/"+lib)})
		}
	}
	return s.image(v1.Config{}, tarred(s.t, entries...))
}

// kernelImage is the machine's own kernel as LinuxKit's images have it, with
// the one module that the containers need.
func (s *standins) kernelImage() v1.Image {
	s.t.Helper()
	f, err := os.Open(s.machine.Initrd)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	var module entry
	found := errors.New("found")
	err = initramfs.Read(f, initramfs.Limits{}, func(e initramfs.Entry, r io.Reader) error {
		if !strings.HasPrefix(path.Base(e.Name), "overlay.ko") {
			return nil
		}
		content, err := io.ReadAll(r)
		module = entry{Name: strings.TrimPrefix(e.Name, "usr/"), Mode: 0o644, content: content}
		return errors.Join(err, found)
	})
	if !errors.Is(err, found) {
		s.t.Fatalf("no overlay module in %s: %v", s.machine.Initrd, err)
	}
	microcode, err := rootfs.New(map[string]*rootfs.Inode{
		"kernel/x86/microcode/GenuineIntel.bin": rootfs.NewFile(0o644, bytes.Repeat([]byte{0}, 3000)),
	})
	var ucode bytes.Buffer
	if err == nil {
		_, err = initramfs.Write(s.t.Context(), &ucode, []initramfs.Segment{{Name: "ucode", Tree: microcode, Compression: initramfs.None}}, initramfs.Options{})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return s.image(v1.Config{}, tarred(s.t,
		entry{Name: "kernel", Mode: 0o644, content: readFile(s.t, s.machine.Kernel)},
		entry{Name: "kernel.tar", Mode: 0o644, content: archive(s.t, module)},
		entry{Name: "intel-ucode.cpio", Mode: 0o644, content: ucode.Bytes()},
	))
}

// container is an image whose program is the stand-in.
func (s *standins) container(c standin) v1.Image {
	s.t.Helper()
	if c.program == "" {
		c.program = "standin-program"
	}
	config := v1.Config{Entrypoint: []string{"/" + c.program}, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}}
	if c.label != "" {
		config.Labels = map[string]string{"org.mobyproject.config": c.label}
	}
	layer := tarred(s.t,
		entry{Name: c.program, Mode: 0o755, content: s.program},
		entry{Name: "standin", Mode: 0o644, content: []byte(c.script)})
	return s.image(config, append(c.layers, layer)...)
}

func (s *standins) image(config v1.Config, layers ...v1.Layer) v1.Image {
	s.t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err == nil {
		img, err = mutate.ConfigFile(img, platformConfig(s.t, img, s.machine.Arch, config))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return img
}

func platformConfig(t *testing.T, img v1.Image, arch qemu.Arch, config v1.Config) *v1.ConfigFile {
	t.Helper()
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", string(arch), config
	return file
}

// overlayLayers are two layers, the upper one of which takes away, replaces and
// hides what the lower one has.
func overlayLayers(t *testing.T) []v1.Layer {
	return []v1.Layer{
		tarred(t,
			entry{Name: "bottom", Mode: 0o644, content: []byte("gone")},
			entry{Name: "replaced/inside", Mode: 0o644, content: []byte("gone")},
			entry{Name: "opaque/old", Mode: 0o644, content: []byte("gone")},
			entry{Name: "target", Mode: 0o644, content: []byte("linked")},
			entry{Name: "file", Mode: 0o644, content: []byte("of the volume")}),
		tarred(t,
			entry{Name: ".wh.bottom"},
			entry{Name: "replaced", Mode: 0o644, Uid: 3, Gid: 4, content: []byte("a file now")},
			entry{Name: "opaque/.wh..wh..opq"},
			entry{Name: "opaque/new", Mode: 0o644, content: []byte("new")},
			entry{Name: "link", Typeflag: tar.TypeLink, Linkname: "target"}),
	}
}

// entry is a file, a folder if its name ends in a slash, or what Typeflag says.
type entry struct {
	Name, Linkname string
	Mode           int64
	Uid, Gid       int
	Typeflag       byte
	content        []byte
}

// archive is a tar with all parents.
func archive(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	write := func(e entry) {
		h := &tar.Header{Name: e.Name, Linkname: e.Linkname, Mode: e.Mode, Uid: e.Uid, Gid: e.Gid, Typeflag: e.Typeflag, Size: int64(len(e.content))}
		if strings.HasSuffix(e.Name, "/") {
			h.Typeflag = tar.TypeDir
		}
		err := w.WriteHeader(h)
		if err == nil {
			_, err = w.Write(e.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	parents := map[string]bool{}
	for _, e := range entries {
		for dir := path.Dir(strings.TrimSuffix(e.Name, "/")); dir != "."; dir = path.Dir(dir) {
			parents[dir+"/"] = true
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(parents)) {
		write(entry{Name: dir, Mode: 0o755})
	}
	for _, e := range entries {
		write(e)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarred(t *testing.T, entries ...entry) v1.Layer {
	t.Helper()
	content := archive(t, entries...)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

// buildStatic compiles a program of testdata as one static file.
func buildStatic(t *testing.T, arch qemu.Arch, dir string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+string(arch))
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v: %s", dir, err, text)
	}
	return readFile(t, out)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}
