package ipxe

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// maxBinary bounds a binary; iPXE's have about 1 MB.
const maxBinary = 16 << 20

// Binaries is a set of iPXE (and other boot) binaries by name. It does not
// change.
type Binaries struct {
	fsys   fs.FS
	all    []Binary // sorted by name
	byName map[string]int
}

// folders is where binaries are in the file systems that are given: a folder
// of them, or Debian's package.
var folders = []string{".", "usr/lib/ipxe"}

// OpenBinaries inspects the binaries in fsys, or in usr/lib/ipxe of it as
// Debian's package `ipxe` has them. Files that are no binaries are left out;
// none at all is an error. Fsys is used as long as the Binaries are.
func OpenBinaries(fsys fs.FS) (*Binaries, error) {
	set := &Binaries{fsys: fsys, byName: map[string]int{}}
	for _, folder := range folders {
		entries, err := fs.ReadDir(fsys, folder)
		if err != nil && !(errors.Is(err, fs.ErrNotExist) && folder != ".") {
			return nil, fmt.Errorf("reading the folder of iPXE binaries: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() || !isBinaryName(e.Name()) {
				continue
			}
			b, err := inspectFile(fsys, path.Join(folder, e.Name()))
			if err != nil {
				return nil, err
			}
			set.all = append(set.all, b)
		}
	}
	slices.SortStableFunc(set.all, func(a, b Binary) int { return cmp.Compare(a.Name, b.Name) })
	set.all = slices.CompactFunc(set.all, func(a, b Binary) bool { return a.Name == b.Name })
	for i, b := range set.all {
		set.byName[b.Name] = i
	}
	if len(set.all) == 0 {
		return nil, errors.New("no iPXE binaries (.efi, .kpxe, .pxe, .lkrn) in the folder; Debian's package ipxe has them in usr/lib/ipxe")
	}
	return set, nil
}

func isBinaryName(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".efi", ".kpxe", ".kkpxe", ".kkkpxe", ".pxe", ".lkrn", ".0":
		return true
	}
	return false
}

func inspectFile(fsys fs.FS, name string) (Binary, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return Binary{}, fmt.Errorf("opening the binary: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxBinary+1))
	if err != nil {
		return Binary{}, fmt.Errorf("reading the binary %s: %w", name, err)
	}
	if len(content) > maxBinary {
		return Binary{}, fmt.Errorf("%s has more than %d bytes: no iPXE binary", name, maxBinary)
	}
	b := Inspect(path.Base(name), content)
	b.path = name
	sum := sha256.Sum256(content)
	b.SHA256 = hex.EncodeToString(sum[:])
	return b, nil
}

// Lookup finds a binary by its base name.
func (s *Binaries) Lookup(name string) (Binary, bool) {
	i, ok := s.byName[name]
	if !ok {
		return Binary{}, false
	}
	return s.all[i], true
}

// All returns the binaries by name. It must not be changed.
func (s *Binaries) All() []Binary { return s.all }

// Open opens a binary by its base name. The caller closes it.
func (s *Binaries) Open(name string) (fs.File, error) {
	b, ok := s.Lookup(name)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return s.fsys.Open(b.path)
}

// For returns the binary that a platform gets: the first of the preferred
// names, else the first that is an iPXE made for it.
func (s *Binaries) For(p Platform) (Binary, bool) {
	for _, name := range preferred[p] {
		if b, ok := s.Lookup(name); ok && b.Platform == p {
			return b, true
		}
	}
	for _, b := range s.all {
		if b.Platform == p && b.IPXE != No {
			return b, true
		}
	}
	return Binary{}, false
}

func (s *Binaries) names() string {
	all := make([]string, len(s.all))
	for i, b := range s.all {
		all[i] = b.Name
	}
	return strings.Join(all, ", ")
}
