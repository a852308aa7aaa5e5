package embed

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Dest is where Export writes to: Path is a folder or, with Tar, a file; with
// Stream that gets a tar.
type Dest struct {
	Path   string
	Tar    bool
	Stream io.Writer
}

// ParseDest reads what a user calls a destination: FILE.tar, a folder, or - for
// a tar on stdout. A name that ends in a slash is always a folder.
func ParseDest(text string, stdout io.Writer) (Dest, error) {
	lower := strings.ToLower(text)
	switch {
	case text == "":
		return Dest{}, errors.New("the destination is empty: want a folder, FILE.tar, or - for standard output (is a shell variable unset?)")
	case text == "-":
		return Dest{Path: "standard output", Tar: true, Stream: stdout}, nil
	case strings.Contains(text, "://"):
		return Dest{}, fmt.Errorf("%s: want a folder, FILE.tar, or - for standard output, not a URL", text)
	case strings.HasSuffix(lower, ".tar"):
		return Dest{Path: text, Tar: true}, nil
	}
	for _, ending := range []string{".gz", ".tgz", ".zst", ".tzst", ".xz", ".txz", ".bz2", ".tbz", ".tbz2", ".zip"} {
		if strings.HasSuffix(lower, ending) {
			return Dest{}, fmt.Errorf("%s: the layers are compressed already, and are not compressed again: want a folder, FILE.tar, or - for standard output", text)
		}
	}
	return Dest{Path: text}, nil
}

// Check reports why nothing can be written there, before anybody downloads
// what is to be written: a folder must be empty, or an export.
func (d Dest) Check() error {
	if d.Stream != nil {
		return nil
	}
	st, err := os.Stat(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	switch {
	case errors.Is(err, syscall.ENOTDIR), err == nil && !d.Tar && !st.IsDir():
		return fmt.Errorf("%s: there is a file where a folder is to be: want another folder, or FILE.tar", d.Path)
	case err != nil:
		return err
	case d.Tar && st.IsDir():
		return fmt.Errorf("%s is a folder: want another name, or %s/ to write into the folder", d.Path, d.Path)
	case d.Tar:
		return nil
	}
	entries, err := os.ReadDir(d.Path)
	if err != nil || !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !isFirst(e.Name()) }) {
		return err
	}
	if why := foreignLayout(d.Path); why != "" {
		return fmt.Errorf("%s is not empty and %s; an export would replace it: name a folder that is not there yet, such as %s", d.Path, why, filepath.Join(d.Path, "images"))
	}
	return nil
}

// foreignLayout says why a folder is not, or not only, an export of hooksmith;
// "": it is one.
func foreignLayout(dir string) string {
	raw, err := readIndex(dir)
	if err != nil {
		return "holds no export of hooksmith"
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return "its index.json is not one that hooksmith wrote"
	}
	other := slices.ContainsFunc(index.Manifests, func(d v1.Descriptor) bool { return d.Annotations[wantAnnotation] == "" })
	if other || len(index.Manifests) == 0 && index.Annotations[exportAnnotation] == "" {
		return "is an OCI layout with images that hooksmith did not put there"
	}
	return ""
}

// exportDir writes a layout into a folder that is empty or an export.
func exportDir(ctx context.Context, dir string, index []byte, blobs []blob, progress func(int64)) error {
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(dir, "index.json")); errors.Is(err, fs.ErrNotExist) {
		begun, err := json.MarshalIndent(indexManifest(exportBegun), "", "  ")
		if err != nil {
			return err
		}
		for _, b := range []blob{textBlob("oci-layout", layoutVersion), textBlob("index.json", string(begun))} {
			if err := b.write(ctx, dir, nil); err != nil {
				return err
			}
		}
	}
	for _, b := range blobs {
		switch whole, err := b.isIn(ctx, dir); {
		case err != nil:
			return err
		case whole:
			count(progress, b.size)
		default:
			if err := b.write(ctx, dir, progress); err != nil {
				return err
			}
		}
	}
	for _, b := range []blob{textBlob("oci-layout", layoutVersion), textBlob("index.json", string(index))} {
		if err := b.write(ctx, dir, progress); err != nil {
			return err
		}
	}
	return removeOthers(dir, blobs)
}

