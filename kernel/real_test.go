package kernel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/renameio/v2"
)

// realKernel names a Debian kernel that the tests open.
type realKernel struct {
	name string // meta package
	arch Arch
}

var (
	metalAMD64 = realKernel{"linux-image-amd64", X86_64}
	metalARM64 = realKernel{"linux-image-arm64", AArch64}
	cloudAMD64 = realKernel{"linux-image-cloud-amd64", X86_64}
	allReal    = []realKernel{metalAMD64, metalARM64, cloudAMD64}
)

func (r realKernel) tree(t testing.TB) fs.FS {
	t.Helper()
	return debianTree(t, r.arch.Debian(), "main", r.name)
}

// modulesDir is the folder of the modules, and the release that it is named after.
func (r realKernel) modulesDir(t testing.TB) (dir fs.FS, release string) {
	t.Helper()
	tree := r.tree(t)
	dirs, err := fs.Glob(tree, "usr/lib/modules/*")
	if err != nil || len(dirs) != 1 {
		t.Fatalf("modules folders: %v %v", dirs, err)
	}
	dir, err = fs.Sub(tree, dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	return dir, path.Base(dirs[0])
}

var indexCache sync.Map

// index gives the index of the kernel's modules. It is kept beside the package
// and made anew when the code that makes it changes.
func (r realKernel) index(t testing.TB) *Index {
	t.Helper()
	if x, ok := indexCache.Load(r.name); ok {
		return x.(*Index)
	}
	dir, release := r.modulesDir(t)
	file := filepath.Join(cacheDir(t), "index-"+release+"-"+sourceHash(t)+".json")
	x, err := storedIndex(file)
	if err != nil {
		x = readAndStore(t, dir, release, r.arch, file)
	}
	indexCache.Store(r.name, x)
	return x
}

func storedIndex(file string) (*Index, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return DecodeIndex(f)
}

func readAndStore(t testing.TB, dir fs.FS, release string, arch Arch, file string) *Index {
	t.Helper()
	x, err := ReadIndex(context.Background(), dir, release, arch)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := x.Encode(&b); err != nil {
		t.Fatal(err)
	}
	if err := renameio.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return x
}

func sourceHash(t testing.TB) string {
	t.Helper()
	h := sha256.New()
	for _, file := range []string{"builtin.go", "compress.go", "index.go", "infosearch.go", "modinfo.go", "module.go"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
