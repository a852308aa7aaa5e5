package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"hooksmith/build"
)

func TestSplitVariables(t *testing.T) {
	words, vars, err := splitVariables([]string{"hook-default-amd64", "A=b=c", "B="})
	if err != nil || len(words) != 1 || vars["A"] != "b=c" || vars["B"] != "" {
		t.Errorf("%q, %q, %v", words, vars, err)
	}
	for _, bad := range [][]string{{"=x"}, {"one", "two"}} {
		if _, _, err := splitVariables(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// What is wrong with a LinuxKit file or with the flags about it is said
// without a network, and with the right exit code.
func TestLinuxKitFileErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yml")
	if err := os.WriteFile(file, []byte("init: []\nservces: []\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large.pem")
	if err := os.WriteFile(large, bytes.Repeat([]byte("#\n"), 1<<19+1), 0o644); err != nil {
		t.Fatal(err)
	}
	cache := "--cache-dir=" + filepath.Join(dir, "cache")
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"build", "--file", file, cache, "--offline"}, exitFailure, "a.yml:2:1"},
		{[]string{"lint", file, cache, "--offline"}, exitFailure, "a.yml:2:1"},
		{[]string{"build", "hook-debian-amd64", "--file", file}, exitUsage, "give one of them"},
		{[]string{"build", "--file", "-"}, exitUsage, "--name"},
		{[]string{"build", "--file", file, "--ssh-key", "x"}, exitUsage, "hook-ssh.yaml"},
		{[]string{"build", "--file", file, "--mirror", "docker.io="}, exitUsage, "--mirror"},
		{[]string{"build", "--file", filepath.Join(dir, "none.yml")}, exitFailure, "none.yml"},
		{[]string{"build", "--dev", "--level", "3"}, exitUsage, "dev"},
		{[]string{"build", "--file", file, "--name", "a\nb"}, exitUsage, `--name "a\nb"`},
		{[]string{"build", "--file", file, "--out", ""}, exitUsage, "--out is empty"},
		{[]string{"build", "--file", file, "--images", filepath.Join(dir, "none")}, exitFailure, "--images: open " + filepath.Join(dir, "none")},
		{[]string{"build", "--file", file, "--images", dir}, exitFailure, "has no folder with a Dockerfile"},
		{[]string{"build", "--file", file, "--ca", large}, exitFailure, "--ca: " + large + " has more than 1048576 bytes"},
		{[]string{"build", "--file", file, "--arch", "riscv64"}, exitUsage, "--arch: unknown architecture"},
		{[]string{"build", "linuxkit.yml"}, exitFailure, "--file linuxkit.yml"},
		{[]string{"cache", "ls", cache}, exitOK, ""},
	} {
		var out, talk bytes.Buffer
		if code := run(t.Context(), tt.args, strings.NewReader(""), &out, &talk); code != tt.code || !strings.Contains(talk.String(), tt.want) {
			t.Errorf("%q: code %d, want %d; stderr %s", tt.args, code, tt.code, talk.String())
		}
	}
}

// multiLayout is an OCI layout of one image for two architectures, and the
// digest of each.
func multiLayout(t *testing.T, name string) (dir string, digests map[string]string) {
	t.Helper()
	dir, digests = t.TempDir(), map[string]string{}
	var index v1.ImageIndex = empty.Index
	for _, arch := range []string{"amd64", "arm64"} {
		img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{Architecture: arch, OS: "linux", RootFS: v1.RootFS{Type: "layers"}})
		if err != nil {
			t.Fatal(err)
		}
		digest, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests[arch] = digest.String()
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	l, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = l.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": name}))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir, digests
}

// The images of a LinuxKit file are those of --arch, in either spelling, and of
// this machine without one.
func TestLinuxKitFileArchitecture(t *testing.T) {
	images, digests := multiLayout(t, "example.com/multi:1")
	file := filepath.Join(t.TempDir(), "a.yml")
	if err := os.WriteFile(file, []byte("init: ['example.com/multi:1']\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for flag, arch := range map[string]string{"--arch=amd64": "amd64", "--arch=x86_64": "amd64", "--arch=arm64": "arm64", "--arch=aarch64": "arm64", "": runtime.GOARCH} {
		args := []string{"build", "--file", file, "--layout", images, "--offline", "--cache-dir", t.TempDir(), "--out", t.TempDir(), "--json"}
		if flag != "" {
			args = append(args, flag)
		}
		code, out, stderr := runHere(t.Context(), args...)
		if code != exitOK {
			t.Fatalf("%q: %s", flag, stderr)
		}
		var a build.Artifacts
		if err := json.Unmarshal([]byte(out), &a); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(a.Inputs, func(in build.Input) bool { return in.Kind == "image" && in.Version == digests[arch] }) {
			t.Errorf("%q: not the image for %s: %+v", flag, arch, a.Inputs)
		}
	}
}
