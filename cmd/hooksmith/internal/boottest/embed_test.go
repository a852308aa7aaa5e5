package boottest

import (
	"archive/tar"
	"bytes"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"hooksmith/cmd/hooksmith/internal/qemu"
	"hooksmith/cmd/hooksmith/internal/qemutest"
)

// A machine without any network: bootkit starts the embedded worker, that
// starts an embedded action through Docker's socket, and the action sees its
// layers as Docker would show them.
func TestEmbedded(t *testing.T) {
	m := artifacts(t)
	if m.Arch != qemu.AMD64 {
		t.Skip("one architecture is enough")
	}
	dir := t.TempDir()
	program := buildStatic(t, m.Arch, "./testdata/embedded")
	images, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	base := headers(t, program, tar.Header{Name: "program", Mode: 0o755})
	capability := map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
	lower := headers(t, []byte("1"),
		tar.Header{Typeflag: tar.TypeDir, Name: "test/", Mode: 0o755}, tar.Header{Name: "test/gone", Mode: 0o644},
		tar.Header{Typeflag: tar.TypeDir, Name: "test/opaque/", Mode: 0o755}, tar.Header{Name: "test/opaque/old", Mode: 0o644},
		tar.Header{Name: "test/ping", Mode: 0o4755, PAXRecords: capability}, tar.Header{Typeflag: tar.TypeLink, Name: "test/pong", Linkname: "test/ping"})
	upper := headers(t, []byte("2"),
		tar.Header{Name: "test/.wh.gone"}, tar.Header{Typeflag: tar.TypeDir, Name: "test/opaque/", Mode: 0o750, Uid: 3, Gid: 4},
		tar.Header{Name: "test/opaque/.wh..wh..opq"}, tar.Header{Name: "test/opaque/new", Mode: 0o600})
	for ref, image := range map[string]v1.Image{
		"example.org/worker:1": embeddedImage(t, m.Arch, "127.0.0.1/embedded/action", base),
		"example.org/action:1": embeddedImage(t, m.Arch, "action", base, lower, upper),
	} {
		if err := images.AppendImage(image, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": ref})); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "out")
	cmd := exec.Command(buildHooksmith(t), "build", "hook-debian-cloud-amd64", "--out", out, "--dev", "--layout", filepath.Join(dir, "layout"),
		"--agent", "example.org/worker:1", "--embed", "example.org/action:1=action")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("hooksmith build: %v: %s", err, said)
	}
	m.Kernel, m.Initrd, m.Netdev = filepath.Join(out, "vmlinuz-x86_64"), filepath.Join(out, "initramfs-x86_64"), "none"
	m.Append = append(m.Append, kernelArgs(t, qemu.Worker{Image: "127.0.0.1/embedded/tink-worker"})...)
	v := qemutest.Boot(t, m)
	v.Wait(`^embedded worker: started`)
	v.Wait(`^embedded worker: action: started`)
	for _, line := range []string{ // sorted; nothing else is there
		`/test 40755 0:0 names \d+ "" `,
		`/test/opaque 40750 3:4 names \d+ "" `,
		`/test/opaque/new 100600 0:0 names 1 "2" `,
		`/test/ping 104755 0:0 names 2 "1" 0100000200200000000000000000000000000000`,
		`/test/pong 104755 0:0 names 2 "1" 0100000200200000000000000000000000000000`,
	} {
		v.Wait(`^embedded worker: action: ` + line + `\r?$`)
	}
	v.Wait(`^embedded worker: action: finished`)
	v.Wait(`^embedded worker: finished: <nil>`)
	v.Lacks(`/test/gone|/test/opaque/old|setting up extended attributes`)
	v.Login()
	names := v.Run(`docker images --format '{{.Repository}}:{{.Tag}}'`)
	for _, name := range []string{"127.0.0.1/embedded/action:latest", "127.0.0.1/embedded/tink-worker:latest"} {
		if !strings.Contains(names, name) {
			t.Errorf("docker images: %q lacks %s", names, name)
		}
	}
}

// headers is a layer of these files, all with the same content.
func headers(t *testing.T, content []byte, list ...tar.Header) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range list {
		body := content
		if h.Typeflag != 0 || bytes.Contains([]byte(h.Name), []byte(".wh.")) {
			body = nil
		}
		h.Size = int64(len(body))
		err := w.WriteHeader(&h)
		if err == nil {
			_, err = w.Write(body)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func embeddedImage(t *testing.T, arch qemu.Arch, argument string, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err == nil {
		img, err = mutate.ConfigFile(img, platformConfig(t, img, arch, v1.Config{Entrypoint: []string{"/program", argument}}))
	}
	if err != nil {
		t.Fatal(err)
	}
	return img
}
