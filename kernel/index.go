package kernel

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// indexVersion is part of a stored Index; it changes with the meaning of what
// is stored, so that an old cache is read again instead of misread.
const indexVersion = 1

// maxModules bounds how many modules a kernel may have: Debian's have 4400.
const maxModules = 20_000

// Index is what all modules of one kernel say of themselves. It depends on
// the contents of the modules' folder alone, so a caller may store it under
// the digest of the package (Encode, DecodeIndex) and never unpack the modules
// again. It is not changed after it is made.
type Index struct {
	Version int       `json:"version"`
	Release string    `json:"release"` // "6.12.117+deb13-amd64"
	Arch    Arch      `json:"arch"`
	Modules []Module  `json:"modules"`           // by path
	Builtin []Builtin `json:"builtin,omitempty"` // in the order of modules.builtin
	Order   []string  `json:"order,omitempty"`   // modules.order: paths that end in ".ko"
}

// ReadIndex reads the .modinfo of every module below dir, which is the folder
// lib/modules/RELEASE of a kernel, with as many goroutines as there are CPUs.
//
// All modules are read, not only those of a selection: the aliases of all have
// to be known to resolve a soft dependency such as "crc32c", and the result is
// worth keeping.
func ReadIndex(ctx context.Context, dir fs.FS, release string, arch Arch) (*Index, error) {
	files, err := findModules(dir)
	if err != nil {
		return nil, err
	}
	x := &Index{Version: indexVersion, Release: release, Arch: arch}
	if x.Modules, err = readModules(ctx, dir, files, release, arch); err != nil {
		return nil, err
	}
	if x.Modules, err = dropOverridden(x.Modules); err != nil {
		return nil, err
	}
	if x.Builtin, err = readBuiltins(dir); err != nil {
		return nil, err
	}
	if x.Order, err = readLines(dir, "modules.order"); err != nil {
		return nil, err
	}
	return x, nil
}

// findModules lists the module files below dir, sorted.
func findModules(dir fs.FS) ([]string, error) {
	var files []string
	err := fs.WalkDir(dir, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if _, ok := moduleStem(p); !ok || !d.Type().IsRegular() {
			return nil
		}
		if _, err := moduleName(p); err != nil {
			return err
		}
		if files = append(files, p); len(files) > maxModules {
			return fmt.Errorf("more than %d modules", maxModules)
		}
		return nil
	})
	slices.Sort(files)
	return files, err
}

// readModules reads the files in parallel; the result has their order.
func readModules(ctx context.Context, dir fs.FS, files []string, release string, arch Arch) ([]Module, error) {
	modules := make([]Module, len(files))
	next := make(chan int)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(next)
		for i := range files {
			select {
			case next <- i:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	for range min(len(files), runtime.GOMAXPROCS(0)) {
		g.Go(func() error {
			var u infoReader
			defer u.close()
			for i := range next {
				m, err := readModule(&u, dir, files[i], release, arch)
				if err != nil {
					return fmt.Errorf("module %s: %w", files[i], err)
				}
				modules[i] = m
			}
			return nil
		})
	}
	return modules, g.Wait()
}

func readModule(u *infoReader, dir fs.FS, path, release string, arch Arch) (m Module, err error) {
	f, err := dir.Open(path)
	if err != nil {
		return m, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return m, err
	}
	info, err := u.read(path, f, release, arch.machine())
	if err != nil {
		return m, err
	}
	name, err := moduleName(path)
	if err != nil {
		return m, err
	}
	m = Module{Path: path, Name: name, Size: st.Size()}
	if err := m.setInfo(info); err != nil {
		return m, err
	}
	if m.builtWith() != release {
		return m, fmt.Errorf("is built for kernel %q, not %q: it would not load", m.builtWith(), release)
	}
	return m, nil
}

// dropOverridden leaves one module of each name. As with depmod, one in
// updates/ takes the place of another; two of the same rank are a mistake.
func dropOverridden(modules []Module) ([]Module, error) {
	byName := map[string]int{}
	dropped := map[string]bool{}
	for i, m := range modules {
		j, ok := byName[m.Name]
		if !ok {
			byName[m.Name] = i
			continue
		}
		old := modules[j]
		switch {
		case isUpdate(m.Path) == isUpdate(old.Path):
			return nil, fmt.Errorf("two modules are called %s: %s and %s", m.Name, old.Path, m.Path)
		case isUpdate(m.Path):
			byName[m.Name] = i
			dropped[old.Path] = true
		default:
			dropped[m.Path] = true
		}
	}
	return slices.DeleteFunc(modules, func(m Module) bool { return dropped[m.Path] }), nil
}

func isUpdate(path string) bool { return strings.HasPrefix(path, "updates/") }

// Encode writes the index as JSON: the same index, the same bytes.
func (x *Index) Encode(w io.Writer) error {
	return json.NewEncoder(w).Encode(x)
}

// ErrIndexVersion is returned by DecodeIndex for an index that another version
// of this package has stored: read the modules again.
var ErrIndexVersion = errors.New("stored index is of another version")

// DecodeIndex reads what Encode has written.
func DecodeIndex(r io.Reader) (*Index, error) {
	var x Index
	if err := json.NewDecoder(r).Decode(&x); err != nil {
		return nil, fmt.Errorf("decoding the index of the kernel modules: %w", err)
	}
	if x.Version != indexVersion {
		return nil, fmt.Errorf("%w: %d, not %d", ErrIndexVersion, x.Version, indexVersion)
	}
	byPath := func(a, b Module) int { return cmp.Compare(a.Path, b.Path) }
	if x.Release == "" || !slices.IsSortedFunc(x.Modules, byPath) {
		return nil, errors.New("decoding the index of the kernel modules: not one that Encode has written")
	}
	return &x, nil
}
