package compile

import (
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"hooksmith/build/docker"
	"hooksmith/build/docker/dockertest"
)

// TestMarkNewest: a real daemon knows of no time for an image that was only
// loaded, which all of ours are; then it does, and each time a later one.
func TestMarkNewest(t *testing.T) {
	daemon := dockertest.New(t)
	b := &Builder{Docker: docker.Config{Host: "unix://" + daemon.Socket}}
	d, err := b.Docker.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	tag := must(name.NewTag("hooktest/kernel:" + spec().Tag()))
	if err := load(t.Context(), d, tag, testImage(t, spec(), "kernel", "kernel.tar", "System.map")); err != nil {
		t.Fatal(err)
	}
	tagged := func() time.Time {
		t.Helper()
		info, err := d.ImageInspect(t.Context(), tag.Name())
		if err != nil {
			t.Fatal(err)
		}
		return info.Metadata.LastTagTime
	}
	last := tagged()
	for range 2 {
		if err := b.MarkNewest(t.Context(), tag.Name()); err != nil {
			t.Fatal(err)
		}
		now := tagged()
		if !now.After(last) {
			t.Errorf("tagged at %v, then at %v", last, now)
		}
		last = now
	}
	if err := b.MarkNewest(t.Context(), "hooktest/kernel:none"); err != nil {
		t.Errorf("an image of a registry: %v", err)
	}
}
