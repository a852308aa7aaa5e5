package bootfiles

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/configs"
)

// realCache is the user's, so that runs share one download.
func realCache(t *testing.T) *fetch.Cache {
	t.Helper()
	if os.Getenv("HOOKSMITH_TEST_MIRROR") == "" {
		t.Skip("HOOKSMITH_TEST_MIRROR is not set")
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return &fetch.Cache{Dir: filepath.Join(dir, "hooksmith")}
}

// The pinned package has what every architecture boots, and once it is in the
// cache no network is needed.
func TestOpen(t *testing.T) {
	cache := realCache(t)
	opt := Options{Configs: configs.FS, Cache: cache, Mirrors: debian.HostMirrors(os.DirFS("/"))}
	for _, offline := range []bool{false, true} {
		cache.Offline = offline
		files, err := Open(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"undionly.kpxe", "ipxe.efi", "ipxe-arm64.efi", "ipxe-riscv64.efi", "ipxe-loong64.efi", "ipxe.lkrn"} {
			if st, err := fs.Stat(files, "usr/lib/ipxe/"+name); err != nil || st.Size() < 50_000 {
				t.Errorf("offline %t: %s: %v", offline, name, err)
			}
		}
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What the mirror has instead of the pinned version is taken, as it is signed.
func TestSuccessor(t *testing.T) {
	cache := realCache(t)
	pin, err := fs.ReadFile(configs.FS, pinName)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Pinned(configs.FS)
	if err != nil {
		t.Fatal(err)
	}
	gone := strings.NewReplacer(p.SHA256, strings.Repeat("ab", 32), p.Version, "1.0-1").Replace(string(pin))
	files, err := Open(t.Context(), Options{
		Configs: overlay{fstest.MapFS{pinName: {Data: []byte(gone)}}, configs.FS}, Cache: cache, Mirrors: debian.HostMirrors(os.DirFS("/")),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	if files.Package.Version == "1.0-1" {
		t.Errorf("took %s", files.Package)
	}
}

// overlay has its first part's files instead of those of the second.
type overlay struct{ above, below fs.FS }

func (o overlay) Open(name string) (fs.File, error) {
	if f, err := o.above.Open(name); name != "." && err == nil {
		return f, nil
	}
	return o.below.Open(name)
}

func TestOffline(t *testing.T) {
	_, err := Open(t.Context(), Options{Configs: configs.FS, Cache: &fetch.Cache{Dir: t.TempDir(), Offline: true}})
	if !errors.Is(err, fetch.ErrOffline) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Options{Configs: configs.FS, Cache: &fetch.Cache{Dir: t.TempDir()}}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestPinned(t *testing.T) {
	if _, err := Pinned(configs.FS); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"nam: x\n", "name: ipxe\n"} {
		if _, err := Pinned(fstest.MapFS{pinName: {Data: []byte(bad)}}); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
	if _, err := Pinned(fstest.MapFS{}); err == nil {
		t.Error("nothing is read")
	}
}
