package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hooksmith/build"
	"hooksmith/kernel"
)

// Artifact is an opened file with random access.
type Artifact struct {
	io.ReaderAt
	Name string // for people
	Size int64
}

// Set is what belongs to one HookOS. What is not there is nil. Close it.
type Set struct {
	Source    string
	Kernel    *Artifact
	Initramfs *Artifact
	Build     *build.Artifacts // from hook.json
	Others    []string         // output ids of other builds in the folder
	SBOM      []byte

	closers []func() error
}

// Close closes the files and removes what was downloaded.
func (s *Set) Close() error {
	var err error
	for _, c := range slices.Backward(s.closers) {
		err = errors.Join(err, c())
	}
	s.closers = nil
	return err
}

// Choice says which build of a folder is meant; the zero value is the one for
// x86_64, which is what EKS Anywhere asks for, or else the only one there.
type Choice struct {
	ID string // output id: the ID in vmlinuz-ID and initramfs-ID
	// TempDir takes what is downloaded, "" is the system's folder.
	TempDir string
	// Begin, if not nil, is told of every download of size bytes, -1 if that is
	// not known, and of how it goes on.
	Begin func(name string, size int64) (add func(n int64), done func(err error))
}

const defaultID = "x86_64"

// Open finds what ref means: a kernel or an initramfs, an output folder, or the
// URL of any of these, which is downloaded first.
func Open(ctx context.Context, ref string, choice Choice) (set *Set, err error) {
	set = &Set{Source: ref}
	defer func() {
		if err != nil {
			err = errors.Join(err, set.Close())
			set = nil
		}
	}()
	if u, parseErr := url.Parse(ref); parseErr == nil && (u.Scheme == "http" || u.Scheme == "https") {
		return set, set.download(ctx, u, choice)
	}
	path := strings.TrimPrefix(ref, "file://")
	if scheme, _, ok := strings.Cut(path, "://"); ok {
		return set, fmt.Errorf("%s is not looked into where it is: bring it into a folder first, with: hooksmith fetch '%s' FOLDER", scheme+"://", ref)
	}
	st, err := os.Stat(path)
	if err != nil {
		return set, fmt.Errorf("%w: give a kernel, an initramfs, a folder such as out/hook, or a URL", err)
	}
	if st.IsDir() {
		return set, set.openDir(path, choice)
	}
	return set, set.openFile(path)
}

// openFile opens a single artifact, whichever it is.
func (s *Set) openFile(path string) error {
	f, err := s.open(path)
	if err != nil {
		return err
	}
	if IsKernel(f) {
		s.Kernel = f
	} else {
		s.Initramfs = f
	}
	return nil
}

// IsKernel tells a kernel from an initramfs. An arm64 kernel may be a gzip
// file as an initramfs may, so that is looked into.
func IsKernel(f *Artifact) bool {
	var magic [6]byte
	n, _ := f.ReadAt(magic[:], 0)
	switch m := string(magic[:n]); {
	case strings.HasPrefix(m, "07070"), strings.HasPrefix(m, "\x28\xb5\x2f\xfd"), strings.HasPrefix(m, "\xfd7zXZ"), isLZ4(magic[:n]):
		return false
	case strings.HasPrefix(m, "MZ"):
		return true
	}
	_, err := kernel.Inspect(f, f.Size)
	return err == nil
}

func (s *Set) open(path string) (*Artifact, error) {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() { // opening a pipe would wait for a writer
		return nil, fmt.Errorf("%s is no regular file (%v)", path, st.Mode().Type())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, f.Close)
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return &Artifact{f, path, st.Size()}, nil
}

// openDir opens the chosen build of a folder.
func (s *Set) openDir(dir string, choice Choice) error {
	m, err := build.ReadManifest(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var names []string
	if m == nil {
		if names, err = pairs(dir); err != nil {
			return err
		}
	}
	kernelName, initramfsName, err := s.choose(m, names, choice)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	for _, want := range []struct {
		name string
		to   **Artifact
	}{{kernelName, &s.Kernel}, {initramfsName, &s.Initramfs}} {
		if want.name == "" {
			continue
		}
		if !filepath.IsLocal(want.name) {
			return fmt.Errorf("%s: %s names the file %q, which is not in the folder", dir, build.ManifestName, want.name)
		}
		if *want.to, err = s.open(filepath.Join(dir, want.name)); err != nil {
			return err
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, build.SBOMName)); err == nil && len(b) <= maxSBOM {
		s.SBOM = b
	}
	return nil
}

const maxSBOM = 32 << 20

// pairs lists the ids of vmlinuz-ID and initramfs-ID in a folder without hook.json.
func pairs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutPrefix(e.Name(), "initramfs-"); ok {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// choose finds the file names of the chosen build, by the manifest if there is
// one, else by the ids of the files. An id is that of a build, or of one of
// the names under which its files stand.
func (s *Set) choose(m *build.Manifest, ids []string, choice Choice) (kernelName, initramfsName string, err error) {
	if m == nil {
		id, err := pick(ids, choice.ID)
		return "vmlinuz-" + id, "initramfs-" + id, err
	}
	byID := map[string]*build.Artifacts{}
	for i := range m.Builds {
		b := &m.Builds[i]
		ids = append(ids, b.OutputID)
		byID[b.OutputID] = b
	}
	for i := range m.Builds {
		for _, f := range m.Builds[i].Files {
			for _, alias := range f.Aliases {
				if id, ok := strings.CutPrefix(alias, "vmlinuz-"); ok && byID[id] == nil {
					byID[id] = &m.Builds[i]
				}
			}
		}
	}
	id := choice.ID
	if byID[id] == nil && id == "" && byID[defaultID] != nil {
		id = defaultID
	} else if byID[id] == nil {
		if id, err = pick(ids, id); err != nil {
			return "", "", err
		}
	}
	s.Build = byID[id]
	s.Others = slices.DeleteFunc(ids, func(other string) bool { return other == s.Build.OutputID })
	for _, f := range s.Build.Files {
		switch f.Role {
		case "kernel":
			kernelName = f.Name
		case "initramfs":
			initramfsName = f.Name
		}
	}
	if kernelName == "" && initramfsName == "" {
		return "", "", fmt.Errorf("%s lists neither a kernel nor an initramfs for %s", build.ManifestName, id)
	}
	return kernelName, initramfsName, nil
}

// pick chooses one of ids.
func pick(ids []string, wanted string) (string, error) {
	slices.Sort(ids)
	switch {
	case len(ids) == 0:
		return "", errors.New("there is no initramfs-ID in it, for example initramfs-x86_64")
	case wanted != "" && !slices.Contains(ids, wanted):
		return "", fmt.Errorf("there is no build %q; there are: %s", wanted, strings.Join(ids, ", "))
	case wanted != "":
		return wanted, nil
	case slices.Contains(ids, defaultID):
		return defaultID, nil
	case len(ids) > 1:
		return "", fmt.Errorf("there are several builds, choose one: %s", strings.Join(ids, ", "))
	}
	return ids[0], nil
}
