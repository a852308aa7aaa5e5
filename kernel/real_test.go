package kernel

import (
	"context"
	"io/fs"
	"path"
	"sync"
	"testing"
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

// release is the one kernel release in the tree.
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

// index reads the modules once per test process.
func (r realKernel) index(t testing.TB) *Index {
	t.Helper()
	if x, ok := indexCache.Load(r.name); ok {
		return x.(*Index)
	}
	dir, release := r.modulesDir(t)
	x, err := ReadIndex(context.Background(), dir, release, r.arch)
	if err != nil {
		t.Fatal(err)
	}
	indexCache.Store(r.name, x)
	return x
}
