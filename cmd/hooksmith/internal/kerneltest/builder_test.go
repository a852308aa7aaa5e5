package kerneltest

import (
	"bytes"
	"os"
	"strings"
	"testing"

	dockerimage "github.com/docker/docker/api/types/image"

	"hooksmith/build/docker"
	"hooksmith/configs"
	"hooksmith/kernel"
	"hooksmith/kernel/compile"
	"hooksmith/kernel/source"
)

// TestClassicBuilder makes the compilers anew with the builder that old daemons
// have. It takes a minute or two for what build/images tests with small
// Dockerfiles, so that it runs with HOOKSMITH_KERNEL=all only.
func TestClassicBuilder(t *testing.T) {
	l := needLab(t)
	if os.Getenv("HOOKSMITH_KERNEL") != "all" {
		t.Skip("HOOKSMITH_KERNEL is not all")
	}
	d := l.daemon(t)
	images, err := d.ImageList(t.Context(), dockerimage.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range images {
		for _, tag := range i.RepoTags {
			if strings.HasPrefix(tag, "hooksmith-kernel-toolchain:") {
				if _, err := d.ImageRemove(t.Context(), tag, dockerimage.RemoveOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	config, err := configs.FS.ReadFile("kernel/vm-6.12.y-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	src, err := source.Open(t.Context(), l.trimmed)
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	b := &compile.Builder{Network: l.network, Output: &said, Docker: docker.Config{
		Host: "unix://" + l.socket, Getenv: func(name string) string { return map[string]string{"DOCKER_BUILDKIT": "0"}[name] },
	}}
	w, err := b.Open(t.Context(), compile.Spec{Arch: kernel.AArch64, ConfigName: "vm", Config: config, Source: src})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	wantParts(t, said.String(), "Step 1/", "Successfully tagged hooksmith-kernel-toolchain:")
	// For the other architecture, through ccache.
	var out bytes.Buffer
	if err := w.Run(t.Context(), &out, "sh", "-c", "command -v ${CROSS_COMPILE}gcc; make kernel/bounds.s && grep -m1 . kernel/bounds.s; make kernelrelease"); err != nil {
		t.Fatal(err)
	}
	wantParts(t, out.String(), "/usr/lib/ccache/", "6.12.")
}
