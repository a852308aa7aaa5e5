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
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"

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
	if err != nil || len(entries) == 0 {
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
	path := filepath.Join(dir, filepath.FromSlash(b.name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	err = b.copy(ctx, f, progress)
	if err == nil {
		err = f.CloseAtomicallyReplace()
	}
	if err := errors.Join(err, f.Cleanup()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// removeOthers removes what the blobs' folder of an export has beside blobs:
// those of a set before, and what an interrupted export left. Links are not
// followed out of the folder.
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
	entries, err := fs.ReadDir(root.FS(), folder)
	if err != nil {
		return fmt.Errorf("looking for what is no longer part of the export: %w", err)
	}
	for _, e := range entries {
		name := folder + "/" + e.Name()
		if e.IsDir() || wanted[name] {
			continue
		}
		if err := root.Remove(name); err != nil {
			return fmt.Errorf("removing what is no longer part of the export: %w", err)
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
