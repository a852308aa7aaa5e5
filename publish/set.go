package publish

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hooksmith/build"
	"hooksmith/publish/sign"
	"hooksmith/publish/verify"
)

// set is what is published: the artifacts of a folder and what describes them.
type set struct {
	id       string
	dir      string
	manifest *build.Manifest
	objects  []Object
	small    map[string][]byte // documents, hook.json and signature by name
}

// readSet reads the folder of a build. With a key, it is signed anew.
func readSet(dir string, key *sign.PrivateKey, now time.Time) (*set, error) {
	s := &set{dir: dir, small: map[string][]byte{}}
	for _, name := range append(verify.Documents(), build.ManifestName, sign.Name) {
		data, err := readFile(filepath.Join(dir, name), verify.MaxManifest)
		if errors.Is(err, fs.ErrNotExist) && name != build.ManifestName {
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &noSetError{dir}
		}
		if err != nil {
			return nil, err
		}
		s.small[name] = data
	}
	var err error
	if s.manifest, err = verify.ParseManifest(s.small[build.ManifestName]); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	s.id = verify.ID(s.small[build.ManifestName])
	if key != nil {
		if s.small[sign.Name], err = sign.Sign(key, s.small[build.ManifestName], s.documentSums(), now); err != nil {
			return nil, err
		}
	} else if err := s.checkSignature(); err != nil {
		return nil, err
	}
	return s, s.list()
}

// checkSignature finds a signature of an earlier build in the folder, as far as
// that can be seen without the key: it names other documents than are there.
func (s *set) checkSignature() error {
	signature, ok := s.small[sign.Name]
	if !ok {
		return nil
	}
	claims, err := sign.Claims(signature)
	if err != nil {
		return &staleError{s.dir, err.Error()}
	}
	have := s.documentSums()
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		if have[name] != claims[name] {
			return &staleError{s.dir, "it is of another " + name}
		}
	}
	return nil
}

type staleError struct{ dir, why string }

func (e *staleError) Error() string {
	return filepath.Join(e.dir, sign.Name) + " does not sign what is there: " + e.why
}

// Hint says how to get a signature.
func (e *staleError) Hint() string {
	return "sign what was built: hooksmith sign " + shellWord(e.dir) + " --key KEY, or publish with --sign KEY; or remove the file"
}

type noSetError struct{ dir string }

func (e *noSetError) Error() string {
	return filepath.Join(e.dir, build.ManifestName) + ": there is none: nothing to publish"
}

// Hint says how to get one.
func (e *noSetError) Hint() string {
	return "build first: hooksmith build --out " + e.dir + ", or get a set with: hooksmith fetch SRC " + e.dir
}

// documentSums are the hashes that a signature vouches for besides hook.json's.
func (s *set) documentSums() map[string]string {
	sums := map[string]string{}
	for _, name := range verify.Documents() {
		if data, ok := s.small[name]; ok {
			sums[name] = sumOf(data)
		}
	}
	return sums
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// list makes the objects and looks whether the folder has them.
func (s *set) list() error {
	files, err := verify.Files(s.manifest)
	if err != nil {
		return err
	}
	for _, f := range files {
		info, err := os.Stat(filepath.Join(s.dir, f.Name))
		if err != nil {
			return fmt.Errorf("%s: %w", build.ManifestName, err)
		}
		if !info.Mode().IsRegular() || info.Size() != f.Size {
			return fmt.Errorf("%s has %d bytes, %d by %s: build again", filepath.Join(s.dir, f.Name), info.Size(), f.Size, build.ManifestName)
		}
		s.objects = append(s.objects, Object{Name: f.Name, Size: f.Size, SHA256: f.SHA256, Role: f.Role, Arch: f.Arch})
	}
	for name, data := range s.small {
		s.objects = append(s.objects, Object{Name: name, Size: int64(len(data)), SHA256: sumOf(data)})
	}
	slices.SortFunc(s.objects, func(a, b Object) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// entry is the set in an index.
func (s *set) entry(now time.Time) Entry {
	e := Entry{ID: s.id, Published: now.UTC().Truncate(time.Second), Files: s.objects}
	for _, b := range s.manifest.Builds {
		e.Flavors = append(e.Flavors, b.Flavor)
		if b.Kernel.Version != "" {
			e.Kernels = append(e.Kernels, b.Kernel.Version)
		}
	}
	_, e.Signed = s.small[sign.Name]
	return e
}

// content opens an object. The caller closes.
func (s *set) content(name string) (io.ReaderAt, func() error, error) {
	if data, ok := s.small[name]; ok {
		return bytes.NewReader(data), func() error { return nil }, nil
	}
	f, err := os.Open(filepath.Join(s.dir, name))
	if err != nil {
		return nil, nil, err
	}
	return f, f.Close, nil
}

func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("reading %s: over %d bytes", path, limit)
	}
	return data, nil
}