// lockDir makes a folder and keeps other exports out of it. Where folders
// cannot be locked, as on some network file systems, it does not.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		f.Close()
		return nil, fmt.Errorf("another hooksmith is writing %s: wait for it, or name another folder", dir)
	}
	return func() { f.Close() }, nil
}

// isIn reports whether a folder has the blob, with the right content: a copy
// of it on a stick may have gone wrong.
func (b blob) isIn(ctx context.Context, dir string) (bool, error) {
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(b.name)))
	if err != nil {
		return false, nil // whatever it is, writing it tells
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() != b.size {
		return false, nil
	}
	h := sha256.New()
	err = copyContext(ctx, h, f, nil)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return err == nil && blobName(v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}) == b.name, nil
}

// write puts a file of the layout in place when it is whole.
func (b blob) write(ctx context.Context, dir string, progress func(int64)) error {
	file := filepath.Join(dir, filepath.FromSlash(b.name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := renameio.NewPendingFile(file, renameio.WithTempDir(filepath.Dir(file)), renameio.WithPermissions(0o644)) // where removeOthers looks
	if err != nil {
		return err
	}
	err = b.copy(ctx, f, progress)
	if err == nil {
		err = f.CloseAtomicallyReplace()
	}
	if err := errors.Join(err, f.Cleanup()); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}

// removeOthers removes what an export has beside blobs: those of a set before,
// and what an interrupted export left. Links are not followed out of the
// folder.
func removeOthers(dir string, blobs []blob) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	wanted := map[string]bool{}
	for _, b := range blobs {
		wanted[b.name] = true
	}
	const folder = "blobs/sha256"
	err = removeFrom(root, folder, func(name string) bool { return !wanted[folder+"/"+name] })
	if err == nil {
		err = removeFrom(root, ".", isPending)
	}
	if err != nil {
		return fmt.Errorf("removing what is no longer part of the export: %w", err)
	}
	return nil
}

// isFirst reports whether an export writes a file of that name before the
// index.json that tells whose the folder is: interrupted there, it leaves a
// folder that is as good as empty.
func isFirst(name string) bool { return name == "oci-layout" || isPending(name) }

// isPending reports whether write was interrupted that replaced a file of an
// export's root. Others may have put files of their own there.
func isPending(name string) bool {
	for _, of := range []string{".index.json", ".oci-layout"} {
		if number, ok := strings.CutPrefix(name, of); ok && number != "" && strings.Trim(number, "0123456789") == "" {
			return true
		}
	}
	return false
}

// removeFrom removes those files of a folder that are not wanted.
func removeFrom(root *os.Root, folder string, unwanted func(name string) bool) error {
	entries, err := fs.ReadDir(root.FS(), folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() || !unwanted(e.Name()) {
			continue
		}
		if err := root.Remove(path.Join(folder, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// exportTar writes the files into one, which is there when it is whole.
func exportTar(ctx context.Context, dest string, files []blob, progress func(int64)) error {
	if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
		return err
	}
	f, err := renameio.NewPendingFile(dest, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if err := exportStream(ctx, f, files, progress); err != nil {
		return fmt.Errorf("writing %s: %w", dest, err)
	}
	return f.CloseAtomicallyReplace()
}

// exportStream writes the files as a tar.
func exportStream(ctx context.Context, out io.Writer, files []blob, progress func(int64)) error {
	w := tar.NewWriter(out)
	for _, b := range files {
		hdr := &tar.Header{Typeflag: tar.TypeReg, Name: b.name, Size: b.size, Mode: 0o644, ModTime: storeTime}
		err := w.WriteHeader(hdr)
		if err == nil {
			err = b.copy(ctx, w, progress)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	return w.Close()
}

func (b blob) copy(ctx context.Context, w io.Writer, progress func(int64)) error {
	rc, err := b.open()
	if err != nil {
		return err
	}
	return errors.Join(copyContext(ctx, w, rc, progress), rc.Close())
}

// copyContext copies until the end or until ctx is done.
func copyContext(ctx context.Context, w io.Writer, r io.Reader, progress func(int64)) error {
	buf := make([]byte, copyBuffer)
	for {
		n, err := r.Read(buf)
		if _, werr := w.Write(buf[:n]); werr != nil {
			return werr
		}
		count(progress, int64(n))
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

func count(progress func(int64), n int64) {
	if progress != nil {
		progress(n)
	}
}
