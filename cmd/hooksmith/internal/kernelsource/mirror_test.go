package kernelsource_test

import (
	"archive/tar"
	"cmp"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/cmd/hooksmith/internal/kernelsource"
	"hooksmith/configs"
)

// TestDebian reads the whole of Debian's source package from a mirror.
func TestDebian(t *testing.T) {
	if os.Getenv("HOOKSMITH_TEST_MIRROR") == "" {
		t.Skip("HOOKSMITH_TEST_MIRROR is not set: 140 MB are downloaded from a Debian mirror")
	}
	env := kernelsource.Env{
		Series: "6.12", Configs: configs.FS, Mirrors: debian.HostMirrors(os.DirFS("/")),
		Cache: &fetch.Cache{Dir: cmp.Or(os.Getenv("HOOKSMITH_TEST_CACHE"), t.TempDir())},
	}
	s, err := (&kernelsource.Flags{}).Open(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(s.Version(), "6.12.") || !strings.HasPrefix(s.String(), "Debian linux-source-6.12 6.12.") || len(s.Hash()) != 64 {
		t.Errorf("%s is %s, %s", s, s.Version(), s.Hash())
	}
	start := time.Now()
	r, err := s.Tar(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	files, size := 0, int64(0)
	for tr := tar.NewReader(r); ; files++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(h.Name, "linux/") {
			t.Fatalf("member %s", h.Name)
		}
		size += h.Size
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	if files < 80_000 || size < 1e9 {
		t.Errorf("%d members, %d bytes", files, size)
	}
	t.Logf("%s: %d members, %d MB, read in %s", s, files, size/1e6, time.Since(start).Round(time.Second/10))

	env.Series, env.Cache.Offline = "6.99", false
	if _, err := (&kernelsource.Flags{Source: "debian"}).Open(t.Context(), env); err == nil || !strings.Contains(err.Error(), "linux-source-6.99") || !strings.Contains(err.Error(), "kernel.org") {
		t.Errorf("a series that Debian has not: %v", err)
	}
}
