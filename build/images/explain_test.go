package images

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"hooksmith/build/docker"
)

// TestIsMiss: only where all that were asked answered nobody has the image.
func TestIsMiss(t *testing.T) {
	tr := newRegistry(t)
	img := imageOf(t, "amd64", gzLayer(t, 1, 500))
	digest := tr.add(t, "a:1", img)
	layout := writeLayout(t, map[string]mutate.Appendable{"b:1": img})
	none := "a@sha256:" + strings.Repeat("1", 64)
	down := Mirror{Host: "*", URL: "http://127.0.0.1:1"}
	for _, tt := range []struct {
		name   string
		ref    string
		change func(*Sources)
		status int // of the registry; 0: as it is
		want   bool
	}{
		{name: "no such digest", ref: none, want: true},
		{name: "no such tag", ref: "a:2", want: true},
		{name: "for no platform", ref: "a:1", change: func(s *Sources) { s.Platform.Architecture = "arm64" }, want: true},
		{name: "nor in a layout", ref: none, change: func(s *Sources) { s.Layouts = []string{layout} }, want: true},
		{name: "pinned", ref: "a:1", change: func(s *Sources) {
			s.Pins = []Pin{{Ref: tr.ref("a:1"), Digest: "sha256:" + strings.Repeat("1", 64)}}
		}, want: true},
		{name: "offline", ref: none, change: func(s *Sources) { s.Offline = true }},
		{name: "offline, with a layout", ref: none, change: func(s *Sources) { s.Offline, s.Layouts = true, []string{layout} }},
		{name: "a mirror is down", ref: none, change: func(s *Sources) { s.Mirrors = []Mirror{down} }},
		{name: "the registry is broken", ref: none, status: http.StatusServiceUnavailable},
		{name: "it wants credentials", ref: none, status: http.StatusForbidden},
		{name: "no daemon", ref: none, change: func(s *Sources) {
			s.UseDocker, s.Docker = true, docker.Config{Host: "unix:///nonexistent/docker.sock"}
		}},
		{name: "no reference", ref: "A:1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr.setFault(func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if tt.status != 0 {
					w.WriteHeader(tt.status)
				}
				return tt.status != 0
			})
			s := sources(t, func(s *Sources) {
				s.Backoff = time.Millisecond
				if tt.change != nil {
					tt.change(s)
				}
			})
			_, err := s.Image(t.Context(), tr.ref(tt.ref))
			if err == nil || IsMiss(err) != tt.want {
				t.Errorf("IsMiss says %v of %v (there is %s)", IsMiss(err), err, digest)
			}
		})
	}
	if IsMiss(nil) || IsMiss(&NotFoundError{}) {
		t.Error("nothing is a miss")
	}
}
