package build

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// tmpPrefix is of the hidden folder, before a number.
const tmpPrefix = ".hooksmith-"

// output is the folder that a build writes. Everything is written into a
// hidden folder beside the results and renamed when all of it is whole, so a
// build that fails or is interrupted leaves the former results as they were.
type output struct {
	dir  string
	made []string // folders that were not there, the innermost first
	tmp  string
	lock *os.File
	log  *slog.Logger
}

// openOutput makes and locks the folder; close removes what was not committed.
func openOutput(dir string, log *slog.Logger) (_ *output, err error) {
	made := missingFolders(dir)
	defer func() {
		if err != nil {
			removeEmpty(made)
		}
	}()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the output folder: %w", err)
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another hooksmith is writing %s: wait for it, or give another --out", dir)
		}
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	tmp, err := os.MkdirTemp(dir, tmpPrefix+"*")
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &output{dir: dir, made: made, tmp: tmp, lock: lock, log: log}, nil
}

// missingFolders are dir and the folders above it that are not there, the
// innermost first.
func missingFolders(dir string) (missing []string) {
	for dir = filepath.Clean(dir); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			return missing
		}
		missing = append(missing, dir)
	}
}

// removeEmpty removes folders until one has something in it.
func removeEmpty(folders []string) {
	for _, dir := range folders {
		if os.Remove(dir) != nil {
			return
		}
	}
}

// close removes the hidden folder, and those of builds that were killed: who
// has the lock is the only one that uses any. A folder that was made for a
// build that has failed goes too.
func (o *output) close() error {
	err := os.RemoveAll(o.tmp)
	left, _ := os.ReadDir(o.dir)
	for _, e := range left {
		number, ours := strings.CutPrefix(e.Name(), tmpPrefix)
		if !ours || !e.IsDir() || number == "" || strings.Trim(number, "0123456789") != "" {
			continue
		}
		if gone := os.RemoveAll(filepath.Join(o.dir, e.Name())); gone != nil {
			o.log.Warn("what a killed build has left cannot be removed", "error", gone)
		}
	}
	removeEmpty(o.made)
	return errors.Join(err, o.lock.Close())
}

// write makes one artifact through fn and returns its sizes and hashes.
func (o *output) write(name string, fn func(w *hashing) error) (File, error) {
	f, err := os.OpenFile(filepath.Join(o.tmp, name), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err != nil {
		return File{}, err
	}
	h := newHashing(f)
	err = fn(h)
	sum256, sum512 := h.finish()
	if err := errors.Join(err, f.Close()); err != nil {
		return File{}, fmt.Errorf("writing %s: %w", name, err)
	}
	return File{Name: name, Size: h.size, SHA256: hex.EncodeToString(sum256), SHA512: hex.EncodeToString(sum512)}, nil
}

// commit merges a into the folder's manifest and its lock file, writes the files
// that describe it, and renames everything into place, the manifest last. Then
// what a build before made under the same name, and a does not have, is removed.
func (o *output) commit(ctx context.Context, a Artifacts, locked *LockedFlavor, withSBOM bool) error {
	m, err := readManifestOrEmpty(o.dir)
	if err != nil {
		return fmt.Errorf("%w (remove the file, or give another --out)", err)
	}
	before := slices.Clone(m.Builds)
	m.merge(o.dir, a)
	about, err := o.documents(m, before, locked, withSBOM)
	if err != nil {
		return err
	}
	for _, d := range about {
		if err := os.WriteFile(filepath.Join(o.tmp, d.name), d.data, 0o644); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := o.unsign(about, withSBOM); err != nil {
		return err
	}
	for _, f := range a.Files {
		if err := o.place(f); err != nil {
			return err
		}
	}
	for _, d := range about {
		if err := os.Rename(filepath.Join(o.tmp, d.name), filepath.Join(o.dir, d.name)); err != nil {
			return err
		}
	}
	gone := m.outdated(o.dir, before)
	if !withSBOM { // one of another build would be wrong here
		gone = append(gone, SBOMName)
	}
	for _, name := range gone {
		if err := os.Remove(filepath.Join(o.dir, name)); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("removing what an earlier build has left: %w", err)
		}
	}
	return nil
}

// signatureName is of hook.json's signature (package publish/sign).
const signatureName = ManifestName + ".minisig"

// unsign removes the signature of an earlier build, if this one changes any of
// the documents that it vouches for.
func (o *output) unsign(about []document, withSBOM bool) error {
	path := filepath.Join(o.dir, signatureName)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	same := !slices.ContainsFunc(about, func(d document) bool {
		was, err := os.ReadFile(filepath.Join(o.dir, d.name))
		return err != nil || !bytes.Equal(was, d.data)
	})
	if _, err := os.Lstat(filepath.Join(o.dir, SBOMName)); same && (withSBOM || errors.Is(err, fs.ErrNotExist)) {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing the signature of an earlier build: %w", err)
	}
	o.log.Warn("the signature of an earlier build is removed: sign the folder again (hooksmith sign)", "file", path)
	return nil
}

// document is a file that describes the artifacts.
type document struct {
	name string
	data []byte
}

// documents makes the files that describe the builds of the manifest.
func (o *output) documents(m *Manifest, before []Artifacts, locked *LockedFlavor, withSBOM bool) ([]document, error) {
	lock, err := o.lockFile(m, before, locked)
	if err != nil {
		return nil, err
	}
	about := []document{{ChecksumName, m.checksums()}, {LockName, lock}}
	if withSBOM {
		sbom, err := m.sbom()
		if err != nil {
			return nil, err
		}
		about = append(about, document{SBOMName, sbom})
	}
	manifest, err := json.MarshalIndent(m, "", "  ")
	return append(about, document{ManifestName, append(manifest, '\n')}), err
}

// lockFile is the folder's lock file with the inputs of one build put in. Those
// of others stay, unless the manifest has lost them.
func (o *output) lockFile(m *Manifest, before []Artifacts, locked *LockedFlavor) ([]byte, error) {
	lock := &Lock{}
	path := filepath.Join(o.dir, LockName)
	if text, err := os.ReadFile(path); err == nil {
		if former, err := ParseLock(path, text); err == nil { // else it is of no use to anyone
			lock = former
		}
	}
	for _, b := range before {
		if !slices.ContainsFunc(m.Builds, func(a Artifacts) bool { return a.Flavor == b.Flavor }) {
			delete(lock.Flavors, b.Flavor)
		}
	}
	lock.Put(locked)
	return lock.Marshal()
}

// place renames one artifact to its name and its aliases to hard links of it.
func (o *output) place(f File) error {
	from := filepath.Join(o.tmp, f.Name)
	for _, alias := range f.Aliases {
		link := filepath.Join(o.tmp, alias)
		if err := os.Link(from, link); err != nil {
			return fmt.Errorf("linking %s to %s: %w", alias, f.Name, err)
		}
		if err := os.Rename(link, filepath.Join(o.dir, alias)); err != nil {
			return err
		}
	}
	return os.Rename(from, filepath.Join(o.dir, f.Name))
}
