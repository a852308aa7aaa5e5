package images

import (
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hooksmith/build/docker"
)

// The daemon lists the images of a repository that run here, by tag.
func TestLocal(t *testing.T) {
	load(t, map[string]v1.Image{
		"hooktest/local:6.12.9-aaaa":  imageOf(t, "amd64", gzLayer(t, 11, 100)),
		"hooktest/local:6.12.10-bbbb": imageOf(t, "amd64", gzLayer(t, 12, 100)),
		"hooktest/local:6.12.11-cccc": imageOf(t, "arm64", gzLayer(t, 13, 100)),
		"hooktest/locally:6.12.12":    imageOf(t, "amd64", gzLayer(t, 14, 100)),
		"hooktest-local:6.12.13":      imageOf(t, "amd64", gzLayer(t, 15, 100)),
	})
	for _, tag := range []string{"6.12.9-aaaa", "6.12.10-bbbb"} { // loading does not count as tagging
		if err := connectDocker(t).ImageTag(t.Context(), "hooktest/local:"+tag, "hooktest/local:"+tag); err != nil {
			t.Fatal(err)
		}
	}
	s := dockerSources(t, func(s *Sources) { s.UseDocker = false })
	all, err := s.Local(t.Context(), "docker.io/hooktest/local")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[0].Tag != "6.12.10-bbbb" || all[1].Tag != "6.12.9-aaaa" {
		t.Fatalf("%+v", all)
	}
	for _, l := range all {
		if l.Labels["for"] != "amd64" || l.Tagged.IsZero() {
			t.Errorf("%+v", l)
		}
	}
	for _, name := range []string{"hooktest-local", "docker.io/hooktest-local", "index.docker.io/library/hooktest-local"} {
		if one, err := s.Local(t.Context(), name); err != nil || len(one) != 1 || one[0].Tag != "6.12.13" {
			t.Errorf("%s, a name without a slash: %+v, %v", name, one, err)
		}
	}
	if none, err := s.Local(t.Context(), "hooktest/nothing"); err != nil || len(none) != 0 {
		t.Errorf("%v, %v", none, err)
	}
}

func TestLocalWithoutDaemon(t *testing.T) {
	s := sources(t, func(s *Sources) { s.Docker = docker.Config{Host: "unix:///nonexistent/docker.sock"} })
	_, err := s.Local(t.Context(), "hooktest/local")
	wantError(t, err, "/nonexistent/docker.sock")
	_, err = s.Local(t.Context(), "no image!")
	wantError(t, err, "no image!")
}

// A repository of this machine's own images is asked of the daemon, and if
// there is none, or it lacks the image, of the registry.
func TestDockerFirst(t *testing.T) {
	tr := newRegistry(t)
	published, local := imageOf(t, "amd64", gzLayer(t, 21, 100)), imageOf(t, "amd64", gzLayer(t, 22, 100))
	ref := tr.ref("hooktest/first")
	tr.add(t, "hooktest/first:1", published)
	tr.add(t, "hooktest/first:2", published)

	s := sources(t, func(s *Sources) {
		s.DockerFirst, s.Docker = []string{ref}, docker.Config{Host: "unix:///nonexistent/docker.sock"}
	})
	if got := digestOf(t, mustImage(t, s, ref+":1")); got != digestOf(t, published) {
		t.Error("without a daemon: another image")
	}
	load(t, map[string]v1.Image{ref + ":1": local})
	s = dockerSources(t, func(s *Sources) { s.UseDocker, s.DockerFirst = false, []string{ref} })
	mustImage(t, s, ref+":1")
	mustImage(t, s, ref+":2")
	if pins := s.Resolved(); len(pins) != 2 || pins[0].Source != "docker" || pins[1].Source != "registry" {
		t.Errorf("%+v", pins)
	}
	other := dockerSources(t, func(s *Sources) { s.UseDocker = false })
	mustImage(t, other, ref+":1")
	if pins := other.Resolved(); pins[0].Source != "registry" {
		t.Errorf("not asked for: %+v", pins)
	}
	_, err := s.Image(t.Context(), ref+":3")
	wantError(t, err, "Docker: it has no image", "registry")
}

func TestInArchive(t *testing.T) {
	amd, arm := imageOf(t, "amd64", gzLayer(t, 31, 100)), imageOf(t, "arm64", gzLayer(t, 32, 100))
	other := imageOf(t, "amd64", gzLayer(t, 33, 100))
	for _, tt := range []struct {
		name   string
		images map[string]v1.Image
		ref    string
		errs   []string
	}{
		{"one", map[string]v1.Image{"hooktest/kernel:6.12.48-0123abcd": amd}, "docker.io/hooktest/kernel:6.12.48-0123abcd", nil},
		{"one for each", map[string]v1.Image{"hooktest/kernel:1-a": amd, "hooktest/kernel:1-b": arm}, "docker.io/hooktest/kernel:1-a", nil},
		{"another architecture", map[string]v1.Image{"hooktest/kernel:1-b": arm}, "", []string{"no image for linux/amd64"}},
		{"two", map[string]v1.Image{"hooktest/kernel:1-a": amd, "hooktest/kernel:1-c": other}, "", []string{"several images", "hooktest/kernel:1-a", "hooktest/kernel:1-c"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "kernel.tar")
			if err := os.WriteFile(path, legacySave(t, tt.images), 0o644); err != nil {
				t.Fatal(err)
			}
			s := sources(t, func(s *Sources) { s.Layouts, s.Offline = []string{path}, true })
			ref, err := s.InArchive(t.Context(), path)
			if tt.errs != nil {
				wantError(t, err, tt.errs...)
				return
			}
			if err != nil || ref != tt.ref {
				t.Fatalf("%q, %v", ref, err)
			}
			if got := contents(t, mustImage(t, s, ref)); len(got) != 1 {
				t.Errorf("%d layers", len(got))
			}
		})
	}
	s := sources(t)
	_, err := s.InArchive(t.Context(), "/nonexistent/kernel.tar")
	wantError(t, err, "/nonexistent/kernel.tar")
	text := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(text, []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.InArchive(t.Context(), text); err == nil {
		t.Error("text is an archive")
	}
}
